"""One worker process and its descendants: start, watch and stop it, and leave nothing behind.

The process leads its own process group and session, has a mark in its environment, and its own temporary directory.
When it has exited, whatever belongs to it (`kin.py`) gets SIGTERM, and SIGKILL a moment later. Only then is it reaped:
as long as it is a zombie, the kernel gives its pid, which is also the group's number, to no other process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, Protocol

from faucet import tasks
from faucet.workers import orphans
from faucet.workers.endings import exit_text
from faucet.workers.family import end_family
from faucet.workers.flood import Flood
from faucet.workers.kin import family
from faucet.workers.output import LAST_LINES, Output
from faucet.workers.reaper import Reaper, marked
from faucet.workers.spawn import spawn
from faucet.workers.stopping import Manner, is_farewell

_log = logging.getLogger("faucet")

OUTPUT_GRACE = 1.0
"""Seconds to wait for the end of the output of a process that has exited. A process that still holds the pipes then
has escaped."""

AGAIN_AFTER = 0.5
"""Seconds after which the first signal is sent again to a process that still serves: an endpoint may have made an
error of the interrupt, or caught it."""

IGNORED_AFTER = 1.0
"""Seconds after the first signal at which one that still serves gets SIGTERM: R is in a long computation in C, say."""

TERM_AFTER = 3.0
"""Seconds after the first signal at which SIGTERM comes anyway: until then exit hooks may run."""

RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of `ru_maxrss`, see getrusage(2)."""

LineCallback = Callable[[str, str], None]
"""Called with `out` or `err`, and a line."""


UNKNOWN_EXIT = 255
"""The code of a process whose exit another part of this program has seen, and reaped: see orphans.py."""


class Child(Protocol):
    """A child of this process: a Popen, or what a template has forked."""

    pid: int
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    returncode: int | None

    def wait(self) -> int:
        """Wait for its exit, if it was not reaped."""
        ...


class ChildProcess:
    """A running program. Make it with `start`, or `watch`."""

    def __init__(self, child: Child, reaper: Reaper, mark: str, home: str) -> None:
        loop = asyncio.get_running_loop()
        self.pid = child.pid
        self.exited: asyncio.Future[int] = loop.create_future()
        """Its return code, negative for a signal, once it has exited."""
        self.gone: asyncio.Future[None] = loop.create_future()
        """Completed when the process and all its descendants are gone."""
        self.signals: set[signal.Signals] = set()
        """All signals that Faucet has sent to the process."""
        self.peak = 0
        """Peak memory in bytes, of the process or of a child that it has waited for; 0 until it is `gone`."""
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.home = home
        """The TMPDIR of the process; empty if it has no directory of its own."""
        self.stop_signals: list[signal.Signals] = []
        """The signals that `stop` has sent, in order."""
        self._child = child
        self._reaper = reaper
        self._mark = mark
        self._start = reaper.remember(child.pid)
        self._remembering = False
        self._known: set[tuple[int, int]] = set()
        self._outputs: list[Output] = []

    @classmethod
    async def start(
        cls, argv: Sequence[str], directory: Path, environment: Mapping[str, str], reaper: Reaper,
        on_line: LineCallback, name: str = "worker", flood: Flood | None = None,
    ) -> ChildProcess:  # fmt: skip
        """Start a program; both of its outputs share `flood`. Raises OSError."""
        reaper.check()
        mark, home = new_home(reaper, name)
        try:
            popen = spawn(argv, directory, {**environment, **own_environment(mark, home)})
        except BaseException:
            reaper.scratch.remove(home)
            raise
        return await cls.watch(popen, reaper, mark, home, on_line, flood)

    @classmethod
    async def watch(
        cls, child: Child, reaper: Reaper, mark: str, home: str, on_line: LineCallback, flood: Flood | None = None
    ) -> ChildProcess:
        """Look after a process that was just started, with this `mark` and TMPDIR. Raises OSError; then it is ended."""
        orphans.ours.add(child.pid)
        self = cls(child, reaper, mark, home)
        self._watch_exit()
        try:
            await self._read_output("out", child.stdout, on_line, flood)
            await self._read_output("err", child.stderr, on_line, flood)
        except BaseException:  # out of descriptors, say: its output would never be read
            self.kill()
            await self.output_ended()
            raise
        return self

    # -- signals -----------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the whole group (SIGKILL)."""
        self._signal(signal.SIGKILL)

    async def stop(self, grace: float, manner: Manner | None = None) -> int:
        """End it by a signal that it can handle, and by SIGKILL after `grace` seconds. Return the return code.

        Without a `manner` that is SIGTERM; else the signal that suits it, and SIGTERM later. A second call does not
        signal it again, but may give it less time.
        """
        deadline = monotonic() + grace
        if not self.stop_signals and not self._remembering:
            self._remembering = True
            await self._remember_family()
            self._stop_by(manner.first if manner is not None else signal.SIGTERM)
            if manner is not None and manner.first is not signal.SIGTERM:
                await self._insist(manner, deadline)
        await self._exits_by(deadline)
        if not self.exited.done():
            self._stop_by(signal.SIGKILL)
        return await self.exited

    async def _remember_family(self) -> None:
        """Remember children in sessions of their own, without a mark: only now can they still be found."""
        table = await self._reaper.watch.look(self._start)
        if table is not None:
            self._known = {(p.pid, p.start) for p in family(table, self._mark, {self.pid: self._start})}

    async def _insist(self, manner: Manner, deadline: float) -> None:
        """Follow up the first signal: send it again if it was ignored, then SIGTERM."""
        began = monotonic()
        await manner.wake()
        await self._exits_by(min(began + AGAIN_AFTER, deadline))
        if not self.exited.done() and await manner.serves():
            self._stop_by(manner.first)
            await manner.wake()
            await self._exits_by(min(began + IGNORED_AFTER, deadline))
        if not self.exited.done() and not await manner.serves():
            await self._exits_by(min(began + TERM_AFTER, deadline))
        self._stop_by(signal.SIGTERM)

    def _stop_by(self, number: signal.Signals) -> None:
        if not self.exited.done():
            self.stop_signals.append(number)
            self._signal(number)

    async def _exits_by(self, deadline: float) -> None:
        await asyncio.wait([self.exited], timeout=max(deadline - monotonic(), 0))

    def _signal(self, number: signal.Signals) -> None:
        if not self.exited.done():
            self.signals.add(number)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    @property
    def stopped(self) -> bool:
        """Whether `stop` has ended it, without SIGKILL. To be called once it has exited."""
        return bool(self.stop_signals) and (
            self.exited.result() >= 0 or -self.exited.result() in set(self.stop_signals) - {signal.SIGKILL}
        )

    @property
    def how_it_ended(self) -> str:
        """Return `stopped` if `stop` ended it, else as `exit_text`. To be called once it has exited."""
        return "stopped" if self.stopped else exit_text(self.exited.result(), self.signals)

    # -- its end -----------------------------------------------------------------------------------------------

    def _watch_exit(self) -> None:
        """Call `_left` when the process has exited: noticed by a pidfd where there is one, else by a thread (macOS)."""
        loop = asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            self._watch_exit_by_thread(loop)
            return

        def exited() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._left(_exit_code(self.pid))

        loop.add_reader(descriptor, exited)

    def _watch_exit_by_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError, with nothing left of the process, if there can be no more threads."""
        try:
            threading.Thread(target=self._wait_in_thread, args=(loop,), name=f"wait-{self.pid}", daemon=True).start()
        except RuntimeError as error:
            self.kill()
            for pipe in (self._child.stdout, self._child.stderr):
                if pipe is not None:
                    pipe.close()
            self._left(self._child.wait())
            raise OSError(errno.EAGAIN, "no more threads can be started") from error

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits without reaping, where the system can (macOS from Python 3.13), so that the group is killed first."""
        code = _exit_code(self.pid) if hasattr(os, "waitid") else self._child.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._left, code)

    def _left(self, code: int) -> None:
        self.exited.set_result(code)
        tasks.start(self._end_family(), f"end of process {self.pid}")

    async def _end_family(self) -> None:
        try:
            left = await end_family(self._reaper.watch, self._mark, {self.pid: self._start}, self._known)
            if left:
                pids = ", ".join(map(str, left))
                _log.warning("process %s, started by the process %d that has ended, cannot be killed", pids, self.pid)
        finally:
            # Where the process table cannot be read, at least the group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._reaper.forget(self.pid)
            self._reap()
            orphans.reaped(self.pid)
            self._reaper.scratch.remove(self.home)
            self.gone.set_result(None)

    def _reap(self) -> None:
        """Reap the process, which releases its pid, and record its peak memory, which only wait4 reports."""
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:  # a thread has reaped it (macOS)
            self._child.wait()
        else:
            self._child.returncode = os.waitstatus_to_exitcode(status)
            self.peak = usage.ru_maxrss * RSS_UNIT

    async def output_ended(self) -> None:
        """Wait until all that it wrote is read, or nothing that belongs to it can write any more."""
        await asyncio.wait([self.gone])
        if self._outputs:
            await asyncio.wait([output.ended for output in self._outputs], timeout=OUTPUT_GRACE)
        for output in self._outputs:
            output.close()

    async def _read_output(
        self, stream: str, pipe: IO[bytes] | None, on_line: LineCallback, flood: Flood | None
    ) -> None:
        assert pipe is not None

        def line(text: str) -> None:
            if signal.SIGINT in self.stop_signals and is_farewell(stream, text):
                return
            self.last_lines.append(text)
            on_line(stream, text)

        output = Output(line, flood)
        try:
            await asyncio.get_running_loop().connect_read_pipe(lambda: output, pipe)
        except BaseException:
            pipe.close()
            raise
        self._outputs.append(output)


def new_home(reaper: Reaper, name: str) -> tuple[str, str]:
    """Return a mark for a process, and a new directory to be its TMPDIR; that is empty if there can be none.

    Raises OSError if there are no descriptors left.
    """
    mark = reaper.new_mark()
    return mark, reaper.scratch.make(f"{name}-{mark.rpartition('.')[2]}")


def own_environment(mark: str, home: str) -> dict[str, str]:
    """Return what the environment of the process with this `mark` and TMPDIR has beside that of its program."""
    return {**({"TMPDIR": home} if home else {}), **marked(mark)}


def _exit_code(pid: int) -> int:
    """Wait for the exit of a child without reaping it; return its code as Popen.returncode."""
    try:
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return UNKNOWN_EXIT
    assert result is not None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
