"""URLs of headless services, and addresses of DNS servers: their syntax. `pods.discovery` resolves them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from faucet.net.address import Address, is_address

DNS_PORT = 53

_NAME = re.compile(
    r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?"
)


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


def parse_dns_server(text: str) -> Address:
    """Return the address `10.96.0.10`, `10.96.0.10:5353` or `[fd00::a]:53`. Raises ValueError."""
    host, colon, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"invalid DNS server {text!r}; expected its address, 10.96.0.10 or 10.96.0.10:53") from None
    if colon and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"invalid DNS server {text!r}; expected a port from 1 to 65535, not {port!r}")
    return Address(str(address), int(port) if colon else DNS_PORT)


def usual_port(url: ServiceUrl) -> int:
    """Return the default port of the URL's scheme."""
    return 443 if url.scheme == "https" else 80
