"""One child process in a process group of its own: started, listened to, ended, and never left behind.

Both output streams are read always, since a pipe that nobody reads blocks the child when it is full. When the child
has exited, what is left of its group is killed before its process id is given back, so the id cannot be another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from faucet.workers.reaper import LAUNCHER, Reaper

LINE_LIMIT = 8 * 1024
"""Bytes of one line of output; a longer one is cut into several."""

LAST_LINES = 20
"""Lines remembered, to be shown when the process fails."""

REST_SECONDS = 1.0
"""How long the beginning of a line may wait for its end before it is shown."""

OUTPUT_GRACE = 1.0
"""Seconds to wait for the end of the output of a process that has exited. Whoever still holds the pipes then has
left the group, and is not ours to kill."""

LineCallback = Callable[[str, str], None]
"""Called with `out` or `err`, and a line."""


class ChildProcess:
    """A running program. Make it with `start`."""

    def __init__(self, popen: subprocess.Popen[bytes], reaper: Reaper, on_line: LineCallback) -> None:
        self.pid = popen.pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Its return code, negative for a signal, once it has exited."""
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._popen = popen
        self._reaper = reaper
        self._on_line = on_line
        self._outputs: list[_Output] = []

    @classmethod
    async def start(
        cls, argv: Sequence[str], directory: Path, environment: Mapping[str, str], reaper: Reaper, on_line: LineCallback
    ) -> ChildProcess:
        """Start a program. Raises OSError."""
        reaper.check()
        with _as_batch_process():
            popen = subprocess.Popen(
                ["/bin/sh", "-c", LAUNCHER, "faucet-worker", *argv],
                stdin=reaper.pipe,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=environment,
                start_new_session=True,
            )
        reaper.remember(popen.pid)
        self = cls(popen, reaper, on_line)
        try:
            self._watch_exit()
            await self._read_output("out", popen.stdout)
            await self._read_output("err", popen.stderr)
        except BaseException:
            # Out of descriptors, say: nobody would ever learn of its end.
            self._reap()
            raise
        return self

    def terminate(self) -> None:
        """Ask the whole group to end (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group (SIGKILL)."""
        self._signal(signal.SIGKILL)

    async def stop(self, grace: float) -> int:
        """SIGTERM; SIGKILL after `grace` seconds. Returns the return code."""
        self.terminate()
        _, pending = await asyncio.wait([self.exited], timeout=grace)
        if pending:
            self.kill()
        return await self.exited

    async def output_ended(self) -> None:
        """Wait until all it wrote was read, or nobody of its group can write any more."""
        await asyncio.wait([output.ended for output in self._outputs], timeout=OUTPUT_GRACE)
        for output in self._outputs:
            output.close()

    def _signal(self, number: signal.Signals) -> None:
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    # -- its end -----------------------------------------------------------------------------------------------

    def _watch_exit(self) -> None:
        """Have `_reap` called when it has exited: by a pidfd where there is one, else by a thread (macOS)."""
        loop = asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            threading.Thread(target=self._wait_in_thread, args=(loop,), name=f"wait-{self.pid}", daemon=True).start()
            return

        def exited() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._reap()

        loop.add_reader(descriptor, exited)

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits without reaping, where the system can (macOS from Python 3.13), so that the group is killed first."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        """End its group and itself. It is a zombie by now (or was never watched), so its number is still its own."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._popen.wait()
        self._reaper.forget(self.pid)
        if not self.exited.done():
            self.exited.set_result(code)

    # -- its output --------------------------------------------------------------------------------------------

    async def _read_output(self, stream: str, pipe: object) -> None:
        loop = asyncio.get_running_loop()

        def line(text: str) -> None:
            self.last_lines.append(text)
            self._on_line(stream, text)

        output = _Output(line)
        self._outputs.append(output)
        await loop.connect_read_pipe(lambda: output, pipe)


class _Output(asyncio.Protocol):
    """Cuts a stream into lines of text. Bytes that are not UTF-8 become U+FFFD."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_line = on_line
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.ReadTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(self._cut(line))
        self._rest = self._cut(self._rest)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rest:
            self._timer = asyncio.get_running_loop().call_later(REST_SECONDS, self._emit_rest)

    def _emit_rest(self) -> None:
        """A line without an end, perhaps the last one before it blocks: it is shown all the same."""
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._emit_rest()
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _cut(self, line: bytes) -> bytes:
        """Emit what is too long for one line; what is left of it."""
        while len(line) > LINE_LIMIT:
            self._emit(line[:LINE_LIMIT])
            line = line[LINE_LIMIT:]
        return line

    def _emit(self, line: bytes) -> None:
        self._on_line(line.rstrip(b"\r").decode("utf-8", "replace"))


@contextlib.contextmanager
def _as_batch_process() -> Iterator[None]:
    """What is started here is scheduled as a batch process: it gets its share of CPU, but pushes nobody aside.

    A request that is written to a worker wakes it, and on the same core it would preempt us in the middle of handing
    out the next one. Measured with Plumber on 2 cores: 12 % more requests/s, and a shorter p99. Linux only. The policy
    is this thread's for a moment, since only what is there at the fork is surely inherited by all that follows.
    """
    try:
        before = os.sched_getscheduler(0)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError):
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, os.sched_param(0))
