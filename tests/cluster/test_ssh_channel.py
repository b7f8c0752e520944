"""A channel as a transport: the same script of events gives the same story over TCP and through a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from faucet.backoff import Backoff
from faucet.net.connect import Connector, LinkDown, LinkLost, connect_tcp
from faucet.ssh.attempt import SshFiles
from faucet.ssh.channel import ChannelTransport
from faucet.ssh.commands import RemotePrograms
from faucet.ssh.link import Link, State
from faucet.ssh.login import Login
from faucet.ssh.secrets import Secrets
from faucet.ssh.target import Target, parse_target, parse_targets
from tests.support.bastion import login
from tests.support.cluster import PODS, Cluster
from tests.support.cluster_net import BASTION, HOLE, wait_until


@contextlib.asynccontextmanager
async def linked(cluster: Cluster, *lines: str) -> AsyncIterator[Link]:
    """A link from the laptop to the bastion, up; or to another sshd there, with these lines in its configuration."""
    cluster.reset()
    port = cluster.ssh.start(*lines, port=2223).port if lines else 2222
    way = login(cluster)
    if lines:
        known = cluster.directory / "known_2223"
        known.write_text(cluster.ssh.known_hosts.read_text().replace("2222", "2223"))
        way.files = SshFiles(way.files.config, way.files.key, known)
    with cluster.inside("laptop"):
        link = Link([Target(BASTION, "root", port)], way)
        await link.open()
        try:
            yield link
        finally:
            await link.close()


class Peer(asyncio.Protocol):
    """The far end: does what the script says."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stays_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)

    def eof_received(self) -> bool:
        return self.stays_open


class Near(asyncio.Protocol):
    """Our end: writes down what happens."""

    def __init__(self, keep_open: bool = False) -> None:
        self.story: list[str] = []
        self.news = asyncio.Event()
        self._keep = keep_open

    def _tell(self, text: str) -> None:
        self.story.append(text)
        self.news.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self._tell("made")

    def data_received(self, data: bytes) -> None:
        if self.story[-1].startswith("data "):
            data = self.story.pop()[5:].encode() + data
        self._tell(f"data {data.decode()}")

    def eof_received(self) -> bool:
        self._tell("eof")
        return self._keep

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell("lost" if exc is None else f"lost {type(exc).__name__}")

    async def until(self, text: str) -> None:
        async with asyncio.timeout(10):
            while not any(line.startswith(text) for line in self.story):
                self.news.clear()
                await self.news.wait()


Script = Callable[[Near, Peer], Awaitable[None]]


async def far_end_closes(near: Near, peer: Peer) -> None:
    peer.transport.write(b"hello")
    await near.until("data hello")
    peer.transport.close()
    await near.until("lost")


async def far_end_half_closes_and_we_answer(near: Near, peer: Peer) -> None:
    peer.transport.write(b"question")
    peer.transport.write_eof()
    await near.until("eof")
    near.transport.write(b"answer")
    near.transport.close()
    await near.until("lost")
    await asyncio.wait_for(peer.lost, 10)


async def we_half_close(near: Near, peer: Peer) -> None:
    peer.stays_open = True
    near.transport.write(b"x")
    near.transport.write_eof()
    assert not near.transport.is_closing()
    near.transport.write(b"too late") if isinstance(near.transport, ChannelTransport) else None
    peer.transport.write(b"still heard")
    await near.until("data still heard")
    peer.transport.close()
    await near.until("lost")


async def we_close(near: Near, peer: Peer) -> None:
    near.transport.close()
    assert near.transport.is_closing()
    near.transport.write(b"dropped")
    near.transport.close()
    await near.until("lost")
    await asyncio.wait_for(peer.lost, 10)


async def we_abort(near: Near, peer: Peer) -> None:
    near.transport.abort()
    near.transport.abort()
    near.transport.close()
    await near.until("lost")
    await asyncio.wait_for(peer.lost, 10)


async def we_abort_what_is_not_read(near: Near, peer: Peer) -> None:
    peer.transport.pause_reading()
    near.transport.write(b"x" * 20_000_000)
    assert near.transport.get_write_buffer_size() > 0
    near.transport.abort()
    await near.until("lost")


async def we_close_then_abort_what_is_not_read(near: Near, peer: Peer) -> None:
    peer.transport.pause_reading()
    near.transport.write(b"x" * 20_000_000)
    near.transport.close()
    near.transport.abort()
    await near.until("lost")


async def we_close_and_the_rest_is_sent(near: Near, peer: Peer) -> None:
    near.transport.write(b"x" * 5_000_000)
    near.transport.close()
    await near.until("lost")
    await asyncio.wait_for(peer.lost, 10)


async def we_pause_and_resume(near: Near, peer: Peer) -> None:
    near.transport.pause_reading()
    assert not near.transport.is_reading()
    peer.transport.write(b"held back")
    await asyncio.sleep(0.1)  # nothing may come: there is nothing to wait for
    assert near.story == ["made"]
    near.transport.resume_reading()
    await near.until("data held back")
    near.transport.close()
    await near.until("lost")


SCRIPTS: list[tuple[Script, bool]] = [
    (far_end_closes, False), (far_end_half_closes_and_we_answer, True), (we_half_close, False), (we_close, False),
    (we_abort, False), (we_abort_what_is_not_read, False), (we_close_then_abort_what_is_not_read, False),
    (we_close_and_the_rest_is_sent, False), (we_pause_and_resume, False),
]  # fmt: skip


async def play(
    script: Script, keep: bool, connect: Connector, host: str, port: int, peers: asyncio.Queue[Peer]
) -> list[str]:
    """What our end sees."""
    near = Near(keep)
    await connect(lambda: near, host, port, 5)
    peer = await asyncio.wait_for(peers.get(), 5)
    try:
        await script(near, peer)
    finally:
        for transport, gone in ((peer.transport, peer.lost.done()), (near.transport, "lost" in near.story)):
            if not gone:
                transport.abort()
    return near.story


@pytest.mark.parametrize(("script", "keep"), SCRIPTS, ids=[script.__name__ for script, _ in SCRIPTS])
async def test_the_same_story_over_tcp_and_ssh(cluster: Cluster, script: Script, keep: bool) -> None:
    peers: asyncio.Queue[Peer] = asyncio.Queue()

    def accept() -> Peer:
        peer = Peer()
        peers.put_nowait(peer)
        return peer

    with cluster.inside("cluster"):
        server = await asyncio.get_running_loop().create_server(accept, BASTION, 9000)
    try:
        async with linked(cluster) as link:
            over_tcp = await play(script, keep, connect_tcp, BASTION, 9000, peers)
            over_ssh = await play(script, keep, link.connect, BASTION, 9000, peers)
            assert over_ssh == over_tcp
            assert link.is_up
    finally:
        server.close()
        await server.wait_closed()


async def test_an_exception_in_a_callback_ends_that_channel_only(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Near):
        def data_received(self, data: bytes) -> None:
            raise RuntimeError("a bug")

    async with linked(cluster) as link:
        faulty, good = Faulty(), Near()
        await link.connect(lambda: faulty, PODS[0], 8000, 5)
        await link.connect(lambda: good, PODS[1], 8000, 5)
        faulty.transport.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await faulty.until("lost RuntimeError")
        good.transport.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await good.until("data HTTP/1.1 200")
        good.transport.abort()
        assert "a bug" in caplog.text


async def test_what_cannot_be_opened(cluster: Cluster) -> None:
    async with linked(cluster) as link:
        cluster.pods.set(PODS[0], "refuse")
        with pytest.raises(ConnectionRefusedError, match="connection refused, seen from root@10"):
            await link.connect(Near, PODS[0], 8000, 5)
        with pytest.raises(OSError, match="no connection from root@10"):
            await link.connect(Near, "10.250.0.1", 8000, 5)
        with pytest.raises(TimeoutError):
            await link.connect(Near, HOLE, 8000, 0.3)
        assert link.is_up
        cluster.ssh.main.kill_sessions()
        with pytest.raises(LinkDown):
            await open_for_ever(link)
        await link.wait_up(5)


async def open_for_ever(link: Link) -> None:
    async with asyncio.timeout(5):
        while True:
            _, near = await link.connect(Near, PODS[1], 8000, 5)
            near.transport.abort()  # type: ignore[attr-defined]


async def test_a_lost_link_is_told_to_each_channel(cluster: Cluster) -> None:
    states: list[State] = []
    async with linked(cluster) as link:
        link.on_change = lambda: states.append(link.state)
        near = Near()
        await link.connect(lambda: near, PODS[0], 8000, 5)
        cluster.ssh.main.kill_sessions()
        await near.until("lost LinkLost")
        assert issubclass(LinkLost, ConnectionResetError)
        near.transport.write(b"too late")
        near.transport.abort()
        async with asyncio.timeout(5):
            while len(states) < 2:
                await asyncio.sleep(0.01)
        assert states == [State.DOWN, State.UP]


async def test_a_silent_link_is_suspected_before_it_is_lost(cluster: Cluster) -> None:
    """Two pods do not answer, and nothing comes from the bastion: it is not the pods."""
    async with linked(cluster) as link:
        cluster.ssh.main.freeze_sessions()
        try:
            for address in PODS[:2]:
                with pytest.raises(TimeoutError):
                    await link.connect(Near, address, 8000, 0.5)
            assert link.state is State.SUSPECT
        finally:
            cluster.ssh.main.thaw_sessions()
        async with asyncio.timeout(5):
            await link.wait_up(5)
        assert link.state is State.UP


async def test_a_pod_that_vanished_is_no_reason_to_suspect_the_link(cluster: Cluster) -> None:
    async with linked(cluster) as link:
        for _ in range(3):
            near = Near()
            await link.connect(lambda near=near: near, PODS[0], 8000, 5)  # type: ignore[misc]
            near.transport.abort()
            with pytest.raises(TimeoutError):
                await link.connect(Near, HOLE, 8000, 0.3)
        assert link.is_up


def established(cluster: Cluster) -> int:
    """Connections of the bastion to pods."""
    said = cluster.run("cluster", ["ss", "-Htn", "state", "established", "dport", "=", ":8000"])
    return len(said.stdout.splitlines())


async def test_programs_on_the_far_side_end_with_us_and_not_before(cluster: Cluster) -> None:
    async with linked(cluster) as link:
        programs = RemotePrograms(link)
        said = [line async for line in programs.lines(["sh", "-c", "echo a; sleep 1; echo b"])]
        assert said == [b"a\n", b"b\n"]
        assert (await programs.run(["sh", "-c", "echo out; echo err >&2; exit 7"], 5)) == (7, "out\n", "err\n")
        assert await programs.find("sh")
        assert not await programs.find("no-such-program")
        async with contextlib.aclosing(programs.lines(["sh", "-c", "echo started; exec sleep 4711"])) as lines:
            assert await anext(lines) == b"started\n"
        with pytest.raises(TimeoutError):
            await programs.run(["sleep", "4711"], 0.5)
        await asyncio.to_thread(wait_until, lambda: not running(cluster, "sleep 4711"), "they have ended", 5)
        with pytest.raises(OSError, match="exited with code 3: no"):
            _ = [line async for line in programs.lines(["sh", "-c", "echo no >&2; exit 3"])]


def running(cluster: Cluster, command: str) -> bool:
    """Whether there is such a process in the cluster."""
    pids = cluster.run("cluster", ["ip", "netns", "pids", cluster.spaces.names["cluster"]]).stdout.split()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip().decode() == command:
                return True
    return False


async def test_bastions_that_refuse_are_not_asked_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    from faucet.ssh.errors import SshError

    attempts = 0

    class Refused(Login):
        async def connect(self, target: Target) -> Any:
            nonlocal attempts
            attempts += 1
            raise SshError("not now", permanent=attempts > 1)

    link = Link([Target("a"), Target("b")], Refused(SshFiles(), Secrets()))
    await link.open()
    await asyncio.sleep(1.5)  # what is counted is what happens in a time
    await link.close()
    assert attempts < 8


async def test_nothing_leaks_on_the_bastion(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand opens that are given up, and a hundred reconnects."""
    monkeypatch.setattr("faucet.ssh.link.BACKOFF", Backoff(0.01, 15.0))
    async with linked(cluster) as link:
        for round_ in range(50):
            opening = [asyncio.ensure_future(link.connect(Near, PODS[n % 3], 8000, 5)) for n in range(20)]
            await asyncio.sleep(0.0005 * (round_ % 4))
            for task in opening:
                task.cancel()
            for result in await asyncio.gather(*opening, return_exceptions=True):
                if not isinstance(result, BaseException):
                    result[0].abort()  # type: ignore[attr-defined]
        await until_none(cluster)
        for _ in range(100):
            near = Near()
            await link.connect(lambda near=near: near, PODS[0], 8000, 5)  # type: ignore[misc]
            connection = link.connection()
            connection.abort()
            await near.until("lost")
            async with asyncio.timeout(10):
                while not link.is_up or link.connection() is connection:
                    link._failures = 0
                    await asyncio.sleep(0.005)
        await until_none(cluster)
        wait_until(lambda: len(cluster.ssh.main.sessions()) <= 2, "one session", 10)
        assert link.is_up


async def until_none(cluster: Cluster) -> None:
    async with asyncio.timeout(10):
        while established(cluster):
            await asyncio.sleep(0.05)


@pytest.mark.quiet
@pytest.mark.parametrize("sessions", [10, 0])
async def test_the_far_side_does_not_hold_small_answers_back(cluster: Cluster, sessions: int) -> None:
    """sshd leaves Nagle's algorithm on until a session asks for something: 44 ms for head and body apart.

    With sessions there is one such; without, acknowledgements that come at once do the same on a kept channel.
    """
    async with linked(cluster, f"MaxSessions {sessions}") as link:
        near = Near()
        await link.connect(lambda: near, PODS[0], 8000, 5)
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(20):
            near.story[1:] = []
            began = loop.time()
            near.transport.write(b"GET /two?5 HTTP/1.1\r\nHost: a\r\n\r\n")
            while not near.story[-1].endswith("xxxxx"):
                near.news.clear()
                await near.news.wait()
            took.append(loop.time() - began)
        near.transport.abort()
        assert sorted(took)[10] < 0.03


async def test_ciphers(cluster: Cluster) -> None:
    """A fast one, unless the user's config names some."""
    async with linked(cluster) as link:
        assert link.connection().get_extra_info("send_cipher").startswith("aes128-gcm")
        assert link.detail().startswith("aes128-gcm, ")
        config = cluster.directory / "with_cipher"
        config.write_text("Host *\n  Ciphers aes256-ctr\n")
        named = Login(SshFiles(config, cluster.ssh.key, cluster.ssh.known_hosts), Secrets())
        connection, _ = await named.connect(Target(BASTION, "root", 2222))
        assert connection.get_extra_info("send_cipher") == "aes256-ctr"
        connection.abort()
        await connection.wait_closed()


def test_targets() -> None:
    assert parse_target("bastion") == Target("bastion")
    assert parse_target("ops@bastion.example:2222") == Target("bastion.example", "ops", 2222)
    assert parse_target("a.b@[fd00::1]:22") == Target("fd00::1", "a.b", 22)
    assert [str(target) for target in parse_targets(["a, b@c", "[fd00::1]:2"])] == ["a", "b@c", "[fd00::1]:2"]
    for text in ("", "a b", "-oProxyCommand=x", "user@", "host:0", "host:99999", "host:x", "a@b@c d"):
        with pytest.raises(ValueError, match="invalid ssh target"):
            parse_target(text)


def test_asyncssh_is_what_was_measured() -> None:
    assert tuple(map(int, asyncssh.__version__.split(".")[:2])) >= (2, 24)
