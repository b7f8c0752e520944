"""Several Faucets for one service, in one process: who serves what, and what becomes of requests when that changes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from faucet.fleet import Refused, StartFailed
from faucet.net.service_url import parse_service_url
from faucet.net.undelivered import undelivered
from faucet.service import replicas
from faucet.service.replicas import looking_for_others, replica
from faucet.settings import K8sSettings
from faucet.settings.limit import parse_limit
from faucet.status.limits import limit_rows
from tests.support.ha_faucets import URL, HaFaucet, ha_faucets
from tests.support.waiting import when


async def test_a_relay_serves_as_the_active_does_and_no_pod_gets_two(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "ab") as faucets:
        a, b = faucets.them
        assert (a.replica.role, b.replica.role) == ("active", "relay")
        answers = await asyncio.gather(*[one.ask("/0.02", "POST") for one in (a, b) for _ in range(10)])
        assert {status for status, _ in answers} == {200}
        assert faucets.offences == 0
        assert b.replica.relayed == 10
        group = a.replica.group()
        assert [(one.name, one.state) for one in group.members] == [("a", "active"), ("b", "relay")]
        assert b.replica.group().active == "a"


async def test_a_planned_change_fails_no_request(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "abc") as faucets:
        a, *others = faucets.them
        load = [asyncio.ensure_future(steady(one, 40)) for one in (*others, a)]
        await asyncio.sleep(0.2)
        load[-1].cancel()  # its clients go elsewhere now
        assert await a.end()
        faucets.them.remove(a)
        failed = [status for task in load[:-1] for status in await task if status != 200]
        assert failed == []
        assert faucets.offences == 0
        assert faucets.active.replica.takeovers == 1


async def steady(faucet: HaFaucet, count: int) -> list[int]:
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.ensure_future(faucet.ask("/0.03", "POST")))
        await asyncio.sleep(0.03)
    return [status for status, _ in await asyncio.gather(*tasks)]


async def test_a_busy_pod_is_used_by_the_next_active_when_the_last_one_says_that_it_is_free(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "ab", pods=1) as faucets:
        a, b = faucets.them
        long = asyncio.ensure_future(a.ask("/0.8", "POST"))
        await when(lambda: faucets.pods[0].busy)
        waiting = asyncio.ensure_future(b.ask("/0", "POST"))
        await when(lambda: a.proxy.pool.dispatcher.waiting == 1)
        assert await a.replica._hand_over("a test") == "b is the active now"
        assert a.replica.role == "relay"
        assert not waiting.done()
        assert (await long)[0] == (await waiting)[0] == 200
        assert faucets.offences == 0


async def test_what_is_queued_at_the_active_is_relayed_in_order_when_it_is_one_no_more(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "ab", pods=1) as faucets:
        a, _ = faucets.them
        first = asyncio.ensure_future(a.ask("/0.5/first"))
        await when(lambda: faucets.pods[0].busy)
        tasks = []
        for number in range(10):
            tasks.append(asyncio.ensure_future(a.ask(f"/0/{number}", "POST")))
            await when(lambda number=number: a.proxy.pool.dispatcher.waiting == number + 1)
        await a.replica._hand_over("a test")
        await asyncio.gather(first, *tasks)
        assert faucets.pods[0].served[1:] == [f"/0/{number}" for number in range(10)]
        assert faucets.offences == 0


@pytest.mark.slow
async def test_while_nobody_is_active_requests_wait_at_a_relay(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "ab", queue_limit=1, queue_timeout=20.0) as faucets:
        a, b = faucets.them
        faucets.them.remove(a)
        await a.kill()
        waiting = asyncio.ensure_future(b.ask("/0", "POST"))
        await when(lambda: b.proxy.pool.dispatcher.waiting == 1)
        assert (await b.ask("/0"))[0] == 503
        assert (await waiting)[0] == 200, "b takes over after the lease duration, and quarantine"
        assert b.replica.role == "active"
        assert faucets.offences == 0


async def test_a_limit_counts_each_request_once_at_the_active(tmp_path: Path) -> None:
    limits = (parse_limit("GET /0.2/* at-once=1 queue=3"),)
    async with ha_faucets(tmp_path, "ab", pods=3, limit=limits) as faucets:
        a, b = faucets.them
        queues = a.proxy.pool.dispatcher, b.proxy.pool.dispatcher
        asked = [asyncio.ensure_future(one.ask(f"/0.2/{number}")) for number in range(2) for one in (a, b)]
        await when(lambda: [queue.waiting for queue in queues] == [3, 0])
        assert (await b.ask("/0.2/too-many"))[0] == 503
        assert (await b.ask("/0"))[0] == 200
        assert [row.refused for one in (a, b) for row in limit_rows(one.proxy.pool)] == [1, 0]
        assert [row.at_once for one in (a, b) for row in limit_rows(one.proxy.pool)] == [1, 0]
        assert sum(pod.busy for pod in faucets.pods) == 1
        assert await a.replica._hand_over("a test") == "b is the active now"
        await when(lambda: queues[1].waiting > 0)
        assert sum(pod.busy for pod in faucets.pods) <= 2, "one that a has not finished yet, and one for b"
        assert {status for status, _ in await asyncio.gather(*asked)} == {200}
        assert faucets.offences == 0


async def test_an_unusable_address_of_the_active_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ha_faucets(tmp_path, "ab") as faucets:
        a, b = faucets.them
        a.replica.election.address = "10.0.0.1:99999"
        await when(
            lambda: b.replica.election.named is not None and b.replica.election.named.address == "10.0.0.1:99999"
        )
        b.replica._end_lanes()
        for _ in range(3):
            b.replica._settle()
        assert caplog.text.count("names an unusable address") == 1
        assert "a, the active, names an unusable address" in b.replica.notice()
        with pytest.raises(Refused, match="a, the active, names an unusable address"):
            b.replica.ask_active({"do": "status"})


async def test_the_lock_of_a_request_that_waited_at_a_relay_counts_from_when_it_was_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the service time, and with it the quarantine after a crash, had the wait in it."""
    async with ha_faucets(tmp_path, "ab") as faucets:
        a, b = faucets.them
        monkeypatch.setattr("faucet.ha.lanes.monotonic", lambda: monotonic() + 30.0)
        assert (await b.ask("/0.01", "POST"))[0] == 200
        await when(lambda: a.records)
        assert a.records[0].service < 20.0
        assert a.records[0].waited >= 30.0


async def test_an_active_that_was_cut_off_sends_nothing_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What a pod's machine has not acknowledged would be sent again when the network is back: to a pod in use."""
    async with ha_faucets(tmp_path, "a") as faucets:
        (a,) = faucets.them
        whole = asyncio.ensure_future(a.ask("/3", "POST"))
        stuck = asyncio.ensure_future(a.ask("/3", "POST", body=b"x" * 20_000_000))  # the pod reads no bodies
        await when(lambda: all(pod.busy for pod in faucets.pods))
        sent = [pod.connection.transport for pod in a.replica.pods.busy().values() if pod.connection is not None]
        await when(lambda: sorted(undelivered(one) > 0 for one in sent) == [False, True])
        a.replica.election.leave()
        later = a.replica.election.epoch + 1
        a.replica.peers.elector.event(lambda now: a.replica.election.heard(now, later))
        assert (await stuck)[0] == 502
        assert (await whole)[0] == 200, "what was delivered goes on"
        assert caplog.text.count("has not acknowledged its request") == 1
        await when(lambda: not any(pod.busy for pod in faucets.pods))


async def test_without_ha_another_faucet_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with ha_faucets(tmp_path, "a") as faucets:
        settings = K8sSettings(service_url=URL)
        async with looking_for_others(URL, settings, faucets.source):
            await when(lambda: "Start this one with --ha" in caplog.text)
        assert "a serves the same pods (Lease default/faucet-plumber)" in caplog.text


@pytest.mark.slow
async def test_without_ha_a_faucet_that_starts_later_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the API did not answer at first."""
    monkeypatch.setattr(replicas, "LOOK_EVERY", 0.05)
    async with ha_faucets(tmp_path, "") as faucets:
        faucets.api.forbid = 500
        async with looking_for_others(URL, K8sSettings(service_url=URL), faucets.source):
            await faucets.api.wait(lambda: any(request.status == 500 for request in faucets.api.log))
            faucets.api.forbid = None
            asked = len(faucets.api.log)
            await faucets.api.wait(lambda: len(faucets.api.log) > asked + 1)
            assert "serves the same pods" not in caplog.text, "nobody holds it"
            await faucets.start("a")
            await when(lambda: "serves the same pods" in caplog.text)
            first = len(faucets.api.log)
            await faucets.api.wait(lambda: len(faucets.api.log) > first + 8)
        assert caplog.text.count("serves the same pods") == 1


async def test_without_ha_and_without_the_right_to_read_leases_nobody_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LOOK_EVERY", 0.01)
    async with ha_faucets(tmp_path, "") as faucets:
        faucets.api.denied.add(("get", "leases"))
        asked = len(faucets.api.log)
        await asyncio.wait_for(replicas._warn_of_others(URL, K8sSettings(service_url=URL), faucets.source), 10)
        assert len(faucets.api.log) == asked + 1


async def test_a_command_reaches_the_active_from_any_of_them(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "ab") as faucets:
        a, b = faucets.them
        a.replica.run_command = lambda command: {"did": command["do"], "at": "a"}
        assert await b.replica.ask_active({"do": "status"}) == {"did": "status", "at": "a"}
        assert a.replica.ask_active({"do": "status"}) == {"did": "status", "at": "a"}

        def refuse(_: object) -> None:
            raise Refused("not now")

        a.replica.run_command = refuse
        with pytest.raises(Refused, match="not now"):
            await b.replica.ask_active({"do": "handover"})


async def test_a_pod_that_refuses_a_second_request_itself_is_left_alone_for_a_moment(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "a", pods=1) as faucets:
        (pod,) = faucets.pods
        pod.refuses = True
        pod.busy = 1  # with a request of an active that was frozen
        waiting = asyncio.ensure_future(faucets.active.ask("/0", "POST"))
        await when(lambda: pod.refused == 2)
        pod.busy = 0
        assert (await waiting)[0] == 200
        assert faucets.offences == 0


def test_what_is_missing_is_said_before_anything_starts() -> None:
    proxy: Any = None
    outside = K8sSettings(service_url=URL, ha=True)
    with pytest.raises(StartFailed, match="needs the Kubernetes API"):
        replica(URL, outside, proxy, lambda *_: None, environment={})
    api: Any = object()
    with pytest.raises(StartFailed, match=r"--renew-deadline: .* must be shorter than the lease duration"):
        replica(URL, K8sSettings(service_url=URL, ha=True, renew_deadline=12.0), proxy, lambda *_: None, {}, api)
    address = parse_service_url("http://10.0.0.7:8000")
    with pytest.raises(StartFailed, match="add --lease NAME"):
        replica(address, K8sSettings(service_url=address, ha=True), proxy, lambda *_: None, {}, api)
