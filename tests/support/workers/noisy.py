"""A worker that writes things nobody should write: not UTF-8, control sequences, long lines, no last newline."""

import os
import signal
import sys

import counting


def last_words(*_: object) -> None:
    sys.stdout.buffer.write(b"last words")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, last_words)
    sys.stdout.buffer.write(b"caf\xe9 [bold]\n" + b"x" * 100_000 + b"\n")
    sys.stderr.buffer.write(b"\x1b[31mred\x07\n")
    sys.stdout.flush()
    sys.stderr.flush()
    counting.Handler.listen()
