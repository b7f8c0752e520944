"""The program is stopped for longer than its deadlines, and goes on: nobody is punished for that."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable

import pytest

from tests.support.running import Faucet, python_worker
from tests.support.talk import GET

pytestmark = pytest.mark.slow

Start = Callable[..., Faucet]

STOPPED = 4.0
"""Seconds; longer than each of the deadlines here."""


def pause(service: Faucet, seconds: float = STOPPED) -> None:
    service.signal(signal.SIGSTOP)
    threading.Event().wait(seconds)
    service.signal(signal.SIGCONT)


def get(port: int, target: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=15)
    sock.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())
    return sock


def status(sock: socket.socket) -> int:
    answer = sock.recv(65536)
    assert answer, "the connection was closed without an answer"
    return int(answer.split(b" ")[1])


def test_requests_workers_clients_and_the_queue_survive_a_pause(faucet: Start) -> None:
    deadlines = ("--request-timeout", "3", "--client-timeout", "3", "--queue-timeout", "3", "--keep-alive", "3")
    service = faucet("-w", "1", "--command", python_worker("counting"), *deadlines)
    before = dict(service.wait_workers(1))
    half = socket.create_connection(("127.0.0.1", service.port), timeout=15)
    half.sendall(GET[:10])
    idle = socket.create_connection(("127.0.0.1", service.port), timeout=15)
    with get(service.port, "/slow?2") as slow, get(service.port, "/quick") as queued, half, idle:
        threading.Event().wait(0.3)
        pause(service)
        half.sendall(GET[10:])
        idle.sendall(GET)
        assert status(slow) == 200
        assert status(queued) == 200
        assert status(half) == 200
        assert status(idle) == 200
    assert service.worker_pids == before
    service.wait_line("Faucet was paused for")
    assert service.output.count("Faucet was paused for") == 1


def test_a_worker_that_is_hung_is_still_found_after_a_pause(faucet: Start) -> None:
    service = faucet("-w", "1", "--command", python_worker("counting"), "--request-timeout", "3")
    service.wait_workers(1)
    with get(service.port, "/slow?60") as slow:
        threading.Event().wait(0.3)
        pause(service)
        assert status(slow) == 504
    service.wait_line("it is killed and replaced")


def test_a_health_check_does_not_count_a_pause(faucet: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker answers its check after 2 s, of 10 that it has; meanwhile the program is stopped for 12."""
    service = faucet("-w", "1", "--command", python_worker("counting"), "--health-path", "/slow?2",
                     "--health-interval", "1")  # fmt: skip
    before = dict(service.wait_workers(1))
    threading.Event().wait(2.0)  # ready for a second, and the check is under way
    pause(service, 12)
    threading.Event().wait(3.0)
    assert "health check" not in service.output
    assert service.worker_pids == before
    os.kill(before[1], 0)
