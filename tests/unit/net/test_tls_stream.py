"""TLS on an accepted connection: what the client's protocol sees of it, and what the client does."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from typing import Any, cast

import pytest

from faucet.net.tls_stream import RECORD, UNREAD_REPLIES, TlsStream
from tests.support.scripted import tls_of_localhost


class Below(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes = 0
        self.events: list[str] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "uvloop raises then"
        assert "write_eof" not in self.events
        self.writes += 1
        self.written += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.events.append("close")
        self.closing = True

    def abort(self) -> None:
        self.events.append("abort")
        self.closing = True

    def write_eof(self) -> None:
        self.events.append("write_eof")

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")

    def get_write_buffer_size(self) -> int:
        return len(self.written)


class Upper(asyncio.Protocol):
    """The protocol of a client; `stays`: what it answers to the end of the client's sending side."""

    def __init__(self, stays: bool = True) -> None:
        self.stays = stays
        self.data = bytearray()
        self.pieces = 0
        self.events: list[str] = []
        self.transport: asyncio.BaseTransport | None = None
        self.pauses_at: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pieces += 1
        self.data += data
        if self.pauses_at is not None and len(self.data) >= self.pauses_at:
            cast("TlsStream", self.transport).pause_reading()

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")

    def pause_writing(self) -> None:
        self.events.append("pause_writing")

    def resume_writing(self) -> None:
        self.events.append("resume_writing")


class Scene:
    """A stream with its client, whose handshake is done."""

    def __init__(self, stays: bool = True) -> None:
        tls = tls_of_localhost()
        ins, outs = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.to_client, self.from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = tls.server.context.wrap_bio(ins, outs, server_side=True)
        self.client = tls.client.wrap_bio(self.to_client, self.from_client, server_hostname="localhost")
        done: set[Any] = set()
        while len(done) < 2:
            for side, read, write in ((self.client, self.from_client, ins), (server, outs, self.to_client)):
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
                write.write(read.read())
        self.below = Below()
        self.upper = Upper(stays)
        self.stream = TlsStream(self.below, server, ins, outs)
        self.stream.begin(self.upper)
        self.below.written.clear()
        self.below.writes = 0

    def sent_by_client(self, data: bytes) -> bytes:
        self.client.write(data)
        return self.from_client.read()

    def notify(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.client.unwrap()
        return self.from_client.read()

    def read_by_client(self) -> tuple[bytes, bool]:
        """What the client has got, and whether it ended with a close_notify."""
        self.to_client.write(bytes(self.below.written))
        self.below.written.clear()
        data = bytearray()
        try:
            while part := self.client.read(65536):
                data += part
        except ssl.SSLWantReadError:
            return bytes(data), False
        except ssl.SSLZeroReturnError:
            pass
        return bytes(data), True


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 300_000])
@pytest.mark.parametrize("step", [7001, 1 << 20])
def test_what_the_client_sends_arrives_however_it_is_split(scene: Scene, size: int, step: int) -> None:
    plain = bytes(range(256)) * (size // 256 + 1)
    sent = scene.sent_by_client(plain[:size])
    for start in range(0, len(sent), step):
        scene.stream.data_received(sent[start : start + step])
    assert scene.upper.data == plain[:size]
    if step > len(sent):
        assert scene.upper.pieces == 1, "what arrives in one read is passed on in one piece"


@pytest.mark.parametrize("size", [1, RECORD, RECORD + 1, 1 << 20])
def test_a_write_is_one_write_below_and_what_it_grows_by_is_counted(scene: Scene, size: int) -> None:
    scene.stream.overhead = 0
    scene.stream.write(bytes(size))
    assert scene.below.writes == 1
    assert scene.stream.get_write_buffer_size() == size + scene.stream.overhead
    assert 0 < scene.stream.overhead <= 22 * (size // RECORD + 1)
    assert scene.read_by_client() == (bytes(size), False)


def test_a_cut_is_no_end(scene: Scene) -> None:
    """Bytes that came before count; the FIN without a close_notify is as good as a reset."""
    scene.stream.data_received(scene.sent_by_client(b"half a requ"))
    assert not scene.stream.eof_received()
    assert (bytes(scene.upper.data), scene.upper.events, scene.below.events) == (b"half a requ", [], ["abort"])
    scene.stream.connection_lost(None)
    assert scene.upper.events == ["lost"]


def test_a_close_notify_is_the_end_of_one_direction(scene: Scene) -> None:
    scene.stream.data_received(scene.sent_by_client(b"request") + scene.notify())
    assert (bytes(scene.upper.data), scene.upper.events) == (b"request", ["eof"])
    assert scene.stream.eof_received(), "its FIN changes nothing"
    scene.stream.write(b"response")
    assert scene.read_by_client() == (b"response", False)
    scene.stream.close()
    assert scene.read_by_client() == (b"", True)
    assert scene.below.events == ["close"]


def test_a_protocol_that_does_not_stay_is_closed_in_order() -> None:
    scene = Scene(stays=False)
    scene.stream.data_received(scene.notify())
    assert scene.below.events == ["close"]
    assert scene.read_by_client() == (b"", True)


def test_bytes_behind_a_close_notify_are_discarded(scene: Scene) -> None:
    scene.stream.data_received(scene.notify() + b"\0" * 100)
    scene.stream.data_received(b"\0" * 100_000)
    assert scene.upper.events == ["eof"]
    assert not scene.below.closing
    assert not scene.stream._incoming.pending or scene.stream._incoming.pending <= 100


async def test_while_reading_is_paused_no_end_is_reported(scene: Scene) -> None:
    """As on a plain connection, where it would still be in the kernel."""
    scene.upper.pauses_at = 5
    scene.stream.data_received(scene.sent_by_client(b"ahead") + scene.notify())
    await asyncio.sleep(0)
    assert scene.upper.events == []
    scene.stream.resume_reading()
    assert scene.upper.events == [], "not inside the caller's own step"
    await asyncio.sleep(0)
    scene.stream.resume_reading()
    await asyncio.sleep(0)
    assert scene.upper.events == ["eof"]


def test_after_its_own_end_the_stream_reads_on(scene: Scene) -> None:
    """A refused client may be sending still, and is read to its end, so that it gets the answer."""
    scene.stream.write(b"refused")
    scene.stream.write_eof()
    scene.stream.write(b"never sent")
    assert scene.below.events == ["write_eof"]
    scene.stream.data_received(scene.sent_by_client(b"more"))
    assert scene.read_by_client() == (b"refused", True)
    scene.client.unwrap()
    scene.stream.data_received(scene.from_client.read())
    assert (bytes(scene.upper.data), scene.upper.events, scene.below.events) == (b"more", ["eof"], ["write_eof"])


def test_abort_looks_cut_to_the_client(scene: Scene) -> None:
    scene.stream.write(b"half of it")
    scene.stream.abort()
    scene.stream.write(b"the rest")
    scene.stream.close()
    assert scene.read_by_client() == (b"half of it", False)
    assert scene.below.events == ["abort"]


def test_a_damaged_record_ends_the_connection(scene: Scene) -> None:
    sent = bytearray(scene.sent_by_client(b"request"))
    sent[-1] ^= 1
    scene.stream.data_received(bytes(sent))
    assert (bytes(scene.upper.data), scene.below.events) == (b"", ["abort"])


def test_water_marks_are_those_below(scene: Scene) -> None:
    scene.stream.pause_writing()
    scene.stream.resume_writing()
    assert scene.upper.events == ["pause_writing", "resume_writing"]


def test_replies_to_a_client_that_does_not_read_are_bounded(scene: Scene) -> None:
    """Each key update asks for one (RFC 8446, 4.6.3), and the water marks do not stop reading."""
    for _ in range(3):
        scene.stream._outgoing.write(b"x" * UNREAD_REPLIES)
        scene.stream.data_received(b"")
    assert not scene.below.closing, "a client that reads may ask as often as it likes"
    scene.stream.pause_writing()
    for _ in range(2):
        scene.stream._outgoing.write(b"x" * (UNREAD_REPLIES // 2 + 1))
        scene.stream.data_received(b"")
    assert scene.below.events == ["abort"]


def test_nothing_is_left_of_a_connection_that_is_lost() -> None:
    """The garbage collector runs rarely, so there must be no cycle for it."""
    scene = Scene()
    seen = weakref.ref(scene.upper)
    gc.disable()
    try:
        scene.stream.connection_lost(None)
        del scene
        assert seen() is None
    finally:
        gc.enable()
