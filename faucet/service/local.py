"""A directory as a site: the API in it, served by local workers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import cast

from faucet import tasks
from faucet.fleet import Fleet, StartFailed
from faucet.log.handler import Log
from faucet.proxy.fencing import Fence
from faucet.proxy.server import Proxy
from faucet.service.site import Companion, Site, alone
from faucet.settings import DemoSettings, Span
from faucet.workers.cpus import available_cpus
from faucet.workers.environment import threads_per_worker
from faucet.workers.preload import check_preload
from faucet.workers.program import Program
from faucet.workers.reload import reload_on_change, require
from faucet.workers.supervisor import Supervisor
from faucet.workers.warmup import missing_files
from faucet.workers.watched import Watched


def local_site(program: Program, settings: DemoSettings) -> Site:
    """Return the API in a directory. Raises StartFailed if a requirement of --reload or --warmup is missing."""
    if settings.reload:
        require()
    if settings.preload:
        check_preload(program)
    for path in missing_files(settings.warmup, program.directory):
        raise StartFailed(f"--warmup: there is no file {path}; files are looked for in the directory of the API")

    def workers(proxy: Proxy, log: Log) -> Supervisor:
        proxy.clients.fence = Fence() if settings.fencing else None
        return Supervisor(span, program, settings, proxy, log.output)

    span = settings.workers or Span(available_cpus(), available_cpus())
    program = dataclasses.replace(program, threads=threads_per_worker(settings.workers))
    return Site(
        title=str(program.directory),
        detail=program.description,
        mode="local",
        described=f"{program.directory} ({program.description})",
        fleet=workers,
        companion=_reloading(program, settings) if settings.reload else alone,
    )


def _reloading(program: Program, settings: DemoSettings) -> Companion:
    watched = Watched(
        program.directory,
        include=settings.reload_include,
        exclude=settings.reload_exclude,
        log=settings.log_file.resolve() if settings.log_file is not None else None,
        any_language=program.rscript is None,
        named=program.own_files(),
    )

    @contextlib.asynccontextmanager
    async def reloading(fleet: Fleet) -> AsyncIterator[None]:
        task = tasks.start(reload_on_change(cast("Supervisor", fleet), watched), "reload")
        try:
            yield
        finally:
            await tasks.end(task)

    return reloading
