"""The program with few file descriptors and many clients: workers have what they need, and new clients find room."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from tests.support.running import Faucet, python_worker
from tests.support.talk import GET

Start = Callable[..., Faucet]

LIMIT, CROWD = 100, 300


@pytest.fixture
def crowd() -> Iterator[list[socket.socket]]:
    """Connections that are closed after the test."""
    crowd: list[socket.socket] = []
    yield crowd
    for sock in crowd:
        sock.close()


def limited(faucet: Start, *options: str) -> Faucet:
    service = faucet("-w", "2", "--command", python_worker("counting"), *options,
                     wrapper=["sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "sh"])  # fmt: skip
    service.wait_workers(2)
    return service


def ask(sock: socket.socket, request: bytes = GET) -> int:
    """The status of the answer; 0 if the connection ended without one."""
    sock.settimeout(10)
    sock.sendall(request)
    answer = sock.recv(65536)
    return int(answer.split(b" ")[1]) if answer else 0


def wait_replaced(service: Faucet, before: dict[int, int]) -> None:
    deadline = monotonic() + 10
    while set(service.worker_pids.values()) & set(before.values()):
        assert monotonic() < deadline, service.output
        service.wait_line("ready on port", deadline - monotonic())


def test_idle_clients_make_room_and_no_worker_suffers(faucet: Start, crowd: list[socket.socket]) -> None:
    service = limited(faucet)
    before = dict(service.worker_pids)
    crowd += [socket.create_connection(("127.0.0.1", service.port)) for _ in range(CROWD)]
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port)) as sock:
            assert ask(sock) == 200
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_replaced(service, before)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port)) as sock:
            assert ask(sock) == 200
    assert service.output.count("no file descriptors to spare (limit 100)") <= 1
    assert "accepts no connections" not in service.output
    assert " 503 " not in service.output


def test_clients_that_are_busy_leave_the_workers_what_they_need(faucet: Start, crowd: list[socket.socket]) -> None:
    """They cannot be closed, so no more are accepted; whoever is connected is served, by new workers too."""
    service = limited(faucet, "--max-clients", "1000", "--startup-timeout", "2", "--client-timeout", "60")
    known = socket.create_connection(("127.0.0.1", service.port))
    crowd.append(known)
    known.sendall(GET[:-2])  # so that it is not idle, now and later
    before = dict(service.worker_pids)
    for _ in range(CROWD):
        sock = socket.create_connection(("127.0.0.1", service.port))
        crowd.append(sock)
        sock.sendall(b"GET / HT")
    service.wait_line("no file descriptors to spare")
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_replaced(service, before)
    for _ in range(10):
        assert ask(known, GET[-2:] + GET[:-2]) == 200
    after = dict(service.worker_pids)
    late = socket.create_connection(("127.0.0.1", service.port))
    crowd.append(late)
    late.sendall(GET)
    late.settimeout(2.5)  # longer than a start may take: nobody is blamed meanwhile
    with pytest.raises(TimeoutError):
        late.recv(1)
    assert service.worker_pids == after
    for sock in crowd[1:-1]:
        sock.close()
    late.settimeout(10)
    assert late.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert service.output.count("no file descriptors to spare") == 1
