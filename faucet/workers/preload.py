"""Keep a template that workers are forked from (`--preload`).

There is one template at a time. If it exits, another is started: at once the first time, then after increasing
delays; the workers that it has forked keep serving. A rolling restart loads a new template first. The old one stays
until all workers come from the new one, and is used again if that fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from time import monotonic

from faucet import tasks
from faucet.backoff import Backoff
from faucet.fleet import StartFailed
from faucet.pauses import timeout
from faucet.settings import WorkerSettings
from faucet.units import format_duration
from faucet.workers.flood import Flood
from faucet.workers.program import Program
from faucet.workers.reaper import Reaper
from faucet.workers.template import WORKER_ID, Template, TemplateError

_log = logging.getLogger("faucet")

BACKOFF = Backoff(1.0, 60.0, jitter=0.25)
"""Before the second template in a row that has ended soon, or has not become ready; the first is loaded at once."""

HEALTHY_AFTER = 30.0
"""Seconds after which the end of a template is no reason to wait with the next one."""

NOT_IN_R = """\
--preload is for APIs in R that Faucet starts itself: a plumber.R, an entrypoint.R, a _server.yml, or --api. {} cannot \
be preloaded; leave out --preload"""

NOT_HERE = "--preload needs Linux, which lets a program inherit what its children have forked; leave it out here"

OnLine = Callable[[int, str, str], None]


def check_preload(program: Program) -> None:
    """Raises StartFailed if workers that run `program` cannot be forked."""
    if program.rscript is None:
        raise StartFailed(NOT_IN_R.format(program.description))
    if sys.platform != "linux":
        raise StartFailed(NOT_HERE)


class Preload:
    """The template of one service."""

    def __init__(
        self, program: Program, settings: WorkerSettings, reaper: Reaper, on_line: OnLine, free_port: Callable[[], int]
    ) -> None:
        self.failure = ""
        """Why there is no template now, in a sentence; empty if there is one, or the first is being loaded."""
        self.final = False
        """Whether another attempt would fail in the same way."""
        self._program = program
        self._settings = settings
        self._reaper = reaper
        self._on_line = on_line
        self._free_port = free_port
        self._current: Template | None = None
        self._loading: asyncio.Task[Template | TemplateError | OSError] | None = None
        self._all: list[Template] = []
        self._failures = 0  # in a row
        self._stopping = False
        self._awake = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The pid of the template; 0 if there is none now."""
        template = self._current
        return template.process.pid if template is not None and template.process is not None else 0

    # -- the template ------------------------------------------------------------------------------------------

    async def template(self) -> Template:
        """Return the template to fork from, loading one if there is none. Raises TemplateError or OSError."""
        if self._current is not None and self._current.alive:
            return self._current
        if self._loading is None:
            self._loading = tasks.start(self._load_current(), "load of the template")
        outcome = await asyncio.shield(self._loading)
        if isinstance(outcome, Template):
            return outcome
        raise outcome

    async def _load_current(self) -> Template | TemplateError | OSError:
        """Return the new template, or why there is none: several may wait for it."""
        try:
            template = await self._load()
        except (TemplateError, OSError) as error:
            self.failure = _text(error)
            self.final = isinstance(error, TemplateError) and error.final
            self._failures += 1
            return error
        finally:
            self._loading = None
        if self._current is not None and self._current.alive:  # there is one again meanwhile
            await self._end(template)
        else:
            self._use(template)
        return self._current or template

    async def _load(self) -> Template:
        """Return a new template. Raises TemplateError or OSError."""
        self._check_goes_on()
        template = Template(self._program, self._reaper, self._free_port())
        self._all.append(template)
        flood = Flood(self._settings.log_worker_rate, lambda text: _log.warning("the template: %s", text))
        try:
            await template.start(self._settings.startup_timeout, self._output, flood)
            self._check_goes_on()
        except BaseException:
            await self._end(template)
            raise
        process = template.process
        assert process is not None
        _log.info("the template (pid %d) has loaded the API in %s; workers are forked from it", process.pid,
                  format_duration(template.ready_at - template.began))  # fmt: skip
        process.exited.add_done_callback(lambda _: self._ended(template))
        return template

    def _check_goes_on(self) -> None:
        if self._stopping:
            raise TemplateError("the service ends")

    def _output(self, stream: str, line: str) -> None:
        self._on_line(WORKER_ID, stream, line)

    def _use(self, template: Template) -> None:
        self._current = template
        self.failure, self.final = "", False

    def _ended(self, template: Template) -> None:
        """A template that was ready has exited. Without `stop`, another is loaded."""
        process = template.process
        assert process is not None
        if process.stop_signals:
            return
        _log.warning("the template (pid %d) has ended (%s) after %s; its workers go on", process.pid,
                     process.how_it_ended, format_duration(monotonic() - template.began))  # fmt: skip
        tasks.start(self._end(template), "end of a template")
        self._failures = 1 if monotonic() - template.ready_at > HEALTHY_AFTER else self._failures + 1
        if template is self._current:
            self._current = None
            if self._keeping is None or self._keeping.done():
                self._keeping = tasks.start(self._load_again(), "template")

    async def _load_again(self) -> None:
        while self._current is None and not self._stopping:
            await self._sleep(BACKOFF.pause(self._failures - 1))
            try:
                await self.template()
            except (TemplateError, OSError) as error:
                if not self._stopping:
                    _log.error("%s", _text(error))

    async def _sleep(self, seconds: float) -> None:
        if seconds and not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with timeout(seconds):
                    await self._awake.wait()

    async def _end(self, template: Template) -> None:
        await template.stop()
        if template.process is not None:
            await template.process.output_ended()
        self._forget(template)

    def _forget(self, template: Template) -> None:
        template.close()
        if template in self._all:
            self._all.remove(template)

    # -- from outside ------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Load a new template, and fork from it in the body, and afterwards. If the body fails, the old one is back.

        Raises TemplateError before the body, and then all is as it was.
        """
        try:
            new = await self._load()
        except OSError as error:
            raise TemplateError(_text(error)) from error
        old = self._current
        self._use(new)
        try:
            yield
        except BaseException:
            if old is not None and old.alive:
                others = {new, self._current or new}  # the new one may have ended, and another be there in its place
                self._use(old)
                for other in others:
                    await self._end(other)
            raise
        if old is not None and old is not self._current and old in self._all:
            await self._end(old)

    async def stop(self) -> None:
        """End all templates; nothing of them is left afterwards. Load none any more."""
        self._stopping = True
        self._awake.set()
        await asyncio.gather(*(template.stop() for template in self._all))
        running = [task for task in (self._loading, self._keeping) if task is not None and not task.done()]
        if running:
            await asyncio.wait(running)
        for template in list(self._all):
            if template.process is not None:
                await template.process.output_ended()
            self._forget(template)


def _text(error: TemplateError | OSError) -> str:
    return f"no template can be started: {error.strerror or error}" if isinstance(error, OSError) else str(error)
