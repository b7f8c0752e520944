"""WebSocket conversations through Faucet that must be, byte for byte, those with the worker itself.

The cases are in the order of the Autobahn suite, whose own program runs on Python 2 only: framing, pings, reserved
bits, opcodes, fragments, UTF-8, closes, large frames; each sent whole, in pieces, and byte by byte. Some clients leave
early.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tests.corpora.rig import Rig

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""RFC 6455, 1.3."""

MASK = b"\x11\x22\x33\x44"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

SECONDS = 20.0
"""For one conversation."""


def frame(opcode: int, payload: bytes = b"", final: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One frame of a client (RFC 6455, 5.2)."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + (MASK + mask(payload) if masked else payload)


def mask(payload: bytes) -> bytes:
    """RFC 6455, 5.3."""
    size = len(payload)
    key = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


END = frame(CLOSE, struct.pack("!H", 1000))


class Case(NamedTuple):
    """What a client sends behind its handshake; the worker then closes."""

    name: str
    data: bytes


def cases() -> Iterator[Case]:
    """All of them."""
    for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 65537):
        yield Case(f"text of {size}", frame(TEXT, b"*" * size) + END)
        yield Case(f"binary of {size}", frame(BINARY, os.urandom(size)) + END)
    yield from pings()
    for reserved in range(1, 8):
        yield Case(f"reserved bits {reserved}", frame(TEXT, b"a") + frame(TEXT, b"b", reserved=reserved) + END)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"opcode {opcode}", frame(TEXT, b"a") + frame(opcode, b"b") + frame(PING) + END)
    yield from fragments()
    yield from texts()
    yield from closes()
    yield Case("no mask", frame(TEXT, b"a", masked=False) + END)
    yield Case("4 MiB", frame(BINARY, os.urandom(4 << 20)) + END)
    yield Case("256 KiB in 1024 fragments", split(b"x" * (256 << 10), 256) + END)
    yield Case("1000 messages", b"".join(frame(TEXT, b"%d" % number) for number in range(1000)) + END)


def pings() -> Iterator[Case]:
    """Autobahn's 2."""
    for size in (0, 8, 125, 126):
        yield Case(f"ping of {size}", frame(PING, b"p" * size) + frame(TEXT, b"a") + END)
    yield Case("pong unasked", frame(PONG, b"x") + frame(PING) + END)
    yield Case("ten pings", b"".join(frame(PING, b"%d" % number) for number in range(10)) + END)


def split(payload: bytes, size: int, between: bytes = b"") -> bytes:
    """A text in fragments of so many bytes, with something between them."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    opcodes = [TEXT] + [CONTINUATION] * (len(pieces) - 1)
    frames = [frame(op, piece, final=False) for op, piece in zip(opcodes[:-1], pieces[:-1], strict=True)]
    return between.join([*frames, frame(opcodes[-1], pieces[-1])])


def fragments() -> Iterator[Case]:
    """Autobahn's 5."""
    yield Case("fragments", split(b"hello, world", 5) + END)
    yield Case("pings between fragments", split(b"hello, world", 5, frame(PING, b"p")) + END)
    yield Case("empty fragments", frame(TEXT, final=False) + frame(CONTINUATION, final=False) + frame(0) + END)
    yield Case("nothing to continue", frame(CONTINUATION, b"x") + END)
    yield Case("text within fragments", frame(TEXT, b"a", final=False) + frame(TEXT, b"b") + END)
    yield Case("a ping in fragments", frame(PING, b"a", final=False) + frame(CONTINUATION, b"b") + END)
    yield Case("close within fragments", frame(TEXT, b"a", final=False) + END)


def texts() -> Iterator[Case]:
    """Autobahn's 6."""
    word = "Hello-µ@ßöäüàá-κόσμε-\U0001f600".encode()
    yield Case("UTF-8", frame(TEXT, word) + END)
    yield Case("UTF-8 in fragments of a byte", split(word, 1) + END)
    for wrong in (b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xff", word[:-1]):
        yield Case(f"not UTF-8: {wrong[:4].hex()}", frame(TEXT, wrong) + END)


def closes() -> Iterator[Case]:
    """Autobahn's 7."""
    yield Case("close", frame(CLOSE))
    yield Case("close of a byte", frame(CLOSE, b"x"))
    yield Case("close twice, and a text", END + END + frame(TEXT, b"late"))
    yield Case("close with a reason", frame(CLOSE, struct.pack("!H", 1000) + b"r" * 123))
    yield Case("close with too long a reason", frame(CLOSE, struct.pack("!H", 1000) + b"r" * 124))
    yield Case("close with no UTF-8", frame(CLOSE, struct.pack("!H", 1000) + b"\xff"))
    for code in (0, 999, 1001, 1004, 1005, 1006, 1012, 1015, 1016, 2999, 3000, 4999, 5000, 65535):
        yield Case(f"close {code}", frame(CLOSE, struct.pack("!H", code)))
    yield Case("close by the worker", frame(TEXT, b"close") + frame(CLOSE, struct.pack("!H", 4000)))


def ways(data: bytes) -> Iterator[tuple[str, int]]:
    """In which pieces it is sent: how it is called, and the bytes of each."""
    yield "whole", len(data)
    yield "in pieces", 997 if len(data) < 1 << 20 else 65_521
    if len(data) < 300:
        yield "byte by byte", 1


async def converse(port: int, data: bytes, size: int) -> bytes:
    """What comes back behind the head of the handshake, up to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(HANDSHAKE)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            sending = asyncio.ensure_future(send(writer, data, size))
            came = b""
            try:
                while piece := await reader.read(1 << 16):
                    came += piece
            except ConnectionResetError:
                came += b"(reset)"
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            return came
    finally:
        writer.transport.abort()


async def send(writer: asyncio.StreamWriter, data: bytes, size: int) -> None:
    """Send it in pieces of so many bytes."""
    for at in range(0, len(data), max(size, 1)):
        writer.write(data[at : at + size])
        await writer.drain()
        await asyncio.sleep(0)


async def leave_early(port: int, source: random.Random) -> None:
    """A client that goes in the middle of something."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = HANDSHAKE + frame(BINARY, b"x" * 100_000)
    writer.write(data[: source.randint(1, len(data))])
    if source.random() < 0.5:
        await reader.read(source.randint(1, 300))
    if source.random() < 0.3:
        writer.write_eof()
        await asyncio.wait_for(reader.read(), SECONDS)
    writer.transport.abort()


async def compare(rig: Rig, direct: int) -> int:
    """All conversations, there and through Faucet; how many."""
    count = 0
    for case in cases():
        for way, size in ways(case.data):
            count += 1
            try:
                expected = await converse(direct, case.data, size)
                got = await converse(rig.port, case.data, size)
            except TimeoutError:
                rig.wrong(f"{case.name}, {way}: it does not end")
                continue
            if got != expected:
                rig.wrong(f"{case.name}, {way}: {got[-60:]!r} of {len(got)}, not {expected[-60:]!r} of {len(expected)}")
    return count


async def suite(rig: Rig, direct: int) -> None:
    """The conversations, with clients between them that leave early."""
    source = random.Random(1)
    leavers = asyncio.gather(*(leave_early(rig.port, source) for _ in range(60)), return_exceptions=True)
    count = await compare(rig, direct)
    rig.row.wrong += [f"a client that leaves: {error!r}" for error in await leavers if isinstance(error, TimeoutError)]
    rig.row.said = f"{count} conversations, 60 clients that left early"


def websocket(rig: Rig) -> None:
    """All of it. The worker is asked at its own port, too: a WebSocket holds no lock."""
    asyncio.run(suite(rig, rig.status()["workers"][0]["port"]))
