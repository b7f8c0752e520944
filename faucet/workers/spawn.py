"""Start a worker's program directly, without a shell.

A shell drops environment variables whose names it does not accept.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_original_limit: int | None = None
"""The soft limit of open files that this process was started with, once that was raised."""

_DESCRIPTORS_TO_START = 16
"""Descriptors that are open for a moment while a process is started, generously."""


def spawn(
    argv: Sequence[str], directory: Path, environment: Mapping[str, str], keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program that leads a session. Its outputs are pipes; it gets the descriptors in `keep`. Raises OSError.

    A script without `#!` is run by sh, as a shell or execvp(3) would do.
    """
    try:
        return _spawn(argv, directory, environment, keep)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        return _spawn(["/bin/sh", *argv], directory, environment, keep)


def _spawn(
    argv: Sequence[str], directory: Path, environment: Mapping[str, str], keep: Sequence[int]
) -> subprocess.Popen[bytes]:
    with as_batch_process(), with_original_file_limit():
        popen = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=environment,
            start_new_session=True,
            pass_fds=keep,
        )
    _lower_file_limit(popen.pid)
    return popen


# -- open files ------------------------------------------------------------------------------------------------


def raise_file_limit() -> None:
    """Raise the limit of file descriptors, as each client is one. Workers get the limit that was there before."""
    global _original_limit  # noqa: PLW0603
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _original_limit = soft


@contextlib.contextmanager
def with_original_file_limit() -> Iterator[None]:
    """Lower our own soft limit for a moment, so that a program which is started now has it from its first instruction.

    Programs that close all descriptors up to the limit take minutes if that is a billion; some use select(2), which
    knows 1024. The limit is not lowered so far that nothing could be started: see `_lower_file_limit`. Raises OSError
    if there are no descriptors left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _original_limit is None or soft == _original_limit:
        yield
        return
    lowered = max(_original_limit, _needed_limit())
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _needed_limit() -> int:
    """Return the lowest limit that leaves enough descriptors to start a process. Raises OSError."""
    first, *rest = os.pipe()
    probes = [first, *rest]
    try:
        probes += [os.dup(first) for _ in range(_DESCRIPTORS_TO_START)]
        return max(probes) + 1
    finally:
        for probe in probes:
            os.close(probe)


def _lower_file_limit(pid: int) -> None:
    """Lower the limit of a program that had to start with a higher one. Linux only."""
    if _original_limit is None or not hasattr(resource, "prlimit"):
        return
    with contextlib.suppress(OSError, ValueError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        if soft > _original_limit:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (_original_limit, hard))


# -- scheduling ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def as_batch_process() -> Iterator[None]:
    """Schedule what is started in the body as a batch process: it gets its share of CPU, but preempts no other.

    A request that is written to a worker wakes it, and on the same core it would preempt us in the middle of handing
    out the next one. Measured with Plumber on 2 cores: 12 % more requests/s, and a shorter p99. Linux only. The policy
    is this thread's for a moment, since only what is there at the fork is surely inherited by all that follows. Any
    other policy than the usual one was chosen by the user: workers inherit it.
    """
    before = _usual_policy()
    if before is None:
        yield
        return
    policy, parameters = before
    flag = policy & os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH | flag, parameters)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, policy, parameters)


def _usual_policy() -> tuple[int, os.sched_param] | None:
    """The policy, with its flag, and the parameters of this thread, if that is SCHED_OTHER."""
    try:
        policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
        return (policy, parameters) if policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER else None
    except (AttributeError, OSError):  # macOS
        return None
