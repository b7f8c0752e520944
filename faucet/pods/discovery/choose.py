"""The resolver that a service URL and the options ask for."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from faucet.net.commands import LocalPrograms, Programs
from faucet.pods.discovery.dns import DirectNames, ResolvConf, parse_resolv_conf
from faucet.pods.discovery.dns_server import DNS_PORT, DnsServer
from faucet.pods.discovery.endpoint_slices import service_of
from faucet.pods.discovery.endpoints import Endpoint, Resolver, is_address
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
    """What was asked for cannot be done here. The text is for the user."""


@dataclass(frozen=True, slots=True)
class ServiceUrl:
    """`http://plumber:8000`."""

    scheme: str
    host: str
    """A name or an IP address, without brackets."""
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "")


def parse_service_url(text: str) -> ServiceUrl:
    """Raises ValueError."""
    problem = f"{text!r} is no service URL: write http://plumber:8000, or http://plumber.default.svc.cluster.local:8000"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{problem} ({error})") from error
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not (is_address(host) or _NAME.fullmatch(host)):
        raise ValueError(problem)
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{problem}; a path is each client's to choose")
    return ServiceUrl(parts.scheme, host, port)


def parse_dns_server(text: str) -> tuple[str, int]:
    """`10.96.0.10`, `10.96.0.10:5353`, `[fd00::a]:53`. Raises ValueError."""
    host, colon, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"{text!r} is no DNS server: write its address, 10.96.0.10 or 10.96.0.10:53") from None
    if colon and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is no DNS server: there is no port {port}")
    return str(address), int(port) if colon else DNS_PORT


async def choose(url: ServiceUrl, how: How, dns: str | None, interval: float) -> Resolver:
    """Raises CannotResolve."""
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
    """Whether it can be the name of a service of the cluster: `plumber`, `plumber.api`, `plumber.api.svc.…`."""
    labels = host.rstrip(".").split(".")
    return host != "localhost" and (len(labels) < 3 or labels[2] == "svc")


async def _kubernetes(url: ServiceUrl, dns: str | None, interval: float) -> Resolver:
    api = in_cluster()
    if api is not None:
        slices = Slices(api, service_of(url.host, api.namespace), url.port, url.scheme)
        return Fallback(slices, _by_dns(url, dns, interval))
    resolver = await by_kubectl(url, LocalPrograms())
    if resolver is None:
        raise CannotResolve("--resolve kubernetes: this is no pod with a service account, and there is no kubectl here")
    return Fallback(resolver, _by_dns(url, dns, interval))


async def by_kubectl(url: ServiceUrl, commands: Programs) -> Slices | None:
    """Through kubectl, if it is there."""
    if not await commands.find("kubectl"):
        return None
    kubectl = Kubectl(commands)
    namespace = "" if "." in url.host else await kubectl.namespace()
    return Slices(kubectl, service_of(url.host, namespace), url.port, url.scheme)


def _by_dns(url: ServiceUrl, dns: str | None, interval: float) -> Polling:
    """By the server that was named; else by the system, which knows no ports: without one, as resolv.conf says."""
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
    """Of its scheme."""
    return 443 if url.scheme == "https" else 80
