"""Go's and Python's HTTP clients with random requests: each is answered as it should be, or its client has left.

Kept connections, requests sent ahead, either framing, trailers, Expect, and clients that leave at any moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from tests.corpora.rig import TOOLS, Missing, Rig

CLIENTS = 8
REQUESTS = 150
"""Of each client."""

PATIENCE = 30.0
"""Seconds for one answer."""


def go(rig: Rig) -> None:
    """Go's client; the module is in goclient/."""
    tool = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if tool is None:
        raise Missing("needs go (.ci/prepare corpora)")
    seed = random.randrange(1 << 30)
    program = rig.directory / "goclient"
    building = [tool, "build", "-o", str(program), str(Path(__file__).parent / "goclient" / "main.go")]
    rig.run(*building, seconds=240, env={"GOCACHE": str(TOOLS / "go")})
    said = rig.run(str(program), rig.url(""), str(seed), str(CLIENTS), str(REQUESTS))
    with contextlib.suppress(ValueError):
        told = json.loads(said)
        rig.row.said = f"{told['answered']} answered, {told['given_up']} given up, seed {seed}"
        rig.row.wrong += told["wrong"]
        return
    rig.wrong(f"the client says {said[-300:]!r}")


class Customer(threading.Thread):
    """One client of Python's: a session, or a socket of its own."""

    def __init__(self, port: int, seed: int, requests: int = REQUESTS) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.requests = requests
        self.source = random.Random(seed)
        self.answered = self.left = 0
        self.wrong: list[str] = []
        self.foreign: list[str] = []
        """Answers that are neither the right one nor the beginning of it."""

    def run(self) -> None:
        """Its requests."""
        ways: list[Callable[[], None]] = [self.session, self.pipeline, self.leave]
        while self.answered + self.left < self.requests:
            try:
                self.source.choice(ways)()
            except (OSError, AssertionError, requests.RequestException) as error:
                self.wrong.append(f"{type(error).__name__}: {error}"[:200])
                self.left += 1

    def session(self) -> None:
        """Some requests on kept connections, by `requests`."""
        with requests.Session() as session:
            for _ in range(self.source.randint(1, 10)):
                content = self.source.randbytes(self.source.randint(0, 50_000))
                chunked = bool(content) and self.source.random() < 0.5
                body = pieces(content, self.source) if chunked else content
                method = self.source.choice(["POST", "PUT", "PATCH"])
                url = f"http://127.0.0.1:{self.port}/body"
                response = session.request(method, url, data=body, timeout=PATIENCE)
                self.check(response.status_code, response.content, content, chunked)

    def check(self, status: int, answer: bytes, content: bytes, chunked: bool) -> None:
        """It is the answer to that request."""
        digest = "chunked" if chunked else hashlib.sha256(content).hexdigest()
        assert status == 200, status
        expected = f"{len(content)} {digest}".encode()
        if not expected.startswith(answer):
            self.foreign.append(f"somebody else's answer {answer[:80]!r} to a body of {len(content)} bytes")
        assert answer == expected, (answer[:80], len(content))
        self.answered += 1

    def pipeline(self) -> None:
        """Several requests sent ahead, in random pieces, on one connection."""
        contents = [self.source.randbytes(self.source.choice((0, 0, 1, 300, 70_000))) for _ in range(8)]
        chunked = [bool(content) and self.source.random() < 0.5 for content in contents]
        data = b"".join(message(content, way, self.source) for content, way in zip(contents, chunked, strict=True))
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as sock:
            sending = threading.Thread(target=send, args=(sock, data, random.Random(self.source.random())), daemon=True)
            sending.start()
            with sock.makefile("rb") as file:
                for content, way in zip(contents, chunked, strict=True):
                    self.check(*read_answer(file), content, way)
            sending.join(PATIENCE)

    def leave(self) -> None:
        """A client that goes in the middle of its request, or of the answer."""
        data = message(self.source.randbytes(20_000), self.source.random() < 0.5, self.source)
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as sock:
            sock.sendall(data[: self.source.randint(1, len(data))])
            if self.source.random() < 0.5:
                sock.settimeout(self.source.uniform(0.001, 0.02))
                with contextlib.suppress(TimeoutError):
                    sock.recv(self.source.randint(1, 100))
        self.left += 1


def pieces(content: bytes, source: random.Random) -> Iterator[bytes]:
    """A body whose length nobody knows before."""
    while content:
        size = source.randint(1, 20_000)
        yield content[:size]
        content = content[size:]


def message(content: bytes, chunked: bool, source: random.Random) -> bytes:
    """One request, with all that is allowed."""
    head = [b"POST /body HTTP/1.1", b"Host: a"]
    if source.random() < 0.2:
        head.append(b"X-Noise: " + b"n" * source.randint(0, 5000))
    if content and source.random() < 0.2:
        head.append(b"Expect: 100-continue")
    if not chunked:
        return b"\r\n".join([*head, b"Content-Length: %d" % len(content), b"", content])
    parts = [b"%x%s\r\n%s\r\n" % (len(part), source.choice((b"", b";a=b")), part) for part in pieces(content, source)]
    trailers = b"X-Sum: 1\r\n" if source.random() < 0.5 else b""
    return b"\r\n".join([*head, b"Transfer-Encoding: chunked", b"", b"".join(parts) + b"0\r\n" + trailers, b""])


def send(sock: socket.socket, data: bytes, source: random.Random) -> None:
    """In random pieces. Whoever reads notices if it fails."""
    with contextlib.suppress(OSError):
        for piece in pieces(data, source):
            sock.sendall(piece)


def read_answer(file: object) -> tuple[int, bytes]:
    """The next final answer on a connection."""
    read_line, read = file.readline, file.read  # type: ignore[attr-defined]
    status = 100
    while status < 200:
        line = read_line()
        assert line, "the connection has ended"
        status, length = int(line.split()[1]), 0
        while (line := read_line()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
    return status, read(length)


def python(rig: Rig) -> None:
    """Python's clients."""
    seed = random.randrange(1 << 30)
    customers = [Customer(rig.port, seed + number) for number in range(CLIENTS)]
    for customer in customers:
        customer.start()
    for customer in customers:
        customer.join(180)
        if customer.is_alive():
            rig.wrong("a client has not ended after 180 s")
        rig.row.wrong += customer.wrong[:5]
    answered, left = (sum(getattr(customer, name) for customer in customers) for name in ("answered", "left"))
    rig.row.said = f"{answered} answered, {left} left, seed {seed}"


ALL = {"go-client": go, "python-client": python}
