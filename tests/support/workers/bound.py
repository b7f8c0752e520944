"""A worker that listens where its arguments say: `::1`, `0.0.0.0`, `unix:PATH`; on FAUCET_PORT, as far as it has one.

`thief` before them: another program answers at `::1` and that port, for long before this one listens at all.
`brief:ADDRESS` is listened on until the first answer.
"""

import asyncio
import os
import subprocess
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

THIEF = """
import socket, time
server = socket.create_server(("::1", {port}), family=socket.AF_INET6)
server.settimeout(12)
end = time.monotonic() + 12
while time.monotonic() < end:
    connection, _ = server.accept()
    connection.close()
"""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if await reader.read(1000):
        writer.write(ANSWER)
    writer.close()


async def listen_briefly(place: str, port: int) -> asyncio.Server:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1000):
            server.close()
            writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(answer_once, place, port)
    return server


async def main(places: list[str], port: int) -> None:
    servers = [
        await asyncio.start_unix_server(answer, place[5:])
        if place.startswith("unix:")
        else await listen_briefly(place[6:], port)
        if place.startswith("brief:")
        else await asyncio.start_server(answer, place, port)  # `::` is IPv6 alone, as asyncio has it
        for place in places
    ]
    assert servers
    await asyncio.Event().wait()


if __name__ == "__main__":
    port, places = int(os.environ["FAUCET_PORT"]), sys.argv[1:]
    if places[0] == "thief":
        words = ["sh", "-c", '"$@" >/dev/null 2>&1 &', "thief", sys.executable, "-c", THIEF.format(port=port)]
        subprocess.run(words, start_new_session=True, check=True)
        time.sleep(6)  # longer than it is waited for the owner of a port to give up
        places = places[1:]
    asyncio.run(main(places, port))
