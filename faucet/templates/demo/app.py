"""The demo API without R: the endpoints of plumber.R, one request at a time, standard library only."""

from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A quick answer, a slow one, a large one, an error."""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/hello":
            self._json(200, hello=query.get("name", "world"))
        elif url.path == "/sleep":
            seconds = min(float(query.get("t", 1)), 60.0)
            time.sleep(seconds)
            self._json(200, slept=seconds)
        elif url.path == "/large":
            self._send(200, "text/plain", b"x" * min(int(float(query.get("bytes", 1e6))), 200_000_000))
        elif url.path == "/error":
            self._json(500, error="this endpoint fails on purpose")
        else:
            self._json(404, error="not found")

    def do_POST(self) -> None:
        """The mean of numbers, or the size of what was sent."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/mean":
            numbers = [float(text) for text in parse_qs(body.decode())["x"][0].split(",")]
            self._json(200, mean=sum(numbers) / len(numbers), n=len(numbers))
        elif self.path == "/size":
            self._json(200, bytes=len(body))
        else:
            self._json(404, error="not found")

    def log_message(self, format: str, *args: object) -> None:
        """Faucet logs requests already."""

    def _json(self, status: int, **content: object) -> None:
        self._send(status, "application/json", json.dumps({**content, "pid": os.getpid()}).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(os.environ["FAUCET_PORT"])), Handler).serve_forever()
