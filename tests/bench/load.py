"""Loads: wrk for throughput, curl for bulk, an own client for latencies, arrivals at given times for queues."""

from __future__ import annotations

import asyncio
import heapq
import re
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

QUICKACK = getattr(socket, "TCP_QUICKACK", None)


@dataclass(frozen=True)
class Throughput:
    """What wrk has measured."""

    requests: float
    """Per second."""
    p99: float
    """Seconds."""
    failed: bool
    """Some answers were not 2xx, or some connections failed."""


def wrk(
    port: int, clients: int, target: str = "/", seconds: int = 4, scheme: str = "http", close: bool = False
) -> Throughput:
    """`wrk -t1`; `close`: with a connection for each request."""
    words = [
        "wrk",
        "-t1",
        f"-c{clients}",
        f"-d{seconds}s",
        "--latency",
        *(["-H", "Connection: close"] if close else []),
    ]
    words.append(f"{scheme}://127.0.0.1:{port}{target}")
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec: +([0-9.]+)", text)
    p99 = re.search(r"99% +([0-9.]+)(us|ms|s)", text)
    assert rate
    assert p99
    scale = {"us": 1e-6, "ms": 1e-3, "s": 1.0}[p99[2]]
    return Throughput(float(rate[1]), float(p99[1]) * scale, "Non-2xx" in text or "Socket errors" in text)


def bulk(port: int, upload: str | None, scheme: str = "http") -> float:
    """Bytes per second of 100 MB down, or of the file `upload` up, by one client."""
    what = ["-T", upload, "-H", "Expect:"] if upload else []
    where = f"{scheme}://127.0.0.1:{port}/{'' if upload else 'file'}"
    form = "%{speed_upload}" if upload else "%{speed_download}"
    words = ["curl", "-sfk", "-o", "/dev/null", "-w", form, *what, where]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


class DirectClient:
    """One kept connection, one request at a time, with quick ACKs: the most that a worker can be asked for."""

    def __init__(self, port: int, target: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

    def ask(self) -> None:
        """One request and its answer, which must have a Content-Length."""
        self._sock.sendall(self._request)
        data = b""
        while True:
            data += self._sock.recv(65536)
            head, end, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0) if end else 1
            if end and len(body) >= length:
                return
            if QUICKACK is not None:
                self._sock.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)

    def close(self) -> None:
        """End it."""
        self._sock.close()


def latencies(port: int, target: str, seconds: float) -> list[float]:
    """Seconds per request of one client."""
    client, times = DirectClient(port, target), []
    end = perf_counter() + seconds
    while (began := perf_counter()) < end:
        client.ask()
        times.append(perf_counter() - began)
    client.close()
    return times


def alternating(ports: Sequence[int], target: str, seconds: float) -> list[float]:
    """As latencies, of one client that asks the workers in turn."""
    clients, times = [DirectClient(port, target) for port in ports], []
    end = perf_counter() + seconds
    while (began := perf_counter()) < end:
        clients[len(times) % len(clients)].ask()
        times.append(perf_counter() - began)
    for client in clients:
        client.close()
    return times


def direct(ports: Sequence[int], target: str, seconds: float) -> float:
    """Requests per second of one direct client per worker, all at once."""
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda port=port: counts.append(len(latencies(port, target, seconds))))
        for port in ports
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


Arrival = tuple[float, float]
"""When a request comes, and how long it takes a worker, in seconds."""


async def arrive(port: int, arrivals: Sequence[Arrival], target: str = "/{}", until: bytes = b"ok") -> list[float]:
    """Send requests at their times, each on a connection of its own; the sojourn time of each.

    `target` has the place of the service time in it, and an answer is complete when it has `until`.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(when: float, service: float) -> float:
        await asyncio.sleep(began + when - loop.time())
        sent = perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {target.format(service)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await reader.readuntil(until)
        taken = perf_counter() - sent
        writer.close()
        await writer.wait_closed()
        return taken

    return await asyncio.gather(*(one(when, service) for when, service in arrivals))


def ideal(arrivals: Sequence[Arrival], servers: int) -> list[float]:
    """The same in an ideal FIFO queue in front of so many servers."""
    free = [0.0] * servers
    times = []
    for when, service in arrivals:
        start = max(when, heapq.heappop(free))
        heapq.heappush(free, start + service)
        times.append(start + service - when)
    return times
