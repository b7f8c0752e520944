"""A worker that keeps 5 MB of each request to `/leak`; ill while the file `ill` is there, dumb while `dumb` is."""

import os
import time
from pathlib import Path

import counting

kept: list[bytes] = []


class Handler(counting.Handler):
    def serve(self, alone: bool) -> None:
        if self.path == "/leak":
            kept.append(os.urandom(5_000_000))
        if self.path == "/health" and Path("dumb").exists():
            time.sleep(60)
        if self.path == "/health" and Path("ill").exists():
            self.send_error(500)
            return
        super().serve(alone)


if __name__ == "__main__":
    Handler.listen()
