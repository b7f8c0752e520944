"""A worker that listens where its arguments say: `::1`, `0.0.0.0`, `unix:PATH`; on FAUCET_PORT, as far as it has one.

`thief` before them: for a while, another program answers at `::1` and that port, before this one listens at all.
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
server.settimeout(8)
end = time.monotonic() + 8
while time.monotonic() < end:
    connection, _ = server.accept()
    connection.close()
"""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if await reader.read(1000):
        writer.write(ANSWER)
    writer.close()


async def main(places: list[str], port: int) -> None:
    servers = [
        await asyncio.start_unix_server(answer, place[5:])
        if place.startswith("unix:")
        else await asyncio.start_server(answer, place, port)  # `::` is IPv6 alone, as asyncio has it
        for place in places
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    port, places = int(os.environ["FAUCET_PORT"]), sys.argv[1:]
    if places[0] == "thief":
        words = ["sh", "-c", '"$@" >/dev/null 2>&1 &', "thief", sys.executable, "-c", THIEF.format(port=port)]
        subprocess.run(words, start_new_session=True, check=True)
        time.sleep(1)
        places = places[1:]
    asyncio.run(main(places, port))
