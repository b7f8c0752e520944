"""Members of an election that run on an API server, without links to each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from faucet.ha import clock
from faucet.ha.decisions import AskAll, Began, Decision, Reply
from faucet.ha.election import Election
from faucet.ha.elector import Elector
from faucet.ha.lease_client import LeaseClient, NotStored
from faucet.ha.member import Member
from faucet.ha.record import Identity, Lease, Record
from faucet.ha.timing import Timing
from faucet.pods.discovery.in_cluster import InCluster, in_cluster
from tests.support.kubeapi import KubeApi
from tests.support.waiting import when

TIMING = Timing(lease_duration=3.0, renew_deadline=1.8)
"""Short, but with calls that may take 0.6 s."""

FULL = Record(
    holder="a/uid-a/boot", epoch=7, lease_duration=9.5, outage_limit=300.0, beat=12,
    members={"uid-a": "10.0.0.1:3840", "uid-b": "[fd00::2]:3840"}, quarantine=2.5, released_by="",
    busy=frozenset({"10.1.0.1:8000", "10.1.0.2:8000"}), unknown_for=0.25, address="10.0.0.1:3840", token="secret",
)  # fmt: skip


def client(source: InCluster) -> LeaseClient:
    """Of the Lease that all tests use."""
    return LeaseClient(source, "default", "faucet-plumber", TIMING)


@asynccontextmanager
async def service_api(tmp_path: Path) -> AsyncIterator[tuple[KubeApi, InCluster]]:
    """A fake API server. One before has released the Lease and left no pod busy, so nobody waits for a quarantine."""
    async with KubeApi(tmp_path / "api") as api:
        source = in_cluster(api.in_cluster_env, api.service_account(tmp_path / "account"))
        assert source is not None
        await client(source).write(Record("", 1, 60.0, members={}, quarantine=0.0, released_by="before"), "")
        yield api, source


async def compare_and_swap(one: LeaseClient, other: LeaseClient) -> str:
    """What the rules rely on, of the fake and of the real API alike. Returns the version of the Lease in the end."""
    assert await one.read() is None
    first = await one.write(FULL, "")
    assert await other.read() == Lease(FULL, first)
    with pytest.raises(NotStored, match="already exists"):
        await other.write(FULL, "")
    second = await other.write(replace(FULL, beat=13), first)
    assert second != first
    with pytest.raises(NotStored, match="has been modified"):
        await one.write(replace(FULL, beat=14), first)
    assert await one.read() == Lease(replace(FULL, beat=13), second)
    released = replace(FULL, beat=14, holder="", released_by=FULL.holder)
    third = await one.write(released, second)
    assert await other.read() == Lease(released, third)
    return third


class Player:
    """A member that runs on the fake API, without links to the others."""

    def __init__(self, source: InCluster, name: str, boot: str = "1") -> None:
        self.told: list[Decision] = []
        self.election = Election(Identity(name, f"uid-{name}", boot), TIMING, address=name, token="t")
        self.member = Member(self.election, lock_grace=5.0)
        self.elector = Elector(self.member, client(source), self._hear)
        self.changed = asyncio.Event()

    def _hear(self, decision: Decision) -> None:
        self.told.append(decision)
        self.changed.set()

    @property
    def may_grant(self) -> bool:
        """Whether it may at this moment."""
        return self.election.may_grant(clock.now())

    @property
    def last(self) -> Decision | None:
        """What it was told last, questions and replies apart."""
        return next((one for one in reversed(self.told) if not isinstance(one, AskAll | Reply)), None)

    async def until(self, kind: type[Decision], seconds: float = 20.0) -> Decision:
        """Until that is the last decision; return it."""
        async with asyncio.timeout(seconds):
            while not isinstance(last := self.last, kind):
                self.changed.clear()
                await self.changed.wait()
        return last


async def one_active(them: Sequence[Player]) -> Player:
    """The member that becomes the active, and the only one."""
    await when(lambda: any(player.may_grant for player in them))
    (active,) = [player for player in them if player.may_grant]
    return active


@asynccontextmanager
async def players(source: InCluster, *names: str) -> AsyncIterator[list[Player]]:
    """Members, of whom the first is the active and knows the others."""
    them = [Player(source, name) for name in names]
    try:
        them[0].elector.start()
        await them[0].until(Began)
        await asyncio.sleep(them[0].member.quarantine.unknown_for(clock.now()))  # after the first installation
        them[0].election.members = {player.election.me.key: player.election.me.name for player in them}
        them[0].elector.event(them[0].election.renew_soon)
        for player in them[1:]:
            player.elector.start()
        yield them
    finally:
        for player in them:
            await player.elector.stop()
