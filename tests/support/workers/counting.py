"""A worker that counts the requests it has in hand, and answers 500 when there are two.

A thread per connection, so that it can have two; each answer takes a moment. `/served` tells how many it has served,
`/body` answers with as many bytes as it got, `/slow?S` takes S seconds, `/big?N` answers with N bytes, `/drip`
begins an answer and does not end it. Anything it did not expect, or that reached it twice at once, it remembers:
`/offences` tells.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LARGE = 1 << 16
"""Bytes of content from which they are sent in two parts. Fewer in one: a kill in between would cut an answer that
the client has begun to read. The head goes ahead alone, as R's does: a kill behind that is nothing to the client."""

state = threading.Lock()
in_hand = 0
served = 0
offences = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        global in_hand, offences
        with state:
            in_hand += 1
            alone = in_hand == 1
            offences += not alone
        self.let_go = False
        try:
            self.serve(alone)
        finally:
            self.done()

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def serve(self, alone: bool) -> None:
        url = urlsplit(self.path)
        size, digest = self.read_body()
        if url.path == "/slow":
            time.sleep(float(url.query))
        self.take_a_moment()
        with state:
            alone = alone and in_hand == 1
        content = {
            "/served": f"{served}",
            "/offences": f"{offences}",
            "/pid": f"{os.getpid()}",
            "/body": f"{size} {digest}",
        }.get(url.path, "hello").encode()
        if url.path == "/big":
            content = b"x" * int(url.query)
        self.send_response(200 if alone else 500)
        self.send_header("Content-Length", str(len(content) if url.path != "/drip" else 1000))
        if self.command == "HEAD":
            self.done()
            self.end_headers()
            return
        self.end_headers()
        self.take_a_moment()
        if url.path == "/drip":
            self.wfile.write(content)
            time.sleep(60)
            return
        whole = len(content) < LARGE
        if not whole:
            self.wfile.write(content[:-1])
        self.done()
        self.wfile.write(content if whole else content[-1:])

    def take_a_moment(self) -> None:
        if not self.path.startswith(("/slow", "/quick")):
            time.sleep(random.uniform(0, 0.001))

    def done(self) -> None:
        """Before the last byte: whoever has that may send the next request, on another connection, at once."""
        global in_hand, served
        with state:
            in_hand -= not self.let_go
            served += not self.let_go
        self.let_go = True

    def read_body(self) -> tuple[int, str]:
        left, digest = int(self.headers.get("Content-Length", 0)), hashlib.sha256()
        size = 0
        while left and (part := self.rfile.read(min(left, 1 << 16))):
            digest.update(part)
            left -= len(part)
            size += len(part)
        return size, digest.hexdigest()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["FAUCET_PORT"])), Handler).serve_forever()
