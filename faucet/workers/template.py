"""A template: an R that has loaded the API, and forks workers that share its memory. template.R is its other half.

It is started and stopped like a worker. It forks twice for each worker, so that the worker is not its child but an
orphan, and becomes a child of this process, which has asked the kernel for that (PR_SET_CHILD_SUBREAPER). From then on
it is like any other worker: it leads a session, has its own TMPDIR and outputs, and this process learns its exit code.

One thing differs: /proc shows the environment of the template, and the template's mark, for all workers that it has
forked. Therefore the template has a second mark to be found by. R hands that to the programs which the template itself
starts, and to none that a worker starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import IO, Any
from urllib.parse import quote, unquote

from faucet.pauses import timeout
from faucet.units import format_duration
from faucet.workers.flood import Flood
from faucet.workers.output import Output
from faucet.workers.process import ChildProcess, LineCallback, new_home, own_environment
from faucet.workers.program import Program
from faucet.workers.reaper import Reaper
from faucet.workers.spawn import spawn

TEMPLATE_R = Path(__file__).with_name("template.R")

OWN_MARK = ".t"
"""What template.R adds to the mark of the programs that it starts itself, other than workers."""

WORKER_ID = 0
"""FAUCET_WORKER_ID while the API is loaded."""

FORK_SECONDS = 10.0
"""A template that has not forked by then hangs. A fork takes some milliseconds, and ten more for each GB."""

STOP_GRACE = 2.0
"""Seconds from SIGTERM to SIGKILL. R dies of SIGTERM at once, and no exit hook of the API is meant for a template."""

NOT_READY = """\
the template did not get as far as to listen within {}; --startup-timeout gives it more, and --preload needs an API \
that listens by the package httpuv, as Plumber does"""

REMEDY = (
    "Open what is shared in each worker instead: options(faucet.on_fork = function() ...); or leave out --preload. "
    "See docs/preload.md"
)

REFUSED = "the API cannot be preloaded: {problem}"


class TemplateError(Exception):
    """There is no template to fork from, for the reason in the text."""

    def __init__(self, text: str, process: ChildProcess | None = None, final: bool = False) -> None:
        super().__init__(text)
        self.process = process
        """The process of the template; None if there was none."""
        self.final = final
        """Another try cannot end otherwise: the API itself has to change."""


class Forked:
    """A worker that a template has forked, with its outputs, as Popen would have it."""

    def __init__(self, pid: int, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stdout: IO[bytes] | None = stdout
        self.stderr: IO[bytes] | None = stderr
        self.returncode: int | None = None

    def wait(self) -> int:
        """Return the exit code; the process is reaped."""
        return self.returncode or 0


class Fifo:
    """A named pipe for one output of a worker: no descriptor can be handed to a process that another one forks."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self.path = path
        os.mkfifo(path, 0o600)
        self.reader = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
        self._writer = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # until the worker has opened it: else it ends here

    def opened(self) -> None:
        """Called when the worker has opened it, or never will."""
        if self._writer >= 0:
            os.close(self._writer)
            Path(self.path).unlink(missing_ok=True)
            self._writer = -1


class Template:
    """One template. Call `start`; if that succeeds, `fork`."""

    def __init__(self, program: Program, reaper: Reaper, port: int) -> None:
        self.process: ChildProcess | None = None
        self.ready_at = 0.0
        self.began = monotonic()
        self._program = program
        self._reaper = reaper
        self._port = port
        self._orders = -1
        self._home = ""
        self._home_users = 0  # the template, and each worker of it: what the API has written there they may read
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forking = asyncio.Lock()
        self._pid: asyncio.Future[int] | None = None
        self._done: asyncio.Future[None] | None = None
        self._reports: Output | None = None

    @property
    def alive(self) -> bool:
        """Whether the template is ready and still runs."""
        return self._ready.done() and self.process is not None and not self.process.exited.done()

    async def start(self, seconds: float, on_line: LineCallback, flood: Flood) -> None:
        """Start it, and wait until the API is loaded, `seconds` at most.

        Raises TemplateError, with nothing left of it, or OSError.
        """
        process = self.process = await self._spawn(on_line, flood)
        await _first([process.exited, self._ready], seconds)
        if self._ready.done() and self._ready.exception() is None and not process.exited.done():
            self.ready_at = monotonic()
            return
        hung = not process.exited.done() and not self._ready.done()
        await self.stop()
        await process.output_ended()
        if self._ready.done() and (refusal := self._ready.exception()) is not None:
            raise TemplateError(str(refusal), process, final=True)
        if hung:
            raise TemplateError(NOT_READY.format(format_duration(seconds)), process)
        raise TemplateError(f"the template {process.how_it_ended} before the API listened", process)

    async def _spawn(self, on_line: LineCallback, flood: Flood) -> ChildProcess:
        """Raises OSError."""
        reaper, program = self._reaper, self._program
        reaper.check()
        mark, self._home = new_home(reaper, "template")
        orders_read, self._orders = os.pipe()
        reports, reports_write = os.pipe()
        ours = {
            "FAUCET_TEMPLATE": str(TEMPLATE_R),
            "FAUCET_TEMPLATE_FDS": f"{orders_read} {reports_write}",
        }
        environment = {**program.environment(self._port, WORKER_ID), **ours, **own_environment(mark, self._home)}
        try:
            argv = program.argv(self._port)
            popen = spawn(argv, program.directory, environment, (orders_read, reports_write))
        except BaseException:
            reaper.scratch.remove(self._home)
            os.close(reports)
            self._close_orders()
            raise
        finally:
            os.close(orders_read)
            os.close(reports_write)
        process = await ChildProcess.watch(popen, reaper, mark + OWN_MARK, "", on_line, flood)
        self._use_home(process)
        process.exited.add_done_callback(lambda _: self._close_orders())
        await self._read_reports(os.fdopen(reports, "rb", buffering=0))
        return process

    async def _read_reports(self, pipe: IO[bytes]) -> None:
        output = self._reports = Output(self._report)
        await asyncio.get_running_loop().connect_read_pipe(lambda: output, pipe)

    def _report(self, line: str) -> None:
        """Handle a report of a fork. If it comes too late to be waited for, kill that worker."""
        word, _, value = line.strip().partition(" ")
        if word == "ready":
            _set(self._ready, None)
        elif word == "refused" and not self._ready.done():
            self._ready.set_exception(TemplateError(REFUSED.format(problem=unquote(value))))
        elif word == "done":
            _set(self._done, None)
        elif word == "failed" and self._done is not None and not self._done.done():
            self._done.set_exception(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        elif word == "pid" and not _set(self._pid, int(value)):
            _kill(int(value))

    # -- orders ------------------------------------------------------------------------------------------------

    async def fork(self, port: int, worker: int, name: str, on_line: LineCallback, flood: Flood | None) -> ChildProcess:
        """Fork worker number `worker`, for `port`. Raises TemplateError, or OSError; then there is no such process."""
        reaper = self._reaper
        async with self._forking:
            reaper.check()
            mark, home = new_home(reaper, name)
            if not home:
                raise OSError(errno.ENOENT, "--preload needs a temporary directory for each worker")
            fifos: list[Fifo] = []
            try:
                fifos += [Fifo(f"{home}/{stream}") for stream in ("out", "err")]
                pid = await self._order([fifo.path for fifo in fifos], self._environment(port, worker, mark, home))
            except BaseException:
                for fifo in fifos:
                    fifo.opened()
                    fifo.reader.close()
                reaper.scratch.remove(home)
                raise
        for fifo in fifos:
            fifo.opened()
        child = Forked(pid, fifos[0].reader, fifos[1].reader)
        process = await ChildProcess.watch(child, reaper, mark, home, on_line, flood)
        self._use_home(process)
        return process

    def _use_home(self, process: ChildProcess) -> None:
        """Keep the template's TMPDIR for as long as `process` lives."""
        self._home_users += 1
        process.gone.add_done_callback(lambda _: self._home_unused())

    def _home_unused(self) -> None:
        self._home_users -= 1
        if not self._home_users:
            self._reaper.scratch.remove(self._home)

    def _environment(self, port: int, worker: int, mark: str, home: str) -> dict[str, str]:
        """Return what the environment of a worker has, and the template's has not."""
        mine = self._program.environment(self._port, WORKER_ID)
        others = self._program.environment(port, worker)
        return {
            **{name: value for name, value in others.items() if mine.get(name) != value},
            **own_environment(mark, home),
        }

    async def _order(self, paths: Iterable[str], environment: Mapping[str, str]) -> int:
        """Order a fork; return the worker's pid once it is a child of this process. Raises TemplateError or OSError."""
        process = self.process
        assert process is not None
        loop = asyncio.get_running_loop()
        pid: asyncio.Future[int] = loop.create_future()
        done: asyncio.Future[None] = loop.create_future()
        self._pid, self._done = pid, done
        both = asyncio.gather(pid, done)
        try:
            self._write("fork", *paths, *(f"{name}={value}" for name, value in environment.items()))
            await _first([both, process.exited], FORK_SECONDS)
            if both.done():
                return (await both)[0]
            if not process.exited.done():
                process.kill()
                await asyncio.wait([process.exited])
                raise TemplateError("the template hangs: it did not fork a worker in time, and is killed", process)
            raise TemplateError("the template ended while it forked a worker", process)
        except BaseException:
            if pid.done() and not pid.cancelled():
                _kill(pid.result())
            both.cancel()
            raise
        finally:
            self._pid = self._done = None

    def _write(self, *words: str) -> None:
        line = " ".join(quote(word, safe="") for word in words) + "\n"
        try:
            if self._orders >= 0:
                os.write(self._orders, line.encode())  # one at a time, and it is read at once: a pipe holds that
        except BrokenPipeError:  # it is about to exit
            pass

    def _close_orders(self) -> None:
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    async def stop(self) -> None:
        """Stop the template. The workers that it has forked keep running."""
        if self.process is not None:
            await self.process.stop(STOP_GRACE)

    def close(self) -> None:
        """Read no more reports: all its workers have ended."""
        if self._reports is not None:
            self._reports.close()


async def _first(futures: Iterable[asyncio.Future[Any]], seconds: float) -> None:
    """Wait for the first of `futures`, at most `seconds`."""
    with contextlib.suppress(TimeoutError):
        async with timeout(seconds):
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _set(future: asyncio.Future[Any] | None, value: object) -> bool:
    """Set the result of a future; return False if nothing waits for it."""
    if future is None or future.done():
        return False
    future.set_result(value)
    return True


def _kill(pid: int) -> None:
    """Kill a forked worker that is not needed any more. It is reaped as an orphan."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
