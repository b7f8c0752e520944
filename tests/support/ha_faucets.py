"""Faucets with `--ha` in this process: on the fake API server, over real sockets on loopback, before counting pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from faucet.net.address import Address
from faucet.net.commands import LocalPrograms
from faucet.net.connect import connect_tcp
from faucet.net.service_url import parse_service_url
from faucet.pods.discovery.endpoints import Answer, Endpoint, Found
from faucet.pods.discovery.in_cluster import InCluster
from faucet.pods.fleet import Pods
from faucet.pods.gate import Gate
from faucet.proxy.error_responses import QUEUE_FULL, answer
from faucet.proxy.server import Proxy
from faucet.proxy.stats import Record as Served
from faucet.service.replicas import replica
from faucet.settings import K8sSettings
from tests.support.ha_player import service_api
from tests.support.kubeapi import KubeApi
from tests.support.waiting import when

LOOPBACK = Address("127.0.0.1", 0)

URL = parse_service_url("http://plumber:8000")


class CountingPod:
    """Serves one request at a time, and counts those that come meanwhile. `/S` takes S seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.busy = 0
        self.offences = 0
        self.refuses = False
        """Whether it refuses what comes meanwhile, as `faucet local -w 1 --queue-limit 0` does, which is no offence."""
        self.refused = 0
        self.served: list[str] = []
        self.heads: list[bytes] = []
        self.port = 0
        self._server: asyncio.Server

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                target = head.split(b" ")[1].decode()
                if self.refuses and self.busy:
                    self.refused += 1
                    writer.write(answer(503, QUEUE_FULL))
                    break
                self.offences += self.busy > 0
                self.busy += 1
                await asyncio.sleep(float(target.split("/")[1] or 0))
                self.busy -= 1
                self.served.append(target)
                content = self.name.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        """End."""
        self._server.close()


class Listens(Protocol):
    """What stands for a pod."""

    name: str
    port: int


class Listed:
    """A Resolver that answers once."""

    by_name = False
    described = "a list"

    def __init__(self, pods: Sequence[Listens]) -> None:
        self._pods = pods

    def hurry(self) -> None:
        """Do nothing."""

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """See Resolver."""
        yield Found(tuple(Endpoint("127.0.0.1", pod.port, pod.name) for pod in self._pods))
        await asyncio.Event().wait()


class HaFaucet:
    """One Faucet, its clients' listener included."""

    def __init__(self, source: InCluster, name: str, pods: Sequence[Listens], **options: object) -> None:
        settings = K8sSettings(
            service_url=URL, ha=True, lease_duration=3.0, renew_deadline=1.8, lock_grace=5.0, spool_limit=0,
            peer_host=LOOPBACK, **options,  # type: ignore[arg-type]
        )  # fmt: skip
        self.name = name
        self.records: list[Served] = []
        self.proxy = Proxy(settings, self.records.append)

        async def found() -> Listed:
            return Listed(pods)

        def make(proxy: Proxy, gate: Gate) -> Pods:
            return Pods(URL, settings, proxy, connect_tcp, LocalPrograms(), found, gate=gate)

        environment = {"POD_NAME": name, "POD_UID": f"uid-{name}", "POD_IP": "127.0.0.1"}
        self.replica = replica(URL, settings, self.proxy, make, environment, source)
        self._server: asyncio.Server

    async def start(self) -> None:
        """Serve."""
        self.replica.start()
        self._server = await asyncio.get_running_loop().create_server(self.proxy.accept, "127.0.0.1", 0)

    async def ask(self, target: str = "/0", method: str = "GET", *fields: str, body: bytes = b"") -> tuple[int, bytes]:
        """One request on a connection of its own: status and content."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.sockets[0].getsockname()[1])
        try:
            length = [f"Content-Length: {len(body)}"] if body else []
            lines = [f"{method} {target} HTTP/1.1", "Host: a", "Connection: close", *length, *fields, "", ""]
            writer.write("\r\n".join(lines).encode() + body)
            head, _, content = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split(b" ")[1]), content
        finally:
            writer.close()

    async def end(self) -> bool:
        """As after SIGTERM; whether everything was finished."""
        others_go_on = await self.replica.leave(10.0)
        self._server.close()
        finished = await self.proxy.drain(10.0, others_go_on)
        await self.kill()
        return finished

    async def kill(self) -> None:
        """End at once, without a word to others."""
        self._server.close()
        self.proxy.close()
        await self.replica.stop()
        for _ in range(3):
            await asyncio.sleep(0)


class Faucets:
    """All of them."""

    def __init__(self, api: KubeApi, source: InCluster, pods: list[CountingPod], also: Sequence[Listens]) -> None:
        self.api, self.pods, self._also = api, pods, also
        self.them: list[HaFaucet] = []
        self.source = source

    def make(self, name: str, **options: object) -> HaFaucet:
        """One that is not started."""
        return HaFaucet(self.source, name, [*self.pods, *self._also], **options)

    async def start(self, name: str, **options: object) -> HaFaucet:
        """One more, or again."""
        faucet = self.make(name, **options)
        self.them.append(faucet)
        await faucet.start()
        return faucet

    @property
    def active(self) -> HaFaucet:
        """The one that is."""
        (active,) = [one for one in self.them if one.replica.role == "active"]
        return active

    @property
    def offences(self) -> int:
        """Requests that came to a busy pod."""
        return sum(pod.offences for pod in self.pods)


@asynccontextmanager
async def ha_faucets(
    tmp_path: Path, names: str, pods: int = 2, also: Sequence[Listens] = (), **options: object
) -> AsyncIterator[Faucets]:
    """Faucets that are ready; the first is the active. Their pods: so many that count, and those that are there."""
    counting = [CountingPod(f"pod{number}") for number in range(pods)]
    for pod in counting:
        await pod.open()
    async with service_api(tmp_path) as (api, source):
        faucets = Faucets(api, source, counting, also)
        try:
            for name in names:
                one = await faucets.start(name, **options)
                await when(lambda one=one: not one.replica.why_not_ready() and one.replica.role != "waiting")
            yield faucets
        finally:
            for one in faucets.them:
                await one.kill()
            for pod in counting:
                await pod.close()
