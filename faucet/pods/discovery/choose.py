"""Chooses the resolver for a service URL and the options."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from faucet.net.address import Address, is_address
from faucet.net.commands import LocalPrograms, Programs
from faucet.net.service_url import ServiceUrl, usual_port
from faucet.pods.discovery.dns import DirectNames, ResolvConf, parse_resolv_conf
from faucet.pods.discovery.dns_server import DnsServer
from faucet.pods.discovery.endpoint_slices import service_of
from faucet.pods.discovery.endpoints import Endpoint, Resolver
from faucet.pods.discovery.getaddrinfo import SystemNames
from faucet.pods.discovery.in_cluster import in_cluster
from faucet.pods.discovery.kubernetes import Fallback, Kubectl, Slices
from faucet.pods.discovery.polling import Fixed, Polling

RESOLV_CONF = Path("/etc/resolv.conf")

How = Literal["auto", "dns", "kubernetes"]


class CannotResolve(Exception):
    """The requested way of discovery is not available here. The message is shown to the user."""


async def choose(url: ServiceUrl, how: How, dns: Address | None, interval: float) -> Resolver:
    """Return the resolver for `url`, which resolves every `interval` seconds. Raises CannotResolve."""
    if is_address(url.host):
        return Fixed(Endpoint(url.host, url.port or usual_port(url)))
    if how == "kubernetes":
        return await _kubernetes(url, dns, interval)
    by_dns = _by_dns(url, dns, interval)
    api = in_cluster() if how == "auto" and dns is None and _may_be_service(url.host) else None
    if api is None:
        return by_dns
    return Fallback(Slices(api, service_of(url.host, api.namespace), url.port, url.scheme), by_dns)


def _may_be_service(host: str) -> bool:
    """Whether `host` may name a service of the cluster: `plumber`, `plumber.api`, `plumber.api.svc.…`."""
    labels = host.rstrip(".").split(".")
    return host != "localhost" and (len(labels) < 3 or labels[2] == "svc")


async def _kubernetes(url: ServiceUrl, dns: Address | None, interval: float) -> Resolver:
    api = in_cluster()
    if api is not None:
        slices = Slices(api, service_of(url.host, api.namespace), url.port, url.scheme)
        return Fallback(slices, _by_dns(url, dns, interval))
    resolver = await by_kubectl(url, LocalPrograms())
    if resolver is None:
        raise CannotResolve(
            "--resolve kubernetes needs a pod with a service account, or kubectl; this process is not in such a pod, "
            "and there is no kubectl here. Install kubectl, or use --resolve dns"
        )
    return Fallback(resolver, _by_dns(url, dns, interval))


async def by_kubectl(url: ServiceUrl, commands: Programs) -> Slices | None:
    """Return a resolver through kubectl; None if it is not installed."""
    if not await commands.find("kubectl"):
        return None
    kubectl = Kubectl(commands)
    namespace = "" if "." in url.host else await kubectl.namespace()
    return Slices(kubectl, service_of(url.host, namespace), url.port, url.scheme)


def _by_dns(url: ServiceUrl, dns: Address | None, interval: float) -> Polling:
    """Resolve by the DNS server `dns`; else by the system or, to look up a port, by the server of resolv.conf."""
    conf = _resolv_conf()
    if dns is None and url.port is not None:
        direct = DirectNames(url.host, url.port, DnsServer(conf.servers[0]), conf) if conf.servers else None
        names = SystemNames(url.host, url.port, confirm=direct.lookup if direct is not None else None)
        return Polling(names.lookup, "DNS", interval)
    if dns is not None:
        server = DnsServer(dns.host, dns.port)
    elif conf.servers:
        server = DnsServer(conf.servers[0])
    else:
        return Polling(SystemNames(url.host, usual_port(url)).lookup, "DNS", interval)
    asked = DirectNames(url.host, url.port, server, conf, url.scheme)
    return Polling(asked.lookup, f"DNS at {server}", interval)


def _resolv_conf() -> ResolvConf:
    try:
        return parse_resolv_conf(RESOLV_CONF.read_text("utf-8", "replace"))
    except OSError:
        return ResolvConf()
