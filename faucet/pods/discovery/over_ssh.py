"""Service discovery of a remote cluster, by name resolution on the far side of an SSH link.

DNS over an SSH channel is best: it yields TTLs and ports, and tells a missing name from a failing server. If the
bastion's DNS is not the cluster's, or is unreachable, the bastion's system may still resolve the name: then `getent`
runs there, in one session.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from faucet import pauses
from faucet.net.address import Address, is_address
from faucet.net.connect import LinkDown, why_not
from faucet.net.service_url import ServiceUrl, usual_port
from faucet.pods.discovery.choose import CannotResolve, How, by_kubectl
from faucet.pods.discovery.dns import DirectNames, ResolvConf, parse_resolv_conf
from faucet.pods.discovery.dns_server import DnsServer
from faucet.pods.discovery.endpoints import Answer, Endpoint, Found, Missing, Resolver, Trouble, one_family
from faucet.pods.discovery.kubernetes import Fallback
from faucet.pods.discovery.polling import Fixed, Polling

if TYPE_CHECKING:
    import asyncssh

    from faucet.ssh.commands import RemotePrograms
    from faucet.ssh.link import Link

_log = logging.getLogger("faucet")

PATIENCE = 10.0
"""Seconds for a program on the bastion: its login shell may be slow to start."""

GETENT = """\
exec sh -c 'while read -r n; do o=$(getent ahostsv4 "$n" 2>/dev/null); s=$?; \
echo "$s" $(echo "$o" | cut -d" " -f1 | sort -u); done'"""
"""Reads a name per line; prints a status and addresses per line. It ends when its standard input is closed."""


class Lookup(Protocol):
    """One way to look up a name."""

    described: str

    async def lookup(self) -> Answer:
        """Look up the name once and return the answer."""
        ...


async def choose_remote(
    url: ServiceUrl, how: How, dns: Address | None, interval: float, link: Link, programs: RemotePrograms
) -> Resolver:
    """Return the resolver for a service on the far side of `link`. Raises CannotResolve."""
    if is_address(url.host):
        return Fixed(Endpoint(url.host, url.port or usual_port(url)))
    if how == "kubernetes":
        resolver = await by_kubectl(url, programs)
        if resolver is None:
            raise CannotResolve(
                f"--resolve kubernetes needs kubectl, which {link.target} does not have; use --resolve dns"
            )
        return Fallback(resolver, _by_name(url, dns, interval, link, programs))
    return _by_name(url, dns, interval, link, programs)


def _by_name(url: ServiceUrl, dns: Address | None, interval: float, link: Link, programs: RemotePrograms) -> Polling:
    names = RemoteNames(url, dns, link, programs)
    return Polling(names.lookup, names.describe, interval)


class RemoteNames:
    """Looks up one name, with the method that works on the connected bastion."""

    def __init__(self, url: ServiceUrl, dns: Address | None, link: Link, programs: RemotePrograms) -> None:
        self._url = url
        self._dns = dns
        self._link = link
        self._programs = programs
        self._chosen: Lookup | None = None
        self._chosen_for: object = None  # the connection `_chosen` is for: a later one may be to another bastion

    def describe(self) -> str:
        """Return how the name is looked up, in a few words."""
        return self._chosen.described if self._chosen is not None else "name resolution"

    async def lookup(self) -> Answer:
        """Look up the name on the far side and return the answer. Failures are returned as Missing or Trouble."""
        try:
            connection = self._link.connection()
            if self._chosen is None or self._chosen_for is not connection:
                self._chosen, self._chosen_for = await self._choose(), connection
                _log.info("resolving names via %s", self._chosen.described)
            return await self._chosen.lookup()
        except (OSError, TimeoutError) as error:
            return Trouble(str(error) if isinstance(error, LinkDown) else f"on {self._link.target}: {why_not(error)}")

    async def _choose(self) -> Lookup:
        """Return the lookup method that finds the service, or the likeliest one. Raises OSError."""
        conf = await self._resolv_conf()
        server = DnsServer(self._dns.host, self._dns.port, self._link.connect) if self._dns else None
        if server is None and conf.servers:
            server = DnsServer(conf.servers[0], connector=self._link.connect)
        direct = _Direct(self._url, server, conf, self._link) if server is not None else None
        if direct is not None and (self._dns or isinstance(await direct.lookup(), Found)):
            return direct
        getent = _Getent(self._url, self._programs)
        if direct is None or isinstance(await getent.lookup(), Found):
            return getent
        return direct

    async def _resolv_conf(self) -> ResolvConf:
        """Return the far side's resolv.conf; empty if it cannot be read but --dns names a server. Raises OSError."""
        try:
            result = await self._programs.run(["cat", "/etc/resolv.conf"], PATIENCE)
        except (OSError, TimeoutError) as error:
            if self._dns:
                return ResolvConf()
            raise OSError(f"{why_not(error)}; set a DNS server with --dns") from error
        return parse_resolv_conf(result.output)


class _Direct:
    """Looks up a name by DNS over an SSH channel."""

    def __init__(self, url: ServiceUrl, server: DnsServer, conf: ResolvConf, link: Link) -> None:
        self.described = f"DNS at {server}, from {link.target}"
        self._names = DirectNames(url.host, url.port, server, conf, url.scheme)

    async def lookup(self) -> Answer:
        return await self._names.lookup()


class _Getent:
    """Looks up a name in a shell session on the bastion, with the bastion's own resolver."""

    def __init__(self, url: ServiceUrl, programs: RemotePrograms) -> None:
        self.described = f"getent on {programs.where}"
        self._name = url.host
        self._port = url.port or usual_port(url)
        self._programs = programs
        self._process: asyncssh.SSHClientProcess[bytes] | None = None

    async def lookup(self) -> Answer:
        try:
            async with pauses.timeout(PATIENCE):
                return self._read(await self._ask())
        except (OSError, TimeoutError) as error:
            self._hang_up()
            return Trouble(f"{self.described}: {why_not(error)}")

    async def _ask(self) -> str:
        import asyncssh

        if self._process is None:
            self._process = await self._programs.converse(GETENT)
        try:
            self._process.stdin.write(f"{self._name}\n".encode())
            line = await self._process.stdout.readline()
        except asyncssh.Error as error:
            raise ConnectionResetError(str(error)) from error
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the shell ended")
        return line.decode("ascii", "replace")

    def _hang_up(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.channel.abort()

    def _read(self, line: str) -> Answer:
        """Parse a line of GETENT's output. Raises OSError if it is invalid: a forced command may print anything."""
        status, *words = line.split()
        if not status.isdecimal() or not all(is_address(word) for word in words):
            raise OSError(f"unexpected output {line.strip()[:60]!r}")
        if int(status):
            return Missing(f"{self.described} does not know {self._name} (or its DNS is down)")
        return Found(tuple(Endpoint(host, self._port) for host in one_family(words)))
