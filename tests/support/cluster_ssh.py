"""The way into the cluster: real sshds with keys of their own, started with whatever configuration a test wants.

A session is a child process of its sshd: killed, it is a connection that breaks; stopped, one that hangs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil

from tests.support.cluster_net import BASTION, Namespaces, wait_until
from tests.support.running import wait_gone

PORT = 2222
PASSPHRASE = "sesame"


class SshServer:
    """One sshd on `port` of the bastion."""

    def __init__(self, spaces: Namespaces, configuration: Path, port: int, known_hosts_line: str) -> None:
        self._spaces, self._configuration = spaces, configuration
        self.port = port
        self.known_hosts_line = known_hosts_line
        """What a client must know of it."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._configuration.with_suffix(".log").read_text()

    @property
    def running(self) -> bool:
        """Whether it takes new connections."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; it listens when this returns. Its address must be free."""
        sshd = find_sshd()
        assert sshd is not None
        log = self._configuration.with_suffix(".log")
        argv = [sshd, "-D", "-E", str(log), "-f", str(self._configuration)]
        with log.open("ab") as errors:
            self._process = process = self._spaces.spawn(
                "cluster", argv, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )

        def ready() -> bool:
            if process.poll() is not None:
                raise AssertionError(self.log)
            return self._spaces.listens("cluster", self.port)

        wait_until(ready, f"sshd on port {self.port}")

    def stop(self) -> None:
        """No new connections: they are refused. The sessions end too."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)  # so that no session begins while the others are ended
            self.kill_sessions()
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """Stop and start, with the configuration that the file has now."""
        self.stop()
        self.start()

    def sessions(self) -> list[int]:
        """The processes that have its connections, those not logged in yet included."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children(recursive=True)
            return [child.pid for child in children if _is_sshd(child)]
        return []

    def kill_sessions(self) -> None:
        """Cut every connection, loudly; they are gone when this returns."""
        gone = self._signal(signal.SIGKILL)
        for pid in gone:
            wait_gone(pid)

    def freeze_sessions(self) -> None:
        """They hear, and do nothing: TCP is alive, ssh is not."""
        self._signal(signal.SIGSTOP)

    def thaw_sessions(self) -> None:
        """The end of `freeze_sessions`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> list[int]:
        reached = self.sessions()
        for pid in reached:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return reached


def _is_sshd(process: psutil.Process) -> bool:
    """Not what runs in the session; newer versions call it sshd-session."""
    with contextlib.suppress(psutil.Error):
        return bool(process.name().startswith("sshd"))
    return False


class Bastion:
    """The keys, and all sshds. `main` is always there."""

    def __init__(self, spaces: Namespaces, directory: Path) -> None:
        self._spaces, self.directory = spaces, directory
        self.user = "root"
        self.host_key = directory / "host_ed25519"
        self.key = directory / "id_ed25519"
        self.encrypted_key = directory / "id_enc"
        """Good too, with PASSPHRASE."""
        self.wrong_key = directory / "id_wrong"
        self.known_hosts = directory / "known_hosts"
        """Knows `main`, by address and as "bastion"."""
        self.more: list[SshServer] = []

    def build(self) -> None:
        """Make the keys and start `main`."""
        passphrases = {self.host_key: "", self.key: "", self.encrypted_key: PASSPHRASE, self.wrong_key: ""}
        makers = [self._start_keygen(path, passphrase) for path, passphrase in passphrases.items()]
        assert [maker.wait(10) for maker in makers] == [0] * len(makers)
        good = [path.with_suffix(".pub").read_text() for path in (self.key, self.encrypted_key)]
        (self.directory / "authorized_keys").write_text("".join(good))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it; the distribution's service makes it
        self.main = self._make(PORT, (), self.host_key)
        self.known_hosts.write_text(self.main.known_hosts_line)
        self.main.start()

    def start(self, *lines: str, port: int = PORT + 1, host_key: Path | None = None) -> SshServer:
        """One more sshd, until the next reset. `lines` win over what is the default (Match … must be the last)."""
        server = self._make(port, lines, host_key or self.host_key)
        self.more.append(server)
        server.start()
        return server

    def make_key(self, name: str, passphrase: str = "") -> Path:
        """A new key pair, known to nobody."""
        path = self.directory / name
        assert self._start_keygen(path, passphrase).wait(10) == 0
        return path

    def command(self, *more: str, port: int = PORT, remote: str = "") -> list[str]:
        """The `ssh` that logs in from the laptop, asks nothing, and minds no user's settings; `more` options win."""
        options = ["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", str(self.key)]
        options += ["-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"]
        options += ["-o", "StrictHostKeyChecking=yes", "-p", str(port), "-l", self.user]
        return ["ssh", *more, *options, BASTION, *([remote] if remote else [])]

    def reset(self) -> None:
        """Only `main`, without a session; and only `main` is known."""
        for server in self.more:
            server.stop()
        self.more.clear()
        self.known_hosts.write_text(self.main.known_hosts_line)
        self.main.kill_sessions()
        if not self.main.running:
            self.main.restart()

    def _start_keygen(self, path: Path, passphrase: str) -> subprocess.Popen[bytes]:
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-C", path.name, "-f", str(path)]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def _make(self, port: int, lines: tuple[str, ...], host_key: Path) -> SshServer:
        """The first value of a keyword counts, so `lines` go first; but all that follows a Match belongs to it."""
        first_match = next((i for i, line in enumerate(lines) if line.lower().startswith("match")), len(lines))
        words = [*lines[:first_match], *self._defaults(port, host_key), *lines[first_match:]]
        path = self.directory / f"sshd-{port}.conf"
        path.write_text("".join(f"{line}\n" for line in words))
        public = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
        return SshServer(self._spaces, path, port, f"[{BASTION}]:{port},[bastion]:{port} {public}\n")

    def _defaults(self, port: int, host_key: Path) -> list[str]:
        lines = [f"Port {port}", f"ListenAddress {BASTION}", f"HostKey {host_key}", "PidFile none", "UsePAM no"]
        lines += [f"AuthorizedKeysFile {self.directory / 'authorized_keys'}", "StrictModes no"]  # /tmp is for all
        lines += ["PermitRootLogin prohibit-password", "PasswordAuthentication no", "KbdInteractiveAuthentication no"]
        lines += ["AllowTcpForwarding yes", "LogLevel VERBOSE", "UseDNS no"]
        return lines if ssh_version() < (9, 8) else [*lines, "PerSourcePenalties no"]


def find_sshd() -> str | None:
    """The whole path, which sshd wants to be called by; it is not in everybody's PATH."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def ssh_version() -> tuple[int, int]:
    """From 9.8 on, who fails to log in is shut out for a while."""
    text = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"OpenSSH_([0-9]+)\.([0-9]+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
