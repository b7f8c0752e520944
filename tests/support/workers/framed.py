"""A WebSocket echo by a real implementation that gets one frame after the other, however they came.

So what it answers depends on the bytes only, not on when they arrive, and can be compared.
"""

import asyncio
import os

from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


async def next_frame(reader: asyncio.StreamReader) -> bytes:
    """One frame (RFC 6455, 5.2). Raises IncompleteReadError at the end."""
    head = await reader.readexactly(2)
    masked, size = head[1] & 0x80, head[1] & 0x7F
    if size > 125:
        more = await reader.readexactly(2 if size == 126 else 8)
        head, size = head + more, int.from_bytes(more, "big")
    return head + await reader.readexactly(size + (4 if masked else 0))


def echo(protocol: ServerProtocol) -> None:
    """Send back each frame of a message; close if the message is `close`."""
    for event in protocol.events_received():
        if isinstance(event, Request):
            protocol.send_response(protocol.accept(event))
        elif protocol.state is State.OPEN and event.opcode is Opcode.CONT:
            protocol.send_continuation(event.data, event.fin)
        elif protocol.state is State.OPEN and event.opcode is Opcode.TEXT:
            if event.data == b"close":
                protocol.send_close(4000, "as you wish")
            else:
                protocol.send_text(event.data, event.fin)
        elif protocol.state is State.OPEN and event.opcode is Opcode.BINARY:
            protocol.send_binary(event.data, event.fin)


async def hear_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say no more, and read what still comes: to close with that unread would be a reset."""
    writer.write_eof()
    while await reader.read(1 << 16):
        pass


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    try:
        data = await reader.readuntil(b"\r\n\r\n")
        if not data.startswith(b"GET /ws "):
            writer.write(PLAIN)
            return
        protocol = ServerProtocol(max_size=None)
        while True:
            protocol.receive_data(data)
            echo(protocol)
            for sent in protocol.data_to_send():
                if sent == SEND_EOF:
                    await hear_out(reader, writer)
                    return
                writer.write(sent)
            await writer.drain()
            data = await next_frame(reader)
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["FAUCET_PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
