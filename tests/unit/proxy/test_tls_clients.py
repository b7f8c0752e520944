"""Handshakes with clients: their limits, their failures, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from faucet.proxy.tls_clients import STEPS_PER_TURN, TlsClients
from tests.support.scripted import PATIENCE, Peer, Stage, tls_of_localhost
from tests.support.talk import GET, OK, OpenStage, lock_is_given_back, post
from tests.support.tls_peer import TlsWriter, connect_tls


@pytest.fixture
async def secure() -> AsyncIterator[Callable[..., object]]:
    """A stage whose clients speak TLS."""
    stages: list[Stage] = []

    async def open_stage(seconds: float = 10.0, **settings: object) -> Stage:
        stage = Stage(**settings)
        stage.tls = tls_of_localhost()
        stage.handshake_seconds = seconds
        stages.append(stage)
        await stage.open(1)
        return stage

    yield open_stage
    for stage in stages:
        await stage.close()


def clients_of(stage: Stage) -> TlsClients:
    assert stage.proxy.tls is not None
    return stage.proxy.tls


async def failed(stage: Stage, reason: str) -> None:
    """Wait until a handshake has failed, and see that nothing is left of it."""
    async with asyncio.timeout(PATIENCE):
        while not clients_of(stage).failed[reason] or len(clients_of(stage)):
            await asyncio.sleep(0.005)
    assert clients_of(stage).failed == {reason: 1}


def client_hello(context: ssl.SSLContext | None = None) -> bytes:
    """The first bytes of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = (context or tls_of_localhost().client).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def shake(peer: Peer, context: ssl.SSLContext) -> Any:
    return await connect_tls(peer.reader, peer.writer, context)  # type: ignore[arg-type]


async def in_a_request(stage: Stage) -> tuple[Peer, Peer]:
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    return client, worker


# -- the end of a client ----------------------------------------------------------------------------------------


async def test_an_end_with_close_notify_gets_its_answer_and_one_without_has_left(secure: OpenStage) -> None:
    stage = await secure()
    client, worker = await in_a_request(stage)
    cast("TlsWriter", client.writer).notify()
    await asyncio.sleep(0.02)
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_end()
    assert (await stage.outcome()).status == 200

    client = await stage.client()
    await client.send(GET)
    await worker.expect(GET)
    cast("TlsWriter", client.writer).cut()
    await client.expect_reset()
    assert stage.proxy.pool.dispatcher.locked == 1, "the worker is at work still"
    await worker.send(OK)
    assert (await stage.outcome(2)).status == 499
    await lock_is_given_back(stage, worker)


async def test_a_body_that_is_cut_reaches_no_worker(secure: OpenStage) -> None:
    stage = await secure()
    for number, end in enumerate(("cut", "write_eof"), 1):
        client = await stage.client()
        await client.send(post(b"12345", length=10))
        getattr(client.writer, end)()
        await stage.outcome(number)
    await stage.worker.expect_no_connection()


# -- handshakes that fail ---------------------------------------------------------------------------------------


async def test_a_deadline_however_it_drips(secure: OpenStage) -> None:
    stage = await secure(seconds=0.2)
    client = await stage.plain_client()
    with pytest.raises(ConnectionError):
        await drip(client, client_hello())
    await failed(stage, "timeout")


async def drip(client: Peer, data: bytes) -> None:
    for octet in data:
        await client.send(bytes((octet,)))
        await asyncio.sleep(0.02)


async def test_a_client_that_only_connects(secure: OpenStage) -> None:
    """As the probes of load balancers do."""
    stage = await secure()
    client = await stage.plain_client()
    client.close()
    await failed(stage, "left")


async def test_plain_http_is_told_what_the_port_speaks(secure: OpenStage) -> None:
    stage = await secure()
    client = await stage.plain_client()
    await client.send(post(b"x" * 100))
    status, answer = await client.read_answer()
    assert (status, b"This port speaks HTTPS" in answer) == (400, True)
    await client.expect_end()
    await failed(stage, "plain_http")
    record = await stage.outcome()
    assert (record.method, record.status, record.worker) == (b"POST", 400, "")


async def test_anything_else_is_closed(secure: OpenStage, caplog: pytest.LogCaptureFixture) -> None:
    stage = await secure()
    with caplog.at_level("INFO", "faucet"):
        client = await stage.plain_client()
        await client.send(b"\0\0\0")
        await client.expect_gone()
        await failed(stage, "not_tls")
    assert "TLS handshake with 127.0.0.1: the client sent something other than TLS" in caplog.text


async def test_a_client_that_does_not_trust_the_certificate(secure: OpenStage) -> None:
    stage = await secure()
    client = await stage.plain_client()
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(client, ssl.create_default_context())
    client.close()
    async with asyncio.timeout(PATIENCE):
        while len(clients_of(stage)):
            await asyncio.sleep(0.005)
    assert sum(clients_of(stage).failed.values()) == 1


async def test_versions_that_have_nothing_in_common(secure: OpenStage, caplog: pytest.LogCaptureFixture) -> None:
    stage = await secure()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    client = await stage.plain_client()
    with caplog.at_level("INFO", "faucet"), pytest.raises((ssl.SSLError, ConnectionError)):
        await shake(client, old)
    await failed(stage, "version")
    assert "see --tls-min" in caplog.text


async def test_the_same_failure_is_logged_once_a_minute(secure: OpenStage, caplog: pytest.LogCaptureFixture) -> None:
    stage = await secure()
    with caplog.at_level("INFO", "faucet"):
        for _ in range(3):
            clients_of(stage).count_failure("cipher", "10.0.0.7", "")
        clients_of(stage).count_failure("other", "10.0.0.7", "what OpenSSL says")
    assert len(caplog.records) == 2
    assert clients_of(stage).failed == {"cipher": 3, "other": 1}


# -- limits -----------------------------------------------------------------------------------------------------


async def test_beyond_the_limit_the_oldest_makes_room_unless_it_has_just_begun(secure: OpenStage) -> None:
    stage = await secure()
    tls = clients_of(stage)
    tls.at_once = 2
    waiting = [await stage.plain_client() for _ in range(2)]
    async with asyncio.timeout(PATIENCE):
        while len(tls) < 2:
            await asyncio.sleep(0.005)
    assert not tls.has_room(0), "all are new"
    next(iter(tls._under_way)).began -= 2
    assert tls.has_room(0)
    await waiting[0].expect_gone()
    await waiting[1].expect_quiet()
    assert tls.failed == {"limit": 1}


async def test_what_is_in_its_handshake_takes_a_descriptor_too(
    secure: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await secure()
    client = await stage.plain_client()
    tls = clients_of(stage)
    async with asyncio.timeout(PATIENCE):
        while not len(tls):
            await asyncio.sleep(0.005)
    asked: list[int] = []
    monkeypatch.setattr(stage.proxy.pool.descriptors, "has_room", lambda count: asked.append(count) or True)
    assert tls.has_room(3)
    assert asked == [4]
    client.close()


class Silent(asyncio.Transport):
    """Swallows what is written."""

    def __init__(self, written: list[int]) -> None:
        super().__init__()
        self._written = written

    def write(self, data: Any) -> None:
        self._written.append(len(data))

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def test_many_at_once_take_turns_with_everything_else(secure: OpenStage) -> None:
    stage = await secure()
    hello = client_hello()
    written: list[int] = []
    for _ in range(3 * STEPS_PER_TURN):
        handshake = clients_of(stage).accept()
        handshake.connection_made(Silent(written))
        handshake.data_received(hello)
    seen = []
    while len(written) < 3 * STEPS_PER_TURN:
        await asyncio.sleep(0)
        seen.append(len(written))
    steps = [after - before for before, after in zip([0, *seen], seen, strict=False)]
    assert max(steps) <= STEPS_PER_TURN
    assert len(seen) <= 5, "and no turn is lost"
    clients_of(stage).close()


# -- before and after -------------------------------------------------------------------------------------------


async def test_a_proxy_header_comes_before_tls(secure: OpenStage) -> None:
    stage = await secure(proxy_protocol=True, forwarded=True)
    raw = await stage.plain_client()
    await raw.send(b"PROXY TCP4 203.0.113.9 10.0.0.1 5000 443\r\n")
    client = Peer(*await shake(raw, tls_of_localhost().client))
    await client.send(GET)
    worker = await stage.worker.connection()
    head = await worker.read_head()
    assert b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n" in head
    await worker.send(OK)
    await client.expect(OK)
    assert (await stage.outcome()).client == "203.0.113.9"


async def test_without_a_proxy_header_nothing_is_answered(secure: OpenStage) -> None:
    stage = await secure(proxy_protocol=True)
    client = await stage.plain_client()
    await client.send(client_hello())
    await client.expect_gone()
    await failed(stage, "proxy_header")


async def test_a_handshake_in_progress_at_the_end_is_waited_for(secure: OpenStage) -> None:
    stage = await secure()
    slow, silent = await stage.plain_client(), await stage.plain_client()
    async with asyncio.timeout(PATIENCE):
        while len(clients_of(stage)) < 2:
            await asyncio.sleep(0.005)
    draining = asyncio.ensure_future(stage.proxy.drain(PATIENCE))
    client = Peer(*await shake(slow, tls_of_localhost().client))
    await client.send(GET)
    assert (await client.read_answer())[0] == 503
    await client.expect_end()
    assert not draining.done()
    assert await draining
    await silent.expect_gone()


async def test_what_comes_with_the_last_part_of_the_handshake_is_read(secure: OpenStage) -> None:
    """Clients of TLS 1.3 send Finished and the request at once; the server's session tickets cross them."""
    stage = await secure()
    raw = await stage.plain_client()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_of_localhost().client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    await raw.send(outgoing.read())
    while outgoing.pending == 0:
        incoming.write(await raw.reader.read(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
    tls.write(GET)
    await raw.send(outgoing.read())
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await stage.outcome()
