"""Chooses the resolver for a service URL and the options."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from faucet.net.address import is_address
from faucet.net.commands import LocalPrograms, Programs
from faucet.pods.discovery.dns import DirectNames, ResolvConf, parse_resolv_conf
from faucet.pods.discovery.dns_server import DNS_PORT, DnsServer
from faucet.pods.discovery.endpoint_slices import service_of
from faucet.pods.discovery.endpoints import Endpoint, Resolver
from faucet.pods.discovery.getaddrinfo import SystemNames
from faucet.pods.discovery.in_cluster import in_cluster
from faucet.pods.discovery.kubernetes import Fallback, Kubectl, Slices
from faucet.pods.discovery.polling import Fixed, Polling

RESOLV_CONF = Path("/etc/resolv.conf")

How = Literal["auto", "dns", "kubernetes"]

_NAME = re.compile(
    r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?"
)


class CannotResolve(Exception):
    """The requested way of discovery is not available here. The message is shown to the user."""


@dataclass(frozen=True, slots=True)
class ServiceUrl:
    """A parsed service URL, e.g. `http://plumber:8000`."""

    scheme: str
    host: str
    """A name or an IP address, without brackets."""
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "")


def parse_service_url(text: str) -> ServiceUrl:
    """Return the parts of a service URL. Raises ValueError."""
    problem = (
        f"invalid service URL {text!r}; expected e.g. http://plumber:8000 or "
        "http://plumber.default.svc.cluster.local:8000"
    )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{problem} ({error})") from error
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not (is_address(host) or _NAME.fullmatch(host)):
        raise ValueError(problem)
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{problem}, without path, query or user: clients choose the path")
    return ServiceUrl(parts.scheme, host, port)


def parse_dns_server(text: str) -> tuple[str, int]:
    """Return host and port of `10.96.0.10`, `10.96.0.10:5353` or `[fd00::a]:53`. Raises ValueError."""
    host, colon, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"invalid DNS server {text!r}; expected its address, 10.96.0.10 or 10.96.0.10:53") from None
    if colon and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"invalid DNS server {text!r}; expected a port from 1 to 65535, not {port!r}")
    return str(address), int(port) if colon else DNS_PORT


async def choose(url: ServiceUrl, how: How, dns: str | None, interval: float) -> Resolver:
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


async def _kubernetes(url: ServiceUrl, dns: str | None, interval: float) -> Resolver:
    api = in_cluster()
    if api is not None:
        slices = Slices(api, service_of(url.host, api.namespace), url.port, url.scheme)
        return Fallback(slices, _by_dns(url, dns, interval))
    resolver = await by_kubectl(url, LocalPrograms())
    if resolver is None:
        raise CannotResolve(
            "--resolve kubernetes needs a pod with a service account, or kubectl; this is no such pod, and there is "
            "no kubectl here. Install kubectl, or use --resolve dns"
        )
    return Fallback(resolver, _by_dns(url, dns, interval))


async def by_kubectl(url: ServiceUrl, commands: Programs) -> Slices | None:
    """Return a resolver through kubectl; None if it is not installed."""
    if not await commands.find("kubectl"):
        return None
    kubectl = Kubectl(commands)
    namespace = "" if "." in url.host else await kubectl.namespace()
    return Slices(kubectl, service_of(url.host, namespace), url.port, url.scheme)


def _by_dns(url: ServiceUrl, dns: str | None, interval: float) -> Polling:
    """Resolve by the DNS server `dns`; else by the system or, to look up a port, by the server of resolv.conf."""
    if dns is None and url.port is not None:
        return Polling(SystemNames(url.host, url.port).lookup, "DNS", interval)
    conf = _resolv_conf()
    if dns is not None:
        server = DnsServer(*parse_dns_server(dns))
    elif conf.servers:
        server = DnsServer(conf.servers[0])
    else:
        return Polling(SystemNames(url.host, usual_port(url)).lookup, "DNS", interval)
    names = DirectNames(url.host, url.port, server, conf, url.scheme)
    return Polling(names.lookup, f"DNS at {server}", interval)


def _resolv_conf() -> ResolvConf:
    try:
        return parse_resolv_conf(RESOLV_CONF.read_text("utf-8", "replace"))
    except OSError:
        return ResolvConf()


def usual_port(url: ServiceUrl) -> int:
    """Return the default port of the URL's scheme."""
    return 443 if url.scheme == "https" else 80
