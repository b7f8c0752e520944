"""A worker that echoes WebSocket messages, closes when told `close`, and answers other requests with `ok`."""

import asyncio
import os
from http import HTTPStatus

from websockets.asyncio.server import Request, Response, ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "close":
            await connection.close(4000, "as you wish")
        else:
            await connection.send(message)


def ordinary(connection: ServerConnection, request: Request) -> Response | None:
    return None if request.path == "/ws" else connection.respond(HTTPStatus.OK, "ok")


async def main() -> None:
    port = int(os.environ["FAUCET_PORT"])
    async with serve(echo, "127.0.0.1", port, process_request=ordinary, max_size=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
