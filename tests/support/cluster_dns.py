"""The name server of the cluster: dnsmasq, whose answers a test changes while it runs.

Addresses come from a hosts file, read again at SIGHUP. Ports (SRV) and the TTL are configuration, which dnsmasq reads
only when it starts: for those it is restarted, which takes some 20 ms. Every change is waited for: each version of the
hosts file has a name of its own in it, and the change is done when that name is answered for.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.cluster_net import DNS, Namespaces, wait_until

DOMAIN = "cluster.local"
VERSIONS = f"version.{DOMAIN}"
KINDS = {"A": 1, "AAAA": 28, "SRV": 33}
OPTIONS = (
    f"listen-address={DNS}",
    "bind-interfaces",
    "no-resolv",
    "no-hosts",
    f"local=/{DOMAIN}/",  # names that it has not got do not exist; names elsewhere it refuses
    "user=root",
    "group=root",  # the hosts file is in a directory of mode 0700
    "log-queries",
)


class Reply(NamedTuple):
    """What an answer says: its code (0 no error, 3 no such name, 5 refused), and how many records it has."""

    code: int
    records: int
    truncated: bool
    ttl: int
    """Seconds, of the first record; 0 without one."""


def full_name(service: str) -> str:
    """`plumber`, `plumber.other` (a namespace) or a whole name, in full."""
    parts = service.split(".")
    if len(parts) > 2:
        return service
    return f"{parts[0]}.{parts[1] if len(parts) == 2 else 'default'}.svc.{DOMAIN}"


class NameServer:
    """What the names of the cluster are, and the server that tells."""

    def __init__(self, spaces: Namespaces, directory: Path) -> None:
        self._spaces, self._directory = spaces, directory
        self._services: dict[str, tuple[str, ...]] = {}
        self._ports: dict[str, tuple[str, int, int]] = {}
        self._version = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started_with = ""
        self._frozen = False
        self.ttl = 1
        """Seconds; in force from the next start."""

    def set(self, service: str, addresses: Sequence[str]) -> None:
        """The addresses of a service from now on, known when this returns. SRV records stay as they are.

        Without addresses the name exists and has none (NODATA, as CoreDNS has it), as long as there are SRV records.
        """
        self._services[full_name(service)] = tuple(addresses)
        self._reload()

    def set_ports(self, service: str, addresses: Sequence[str], name: str = "http", port: int = 8000) -> None:
        """The same, and SRV records of a named port, one per pod; none: no such name. Restarts the server."""
        self._services[full_name(service)] = tuple(addresses)
        self._ports[full_name(service)] = (name, port, len(addresses))
        self.restart()

    def set_all(self, services: dict[str, Sequence[str]], ttl: int = 1) -> None:
        """These services and no others, with SRV records for port 8000; started, if it was not."""
        self.thaw()
        self._services = {full_name(name): tuple(addresses) for name, addresses in services.items()}
        self._ports = {name: ("http", 8000, len(addresses)) for name, addresses in self._services.items()}
        self.ttl = ttl
        (self._directory / "dnsmasq.log").write_bytes(b"")
        if self._process is not None and self._process.poll() is None and self._configuration() == self._started_with:
            self._reload()
        else:
            self.restart()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._write_hosts()
        self._started_with = self._configuration()
        path = self._directory / "dnsmasq.conf"
        path.write_text(self._started_with)
        with (self._directory / "dnsmasq.err").open("ab") as errors:
            argv = ["dnsmasq", "--keep-in-foreground", f"--conf-file={path}"]
            self._process = self._spaces.spawn("cluster", argv, stdin=subprocess.DEVNULL, stderr=errors)
        self._wait_known()

    def stop(self) -> None:
        """Whoever asks now is refused at once."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """What needs one: another `ttl`."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It hears and does not answer."""
        assert self._process is not None
        self._frozen = True
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The end of `freeze`; what was asked meanwhile is answered now."""
        self._frozen = False
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def ask(self, name: str, kind: str = "A", tcp: bool = False) -> Reply:
        """Ask it (over UDP without EDNS: 512 bytes). OSError when it is not there, TimeoutError when it is silent."""
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
        query = struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!B2H", 0, KINDS[kind], 1)
        with self._spaces.inside("cluster"):
            client = socket.socket(type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        with client:
            client.settimeout(1)
            client.connect((DNS, 53))
            client.sendall(struct.pack("!H", len(query)) + query if tcp else query)
            reply = client.recv(1 << 16)[2 if tcp else 0 :]
        _, flags, _, records, _, _ = struct.unpack_from("!6H", reply)
        # after the question comes the first record: pointer to the name, type, class, TTL
        ttl = struct.unpack_from("!I", reply, len(query) + 6)[0] if records else 0
        return Reply(flags & 0xF, records, bool(flags & 0x0200), ttl)

    def queries(self) -> list[str]:
        """The questions since the last `set_all`, as "A plumber.default.svc.cluster.local"."""
        lines = (self._directory / "dnsmasq.log").read_text().splitlines()
        asked = [line.partition(" query[")[2] for line in lines if " query[" in line]
        return [" ".join(words.replace("]", "").split()[:2]) for words in asked if f".{VERSIONS} " not in words]

    def _configuration(self) -> str:
        files = (
            f"addn-hosts={self._directory / 'dns-hosts'}",
            f"pid-file={self._directory / 'dnsmasq.pid'}",
            f"log-facility={self._directory / 'dnsmasq.log'}",
            f"local-ttl={self.ttl}",
        )
        records = [
            f"srv-host=_{port_name}._tcp.{service},pod-{number}.{service},{port}"
            for service, (port_name, port, count) in self._ports.items()
            for number in range(count)
        ]
        return "".join(f"{line}\n" for line in (*OPTIONS, *files, *records))

    @property
    def _mark(self) -> str:
        return f"v{self._version}.{VERSIONS}"

    def _write_hosts(self) -> None:
        self._version += 1
        lines = [f"127.0.0.1 {self._mark}"]
        for service, addresses in self._services.items():
            for number, address in enumerate(addresses):
                lines.append(f"{address} {service} pod-{number}.{service}")
        new = self._directory / "dns-hosts.new"
        new.write_text("".join(f"{line}\n" for line in lines))
        new.replace(self._directory / "dns-hosts")

    def _reload(self) -> None:
        self._write_hosts()
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)
            if not self._frozen:
                self._wait_known()

    def _wait_known(self) -> None:
        def known() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError((self._directory / "dnsmasq.err").read_text())
            with contextlib.suppress(OSError):
                return self.ask(self._mark).records == 1
            return False

        wait_until(known, "the new names")
