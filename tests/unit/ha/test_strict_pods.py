"""Strict pods: a Faucet in the pod refuses what R must not get, and the Faucets in front take it elsewhere."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from faucet.fleet import StartFailed
from faucet.net.service_url import parse_service_url
from faucet.proxy import fencing
from faucet.proxy.error_responses import NOT_BEGUN
from faucet.service.kubernetes import pods_site
from faucet.settings import K8sSettings
from faucet.ssh.secrets import Secrets
from tests.support.ha_faucets import ha_faucets
from tests.support.strict_pods import strict_pod
from tests.support.waiting import when


async def test_two_actives_at_once_are_one_request_in_r() -> None:
    async with strict_pod() as pod:
        older, newer = "Faucet-Epoch: 7", "Faucet-Epoch: 8"
        first = asyncio.ensure_future(pod.ask("/0.3", older))
        await when(lambda: pod.r.busy == 1)
        status, answer = await pod.ask("/0", newer)
        assert (status, NOT_BEGUN in answer) == (503, True), "busy"
        assert (await first)[0] == 200, "what is in hand goes on"
        status, answer = await pod.ask("/0", older)
        assert (status, NOT_BEGUN in answer) == (503, True), "the pod knows of the newer one, whom it refused"
        assert pod.proxy.pool.stats.refusals["older_epoch"] == 1
        assert (await pod.ask("/0", newer))[0] == (await pod.ask("/0"))[0] == 200
        assert pod.r.offences == 0
        assert not any(b"epoch" in head.lower() for head in pod.r.heads), "R gets what the client sent"


async def test_the_active_tells_its_epoch_and_no_client_can(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "ab", pods=1, fencing=True) as faucets:
        a, b = faucets.them
        (pod,) = faucets.pods
        for one in (a, b):
            assert (await one.ask("/0", "POST", "Faucet-Epoch: 999"))[0] == 200
        assert [fencing.take_epoch(head)[1] for head in pod.heads] == [a.replica.epoch] * 2
        assert all(head.lower().count(b"epoch") == 1 for head in pod.heads)
        await a.replica._hand_over("a test")
        assert (await a.ask("/0", "POST"))[0] == 200
        assert fencing.take_epoch(pod.heads[-1])[1] == b.replica.epoch == a.replica.epoch > 2


async def test_without_fencing_a_pod_gets_what_the_client_has_sent(tmp_path: Path) -> None:
    async with ha_faucets(tmp_path, "a", pods=1) as faucets:
        assert (await faucets.active.ask("/0", "POST", "Faucet-Epoch: 999"))[0] == 200
        assert b"\r\nFaucet-Epoch: 999\r\n" in faucets.pods[0].heads[0]


async def test_a_request_waits_while_its_pod_knows_of_a_newer_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Here until the pod forgets that; otherwise until this active learns that it has a successor."""
    monkeypatch.setattr(fencing, "REMEMBERED", 1.0)
    caplog.set_level(logging.INFO, "faucet")
    async with strict_pod() as pod, ha_faucets(tmp_path, "a", pods=0, also=[pod], fencing=True) as faucets:
        assert (await pod.ask("/0", "Faucet-Epoch: 99"))[0] == 200
        waiting = asyncio.ensure_future(faucets.active.ask("/0", "POST"))
        await when(lambda: pod.proxy.pool.stats.refusals.get("older_epoch", 0) > 1)
        await when(lambda: "knows of a newer one" in faucets.active.replica.statuses()[0].reason)
        assert (await waiting)[0] == 200
        assert faucets.active.replica.statuses()[0].state == "ready"
        assert caplog.text.count("knows of a newer one") == 1
        assert pod.r.served == ["/0", "/0"]


async def test_a_pod_that_is_busy_for_another_gets_it_when_it_is_free(tmp_path: Path) -> None:
    async with strict_pod() as pod, ha_faucets(tmp_path, "ab", pods=0, also=[pod], fencing=True) as faucets:
        late = asyncio.ensure_future(pod.ask("/0.5/late"))  # of an active that was frozen before it sent this
        await when(lambda: pod.r.busy == 1)
        answers = await asyncio.gather(*[one.ask("/0", "POST") for one in faucets.them for _ in range(5)])
        assert {status for status, _ in answers} == {200}
        assert (await late)[0] == 200
        assert pod.r.offences == 0
        assert len(pod.r.served) == 11


async def test_serve_without_strict_pods_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with ha_faucets(tmp_path, "") as faucets:
        faucets.make("a", ha_on_partition="serve", fencing=True)
        assert "a pod may get two requests at once" not in caplog.text
        faucets.make("b", ha_on_partition="serve")
        assert "a pod may get two requests at once" in caplog.text


def test_fencing_needs_an_epoch() -> None:
    url = parse_service_url("http://plumber:8000")
    with pytest.raises(StartFailed, match=r"--fencing: .* add --ha"):
        pods_site(url, K8sSettings(service_url=url, fencing=True), Secrets())
