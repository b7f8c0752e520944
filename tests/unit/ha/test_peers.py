"""Members that are connected: on the fake API server, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from faucet.ha import clock
from faucet.ha.connection import SILENCE
from faucet.ha.decisions import Began, Ended
from faucet.ha.election import Election
from faucet.ha.lease_object import record_of
from faucet.ha.member import Member
from faucet.ha.peers import UNKNOWN_LIMIT, Peers
from faucet.ha.record import Identity
from faucet.ha.timing import Timing
from faucet.net.address import Address, AddressError
from faucet.pods.discovery.in_cluster import InCluster, in_cluster
from tests.support.ha_player import TIMING, client, service_api
from tests.support.kubeapi import KubeApi
from tests.support.waiting import when


class Faucet:
    """A member with its links."""

    def __init__(self, source: InCluster, name: str, boot: str = "1", timing: Timing = TIMING) -> None:
        self.told: list[Began | Ended] = []
        self.election = Election(Identity(name, f"uid-{name}", boot), timing, token=f"token of {name} {boot}")
        self.member = Member(self.election, lock_grace=5.0)
        self.peers = Peers(self.member, client(source), self.told.append)
        self.port = 0

    async def start(self) -> None:
        """Listen, and take part."""

        def listening(port: int) -> None:
            self.port, self.election.address = port, f"127.0.0.1:{port}"

        await self.peers.start(Address("127.0.0.1", 0), listening)

    @property
    def may_grant(self) -> bool:
        """Whether it may at this moment."""
        return self.election.may_grant(clock.now())

    def may_use(self, pod: str) -> bool:
        """Whether it may at this moment."""
        return self.member.may_use(pod, clock.now())


@asynccontextmanager
async def faucets(tmp_path: Path, *names: str) -> AsyncIterator[tuple[KubeApi, list[Faucet]]]:
    """Members that know each other; the first is the active."""
    async with service_api(tmp_path) as (api, source):
        them = [Faucet(source, name) for name in names]
        try:
            await them[0].start()
            await when(lambda: them[0].may_use("p1"))
            for one in them[1:]:
                await one.start()
            await when(lambda: listed(api) == {f"uid-{name}" for name in names})
            await when(lambda: all(one.peers.is_welcome for one in them[1:]))
            yield api, them
        finally:
            for one in them:
                await one.peers.stop()


def listed(api: KubeApi) -> set[str]:
    """The members that the Lease lists."""
    lease = api.lease("faucet-plumber")
    return set(record_of(lease, TIMING).record.members) if lease is not None else set()


CALM = Timing(lease_duration=60.0, renew_deadline=30.0)
"""The Lease is read every eight to twelve seconds: what is known long before that was looked for."""

LONG_BEFORE = 4.0


@asynccontextmanager
async def calm_faucets(tmp_path: Path) -> AsyncIterator[tuple[InCluster, list[Faucet]]]:
    """An active, and a relay that has just started; the list is ended with the block."""
    async with service_api(tmp_path) as (_, source):
        them = [Faucet(source, name, timing=CALM) for name in "ab"]
        try:
            await them[0].start()
            await when(lambda: them[0].may_grant)
            await them[1].start()
            await when(lambda: them[1].peers.is_welcome, LONG_BEFORE)
            yield source, them
        finally:
            for one in them:
                await one.peers.stop()


async def test_a_relay_that_starts_soon_reads_that_the_lease_lists_it(tmp_path: Path) -> None:
    async with calm_faucets(tmp_path) as (_, (_, b)):
        await when(lambda: b.election.seen and b.election.seen.record and "uid-b" in b.election.seen.record.members,
                   LONG_BEFORE)  # fmt: skip


async def test_a_relay_soon_finds_the_next_process_of_the_active(tmp_path: Path) -> None:
    async with calm_faucets(tmp_path) as (source, them):
        await them[0].peers.stop()  # it has not released the Lease
        await when(lambda: not them[1].peers.is_welcome)
        them[0] = Faucet(source, "a", "2", CALM)
        await them[0].start()
        await when(lambda: them[1].peers.is_welcome, LONG_BEFORE)
        assert them[1].election.epoch == them[0].election.epoch == 3


async def test_a_relay_that_is_cut_off_for_a_moment_connects_again(tmp_path: Path) -> None:
    async with calm_faucets(tmp_path) as (_, (a, b)):
        for connection in list(a.peers._relays):
            connection.close()
        await when(lambda: not b.peers.is_welcome)
        await when(lambda: b.peers.is_welcome, LONG_BEFORE)


async def test_a_relay_stays_with_the_active_whose_lease_is_deleted(tmp_path: Path) -> None:
    """Its holder creates it again; until then, requests need not wait."""
    async with faucets(tmp_path, "a", "b") as (_, (_, b)):
        connection, seen = b.peers._active, b.election.seen
        assert seen is not None
        b.election.seen = seen._replace(record=None, version="")  # as if it had read that there is none
        b.peers.elector.event(lambda now: [])
        await when(lambda: b.election.seen and b.election.seen.record is not None)
        assert b.peers.is_welcome
        assert connection is not None
        assert b.peers._active is connection


@pytest.mark.slow
async def test_an_api_that_is_silent_for_all_stops_nobody(tmp_path: Path) -> None:
    async with faucets(tmp_path, "a", "b", "c") as (api, (a, b, c)):
        api.silent = True
        until = clock.now() + 2 * TIMING.lease_duration
        while clock.now() < until:
            assert a.may_grant
            await asyncio.sleep(0.05)
        api.silent = False
        await when(lambda: not a.peers.elector.trouble)
        assert (len(a.told), b.told, c.told) == (1, [], [])


@pytest.mark.slow
async def test_a_member_that_does_not_promise_ends_the_term(tmp_path: Path) -> None:
    async with faucets(tmp_path, "a", "b", "c") as (api, (a, b, c)):
        await b.peers.stop()
        api.silent = True
        await when(lambda: not a.may_grant)
        await when(lambda: isinstance(a.told[-1], Ended))
        api.silent = False
        await when(lambda: a.may_grant or c.may_grant)


@pytest.mark.slow
async def test_a_planned_change_is_quick_and_busy_pods_follow_when_they_are_free(tmp_path: Path) -> None:
    async with faucets(tmp_path, "a", "b") as (_, (a, b)):
        a.member.granted("p1")
        began = clock.now()
        await a.peers.elector.release("handover")
        await when(lambda: b.may_grant)
        assert clock.now() - began < 1.0
        assert b.may_use("p2")
        await when(lambda: a.peers.is_welcome)
        await asyncio.sleep(2 * b.member.quarantine.carried(clock.now()))
        assert not b.may_use("p1"), "however long it takes"
        a.peers.released("p1")
        await when(lambda: b.may_use("p1"))


@pytest.mark.slow
async def test_an_active_that_dies_without_a_word_leaves_a_quarantine(tmp_path: Path) -> None:
    async with faucets(tmp_path, "a", "b") as (_, (a, b)):
        a.member.granted("p1")
        began = clock.now()
        await a.peers.stop()
        await when(lambda: b.may_grant)
        assert clock.now() - began > TIMING.renew_deadline
        assert not b.may_use("p1")
        assert not b.may_use("p2"), "nothing is known of any"
        await when(lambda: b.may_use("p1") and b.may_use("p2"))


async def test_an_address_in_use_is_said_before_it_takes_part(tmp_path: Path) -> None:
    async with faucets(tmp_path, "a") as (api, (a,)):
        other = Faucet(in_cluster(api.in_cluster_env, tmp_path / "account") or pytest.fail("no such"), "b")
        with pytest.raises(AddressError, match=r"in use by .*; choose another with --peer-host"):
            await other.peers.start(Address("127.0.0.1", a.port))
        await other.peers.stop()
        assert listed(api) == {"uid-a"}


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n", b"faucet-peer/1 wrong\n", b"x" * 10_000, b"\n"])
async def test_a_stranger_is_cut_off_and_told_nothing(tmp_path: Path, greeting: bytes) -> None:
    async with faucets(tmp_path, "a") as (_, (a,)):
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
        with closing(writer):
            writer.write(greeting)
            assert await all_that_comes(reader) == b""
        assert a.may_grant


async def all_that_comes(reader: asyncio.StreamReader) -> bytes:
    """Until the other end closes the connection, or resets it."""
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


async def test_who_says_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.ha.door.SILENCE", 0.5)
    async with faucets(tmp_path, "a") as (_, (a,)):
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
        with closing(writer):
            assert await all_that_comes(reader) == b""


async def test_who_says_nothing_does_not_outlive_the_member(tmp_path: Path) -> None:
    """Its silence is not waited for when Faucet stops, and its connection is not left to the garbage collector."""
    async with faucets(tmp_path, "a") as (_, (a,)):
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
        with closing(writer):
            await when(lambda: bool(a.peers._unknown))
            async with asyncio.timeout(SILENCE / 2):
                await a.peers.stop()
                assert not await all_that_comes(reader)
        assert not a.peers._unknown


async def test_whoever_says_nothing_takes_only_so_many_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once they are cut off, members get through."""
    async with faucets(tmp_path, "a", "b") as (_, (a, b)):
        monkeypatch.setattr("faucet.ha.door.SILENCE", 1.0)
        silent = [await asyncio.open_connection("127.0.0.1", a.port) for _ in range(UNKNOWN_LIMIT + 20)]
        await when(lambda: len(a.peers._unknown) == UNKNOWN_LIMIT)
        [relay] = a.peers._relays
        relay.close()
        await when(lambda: not b.peers.is_welcome)
        most = 0
        while not b.peers.is_welcome:
            most = max(most, len(a.peers._unknown))
            await asyncio.sleep(0.01)
        assert most == UNKNOWN_LIMIT
        for _, writer in silent:
            writer.close()


async def test_a_relay_that_hangs_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with faucets(tmp_path, "a", "b") as (_, (a, b)):
        monkeypatch.setattr("faucet.ha.connection.SILENCE", 0.5)
        monkeypatch.setattr("faucet.ha.connection.PeerConnection.send", lambda self, message: None)
        await when(lambda: a.election.unreachable == {"uid-b"})
        await when(lambda: not b.peers.is_welcome)
