"""The kinds of services: a directory, served by local workers, or a Kubernetes service, served by its pods."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from faucet import tasks
from faucet.fleet import Fleet, StartFailed
from faucet.log.handler import Log
from faucet.machine import SSH, install_command
from faucet.net.commands import LocalPrograms
from faucet.net.connect import connect_remote
from faucet.net.service_url import ServiceUrl
from faucet.net.tls import TlsConnector, tls_context
from faucet.pods.discovery.choose import choose
from faucet.pods.fleet import Pods
from faucet.pods.gate import Gate
from faucet.proxy.fencing import Fence
from faucet.proxy.server import Proxy
from faucet.service.replicas import looking_for_others, replica
from faucet.settings import DemoSettings, K8sSettings, Span, SshSettings
from faucet.ssh.secrets import Secrets
from faucet.workers.cpus import available_cpus
from faucet.workers.environment import threads_per_worker
from faucet.workers.preload import check_preload
from faucet.workers.program import Program
from faucet.workers.reload import reload_on_change, require
from faucet.workers.supervisor import Supervisor
from faucet.workers.warmup import missing_files
from faucet.workers.watched import Watched

if TYPE_CHECKING:
    from faucet.ssh.login import Login

Companion = Callable[[Fleet], contextlib.AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def _alone(_: Fleet) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True)
class Site:
    """What is served. `fleet` creates the workers, `companion` the task that runs beside them."""

    title: str
    detail: str
    mode: str
    described: str
    fleet: Callable[[Proxy, Log], Fleet]
    companion: Companion = _alone


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
        companion=_reloading(program, settings) if settings.reload else _alone,
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


def pods_site(url: ServiceUrl, settings: K8sSettings, secrets: Secrets) -> Site:
    """Return the pods of a service. Raises StartFailed for an invalid CA file, or if --via-ssh needs a package."""
    tls = _tls(url, settings)
    name = url.host.rstrip(".")
    if settings.via_ssh:
        require_asyncssh()
    if settings.fencing and not settings.ha:
        raise StartFailed("--fencing: a Faucet without --ha has no epoch to tell its pods; add --ha")

    def pods(proxy: Proxy, gate: Gate | None = None) -> Pods:
        return Pods(
            url, settings, proxy, TlsConnector(name, tls) if tls else connect_remote, LocalPrograms(),
            lambda: choose(url, settings.resolve, settings.dns, settings.resolve_interval), gate=gate,
        )  # fmt: skip

    def near(proxy: Proxy, _: Log) -> Fleet:
        return replica(url, settings, proxy, pods) if settings.ha else pods(proxy)

    def far(proxy: Proxy, _: Log) -> Fleet:
        from faucet.pods.discovery.over_ssh import choose_remote
        from faucet.ssh.commands import RemotePrograms
        from faucet.ssh.link import Link
        from faucet.ssh.tls import ChannelTls

        link = Link(list(settings.via_ssh), login_of(settings, secrets))
        programs = RemotePrograms(link)
        return Pods(
            url, settings, proxy, ChannelTls(link.connect, name, tls) if tls else link.connect, programs,
            lambda: choose_remote(url, settings.resolve, settings.dns, settings.resolve_interval, link, programs), link,
        )  # fmt: skip

    described = f"{url} through {' or '.join(map(str, settings.via_ssh))}" if settings.via_ssh else str(url)
    if settings.via_ssh:
        return Site(str(url), "its pods", "k8s", described, far)
    alone = _alone if settings.ha else lambda _: looking_for_others(url, settings)
    return Site(str(url), "its pods", "k8s", described, near, alone)


def _tls(url: ServiceUrl, settings: K8sSettings) -> ssl.SSLContext | None:
    """Return the TLS context for connections to pods; None for http. Raises StartFailed."""
    if url.scheme == "http":
        return None
    try:
        return tls_context(settings.ca_file, verify=not settings.insecure_skip_verify)
    except OSError as error:
        why = error.strerror or str(error)
        raise StartFailed(f"--ca-file {settings.ca_file}: {why}; name a file of certificates in PEM") from error


def require_asyncssh() -> None:
    """Check that asyncssh is installed. Raises StartFailed if it is not."""
    if importlib.util.find_spec("asyncssh") is None:
        raise StartFailed(f"--via-ssh needs the package asyncssh. Install it with: {install_command(SSH)}")


def login_of(settings: SshSettings, secrets: Secrets) -> Login:
    """Return the SSH login that the options describe."""
    from faucet.ssh.attempt import SshFiles
    from faucet.ssh.login import Login

    return Login(SshFiles(settings.ssh_config, settings.ssh_key, settings.ssh_known_hosts), secrets)
