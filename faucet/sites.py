"""What can be served: a directory, by workers of our own; or a service of a cluster, by its pods."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from faucet import tasks
from faucet.discovery.choose import ServiceUrl, choose
from faucet.log import Log
from faucet.net.connect import Connector, TlsConnector, connect_remote, tls_context
from faucet.proxy.core import Proxy
from faucet.settings import DemoSettings, K8sSettings, parse_span
from faucet.workers.cpus import available_cpus
from faucet.workers.entry import Entry
from faucet.workers.fleet import Fleet, StartFailed
from faucet.workers.local import LocalWorkers
from faucet.workers.pods import Pods
from faucet.workers.reload import reload_on_change, require

Companion = Callable[[Fleet], contextlib.AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def _alone(_: Fleet) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True)
class Site:
    """One of them. `fleet` makes the workers, `companion` what runs beside them."""

    title: str
    detail: str
    mode: str
    described: str
    fleet: Callable[[Proxy, Log], Fleet]
    companion: Companion = _alone


def local_site(entry: Entry, settings: DemoSettings) -> Site:
    """The API in a directory. Raises StartFailed if what --reload needs is not installed."""
    if settings.reload:
        require()
    span = parse_span(settings.workers or str(available_cpus()))
    return Site(
        title=str(entry.directory),
        detail=entry.description,
        mode="local",
        described=f"{entry.directory} ({entry.description})",
        fleet=lambda proxy, log: LocalWorkers(span, entry, settings, proxy, log.output),
        companion=_reloading(entry.directory, settings) if settings.reload else _alone,
    )


def _reloading(directory: Path, settings: DemoSettings) -> Companion:
    @contextlib.asynccontextmanager
    async def reloading(fleet: Fleet) -> AsyncIterator[None]:
        task = tasks.start(reload_on_change(cast("LocalWorkers", fleet), directory, settings.log_file), "reload")
        try:
            yield
        finally:
            await tasks.end(task)

    return reloading


def pods_site(url: ServiceUrl, settings: K8sSettings) -> Site:
    """The pods of a service. Raises StartFailed if the CA's file is none."""
    connector = _connector(url, settings)
    return Site(
        title=str(url),
        detail="its pods",
        mode="k8s",
        described=str(url),
        fleet=lambda proxy, _: Pods(
            url, settings, proxy, connector,
            lambda: choose(url, settings.resolve, settings.dns, settings.resolve_interval),
        ),
    )  # fmt: skip


def _connector(url: ServiceUrl, settings: K8sSettings) -> Connector:
    if url.scheme == "http":
        return connect_remote
    try:
        context = tls_context(settings.ca_file, verify=not settings.insecure_skip_verify)
    except OSError as error:
        raise StartFailed(f"--ca-file {settings.ca_file}: {error.strerror or error}") from error
    return TlsConnector(url.host.rstrip("."), context)
