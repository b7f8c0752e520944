"""Members as processes, on a real Kubernetes API server: stopped, killed, replaced, and with the server gone.

What they note of themselves is checked by a program: at no moment might two of them have granted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import pytest

from tests.support.checkout import ROOT
from tests.support.ha_player import TIMING, client
from tests.support.ha_process import Moment, moments, overlaps
from tests.support.realkube import RealKube, need
from tests.support.waiting import when

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"

pytestmark = pytest.mark.slow


class Processes:
    """The members, by name."""

    def __init__(self, kube: RealKube, directory: Path) -> None:
        self.kube = kube
        self.directory = directory
        self.them: dict[str, subprocess.Popen[bytes]] = {}
        self._boots = itertools.count(1)
        self._apart = os.geteuid() == 0

    def start(self, name: str) -> None:
        """Start one, or the next one of that pod; each pod has clocks of its own, days apart, if that can be."""
        log = self.directory / f"{name}.{next(self._boots)}.grants"
        log.touch()
        argv = [
            sys.executable,
            "-m",
            "tests.support.ha_process",
            str(self.kube.port),
            str(self.kube.directory / "faucet"),
        ]
        apart = ["unshare", "--time", "--boottime", str(100_000 * "abc".index(name)), "--"] if self._apart else []
        self.them[name] = subprocess.Popen([*apart, *argv, name, str(log)], cwd=ROOT)

    def send(self, name: str, number: int) -> None:
        """A signal."""
        self.them[name].send_signal(number)

    async def active(self, seconds: float = 30.0) -> str:
        """The name of the one that may grant from now on."""
        began = time()
        await when(lambda: self._last().at > began, seconds)
        return self._last().identity.split("/")[0]

    async def active_but(self, name: str) -> None:
        """Until another than that one may grant."""
        await when(lambda: self._last().identity.split("/")[0] != name, 30.0)

    def _last(self) -> Moment:
        return max(moments(self.directory), default=Moment(0.0, 0, ""))

    async def end(self) -> None:
        """All of them, and wait."""
        for process in self.them.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.them.values():
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@asynccontextmanager
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    """Three members, one of them active."""
    need()
    (tmp_path / "notes").mkdir()
    async with RealKube(tmp_path / "kube") as kube:
        await kube.allow_leases(["get", "create", "update"])
        them = Processes(kube, tmp_path / "notes")
        try:
            for name in "abc":
                them.start(name)
            await them.active()
            await all_listed(kube)
            yield them
        finally:
            await them.end()


async def all_listed(kube: RealKube) -> None:
    """Until the Lease lists all: one that it does not list waits for minutes when the active is gone."""
    lease = client(kube.admin)
    async with asyncio.timeout(30):
        while (found := await lease.read()) is None or set(found.record.members) != {"uid-a", "uid-b", "uid-c"}:
            await asyncio.sleep(0.1)


def check(them: Processes, least: int) -> None:
    """No two at once, and at least so many epochs."""
    found = moments(them.directory)
    assert overlaps(found) == []
    assert len({moment.epoch for moment in found}) >= least


async def test_stopped_killed_and_replaced(tmp_path: Path) -> None:
    async with processes(tmp_path) as them:
        for _ in range(3):
            frozen = await them.active()
            them.send(frozen, signal.SIGSTOP)
            await them.active_but(frozen)
            them.send(frozen, signal.SIGCONT)
            killed = await them.active()
            them.send(killed, signal.SIGKILL)
            them.them[killed].wait()
            them.start(killed)
            await them.active()
            leaving = await them.active()
            them.send(leaving, signal.SIGTERM)
            await them.active_but(leaving)
            them.them[leaving].wait()
            them.start(leaving)
        check(them, 8)


@pytest.mark.quiet
async def test_a_server_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    async with processes(tmp_path) as them:
        active = await them.active()
        before = max(moments(them.directory)).epoch
        them.kube.stop_server()
        gone = time()
        await asyncio.sleep(2 * TIMING.lease_duration)
        assert await them.active() == active
        them.kube.start_server()
        await them.kube.wait_ready()
        assert await them.active() == active
        found = [moment for moment in moments(them.directory) if moment.at >= gone]
        assert {moment.epoch for moment in found} == {before}
        assert max(other.at - one.at for one, other in itertools.pairwise(found)) < 1.0
        check(them, 1)


async def test_rights_that_are_taken_away_stop_nobody_and_a_lease_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    async with processes(tmp_path) as them:
        active = await them.active()
        binding = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
        content = json.loads(await them.kube.admin.get(f"{binding}/faucet"))
        await them.kube.admin.send("DELETE", f"{binding}/faucet")
        await asyncio.sleep(2 * TIMING.lease_duration)
        assert await them.active() == active, "nobody else may take the Lease either, and all promise"
        del content["metadata"]["resourceVersion"], content["metadata"]["uid"]
        await them.kube.create(binding, content)
        await all_listed(them.kube)
        epoch = max(moments(them.directory)).epoch
        await them.kube.admin.send("DELETE", f"{LEASES}/faucet-plumber")
        await asyncio.sleep(2 * TIMING.lease_duration)
        await all_listed(them.kube)
        assert await them.active() == active
        assert max(moments(them.directory)).epoch == epoch
        check(them, 1)


def test_the_check_finds_two_at_once() -> None:
    a, b = Moment(1.0, 1, "a"), Moment(3.0, 2, "b")
    assert overlaps([a, b]) == []
    assert overlaps([a, b, Moment(4.0, 1, "a")]) == [(b, Moment(4.0, 1, "a"))]
    assert overlaps([a, Moment(2.0, 1, "b")]) == [(a, Moment(2.0, 1, "b"))]
