"""The Lease: as an object, through the API, and several members on one."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faucet.ha import clock
from faucet.ha.decisions import Began, Ended
from faucet.ha.lease_client import LeaseClient, NotStored
from faucet.ha.lease_object import ANNOTATION, object_of, record_of
from faucet.ha.record import Lease, Record
from faucet.pods.discovery.endpoint_slices import ApiError
from faucet.pods.discovery.endpoints import Unusable
from faucet.pods.discovery.in_cluster import InCluster, in_cluster
from tests.support.ha_player import FULL, TIMING, Player, client, compare_and_swap, players
from tests.support.kubeapi import KubeApi


def stored(record: Record, **spec: object) -> dict[str, Any]:
    """The object as the API would answer with it."""
    thing = object_of(record, "faucet-plumber", None)
    thing["metadata"] |= {"resourceVersion": "5", "uid": "u"}
    thing["spec"] |= spec
    return thing


# -- the object ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record", [FULL, replace(FULL, holder="", released_by="a/uid-a/boot"), replace(FULL, quarantine=None)]
)
def test_a_record_survives_the_way_through_the_api(record: Record) -> None:
    found = json.loads(json.dumps(stored(record)))
    assert record_of(found, TIMING) == Lease(record, "5")
    assert found["spec"]["leaseDurationSeconds"] == 10, "whole seconds, for others"
    assert found["spec"].get("holderIdentity", "") == record.holder


def test_what_others_have_written_stays() -> None:
    before = stored(FULL)
    before["metadata"] |= {"labels": {"team": "x"}, "ownerReferences": [{"name": "y"}], "managedFields": [{}]}
    before["metadata"]["annotations"]["note"] = "z"
    before["spec"] |= {"strategy": "OldestEmulationVersion", "acquireTime": "then"}
    after = object_of(replace(FULL, beat=13), "faucet-plumber", before)
    meta = after["metadata"]
    assert (meta["labels"], meta["ownerReferences"], meta["annotations"]["note"]) == (
        {"team": "x"},
        [{"name": "y"}],
        "z",
    )
    assert (meta["resourceVersion"], "managedFields" in meta) == ("5", False)
    assert (after["spec"]["strategy"], after["spec"]["acquireTime"]) == ("OldestEmulationVersion", "then")
    taken = object_of(replace(FULL, holder="b/u/b"), "faucet-plumber", before)
    assert taken["spec"]["acquireTime"] == taken["spec"]["renewTime"]


@pytest.mark.parametrize(
    ("spec", "annotation"),
    [
        ({"leaseTransitions": 8}, None),
        ({"holderIdentity": "somebody"}, None),
        ({"holderIdentity": ""}, None),
        ({}, "{"),
        ({}, "[]"),
        ({}, json.dumps({**json.loads(stored(FULL)["metadata"]["annotations"][ANNOTATION]), "outage_limit": -1})),
        ({}, json.dumps({**json.loads(stored(FULL)["metadata"]["annotations"][ANNOTATION]), "unknown_for": 1e999})),
    ],
)
def test_an_annotation_that_does_not_fit_does_not_count(spec: dict[str, object], annotation: str | None) -> None:
    found = stored(FULL, **spec)
    if annotation is not None:
        found["metadata"]["annotations"][ANNOTATION] = annotation
    record = record_of(found, TIMING).record
    assert (record.members, record.released_by, record.quarantine, record.busy) == ({}, "", None, frozenset())
    assert record.outage_limit == TIMING.outage_limit, "whoever is not listed waits for long"
    assert (record.holder, record.epoch) == (found["spec"]["holderIdentity"], found["spec"]["leaseTransitions"])


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"kind": "Lease"},
        {"kind": "Lease", "metadata": {"resourceVersion": ""}},
        {"kind": "Pod", "metadata": {"resourceVersion": "1"}},
        {"kind": "Lease", "metadata": {"resourceVersion": "1"}, "spec": {"leaseTransitions": "many"}},
        {"kind": "Lease", "metadata": {"resourceVersion": "1", "annotations": 3}},
    ],
)
def test_what_is_no_lease_is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        record_of(found, TIMING)


# -- the client ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def api_of(tmp_path: Path) -> AsyncIterator[tuple[KubeApi, InCluster]]:
    """A fake API server, and our way to it."""
    async with KubeApi(tmp_path / "api") as api:
        source = in_cluster(api.in_cluster_env, api.service_account(tmp_path / "account"))
        assert source is not None
        yield api, source


async def test_compare_and_swap(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (_, source):
        await compare_and_swap(client(source), client(source))


async def test_a_deleted_lease_is_not_written_but_found_missing(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        it = client(source)
        version = await it.write(FULL, "")
        api.delete_lease("faucet-plumber")
        with pytest.raises(NotStored, match="UID in precondition"):
            await it.write(FULL, version)
        assert await it.read() is None
        assert await it.write(FULL, "") != version


async def test_not_found_is_no_missing_lease_if_the_api_itself_is_not_there(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (_, source):
        it = LeaseClient(source, "default/nonsense", "faucet-plumber", TIMING)
        with pytest.raises(ApiError, match="could not find the requested resource"):
            await it.read()
        with pytest.raises(ApiError):
            await it.write(FULL, "")


async def test_only_the_version_that_was_seen_last_can_be_replaced(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        version = await client(source).write(FULL, "")
        with pytest.raises(NotStored, match="not the last that was read"):
            await client(source).write(FULL, version)
        assert [request.method for request in api.log] == ["POST"]


async def test_refusals_are_no_conflicts(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        it = client(source)
        api.denied = {("get", "leases"), ("create", "leases")}
        with pytest.raises(ApiError, match="cannot get"):
            await it.read()
        with pytest.raises(ApiError, match="cannot create"):
            await it.write(FULL, "")
        api.denied, api.forbid = set(), 503
        with pytest.raises(ApiError):
            await it.read()


# -- several members -------------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool], api: KubeApi) -> None:
    await api.wait(condition, 20.0)


def listed(api: KubeApi) -> set[str]:
    lease = api.lease("faucet-plumber")
    return set(record_of(lease, TIMING).record.members) if lease is not None else set()


@pytest.mark.slow
async def test_a_lease_is_renewed_released_and_taken_over(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source), players(source, "a", "b") as (a, b):
        await until(lambda: listed(api) == {"uid-a", "uid-b"}, api)
        assert (a.may_grant, b.may_grant) == (True, False)
        a.member.granted("p1")
        began = clock.now()
        await a.elector.release("handover")
        assert not a.may_grant
        decision = await b.until(Began)
        assert clock.now() - began < 1.0
        assert isinstance(decision, Began)
        assert (decision.epoch, b.may_grant) == (2, True)
        assert decision.previous is not None
        assert decision.previous.busy == {"p1"}
        assert not b.member.may_use("p1", clock.now())
        assert b.member.may_use("p2", clock.now())


@pytest.mark.slow
async def test_a_silent_api_ends_a_term_in_time_and_another_takes_over_when_it_is_back(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source), players(source, "a", "b") as (a, b):
        await until(lambda: listed(api) == {"uid-a", "uid-b"}, api)
        await a.elector.stop()  # it is gone without a word
        began = clock.now()
        await b.until(Began)
        assert clock.now() - began < TIMING.lease_duration + 1.5
        api.silent = True
        ended = await b.until(Ended)
        assert ended == Ended(2, "the Lease could not be renewed in time"), "a has not promised"
        assert b.elector.trouble
        assert not b.may_grant
        api.silent = False
        await b.until(Began)
        assert not b.elector.trouble


@pytest.mark.slow
async def test_a_write_without_an_answer_is_found_stored(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_lease("faucet-plumber", leaseTransitions=3)
        it = Player(source, "a")
        api.mute_writes = True
        it.elector.start()
        try:
            await until(lambda: any(request.method == "PUT" for request in api.log), api)
            api.mute_writes = False
            decision = await it.until(Began)
            assert isinstance(decision, Began)
            assert decision.epoch == 4
            assert len([request for request in api.log if request.method == "PUT"]) == 1
        finally:
            await it.elector.stop()


@pytest.mark.slow
async def test_a_restarted_container_takes_its_own_lease_at_once(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (_, source):
        first, again = Player(source, "a"), Player(source, "a", boot="2")
        first.elector.start()
        await first.until(Began)
        await first.elector.stop()
        began = clock.now()
        again.elector.start()
        try:
            await again.until(Began)
            assert clock.now() - began < 1.0
            assert not again.member.may_use("p1", clock.now()), "whatever the first one had in use"
        finally:
            await again.elector.stop()


@pytest.mark.slow
async def test_a_role_that_is_missing_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with api_of(tmp_path) as (api, source):
        api.denied = {("get", "leases")}
        it = Player(source, "a")
        it.elector.start()
        try:
            await until(lambda: len(api.log) > 2, api)
        finally:
            await it.elector.stop()
        shown = [entry.getMessage() for entry in caplog.records if "coordination.k8s.io" in entry.getMessage()]
        assert len(shown) == 1, "once, however often it is refused"
        assert "verbs: [get, create, update]" in shown[0]


def test_the_clock_only_goes_forward() -> None:
    readings = [clock.now() for _ in range(100)]
    assert all(one <= other for one, other in itertools.pairwise(readings))
