"""Logging in to a real sshd, and each way in which that fails: one message, with what to do next."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faucet.ssh.errors import SshError
from faucet.ssh.login import Login
from faucet.ssh.prompts import ask_what_is_needed
from faucet.ssh.secrets import Secrets, inherited
from faucet.ssh.target import Target
from tests.support.bastion import login
from tests.support.checkout import ROOT
from tests.support.cluster import Cluster
from tests.support.cluster_net import BASTION
from tests.support.cluster_ssh import PASSPHRASE
from tests.support.running import Faucet

WHERE = f"{BASTION}:2222"


@pytest.fixture
def laptop(cluster: Cluster) -> Iterator[Cluster]:
    cluster.reset()
    with cluster.inside("laptop"):
        yield cluster


@pytest.fixture
def fails(laptop: Cluster, faucet: Callable[..., Faucet], tmp_path: Path) -> Callable[..., str]:
    """What `faucet k8s --via-ssh` says before it ends with exit code 1."""
    (tmp_path / ".ssh").mkdir()

    def start(target: str = f"root@{WHERE}", *options: str, known: bool = True, key: bool = True) -> str:
        config = tmp_path / "config"
        if not config.exists():
            config.touch()
        words = ["k8s", "--service-url", "http://plumber:8000", "--via-ssh", target, "--ssh-config", str(config)]
        words += ["--ssh-known-hosts", str(laptop.ssh.known_hosts)] if known else []
        words += ["--ssh-key", str(laptop.ssh.key)] if key else []
        environment = {"HOME": str(tmp_path), "SSH_AUTH_SOCK": ""}
        service = faucet(*words, *options, wrapper=laptop.wrapper("laptop"), env=environment)
        assert service.wait_exit() == 1
        own = [line for line in service.lines if "no monitor" not in line and "took" not in line]
        assert len([line for line in own if line.startswith("faucet: ")]) == 1, own
        return "\n".join(own)

    return start


def test_an_unknown_host(fails: Callable[..., str], laptop: Cluster) -> None:
    said = fails(known=False)
    fingerprint = fingerprint_of(laptop.ssh.host_key)
    assert f"{WHERE} is not in ~/.ssh/known_hosts. It offers ssh-ed25519 {fingerprint}." in said
    assert f"Verify that with its administrator, then: ssh -p 2222 root@{BASTION}" in said


def fingerprint_of(key: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-l", "-f", f"{key}.pub"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def test_a_host_key_that_has_changed(fails: Callable[..., str], laptop: Cluster, tmp_path: Path) -> None:
    other = laptop.ssh.make_key("another_host")
    wrong = tmp_path / "wrong_known"
    public = Path(f"{other}.pub").read_text().split()
    wrong.write_text(f"[{BASTION}]:2222 {public[0]} {public[1]}\n")
    said = fails(f"root@{WHERE}", "--ssh-known-hosts", str(wrong), known=False)
    assert f"THE HOST KEY OF {WHERE} HAS CHANGED" in said
    assert fingerprint_of(laptop.ssh.host_key) in said
    assert f"ssh-keygen -f {wrong} -R '[{BASTION}]:2222'" in said


def test_a_key_that_is_refused(fails: Callable[..., str], laptop: Cluster) -> None:
    said = fails(f"root@{WHERE}", "--ssh-key", str(laptop.ssh.wrong_key), key=False)
    assert f"{WHERE} refused root. It accepts: publickey. Tried: {laptop.ssh.wrong_key}." in said


def test_an_encrypted_key_without_an_agent(fails: Callable[..., str], laptop: Cluster) -> None:
    said = fails(f"root@{WHERE}", "--ssh-key", str(laptop.ssh.encrypted_key), key=False)
    assert "Tried: nothing: there is neither an agent nor a key." in said
    assert f"Skipped, since encrypted: {laptop.ssh.encrypted_key} (ssh-add {laptop.ssh.encrypted_key}, or run" in said


def test_files_that_are_not_there_or_no_keys(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "file /nowhere/key does not exist" in fails(f"root@{WHERE}", "--ssh-key", "/nowhere/key", key=False)
    (tmp_path / "nonsense").write_text("nonsense")
    assert "Invalid private key" in fails(f"root@{WHERE}", "--ssh-key", str(tmp_path / "nonsense"), key=False)


def test_a_config_that_is_wrong(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host *\n  Port abc\n")
    said = fails()
    assert "invalid ssh config: " in said
    assert "line 2" in said


def test_a_name_that_is_unknown(fails: Callable[..., str]) -> None:
    said = fails("root@no-such-bastion.invalid")
    assert "the bastion 'no-such-bastion.invalid' cannot be resolved" in said
    assert "If it is a Host alias" in said


def test_forwarding_that_is_forbidden(fails: Callable[..., str], laptop: Cluster) -> None:
    """Names are resolved by getent then, since DNS cannot be reached."""
    laptop.ssh.start("AllowTcpForwarding no", port=2223)
    line = laptop.ssh.known_hosts.read_text()
    (laptop.directory / "known_2223").write_text(line.replace("2222", "2223"))
    target = f"root@{BASTION}:2223"
    said = fails(target, "--ssh-known-hosts", str(laptop.directory / "known_2223"), known=False)
    assert f"{target} lets us log in, but forbids TCP forwarding to 10.244.1.11:8000 (AllowTcpForwarding" in said


def test_what_may_come_right_is_tried_again(laptop: Cluster, faucet: Callable[..., Faucet], tmp_path: Path) -> None:
    """Nobody listens, or nobody answers: the service is there, and says so, and goes on trying."""
    laptop.ssh.main.stop()
    (tmp_path / "config").touch()
    words = ["k8s", "--service-url", "http://plumber:8000", "--via-ssh", f"root@{WHERE}", "--ssh-wait", "1s"]
    words += ["--ssh-known-hosts", str(laptop.ssh.known_hosts), "--ssh-key", str(laptop.ssh.key)]
    service = faucet(*words, "--ssh-config", str(tmp_path / "config"), wrapper=laptop.wrapper("laptop"))
    service.wait_line(f"--via-ssh: {WHERE} refused the connection. Is the port right?")
    service.wait_ready()
    done = subprocess.run(
        ["curl", "-s", "-w", "%{http_code}", f"http://127.0.0.1:{service.port}/"], capture_output=True, check=True
    )
    assert done.stdout.endswith(b"503")
    assert b"the ssh link is reconnecting" in done.stdout
    laptop.ssh.main.start()
    service.wait_line(r"ssh link to .* is up", 20)
    service.wait_line("joined at 10.244.1.13:8000")


async def test_no_route(laptop: Cluster) -> None:
    with pytest.raises(SshError, match=r"10\.244\.1\.11:22 cannot be reached: No route to host"):
        await login(laptop).connect(Target("10.244.1.11", "root"))


async def test_no_ssh_server(laptop: Cluster) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SshError, match="closed the connection before the login"):
            await login(laptop).connect(Target("127.0.0.1", "root", port))


async def test_the_config_counts(laptop: Cluster, tmp_path: Path) -> None:
    """Host aliases, Include, Match, IdentityFile, UserKnownHostsFile, and a jump through another sshd."""
    laptop.ssh.start(port=2223)
    line = laptop.ssh.known_hosts.read_text()
    known = tmp_path / "known"
    known.write_text(line + line.replace("2222", "2223"))
    (tmp_path / "more").write_text(f"Match host {BASTION}\n  User root\n  IdentityFile {laptop.ssh.key}\n")
    config = tmp_path / "config"
    config.write_text(
        f"Host *\n  UserKnownHostsFile {known}\n"
        f"Host jump\n  HostName {BASTION}\n  Port 2223\n  User root\n  IdentityFile {laptop.ssh.key}\n"
        f"Host inner\n  HostName {BASTION}\n  Port 2222\n  ProxyJump jump\n"
        f"Include {tmp_path / 'more'}\n"
    )
    way = login(laptop)
    way.files = type(way.files)(config, None, None)
    connection, attempt = await way.connect(Target("inner"))
    try:
        assert (attempt.user, attempt.where) == ("root", f"{BASTION}:2222")
        done = await connection.run("echo $SSH_CLIENT", check=True)
        assert str(done.stdout).startswith(f"{BASTION} "), "it came from the other sshd"
    finally:
        hops = list(attempt.hops)
        attempt.close(connection)
        for closed in (connection, *hops):
            await closed.wait_closed()
    assert len(hops) == 1


async def test_the_host_key_of_a_hop_is_checked_too(laptop: Cluster, tmp_path: Path) -> None:
    """And the message names the hop, not what is behind it."""
    laptop.ssh.start(port=2223)
    config = tmp_path / "config"
    config.write_text(
        f"Host jump\n  HostName {BASTION}\n  Port 2223\n  User root\n  UserKnownHostsFile none\n"
        f"Host inner\n  HostName {BASTION}\n  Port 2222\n  ProxyJump jump\n  User root\n"
        f"Host *\n  IdentityFile {laptop.ssh.key}\n  UserKnownHostsFile {laptop.ssh.known_hosts}\n"
    )
    way = login(laptop)
    way.files = type(way.files)(config, None, None)
    assert f"{BASTION}:2223 is not in" in await refusal(way, "inner")
    way.files = type(way.files)(config, laptop.ssh.wrong_key, None)
    line = laptop.ssh.known_hosts.read_text()
    laptop.ssh.known_hosts.write_text(line + line.replace("2222", "2223"))
    try:
        config.write_text(config.read_text().replace("UserKnownHostsFile none", "Compression no"))
        assert f"{BASTION}:2223 refused root" in await refusal(way, "inner")
    finally:
        laptop.ssh.known_hosts.write_text(line)


async def refusal(way: Login, host: str) -> str:
    """Why a login fails; its transports are closed when this returns."""
    with pytest.raises(SshError) as caught:
        await way.connect(Target(host))
    for _ in range(10):  # turns of the loop
        await asyncio.sleep(0)
    return str(caught.value)


def test_ctrl_c_at_the_question_ends_it(laptop: Cluster, tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    words = ["ctl", "status", "--via-ssh", f"root@{WHERE}", "--ssh-known-hosts", str(laptop.ssh.known_hosts)]
    words += ["--ssh-key", str(laptop.ssh.encrypted_key), "--ssh-config", str(tmp_path / "config")]
    process, master = on_a_terminal(laptop, words)
    try:
        read_until(master, b"passphrase of ")
        os.write(master, b"\x03")
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_a_server_that_nobody_trusts_cannot_steer_the_terminal() -> None:
    assert str(SshError("\x1b]0;title\x07 and \x1b[2J")).isprintable()


async def test_host_keys_are_checked_whatever_the_config_says(laptop: Cluster, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    way = login(laptop)
    way.files = type(way.files)(config, laptop.ssh.key, None)
    with pytest.raises(SshError, match=r"is not in ~/\.ssh/known_hosts"):
        await way.connect(Target(BASTION, "root", 2222))


def test_a_passphrase_is_asked_for_once_and_kept(
    laptop: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    answers = iter(["wrong", PASSPHRASE])

    def ask(question: str) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("faucet.ssh.prompts.ask", ask)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    way = login(laptop)
    way.files = type(way.files)(way.files.config, laptop.ssh.encrypted_key, way.files.known_hosts)
    ask_what_is_needed(way, [Target(BASTION, "root", 2222)])
    assert asked == [f"passphrase of {laptop.ssh.encrypted_key}"] * 2
    ask_what_is_needed(way, [Target(BASTION, "root", 2222)])
    assert len(asked) == 2, "it is known now"
    told = Secrets(dict(way.secrets.passphrases), {"a@b": "c"})
    environment = {"FAUCET_SECRETS": str(told.pipe())}
    assert inherited(environment) == told
    assert environment == {}
    assert inherited(environment) == Secrets()


def test_a_passphrase_is_typed_on_a_terminal_before_the_monitor_starts(laptop: Cluster, tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    words = ["k8s", "--service-url", "http://plumber:8000", "--via-ssh", f"root@{WHERE}", "--host", "127.0.0.1:0"]
    words += ["--ssh-known-hosts", str(laptop.ssh.known_hosts), "--ssh-key", str(laptop.ssh.encrypted_key)]
    words += ["--ssh-config", str(tmp_path / "config"), "--headless"]
    process, master = on_a_terminal(laptop, words)
    try:
        seen = read_until(master, b"passphrase of ")
        os.write(master, PASSPHRASE.encode() + b"\n")
        seen += read_until(master, b"with 3 pods")
        assert PASSPHRASE.encode() not in seen
        os.write(master, b"\x03")
        read_until(master, b"stopped; ")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


def read_until(terminal: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(terminal, 4096)
        assert len(seen) < 100_000
    return seen


def on_a_terminal(laptop: Cluster, words: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """`faucet …` on a terminal of its own, and that terminal's other end."""
    master, slave = pty.openpty()
    environment = {**os.environ, "SSH_AUTH_SOCK": "", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*laptop.wrapper("laptop"), sys.executable, "-m", "faucet", *words], stdin=slave, stdout=slave, stderr=slave,
        env=environment, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    return process, master
