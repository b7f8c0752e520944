"""A Kubernetes service as a site: its pods, in this cluster or through a bastion."""

from __future__ import annotations

import ssl

from faucet.fleet import Fleet, StartFailed
from faucet.log.handler import Log
from faucet.net.commands import LocalPrograms
from faucet.net.connect import connect_remote
from faucet.net.service_url import ServiceUrl
from faucet.net.tls import TlsConnector, tls_context
from faucet.pods.discovery.choose import choose
from faucet.pods.fleet import Pods
from faucet.pods.gate import Gate
from faucet.proxy.server import Proxy
from faucet.service.replicas import introduce, looking_for_others, replica
from faucet.service.site import Site
from faucet.service.ssh_login import login_of, require_asyncssh
from faucet.settings import K8sSettings
from faucet.ssh.secrets import Secrets


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
    if settings.ha:
        return Site(str(url), "its pods", "k8s", described, near, introduce=introduce)
    return Site(str(url), "its pods", "k8s", described, near, lambda _: looking_for_others(url, settings))


def _tls(url: ServiceUrl, settings: K8sSettings) -> ssl.SSLContext | None:
    """Return the TLS context for connections to pods; None for http. Raises StartFailed."""
    if url.scheme == "http":
        return None
    try:
        return tls_context(settings.ca_file, verify=not settings.insecure_skip_verify)
    except OSError as error:
        why = error.strerror or str(error)
        raise StartFailed(f"--ca-file {settings.ca_file}: {why}; name a file of certificates in PEM") from error
