"""A worker to be tormented: it remembers in a file which POSTs it was handed, and misbehaves when it is told to.

`/ID?what` where `what` is `exit` (within the answer), `crash`, `hang`, `garbage`, `leak`, or nothing. Two requests at
once are an offence, and written down.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import counting

BOOK = Path(os.environ["CHAOS_BOOK"])
kept: list[bytes] = []
alone = threading.Lock()


def write_down(text: str) -> None:
    """One line, at once, from any process."""
    descriptor = os.open(BOOK, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


class Handler(counting.Handler):
    def answer(self) -> None:
        self.holds = alone.acquire(blocking=False)
        if not self.holds:
            write_down("offence")
        self.serve()
        self.done()

    def done(self) -> None:
        """To be called before the last byte is written: whoever reads that may send the next request at once."""
        if self.holds:
            self.holds = False
            alone.release()

    do_GET = do_POST = answer

    def serve(self) -> None:
        path, _, query = self.path.partition("?")
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.command == "POST":
            write_down(f"POST {path}")
        time.sleep(0.002)
        content = f"{os.getpid()} {path}".encode()
        match query:
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(60)
            case "garbage":
                self.done()
                self.wfile.write(b"this is no HTTP\r\n\r\n")
                return
            case "leak":
                kept.append(os.urandom(2_000_000))
        print("x" * 200, flush=True)  # its log
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:3])
        if query == "exit":
            os._exit(5)
        self.done()
        self.wfile.write(content[3:])


if __name__ == "__main__":
    if Path(os.environ["CHAOS_BOOK"] + ".refuse").exists():
        time.sleep(30)  # it starts, and never listens
    Handler.listen()
