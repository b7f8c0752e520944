"""Runs a program that may hang, babble or fail, and ends it and its children in time.

However this process ends, SIGKILL included, the program ends too: by the reaper, as with workers.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from faucet.workers.kin import end_service
from faucet.workers.reaper import Reaper, marked

MOST_OUTPUT = 1 << 20
"""Bytes; whoever writes more is not answering a question."""


class Answer(NamedTuple):
    """What a program said."""

    code: int
    text: str
    """Standard output and error."""
    ended: bool
    """By itself, and in time."""


def ask_program(
    argv: Sequence[str], directory: Path | None, patience: float, variables: Mapping[str, str] | None = None
) -> Answer:
    """Run it for at most `patience` seconds, started as workers are. Raises OSError if it cannot be started.

    `variables` are set besides those of the environment.
    """
    deadline = monotonic() + patience
    with contextlib.closing(Reaper()) as reaper:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, **(variables or {}), **marked(reaper.new_mark())},
            start_new_session=True,
        )
        reaper.remember(process.pid)
        try:
            output, ended = _listen(process, deadline)
        finally:
            _end(process)
            reaper.forget(process.pid)
            end_service(reaper.service, {}, 1, reaper.since)
    return Answer(process.returncode, output.decode("utf-8", "replace"), ended)


def _listen(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """What it says; and whether it has ended by itself."""
    assert process.stdout is not None
    with process.stdout as pipe:
        output, closed = _read(pipe.fileno(), deadline)
    if closed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - monotonic(), 0.1))
    return output, process.returncode is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """With its group. Not if its end was seen already: the number could be another's by then."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(descriptor: int, deadline: float) -> tuple[bytes, bool]:
    """What is written until all have closed it; and whether they have."""
    output = b""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    while len(output) < MOST_OUTPUT and (left := deadline - monotonic()) > 0:
        if poller.poll(left * 1000):
            some = os.read(descriptor, 1 << 16)
            if not some:
                return output, True
            output += some
    return output, False
