"""Many R processes in one program: an address each, and none of them ever has two requests in hand.

    pods.py ADDRESS... --port 8000 [--cert FILE --key FILE]

A request is in hand from the end of its head to just before the last write of its answer, **also when its client has
gone**: that is how R is. Another one meanwhile, on whichever connection, is an offence: answered 500, remembered, and
written to standard error. `/` answers with the address, POST and PUT to any target with "<bytes> <sha256>" of the
body. `/sleep?S` takes S seconds; `/big?N` has N bytes; `/two?N` sends head and body apart; `/drip` begins an answer
of 1000 bytes and `/silent` begins none, until the client has gone; `/reset` resets the connection, `/close` closes it.

These are not counted and are answered by any address at any time: `/served` (of this address), `/offences` (of all),
`/control?ADDRESS=normal|refuse|silent|reset` (done when answered), `/anew`: as if the program had just been started.
Where PODS_BOOK names a file, each request in hand is written into it: `POST /7`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 16
APART = 0.002
"""Seconds between the two writes of `/two`, so that whoever is in between reads them apart."""
MODES = ("normal", "refuse", "silent", "reset")

offences: list[str] = []


@dataclass(frozen=True, eq=False)
class Request:
    """The head of a request."""

    method: str
    path: str
    query: str
    fields: dict[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}?{self.query}"

    @property
    def keeps_alive(self) -> bool:
        return self.fields.get("connection", "").lower() != "close"


class Inbox(asyncio.StreamReader):
    """What came on a connection; knows whether there is more than was asked for."""

    arrived = 0
    taken = 0

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        self.arrived += len(data)
        super().feed_data(data)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:  # type: ignore[override]
        line = await super().readuntil(separator)
        self.taken += len(line)
        return line

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        self.taken += len(data)
        return data

    @property
    def pipelined(self) -> bool:
        return self.arrived > self.taken

    async def head(self) -> Request | None:
        """The next request; None after the last."""
        try:
            lines = (await self.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        method, target, _ = lines[0].split(" ")
        path, _, query = target.partition("?")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return Request(method, path, query, {name.lower(): value.strip() for name, _, value in pairs})

    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Its body, in pieces."""
        if "chunked" not in request.fields.get("transfer-encoding", ""):
            async for piece in self.exactly(int(request.fields.get("content-length", "0"))):
                yield piece
            return
        while size := int((await self.readuntil()).split(b";")[0], 16):
            async for piece in self.exactly(size):
                yield piece
            await self.readuntil()
        while (await self.readuntil()).strip():
            pass

    async def exactly(self, left: int) -> AsyncIterator[bytes]:
        while left:
            piece = await self.read(min(left, CHUNK))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    async def gone(self) -> None:
        """Wait until the client has gone."""
        while await self.read(CHUNK):
            pass


def head_of(length: int, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n".encode()


def write_down(text: str) -> None:
    """One line in the book, if there is one."""
    if path := os.environ.get("PODS_BOOK"):
        with Path(path).open("a") as book:
            book.write(f"{text}\n")


def sever(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: with no time to linger, closing it sends RST."""
    with contextlib.suppress(OSError):  # it is closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Pod:
    """One address."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext | None) -> None:
        self.address, self.port, self.context = address, port, context
        self.mode = "normal"
        self.served = 0
        self.in_hand: Request | None = None
        self.server: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        def connection() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(Inbox(limit=CHUNK), self.converse)  # type: ignore[arg-type]

        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(connection, self.address, self.port, ssl=self.context, backlog=1024)

    async def become(self, mode: str, spare: asyncio.StreamWriter | None) -> None:
        """Any change is that of a process which ended, except that a silent one has not ended."""
        if mode == self.mode:
            return
        self.mode = mode
        if mode != "silent":
            self.end(spare)
        if mode == "refuse":
            assert self.server is not None
            self.server.close()
            self.server = None
        elif self.server is None:
            await self.listen()

    def end(self, spare: asyncio.StreamWriter | None) -> None:
        self.in_hand = None
        for writer in self.writers - {spare}:
            sever(writer)

    async def converse(self, reader: Inbox, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            if self.mode == "reset":
                return sever(writer)
            while (request := await reader.head()) and await self.exchange(request, reader, writer):
                if not request.keeps_alive:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def exchange(self, request: Request, reader: Inbox, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection is still good."""
        if self.mode == "silent":
            await reader.gone()
            return False
        if request.path in ("/served", "/offences", "/control", "/anew"):
            status, text = await control(self, request, writer)
            writer.write(head_of(len(text), status) + text.encode())
            return True
        if self.in_hand is not None:
            return await self.offend(request, reader, writer)
        self.in_hand = request
        write_down(f"{request.method} {request.path}")
        try:
            return await self.compute(request, reader, writer)
        finally:
            self.release(request)

    async def offend(self, request: Request, reader: Inbox, writer: asyncio.StreamWriter) -> bool:
        assert self.in_hand is not None
        self.remember(f"{request} during {self.in_hand}")
        async for _ in reader.body(request):
            pass
        writer.write(head_of(7, "500 Internal Server Error") + b"offence")
        return True

    def remember(self, offence: str) -> None:
        offences.append(f"{self.address}: {offence}")
        print(offences[-1], file=sys.stderr, flush=True)

    def release(self, request: Request) -> None:
        """It is answered; unless the process has ended meanwhile and it was somebody else's."""
        if self.in_hand is request:
            self.in_hand = None
            self.served += 1

    async def compute(self, request: Request, reader: Inbox, writer: asyncio.StreamWriter) -> bool:
        if "expect" in request.fields:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        digest, size = hashlib.sha256(), 0
        async for piece in reader.body(request):
            digest.update(piece)
            size += len(piece)
        text = f"{size} {digest.hexdigest()}" if request.method in ("POST", "PUT") else self.address
        match request.path:
            case "/sleep":
                await asyncio.sleep(float(request.query))
            case "/big":
                return await self.big(int(request.query), request, reader, writer)
            case "/two":
                writer.write(head_of(int(request.query)))
                await asyncio.sleep(APART)
                return await self.finish(b"x" * int(request.query), request, reader, writer)
            case "/drip" | "/silent":
                writer.write(head_of(1000) + b"drip" if request.path == "/drip" else b"")
                await reader.gone()
                return False
            case "/reset" | "/close":
                self.release(request)
                if request.path == "/reset":
                    sever(writer)
                return False
        body = b"" if request.method == "HEAD" else text.encode()
        return await self.finish(head_of(len(text)) + body, request, reader, writer)

    async def big(self, left: int, request: Request, reader: Inbox, writer: asyncio.StreamWriter) -> bool:
        piece, data = b"x" * CHUNK, head_of(left)
        while left:
            writer.write(data)
            await writer.drain()
            data = piece[: min(left, CHUNK)]
            left -= len(data)
        return await self.finish(data, request, reader, writer)

    async def finish(self, last: bytes, request: Request, reader: Inbox, writer: asyncio.StreamWriter) -> bool:
        """Released before the last write: whoever has read it may send the next request at once."""
        if self.mode == "silent":
            await reader.gone()
            return False
        if reader.pipelined and self.in_hand is request:
            self.remember(f"more on the connection of {request} before its answer")
        self.release(request)
        writer.write(last)
        await writer.drain()
        return True


pods: dict[str, Pod] = {}


async def control(pod: Pod, request: Request, writer: asyncio.StreamWriter) -> tuple[str, str]:
    """Status and body of what is not counted."""
    if request.path == "/served":
        return "200 OK", str(pod.served)
    if request.path == "/offences":
        return "200 OK", str(len(offences))
    if request.path == "/anew":
        for each in pods.values():
            await each.become("normal", writer)
            each.end(writer)
            each.served = 0
        offences.clear()
        return "200 OK", "anew"
    address, _, mode = request.query.partition("=")
    if address not in pods or mode not in MODES:
        return "400 Bad Request", f"not one of {', '.join(MODES)}, or not mine: {request.query}"
    await pods[address].become(mode, writer)
    return "200 OK", mode


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
    for address in options.addresses:
        pods[address] = Pod(address, options.port, context)
        await pods[address].listen()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
