"""A worker that writes down in a file, shared by all workers, each request it gets, and each that it gets too early.

As `counting`, of which it is made: a thread per connection, so that a second request at once is noticed.
"""

from __future__ import annotations

import os
import threading

import counting

alone = threading.Lock()


def write_down(line: str) -> None:
    """One line, at once, from any process."""
    descriptor = os.open(os.environ["CORPORA_BOOK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


class Handler(counting.Handler):
    """One connection."""

    def answer(self) -> None:
        """Serve one request of any method; a second one meanwhile is an offence."""
        self.holds = alone.acquire(blocking=False)
        write_down("request" if self.holds else "offence")
        try:
            super().answer()
        finally:
            self.let_others()

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_OPTIONS = do_PATCH = answer

    def done(self) -> None:
        """To be called before the last byte is written."""
        super().done()
        self.let_others()

    def let_others(self) -> None:
        """The next request is no offence."""
        if self.holds:
            self.holds = False
            alone.release()

    def read_body(self) -> tuple[int, str]:
        """A body of either framing."""
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return super().read_body()
        size = 0
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            size += len(self.rfile.read(length))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return size, "chunked"


if __name__ == "__main__":
    Handler.listen()
