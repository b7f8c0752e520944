"""A worker like R: accepts many connections, does one thing at a time. `/S` takes S seconds."""

import asyncio
import os
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        time.sleep(float(data.split(b" ")[1][1:] or 0))
        self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(os.environ["FAUCET_PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
