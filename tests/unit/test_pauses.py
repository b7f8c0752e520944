"""Pauses: noticed, told, and not counted. A blocked loop is a pause, as far as a loop can tell."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Iterator
from time import monotonic
from typing import Any, cast

import dns.message
import pytest

from faucet import pauses
from faucet.net.connect import connect_tcp
from faucet.pauses import Pauses
from faucet.pods.discovery import dns_server
from faucet.pods.discovery.dns_server import DnsServer
from faucet.proxy.deadlines import Timeouts
from faucet.ssh.link import _opened

pytestmark = pytest.mark.quiet

PAUSE = 0.6


@pytest.fixture
async def noticed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pauses]:  # type: ignore[misc]
    monkeypatch.setattr(pauses, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(pauses, "PAUSE_SECONDS", 0.2)
    noticed = Pauses(asyncio.get_running_loop())
    yield noticed
    noticed.close()


async def test_a_pause_is_told_once_and_counted_for_what_began_before_it(
    noticed: Pauses, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("faucet"), "propagate", True)
    began = monotonic()
    await asyncio.sleep(0.3)
    assert noticed.since(began) == 0
    time.sleep(PAUSE)
    assert PAUSE <= noticed.since(began) < PAUSE + 0.3
    after = monotonic()
    await asyncio.sleep(0.3)
    assert noticed.since(after) == 0
    assert noticed.since(began) < PAUSE + 0.3
    assert caplog.text.count("Faucet was paused for") == 1


async def test_half_of_a_pause_counts_for_what_began_within_it(noticed: Pauses) -> None:
    await asyncio.sleep(0.15)
    time.sleep(PAUSE / 2)
    moment = monotonic()
    time.sleep(PAUSE / 2)
    assert noticed.since(moment) == pytest.approx(PAUSE / 2, abs=0.05)


async def test_a_deadline_does_not_count_a_pause(noticed: Pauses) -> None:
    expired: list[float] = []
    timeouts: Timeouts[str] = Timeouts(
        asyncio.get_running_loop(), 0.5, lambda item: expired.append(monotonic()), noticed.since
    )
    began = monotonic()
    timeouts.touch("a")
    await asyncio.sleep(0.2)
    time.sleep(PAUSE)
    await asyncio.sleep(0.1)
    assert expired == []
    await asyncio.sleep(0.5)
    assert len(expired) == 1
    assert expired[0] - began >= 0.5 + PAUSE
    timeouts.close()


async def test_a_call_and_a_wait_do_not_count_it_either(noticed: Pauses) -> None:
    called: list[float] = []
    began = monotonic()
    noticed.after(0.5, lambda: called.append(monotonic()))
    waiting = asyncio.ensure_future(within(0.5, asyncio.sleep(0.7, "done")))
    await asyncio.sleep(0.1)
    time.sleep(PAUSE)
    assert await waiting == "done", "it was given half a second, beside the pause"
    assert called == []
    await asyncio.sleep(0.6)
    assert len(called) == 1
    assert called[0] - began >= 0.5 + PAUSE


async def within(seconds: float, awaitable: Awaitable[object]) -> object:
    async with pauses.timeout(seconds):
        return await awaitable


async def test_a_wait_that_is_over_cancels_what_it_waited_for(noticed: Pauses) -> None:
    cancelled = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TimeoutError):
        await within(0.05, forever())
    assert cancelled.is_set()
    with pytest.raises(ZeroDivisionError):
        await within(1, fails())
    waiting = asyncio.ensure_future(within(5, forever()))
    cancelled.clear()
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert cancelled.is_set()


async def test_what_was_answered_during_a_pause_counts_as_in_time(
    noticed: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has come after less than the deadline, and nobody was there to read it: a connection, a channel of an
    SSH link, a name server."""
    monkeypatch.setattr(dns_server, "PATIENCE", 0.3)
    slow = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.2)
        return slow(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(type=socket.SOCK_DGRAM) as names:
        names.bind(("127.0.0.1", 0))
        waiting = [
            asyncio.ensure_future(connect_tcp(asyncio.Protocol, "localhost", server.getsockname()[1], 0.3)),
            asyncio.ensure_future(_opened(asyncio.to_thread(time.sleep, 0.2), cast("Any", None), 0.3)),
            asyncio.ensure_future(DnsServer(*names.getsockname()).ask("a.", "A")),
        ]
        answering = threading.Thread(target=answer_query, args=(names,))
        answering.start()
        await asyncio.sleep(0.05)
        time.sleep(PAUSE)
        (transport, _), _, _ = await asyncio.gather(*waiting)
        transport.abort()
        answering.join()


def answer_query(names: socket.socket) -> None:
    query, client = names.recvfrom(512)
    time.sleep(0.2)
    names.sendto(dns.message.make_response(dns.message.from_wire(query)).to_wire(), client)


async def test_a_call_that_is_late_lets_the_loop_read_first() -> None:
    """Also after a stall that is too short to be called a pause."""
    loop = asyncio.get_running_loop()
    noticed = Pauses(loop)
    waiting = asyncio.ensure_future(within(0.2, asyncio.to_thread(time.sleep, 0.1)))
    await asyncio.sleep(0.05)
    time.sleep(0.5)
    await waiting
    noticed.close()


async def fails() -> None:
    raise ZeroDivisionError


async def test_a_late_timer_lets_the_loop_read_first() -> None:
    """Also after a stall that is too short to be called a pause."""
    loop = asyncio.get_running_loop()
    expired: list[str] = []
    timeouts: Timeouts[str] = Timeouts(loop, 0.2, expired.append)
    timeouts.touch("in time")
    timeouts.touch("too late")
    reader, writer = await connected(lambda: timeouts.discard("in time"))
    writer.write(b"x")
    time.sleep(0.5)
    await asyncio.sleep(0.1)
    assert expired == ["too late"]
    writer.close()
    reader.close()


async def connected(on_data: object) -> tuple[asyncio.BaseTransport, asyncio.WriteTransport]:
    """Two ends of a connection; `on_data` is called when the first of them has something to read."""
    import socket

    class Reading(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            on_data()  # type: ignore[operator]

    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    reader, _ = await loop.connect_accepted_socket(Reading, ours)
    writer, _ = await loop.connect_accepted_socket(asyncio.Protocol, theirs)
    return reader, writer
