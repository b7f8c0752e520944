"""A pod as docs/kubernetes.md calls it strict: a Faucet with one worker, no queue and a fence, before a counting R."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faucet.net.connect import connect_tcp
from faucet.proxy.fencing import Fence
from faucet.proxy.server import Proxy
from faucet.proxy.stats import Record
from faucet.proxy.upstream import Backend
from faucet.settings import ProxySettings
from tests.support.ha_faucets import CountingPod


class StrictPod:
    """The Faucet in the pod, and the R behind it."""

    def __init__(self, r: CountingPod) -> None:
        self.r = r
        self.name = r.name
        self.records: list[Record] = []
        self.proxy = Proxy(ProxySettings(queue_limit=0, spool_limit=0), self.records.append)
        self.proxy.clients.fence = Fence()
        self.port = 0
        self._server: asyncio.Server

    async def open(self) -> None:
        """Listen."""
        self.proxy.pool.add(Backend("1", "127.0.0.1", self.r.port, connect_tcp))
        self._server = await asyncio.get_running_loop().create_server(self.proxy.accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def ask(self, target: str, *fields: str, method: str = "POST") -> tuple[int, bytes]:
        """One request straight to the pod: status, and all of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            lines = [f"{method} {target} HTTP/1.1", "Host: pod", "Content-Length: 0", "Connection: close", *fields]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            answer = await reader.read()
            return int(answer.split(b" ")[1]), answer
        finally:
            writer.close()

    async def close(self) -> None:
        """End."""
        self._server.close()
        self.proxy.close()
        for _ in range(3):
            await asyncio.sleep(0)


@asynccontextmanager
async def strict_pod() -> AsyncIterator[StrictPod]:
    """One that listens."""
    r = CountingPod("strict")
    await r.open()
    pod = StrictPod(r)
    await pod.open()
    try:
        yield pod
    finally:
        await pod.close()
        await r.close()
