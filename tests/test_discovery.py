"""Which endpoints a service has: the answers of DNS and of the Kubernetes API, and what follows from them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.cli.main import main
from faucet.net.address import Address
from faucet.net.commands import LocalPrograms
from faucet.net.service_url import ServiceUrl, parse_dns_server, parse_service_url
from faucet.pods.discovery.choose import CannotResolve, choose
from faucet.pods.discovery.dns import DirectNames, ResolvConf, parse_resolv_conf
from faucet.pods.discovery.dns_server import DnsServer
from faucet.pods.discovery.endpoint_slices import ServiceName, SliceSet, service_of
from faucet.pods.discovery.endpoints import (
    Answer,
    Denied,
    Endpoint,
    Found,
    Missing,
    Resolver,
    Trouble,
    Unusable,
    one_family,
)
from faucet.pods.discovery.getaddrinfo import SystemNames, absolute
from faucet.pods.discovery.in_cluster import InCluster, in_cluster
from faucet.pods.discovery.kubernetes import Fallback, Kubectl, Slices
from faucet.pods.discovery.polling import Fixed, Polling
from faucet.pods.endpoint_set import EndpointSet
from tests.support.kubeapi import Endpoint as ApiEndpoint
from tests.support.kubeapi import KubeApi

A, B = Endpoint("10.0.0.1", 8000), Endpoint("10.0.0.2", 8000)
SERVICE = ServiceName("plumber", "default")

# -- the roster ---------------------------------------------------------------------------------------------------

ANSWERS = st.one_of(
    st.builds(Found, st.lists(st.sampled_from([A, B, A._replace(ready=False)]), unique_by=lambda e: e.key).map(tuple)),
    st.just(Missing("gone")),
    st.just(Trouble("down")),
)


@given(st.lists(ANSWERS, max_size=30))
def test_a_roster_is_what_the_answers_say(answers: list[Answer]) -> None:
    endpoint_set = EndpointSet()
    expected: set[Endpoint] = set()
    missing = 0
    for moment, answer in enumerate(answers):
        before = dict(endpoint_set.endpoints)
        changed = endpoint_set.apply(answer, float(moment))
        missing = missing + 1 if isinstance(answer, Missing) else 0
        if isinstance(answer, Found):
            expected = set(answer.endpoints)
            assert endpoint_set.trouble == ""
            assert endpoint_set.known_since == moment
        elif missing >= 2:
            expected = set()
        assert set(endpoint_set.endpoints.values()) == expected
        assert changed == (before != endpoint_set.endpoints)
        assert set(endpoint_set.ready) == {endpoint for endpoint in expected if endpoint.ready}


def test_trouble_between_two_missing_answers_begins_the_count_anew() -> None:
    endpoint_set = EndpointSet()
    endpoint_set.apply(Found((A,)), 0)
    for answer in (Missing("gone"), Trouble("down"), Missing("gone")):
        assert not endpoint_set.apply(answer, 1)
    assert endpoint_set.apply(Missing("gone"), 2)
    assert endpoint_set.trouble == "gone"


def test_other_addresses_of_the_same_pods_are_not_believed_at_once() -> None:
    """glibc tells the IPv6 addresses alone when the question for the others failed: each would be a second lock."""
    endpoint_set = EndpointSet()
    six = Found((Endpoint("fd00::1", 8000),))
    endpoint_set.apply(Found((A, B)), 0)
    for _ in range(3):
        assert not endpoint_set.apply(six, 1)
        assert set(endpoint_set.ready) == {A, B}
    assert endpoint_set.apply(six, 2)
    assert endpoint_set.ready == list(six.endpoints)


def test_one_worker_has_one_address() -> None:
    assert one_family(["::1", "127.0.0.1", "127.0.0.1"]) == ["127.0.0.1"]
    assert one_family(["fd00::2", "fd00::1"]) == ["fd00::1", "fd00::2"]
    assert one_family(["10.0.0.10", "10.0.0.9"]) == ["10.0.0.9", "10.0.0.10"]
    assert one_family([]) == []
    with pytest.raises(ValueError, match="nobody"):
        one_family(["nobody"])


# -- what users write ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://plumber:8000", ServiceUrl("http", "plumber", 8000)),
        ("https://plumber.api.svc.cluster.local.", ServiceUrl("https", "plumber.api.svc.cluster.local.", None)),
        ("http://10.1.2.3:80/", ServiceUrl("http", "10.1.2.3", 80)),
        ("http://[fd00::1]:8000", ServiceUrl("http", "fd00::1", 8000)),
    ],
)
def test_service_urls(text: str, url: ServiceUrl) -> None:
    assert parse_service_url(text) == url
    assert str(url) == text.removesuffix("/")


@pytest.mark.parametrize(
    "text",
    ["plumber:8000", "plumber", "ftp://plumber", "http://", "http://a b", "http://x:99999", "http://plumber/api",
     "http://me@plumber", "http://-x", "http://" + "a" * 254, "http://x?y"],
)  # fmt: skip
def test_what_is_no_service_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid service URL .*; expected e\.g\. http://plumber:8000"):
        parse_service_url(text)


def test_dns_servers() -> None:
    assert parse_dns_server("10.96.0.10") == Address("10.96.0.10", 53)
    assert parse_dns_server("10.96.0.10:5353") == Address("10.96.0.10", 5353)
    assert parse_dns_server("fd00::a") == Address("fd00::a", 53)
    assert parse_dns_server("[fd00::a]:54") == Address("fd00::a", 54)
    for text in ("dns.example", "10.96.0.10:", "10.96.0.10:0", "10.96.0.10:x", ""):
        with pytest.raises(ValueError, match="invalid DNS server"):
            parse_dns_server(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which service? faucet k8s --service-url http://plumber:8000"),
        (["--service-url", "plumber"], "invalid service URL"),
        (["--service-url", "http://x", "--dns", "y"], "invalid DNS server"),
        (["--service-url", "http://x", "--insecure-skip-verify"], "are for https"),
        (["--service-url", "https://x", "--insecure-skip-verify", "--ca-file", "f"], "use only one of them"),
    ],
)
def test_usage(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["k8s", *words, "--headless"]) == 2
    assert said in capsys.readouterr().err


def test_a_file_without_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    words = ["k8s", "--service-url", "https://x", "--headless", "--ca-file"]
    assert main([*words, str(tmp_path / "ca.pem")]) == 1
    assert main([*words, str(tmp_path / "none.pem")]) == 1
    assert capsys.readouterr().err.count("--ca-file") == 2


# -- DNS ----------------------------------------------------------------------------------------------------------


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


# -- EndpointSlices -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def api_of(tmp_path: Path) -> AsyncIterator[tuple[KubeApi, InCluster]]:
    """A fake API server, and our client for it."""
    async with KubeApi(tmp_path / "api") as api:
        account = api.service_account(tmp_path / "account")
        source = in_cluster(api.in_cluster_env, account)
        assert source is not None
        yield api, source


@asynccontextmanager
async def heard(resolver: Resolver) -> AsyncIterator[AsyncIterator[Answer]]:
    """What it says, while it goes on by itself, as it does in a service."""
    said: asyncio.Queue[Answer | Exception] = asyncio.Queue()

    async def listen() -> None:
        try:
            async with aclosing(resolver.answers()) as answers:
                async for answer in answers:
                    said.put_nowait(answer)
        except Exception as error:
            said.put_nowait(error)

    async def tell() -> AsyncIterator[Answer]:
        while True:
            async with asyncio.timeout(15):
                answer = await said.get()
            if isinstance(answer, Exception):
                raise answer
            yield answer

    listening = asyncio.ensure_future(listen())
    try:
        yield tell()
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def take(answers: AsyncIterator[Answer], wanted: Callable[[Answer], bool]) -> Answer:
    """The first answer that is as wanted."""
    async with asyncio.timeout(10):
        async for answer in answers:
            if wanted(answer):
                return answer
    raise AssertionError("it ended")


def names(answer: Answer) -> list[str]:
    return [endpoint.name for endpoint in answer.endpoints] if isinstance(answer, Found) else []


POD_A, POD_B = ApiEndpoint("10.0.0.1", "plumber-a"), ApiEndpoint("10.0.0.2", "plumber-b")


async def test_list_watch_and_what_breaks_them(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        slices = Slices(source, SERVICE, 8000, "http")
        async with heard(slices) as answers:
            assert await anext(answers) == Found((Endpoint("10.0.0.1", 8000, "plumber-a"),))
            await api.wait_watch()
            api.set_slice("two", "plumber", [POD_B])
            assert names(await anext(answers)) == ["plumber-a", "plumber-b"]
            api.set_slice("other", "another", [ApiEndpoint("10.0.0.9", "x")])
            api.bookmark()
            api.delete_slice("one")
            assert names(await anext(answers)) == ["plumber-b"]
            api.end_watches()
            assert names(await anext(answers)) == ["plumber-b"]
            for number, breaks in enumerate((api.cut, lambda: api.cut(reset=True))):
                await api.wait_watch()
                breaks()
                api.set_slice("one", "plumber", [POD_A] if number % 2 else [])
                expected = ["plumber-a", "plumber-b"] if number % 2 else ["plumber-b"]
                await take(answers, lambda answer, expected=expected: names(answer) == expected)  # type: ignore[misc]


@pytest.mark.parametrize("http", [False, True], ids=["as an event", "as a status"])
async def test_a_version_that_is_forgotten(tmp_path: Path, http: bool) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        api.gone_once(http=http)
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            assert names(await anext(answers)) == ["plumber-a"]
            assert names(await anext(answers)) == ["plumber-a"], "listed anew, without a word"
            await api.wait_watch()
            assert len([request for request in api.log if "watch" not in request.query]) == 2


async def test_the_token_is_read_again(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        slices = Slices(source, SERVICE, 8000, "http")
        async with heard(slices) as answers:
            assert names(await anext(answers)) == ["plumber-a"]
            await api.wait_watch()
            api.token = "another"
            api.cut()
            refused = await take(answers, lambda answer: isinstance(answer, Trouble) and "401" in answer.text)
            assert "the Kubernetes API refused with 401" in str(refused)
            api.service_account(tmp_path / "account")
            assert names(await take(answers, lambda answer: isinstance(answer, Found))) == ["plumber-a"]


@pytest.mark.parametrize(("status", "said"), [(403, "kind: Role\n"), (401, "automountServiceAccountToken")])
async def test_who_is_denied_falls_back(
    tmp_path: Path, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with api_of(tmp_path) as (api, source):
        api.forbid = status
        resolver: Resolver = Fallback(Slices(source, SERVICE, 8000, "http"), Fixed(B))
        async with heard(resolver) as answers:
            assert await anext(answers) == Found((B,))
        assert said in caplog.text
        assert "Using one address instead." in caplog.text
        assert "resources: [endpointslices]" in caplog.text or status != 403


async def test_a_server_that_fails_silent_or_down_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faucet.pods.discovery.in_cluster.PATIENCE", 0.3)
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            api.forbid = 503
            assert "503" in str(await anext(answers))
            api.forbid = None
            api.silent = True
            assert await anext(answers) == Trouble("the Kubernetes API: it did not answer in time")
            await api.down()
            assert "refused" in str(await take(answers, lambda answer: "refused" in str(answer)))
            api.silent = False
            await api.up()
            assert names(await take(answers, lambda answer: isinstance(answer, Found))) == ["plumber-a"]


async def test_a_watch_that_is_denied_and_an_api_that_never_answers(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        api.denied.add(("watch", "endpointslices"))
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            assert names(await anext(answers)) == ["plumber-a"]
            with pytest.raises(Denied, match="cannot watch resource"):
                await anext(answers)
        await api.down()
        async with heard(Fallback(Slices(source, SERVICE, 8000, "http"), Fixed(B))) as answers:
            assert await take(answers, lambda answer: isinstance(answer, Found)) == Found((B,))


async def test_a_name_that_is_no_service(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (_, source), heard(Slices(source, SERVICE, 8000, "http")) as answers:
        expected = "there are no EndpointSlices of default/plumber: is that the name of a service?"
        assert await anext(answers) == Missing(expected)


async def test_a_certificate_that_is_not_the_clusters(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source), KubeApi(tmp_path / "other") as other:
        shutil.copy(other.ca_file, tmp_path / "account" / "ca.crt")
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            assert "certificate" in str(await anext(answers))


async def test_events_that_come_in_pieces(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.chunk_size = 7
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            assert isinstance(await anext(answers), Missing)
            await api.wait_watch()
            api.set_slice("one", "plumber", [POD_A])
            assert names(await anext(answers)) == ["plumber-a"]


def slice_set(port: int | None, *slices: dict[str, object]) -> SliceSet:
    found = SliceSet(port)
    items = [{"metadata": {"name": str(number)}, "addressType": "IPv4"} | item for number, item in enumerate(slices)]
    found.load({"items": items})
    return found


def one(host: str, **conditions: bool) -> dict[str, object]:
    return {"addresses": [host], "conditions": conditions, "targetRef": {"kind": "Pod", "name": f"pod-{host[-1]}"}}


def test_conditions() -> None:
    """`ready` may be missing or null, which counts as true; what terminates gets nothing new."""
    ports = [{"name": "", "port": 8000}]
    endpoints = [one("10.0.0.1"), one("10.0.0.2", ready=False), one("10.0.0.3", ready=True, terminating=True)]
    endpoints.append({"addresses": ["10.0.0.4"], "conditions": None})
    found = slice_set(8000, {"endpoints": endpoints, "ports": ports}).found()
    assert [(e.ready, e.terminating, e.name) for e in found.endpoints] == [
        (True, False, "pod-1"), (False, False, "pod-2"), (False, True, "pod-3"), (True, False, ""),
    ]  # fmt: skip


def test_an_address_in_two_slices_and_of_two_kinds_is_one_endpoint() -> None:
    ports = [{"port": 8000}]
    slices = [
        {"endpoints": [one("10.0.0.1", ready=False)], "ports": ports},
        {"endpoints": [one("10.0.0.1", ready=True)], "ports": ports},
        {"endpoints": [one("fd00::1")], "ports": ports, "addressType": "IPv6"},
        {"endpoints": None, "ports": None},
    ]
    assert slice_set(8000, *slices).found() == Found((Endpoint("10.0.0.1", 8000, "pod-1"),))
    only_six = slice_set(8000, slices[2], {"endpoints": [], "ports": ports}).found()
    assert [e.host for e in only_six.endpoints] == ["fd00::1"]


def test_which_port() -> None:
    several = {"endpoints": [one("10.0.0.1")], "ports": [{"name": "http", "port": 8000}, {"name": "m", "port": 9}]}
    single = {"endpoints": [one("10.0.0.1")], "ports": [{"name": "api", "port": 8000}]}
    assert slice_set(9, several).found().endpoints[0].port == 9
    assert slice_set(None, several).found().endpoints[0].port == 8000
    assert slice_set(None, single).found().endpoints[0].port == 8000
    behind_a_service = slice_set(80, single).found()
    assert (behind_a_service.endpoints[0].port, behind_a_service.remark) == (8000, "the pods listen on 8000, not on 80")
    with pytest.raises(Unusable, match=r"several ports \(http 8000, m 9\)"):
        slice_set(80, several).found()
    without = {"endpoints": [one("10.0.0.1")], "ports": []}
    assert slice_set(80, without).found().endpoints[0].port == 80
    with pytest.raises(Unusable, match="has no port"):
        slice_set(None, without).found()


def test_which_service() -> None:
    assert service_of("plumber", "here") == ServiceName("plumber", "here")
    assert service_of("plumber.api.svc.cluster.local.", "here") == ServiceName("plumber", "api")


# -- kubectl, the real one ----------------------------------------------------------------------------------------


@pytest.fixture
def kubectl(tool: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """For the fake API server, when that has written its configuration."""
    tool("kubectl")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return Kubectl(LocalPrograms())


async def test_kubectl_lists_and_watches(kubectl: Kubectl, tmp_path: Path) -> None:
    async with KubeApi(tmp_path / "api") as api:
        api.kubeconfig(tmp_path / "kubeconfig", namespace="models")
        assert await kubectl.namespace() == "models"
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(kubectl, SERVICE, 8000, "http")) as answers:
            assert names(await anext(answers)) == ["plumber-a"]
            await api.wait_watch()
            api.set_slice("two", "plumber", [POD_B])
            assert names(await anext(answers)) == ["plumber-a", "plumber-b"]
            api.cut()
            assert isinstance(await anext(answers), Trouble)
            assert names(await anext(answers)) == ["plumber-a", "plumber-b"]
            await api.wait_watch()
        await api.wait(lambda: not api.watches)  # kubectl is gone with the iterator


async def test_kubectl_is_denied(kubectl: Kubectl, tmp_path: Path) -> None:
    async with KubeApi(tmp_path / "api") as api:
        api.kubeconfig(tmp_path / "kubeconfig")
        for status, said in ((403, "needs this Role"), (401, "token is not accepted")):
            api.forbid = status
            async with heard(Slices(kubectl, SERVICE, 8000, "http")) as answers:
                with pytest.raises(Denied, match=said):
                    await anext(answers)


async def test_without_kubectl_there_is_no_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CannotResolve, match="no kubectl here"):
        await choose(parse_service_url("http://plumber:8000"), "kubernetes", None, 5)
    assert isinstance(await choose(parse_service_url("http://10.0.0.1"), "kubernetes", None, 5), Fixed)
    assert "KUBERNETES_SERVICE_HOST" not in os.environ
    assert (await choose(parse_service_url("http://plumber:8000"), "auto", None, 5)).described == "DNS"
