"""Name resolution by direct DNS queries: with TTLs, ports (SRV), and missing names told from failing servers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from faucet.pods.discovery.dns_server import DnsServer
from faucet.pods.discovery.endpoints import Answer, Endpoint, Found, Missing, Trouble, one_family
from faucet.pods.discovery.getaddrinfo import absolute

if TYPE_CHECKING:
    import dns.message
    import dns.rrset


class _Nothing(Exception):
    """The name does not exist, or has no such records."""


@dataclass(frozen=True)
class ResolvConf:
    """The settings in a resolv.conf."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1

    def candidates(self, name: str) -> list[str]:
        """Return the absolute names that `name` may stand for, in the order to try them (resolv.conf(5))."""
        name = absolute(name)
        if name.endswith("."):
            return [name]
        longer = [f"{name}.{domain.rstrip('.')}." for domain in self.search]
        return [f"{name}.", *longer] if name.count(".") >= self.ndots else [*longer, f"{name}."]


def parse_resolv_conf(text: str) -> ResolvConf:
    """Parse the text of a resolv.conf. The last `search` (or `domain`) counts; invalid lines are ignored."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        word, *rest = line.split("#")[0].split(";")[0].split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word in ("search", "domain"):
            search = tuple(rest)
        elif word == "options":
            digits = [option[6:] for option in rest if option.startswith("ndots:")]
            ndots = next((int(text) for text in digits if text.isdecimal()), ndots)
    return ResolvConf(tuple(servers), search, ndots)


@dataclass
class _Records:
    """The records of one name and kind."""

    owner: str
    rrset: dns.rrset.RRset
    ttl: float
    additional: dict[str, list[str]] = field(default_factory=dict)
    """Addresses by name, from the reply's additional section."""


class DirectNames:
    """Looks up one name at one server. Without a `port`, ports come from the SRV records of `service` (`http`)."""

    def __init__(self, name: str, port: int | None, server: DnsServer, conf: ResolvConf, service: str = "http") -> None:
        self._name = name
        self._port = port
        self._server = server
        self._conf = conf
        self._service = service
        self._by_srv = False  # the ports came from SRV records

    async def lookup(self) -> Answer:
        """Query the server and return the answer. DNS errors are returned as Missing or Trouble."""
        import dns.exception

        try:
            return await (self._by_address(self._port) if self._port is not None else self._by_service())
        except _Nothing as error:
            return Missing(str(error))
        except TimeoutError:
            return Trouble(f"the DNS server {self._server} does not answer")
        except OSError as error:
            return Trouble(f"the DNS server {self._server}: {error.strerror or error}")
        except (dns.exception.DNSException, ValueError) as error:
            return Trouble(f"the DNS server {self._server} sent an invalid response: {error}")

    async def _by_address(self, port: int) -> Found:
        hosts, ttl = await self._addresses(self._conf.candidates(self._name))
        return Found(tuple(Endpoint(host, port) for host in hosts), ttl)

    async def _by_service(self) -> Found:
        """Look up SRV records: each is one pod and its port."""
        prefix = f"_{self._service}._tcp."
        try:
            records = await self._first([prefix + name for name in self._conf.candidates(self._name)], "SRV")
        except _Nothing:
            if self._by_srv:
                raise  # the records are gone; the default port would give the same pods second locks
            default = 443 if self._service == "https" else 80
            found = await self._by_address(default)
            return Found(found.endpoints, found.ttl, f"no SRV record {prefix}{self._name}, so port {default} is taken")
        self._by_srv = True
        pods = await asyncio.gather(*(self._pod(record, records) for record in records.rrset))
        endpoints = {endpoint.key: endpoint for pod in pods for endpoint in pod}
        # A pod of two families may have a target, and so a record, for each.
        hosts = set(one_family(host for host, _ in endpoints))
        return Found(tuple(endpoints[key] for key in sorted(endpoints) if key[0] in hosts), records.ttl)

    async def _pod(self, record: object, records: _Records) -> list[Endpoint]:
        target = str(record.target)  # type: ignore[attr-defined]
        try:
            hosts = one_family(records.additional.get(target.lower(), ())) or (await self._addresses([target]))[0]
        except _Nothing:
            return []  # gone between the two queries
        name = target.partition(".")[0]
        dashed = {name.replace("-", "."), name.replace("-", ":")}  # `10-244-1-11` is an address, not a name
        shown = "" if dashed & set(hosts) else name
        return [Endpoint(host, record.port, shown) for host in hosts]  # type: ignore[attr-defined]

    async def _addresses(self, names: list[str]) -> tuple[list[str], float]:
        try:
            records = await self._first(names, "A")
        except _Nothing:
            records = await self._first(names, "AAAA")
        return one_family(record.address for record in records.rrset), records.ttl

    async def _first(self, names: list[str], kind: str) -> _Records:
        """Return the records of the first of `names` that has some. Raises _Nothing."""
        for name in names:
            records = _read(await self._server.ask(name, kind), name)
            if records is not None:
                return records
        raise _Nothing(f"the DNS server {self._server} does not know {names[0].rstrip('.')}")


def _read(reply: dns.message.Message, name: str) -> _Records | None:
    """Return the records in a reply; None if there are none. Raises OSError if the server failed."""
    import dns.rcode

    code = reply.rcode()
    if code == dns.rcode.NXDOMAIN:
        return None
    if code != dns.rcode.NOERROR:
        raise OSError(f"{dns.rcode.to_text(code)} for {name}")
    chain = cast("dns.message.QueryMessage", reply).resolve_chaining()
    if chain.answer is None:
        return None
    additional: dict[str, list[str]] = {}
    for rrset in reply.additional:
        addresses = [record.address for record in rrset if hasattr(record, "address")]
        if addresses:
            additional.setdefault(str(rrset.name).lower(), []).extend(addresses)
    return _Records(str(chain.canonical_name), chain.answer, float(chain.minimum_ttl), additional)
