"""Copes with standard input, output and error that are closed, full, or a pipe without a reader.

Descriptors 0 to 2 are occupied first of all. Otherwise the next socket or file would become one of them, and what is
printed would go to a client.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any

from faucet.cli.exit_codes import EXIT_FAILED
from faucet.text import print_error


def occupy() -> None:
    """Have something open as descriptors 0, 1 and 2. What was closed reads as empty, and cannot be written to."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free, so this one. Read only, so that what is printed to it is an error and not lost;
            # about standard error itself nobody can complain.
            opened = os.open(os.devnull, os.O_WRONLY if descriptor == 2 else os.O_RDONLY)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc] # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    _tell_output_errors()


class OutputError(OSError):
    """Standard output cannot be written to."""


class _Output(io.FileIO):
    """Standard output whose errors can be told from all others."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def _tell_output_errors() -> None:
    """Have what cannot be written to standard output raise OutputError."""
    before = sys.stdout
    if isinstance(before, io.TextIOWrapper) and before is sys.__stdout__ and before.fileno() == 1:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(1, "w", closefd=False)),
            before.encoding, before.errors, line_buffering=before.line_buffering,
        )  # fmt: skip


def finish(code: int, error: OSError | None = None) -> int:
    """Write what is still to be written. The exit code: `code`, unless that is 0 and standard output is at fault."""
    if error is None:
        try:
            sys.stdout.flush()
        except OSError as failure:
            error = failure
    if error is not None:
        _discard(1)
        if error.errno != errno.EPIPE:  # else whoever read this has seen enough
            print_error(f"cannot write to standard output: {error.strerror or error}")
            code = code or EXIT_FAILED
    try:
        sys.stderr.flush()
    except OSError:
        _discard(2)
    return code


def _discard(descriptor: int) -> None:
    """Python flushes once more at its end, and would complain again."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
