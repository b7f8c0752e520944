"""What the workers need of HTTP/1.1, with a thread per connection and handlers like those of Python's `http.server`.

Tests start hundreds of workers, and `http.server` takes three times as long to import as all else that they do first.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

BACKLOG = 128


class Handler:
    """One connection: `do_GET()` and so on are called for each request, which `command`, `path` and `headers` (with
    names in lower case) describe. Its body is read from `rfile`; `wfile` writes at once.
    """

    command: str
    path: str

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.rfile = connection.makefile("rb")
        self.wfile = _Writer(connection)
        self.headers: dict[str, str] = {}
        self._head: list[str] = []

    @classmethod
    def listen(cls) -> None:
        """Serve on the port that Faucet has chosen, for ever."""
        accept(lambda connection: cls(connection).handle())

    def handle(self) -> None:
        """Serve requests until either end closes the connection."""
        with self.connection, self.rfile:
            try:
                while self.handle_one():
                    pass
            except ConnectionError:
                pass

    def handle_one(self) -> bool:
        """Serve one request. Return whether another may follow."""
        words = self.rfile.readline().decode("latin-1").split()
        if len(words) != 3:
            return False
        self.command, self.path, version = words
        self.headers = {}
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        if self.headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        getattr(self, f"do_{self.command}")()
        wish = self.headers.get("connection", "").lower()
        return wish == "keep-alive" if version == "HTTP/1.0" else wish != "close"

    def send_response(self, status: int) -> None:
        """Begin a head."""
        self._head = [f"HTTP/1.1 {status} so"]

    def send_header(self, name: str, value: str) -> None:
        """Add a line to the head."""
        self._head.append(f"{name}: {value}")

    def end_headers(self) -> None:
        """Write the head."""
        self.wfile.write("\r\n".join((*self._head, "", "")).encode("latin-1"))

    def send_error(self, status: int) -> None:
        """Answer with a few words."""
        words = b"Internal error"
        self.send_response(status)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)


class _Writer:
    """Writes all of it at once."""

    def __init__(self, connection: socket.socket) -> None:
        self.write = connection.sendall


def accept(answer: Callable[[socket.socket], None]) -> None:
    """Call `answer` with each connection to the port that Faucet has chosen, in a thread of its own, for ever."""
    with socket.create_server(("127.0.0.1", int(os.environ["FAUCET_PORT"])), backlog=BACKLOG) as server:
        while True:
            threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
