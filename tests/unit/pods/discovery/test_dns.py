"""Names: resolv.conf, the system's resolver, our own one, and polling them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

from faucet.pods.discovery.dns import DirectNames, ResolvConf, parse_resolv_conf
from faucet.pods.discovery.dns_server import DnsServer
from faucet.pods.discovery.endpoints import Answer, Endpoint, Found, Missing, Trouble
from faucet.pods.discovery.getaddrinfo import SystemNames, absolute
from faucet.pods.discovery.polling import Polling
from tests.support.resolved import A, B, heard


def test_resolv_conf() -> None:
    text = "nameserver 10.0.0.1 # one\nsearch a b\n;x\nsearch c.d. e\noptions timeout:1 ndots:5\nnameserver\n"
    conf = parse_resolv_conf(text + "options ndots:x")
    assert conf == ResolvConf(("10.0.0.1",), ("c.d.", "e"), 5)
    assert conf.candidates("plumber") == ["plumber.c.d.", "plumber.e.", "plumber."]
    assert conf.candidates("a.b.c.d.e.f") == ["a.b.c.d.e.f.", "a.b.c.d.e.f.c.d.", "a.b.c.d.e.f.e."]
    assert conf.candidates("plumber.") == ["plumber."]
    assert conf.candidates("plumber.default.svc.cluster.local") == ["plumber.default.svc.cluster.local."]
    assert absolute("plumber.default.svc") == "plumber.default.svc"


async def test_the_system_knows_localhost_and_no_such_name() -> None:
    assert await SystemNames("localhost", 80).lookup() == Found((Endpoint("127.0.0.1", 80),))
    assert isinstance(await SystemNames("no-such-name.invalid.", 80).lookup(), Missing | Trouble)


async def test_a_question_to_the_system_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes, one thread waits for it; its answer counts for whoever asks next."""
    asked = []

    def slow(name: str, port: int, **_: object) -> list[object]:
        asked.append(name)
        time.sleep(0.3)  # what getaddrinfo does to its thread
        return [(2, 1, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr("socket.getaddrinfo", slow)
    names = SystemNames("plumber", 8000, patience=0.05)
    answers = [await names.lookup() for _ in range(3)]
    assert all(isinstance(answer, Trouble) for answer in answers)
    names._patience = 5
    assert await names.lookup() == Found((A,))
    assert asked == ["plumber"]


@pytest.mark.parametrize(
    ("other", "answer"),
    [
        (Missing("the DNS server x does not know plumber"), Missing("plumber: no such name")),
        (Trouble("x answered nonsense"), Trouble("plumber: no such name, but x answered nonsense")),
        (Found((A,)), Trouble("plumber: no such name, but its DNS server knows it")),
        (None, Missing("plumber: no such name")),
    ],
)
async def test_that_a_name_is_missing_has_to_be_confirmed(
    monkeypatch: pytest.MonkeyPatch, other: Answer | None, answer: Answer
) -> None:
    """The system says so of a loop of CNAMEs, too, which must not leave a service without pods."""

    def missing(name: str, port: int, **_: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def confirm() -> Answer:
        assert other is not None
        return other

    monkeypatch.setattr("socket.getaddrinfo", missing)
    assert await SystemNames("plumber", 8000, confirm=confirm if other is not None else None).lookup() == answer


async def test_a_loop_of_cnames_is_no_missing_name() -> None:
    import dns.message
    import dns.rrset

    def loop_of_two(query: bytes) -> bytes:
        asked = dns.message.from_wire(query)
        reply = dns.message.make_response(asked)
        reply.answer.append(dns.rrset.from_text("plumber.", 5, "IN", "CNAME", "other."))
        reply.answer.append(dns.rrset.from_text("other.", 5, "IN", "CNAME", "plumber."))
        return reply.to_wire()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Liar([loop_of_two]), local_addr=("127.0.0.1", 0))
    try:
        server = DnsServer("127.0.0.1", transport.get_extra_info("sockname")[1])
        assert isinstance(await DirectNames("plumber.", 8000, server, ResolvConf()).lookup(), Trouble)
    finally:
        transport.close()


async def test_a_server_that_is_not_there() -> None:
    names = DirectNames("plumber", 8000, DnsServer("127.0.0.1", 1), ResolvConf())
    assert await names.lookup() == Trouble("the DNS server 127.0.0.1:1: Connection refused")


class Liar(asyncio.DatagramProtocol):
    """Answers every question with nonsense, then with what it is told to."""

    def __init__(self, replies: list[Callable[[bytes], bytes]]) -> None:
        self.replies = replies

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        for reply in self.replies:
            self.transport.sendto(reply(data), addr)  # type: ignore[attr-defined]


async def test_replies_that_answer_something_else_are_not_listened_to() -> None:
    import dns.message
    import dns.rrset

    def right(query: bytes) -> bytes:
        asked = dns.message.from_wire(query)
        reply = dns.message.make_response(asked)
        name = asked.question[0].name
        reply.answer.append(dns.rrset.from_text(name, 7, "IN", "CNAME", "real.example."))
        reply.answer.append(dns.rrset.from_text("real.example.", 3, "IN", "A", "10.0.0.1", "10.0.0.2"))
        return reply.to_wire()

    def another(query: bytes) -> bytes:
        return bytes([query[0] ^ 1]) + right(query)[1:]

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Liar([lambda _: b"nonsense", another, right]), local_addr=("127.0.0.1", 0)
    )
    try:
        server = DnsServer("127.0.0.1", transport.get_extra_info("sockname")[1])
        assert await DirectNames("plumber.", 8000, server, ResolvConf()).lookup() == Found((A, B), 3.0)
    finally:
        transport.close()


async def test_srv_records_of_two_families_and_answers_that_are_cut() -> None:
    """CoreDNS has a target for each family; and a UDP answer may be cut in the middle of a record."""
    import dns.message
    import dns.rrset

    def reply(query: bytes) -> bytes:
        asked = dns.message.from_wire(query)
        made = dns.message.make_response(asked)
        records = ["0 50 9000 10-0-0-1.p.", "0 50 9000 fd00--1.p.", "0 50 9000 pod-b.p."]
        made.answer.append(dns.rrset.from_text(asked.question[0].name, 5, "IN", "SRV", *records))
        for name, kind, address in (("10-0-0-1.p.", "A", "10.0.0.1"), ("fd00--1.p.", "AAAA", "fd00::1"),
                                    ("pod-b.p.", "A", "10.0.0.2")):  # fmt: skip
            made.additional.append(dns.rrset.from_text(name, 5, "IN", kind, address))
        return made.to_wire()

    def cut(query: bytes) -> bytes:
        whole = bytearray(reply(query)[:60])
        whole[2] |= 2
        return bytes(whole)

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = reply(await reader.readexactly(size))
        writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(over_tcp, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(lambda: Liar([cut]), local_addr=("127.0.0.1", port))
        try:
            found = await DirectNames("p.", None, DnsServer("127.0.0.1", port), ResolvConf()).lookup()
        finally:
            transport.close()
    assert found == Found((Endpoint("10.0.0.1", 9000), Endpoint("10.0.0.2", 9000, "pod-b")), 5.0)


async def test_polling_heeds_the_ttl_and_whoever_is_in_a_hurry() -> None:
    loop = asyncio.get_running_loop()
    moments: list[float] = []

    async def lookup() -> Answer:
        moments.append(loop.time())
        return Found((A,), ttl=0.0 if len(moments) == 1 else 60.0)

    polling = Polling(lookup, "a test", 60)
    async with asyncio.timeout(10), heard(polling) as answers:
        await anext(answers)
        await anext(answers)  # a TTL of 0 is not "at once"
        assert 0.9 < moments[1] - moments[0] < 2
        polling.hurry()
        await anext(answers)
        assert 0.9 < moments[2] - moments[1] < 2
