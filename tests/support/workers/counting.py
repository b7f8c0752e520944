"""A worker that counts the requests it has in hand, and answers 500 when there are two.

A thread per connection, so that it can have two; each answer takes a moment. `/served` tells how many it has served,
`/body` answers with as many bytes as it got, `/slow?S` takes S seconds, `/big?N` answers with N bytes, `/drip`
begins an answer and does not end it. Anything it did not expect, or that reached it twice at once, it remembers:
`/offences` tells.
"""

from __future__ import annotations

import os
import threading
import time

import little_http

LARGE = 1 << 16
"""Bytes of content from which they are sent in two parts. Fewer in one: a kill in between would cut an answer that
the client has begun to read. The head goes ahead alone, as R's does: a kill behind that is nothing to the client."""

state = threading.Lock()
in_hand = 0
served = 0
offences = 0


class Handler(little_http.Handler):
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
        path, _, query = self.path.partition("?")
        size, digest = self.read_body()
        if path == "/slow":
            time.sleep(float(query))
        self.take_a_moment()
        with state:
            alone = alone and in_hand == 1
        content = {
            "/served": f"{served}",
            "/offences": f"{offences}",
            "/pid": f"{os.getpid()}",
            "/body": f"{size} {digest}",
        }.get(path, "hello").encode()
        if path == "/big":
            content = b"x" * int(query)
        self.send_response(200 if alone else 500)
        self.send_header("Content-Length", str(len(content) if path != "/drip" else 1000))
        if self.command == "HEAD":
            self.done()
            self.end_headers()
            return
        self.end_headers()
        self.take_a_moment()
        if path == "/drip":
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
            time.sleep(os.urandom(1)[0] / 255_000)

    def done(self) -> None:
        """Before the last byte: whoever has that may send the next request, on another connection, at once."""
        global in_hand, served
        with state:
            in_hand -= not self.let_go
            served += not self.let_go
        self.let_go = True

    def read_body(self) -> tuple[int, str]:
        left = int(self.headers.get("content-length", 0))
        if not left and not self.path.startswith("/body"):
            return 0, ""
        import hashlib  # few need it, and each start of a worker would pay for it

        size, digest = 0, hashlib.sha256()
        while left and (part := self.rfile.read(min(left, 1 << 16))):
            digest.update(part)
            left -= len(part)
            size += len(part)
        return size, digest.hexdigest()


if __name__ == "__main__":
    Handler.listen()
