"""What a client costs in memory: connected, idle behind a request, and waiting for a worker."""

from __future__ import annotations

import resource
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Sequence

import psutil

from tests.bench import peers
from tests.support.certificate_files import CertificateFiles
from tests.support.running import python_worker

CLIENTS = 10_000
KIB, MIB = 1 << 10, 1 << 20

REQUEST = b"GET /%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
QUICK, LONG = b"0", b"600"
"""Seconds that the worker takes for a request."""

OPTIONS = (
    "--max-clients", str(CLIENTS + 100),
    "--queue-limit", str(CLIENTS), "--queue-timeout", "30m", "--keep-alive", "30m", "--client-timeout", "30m",
    "--request-timeout", "30m", "--shutdown-timeout", "1s",
)  # fmt: skip


class Clients:
    """So many sockets of this process, all connected to one service."""

    def __init__(self, port: int, count: int, context: ssl.SSLContext | None = None) -> None:
        """With a `context` they are inside TLS."""
        self._sockets = [self._connect(port, context) for _ in range(count)]

    def _connect(self, port: int, context: ssl.SSLContext | None) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", port), 60)
        return plain if context is None else context.wrap_socket(plain, server_hostname="localhost")

    def ask(self) -> None:
        """One request of each, and its answer, before the next one's."""
        for sock in self._sockets:
            sock.sendall(REQUEST % QUICK)
            if not sock.recv(4096).endswith(b"ok"):
                raise RuntimeError("no answer")

    def wait(self) -> None:
        """One request of each, that gets no answer yet."""
        for sock in self._sockets:
            sock.sendall(REQUEST % LONG)

    def close(self) -> None:
        """Leave."""
        for sock in self._sockets:
            sock.close()


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for what no event tells: what a process has, and what the kernel has passed on to it."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        pause.wait(0.05)
    raise TimeoutError(condition)


class Watched:
    """A service's own process: its descriptors, and its memory once it does nothing any more."""

    def __init__(self, pid: int) -> None:
        self.process = psutil.Process(pid)

    def memory(self) -> int:
        """Bytes of resident memory, when a fifth of a second has passed without any work."""
        before = -1.0

        def is_calm() -> bool:
            nonlocal before
            times = self.process.cpu_times()
            before, last = times.user + times.system, before
            threading.Event().wait(0.2)
            return before == last

        until(is_calm)
        size: int = self.process.memory_info().rss
        return size

    def has(self, descriptors: int) -> bool:
        """Whether it has accepted as many."""
        return self.process.num_fds() >= descriptors


def figures(count: int, files: CertificateFiles | None = None) -> list[tuple[str, int]]:
    """Resident bytes of the service: at first, and with so many clients of each kind; with `files`, inside TLS."""
    tls = files.options if files is not None else []
    context = ssl.create_default_context(cafile=files.authority.ca_file) if files is not None else None
    options = (*OPTIONS, *tls, "--command", python_worker("blocking"))
    with peers.faucet("Faucet", peers.consecutive_ports(1), *options) as running:
        watched = Watched(peers.service_on(running.port).pid)
        first = Clients(running.port, 100, context)
        first.ask()  # what is imported and cached at first is no client's
        found = [("without clients", watched.memory())]
        descriptors = watched.process.num_fds()
        clients = Clients(running.port, count - 100, context)
        until(lambda: watched.has(descriptors + count - 100))
        found.append(("connected", watched.memory()))
        clients.ask()
        found.append(("idle behind a request", watched.memory()))
        first.wait()
        clients.wait()
        found.append(("waiting for a worker", watched.memory()))
        clients.close()
        first.close()
    return found


def rows(found: Sequence[tuple[str, int]], count: int) -> Iterable[str]:
    """Each kind of client: resident memory of the service with all of them, and bytes for each."""
    base = found[0][1]
    yield f"| {found[0][0]} | {base / MIB:.1f} | |"
    for name, size in found[1:]:
        yield f"| {count:,} {name} | {size / MIB:.1f} | {(size - base) / count / KIB:.2f} |"


def report() -> None:
    """A table of it. The limit of open files is raised as far as it goes, for both sides."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.platform != "linux" or hard < CLIENTS + 1000:
        print(f"{CLIENTS:,} clients need Linux and as many open files (here {hard:,}): left out")
        return
    found = figures(CLIENTS)
    print("\n### Memory of the service\n\n| clients | resident, MiB | each, KiB |\n| --- | --- | --- |")
    print(*rows(found, CLIENTS), sep="\n", flush=True)
