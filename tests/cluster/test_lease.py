"""The Lease in a real Kubernetes API server: what the fake one is believed to do, and members that run on it."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import AsyncIterator
from importlib.resources import files

import pytest
import pytest_asyncio
import yaml

from faucet.ha import clock
from faucet.ha.decisions import Began, Ended
from faucet.ha.lease_client import LeaseClient, NotStored, why_failed
from faucet.pods.discovery.endpoint_slices import ApiError
from tests.support.ha_player import FULL, TIMING, Player, compare_and_swap, one_active, players
from tests.support.realkube import RealKube, need
from tests.support.waiting import when

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),  # one server for all of them: it takes long to start
]

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealKube]:
    """A server, with a Role that allows `faucet` what the docs say."""
    need()
    async with RealKube(tmp_path_factory.mktemp("kube")) as running:
        await running.allow_leases(["get", "create", "update"])
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def kube(server: RealKube) -> RealKube:
    """The server, without a Lease."""
    with contextlib.suppress(ApiError):
        await server.admin.send("DELETE", f"{LEASES}/faucet-plumber")
    return server


async def test_what_the_client_relies_on(kube: RealKube) -> None:
    """Versions, conflicts, and what is missing, as the server words them."""
    one, other = (LeaseClient(kube.faucet, "default", "faucet-plumber", TIMING) for _ in range(2))
    third = await compare_and_swap(one, other)
    await kube.admin.send("DELETE", f"{LEASES}/faucet-plumber")
    with pytest.raises(NotStored, match="UID in precondition"):
        await other.write(FULL, third)
    assert await one.read() is None

    elsewhere = LeaseClient(kube.faucet, "other", "faucet-plumber", TIMING)
    with pytest.raises(ApiError, match="cannot get resource") as refused:
        await elsewhere.read()
    assert "verbs: [get, create, update]" in why_failed(refused.value, elsewhere)
    no_namespace = LeaseClient(kube.admin, "nowhere", "faucet-plumber", TIMING)
    assert await no_namespace.read() is None
    with pytest.raises(ApiError, match="nowhere"):
        await no_namespace.write(FULL, "")


async def test_an_unchanged_lease_has_no_new_version(kube: RealKube) -> None:
    """This is what the beat is for."""
    path = f"{LEASES}/faucet-plumber"
    await LeaseClient(kube.faucet, "default", "faucet-plumber", TIMING).write(FULL, "")
    content = await kube.faucet.get(path)
    assert await kube.faucet.send("PUT", path, content) == content


async def test_an_update_without_a_uid_creates_what_was_deleted(kube: RealKube) -> None:
    """This is why the client never sends one."""
    path = f"{LEASES}/faucet-plumber"
    await LeaseClient(kube.faucet, "default", "faucet-plumber", TIMING).write(FULL, "")
    found = json.loads(await kube.faucet.get(path))
    await kube.admin.send("DELETE", path)
    del found["metadata"]["uid"]
    assert json.loads(await kube.faucet.send("PUT", path, json.dumps(found).encode()))["metadata"]["uid"]


async def test_members_on_a_real_server(kube: RealKube) -> None:
    """Renewals, a planned change, a server that hangs, one that is gone, and one that lost what it promised."""
    async with players(kube.faucet, "a", "b") as (a, b):
        await a.elector.release("handover")
        began = clock.now()
        assert isinstance(await b.until(Began), Began)
        assert clock.now() - began < 1.0
        kube.etcd.send_signal(signal.SIGSTOP)
        assert isinstance(await b.until(Ended), Ended)
        assert b.elector.trouble
        kube.etcd.send_signal(signal.SIGCONT)
        first = await one_active([a, b])
        kube.stop_server()
        await first.until(Ended)
        kube.start_server()
        await kube.wait_ready()
        second = await one_active([a, b])
        await kube.admin.send("DELETE", f"{LEASES}/faucet-plumber")
        assert second.may_grant
        await until_renewed(second)
        assert second.may_grant, "it makes the Lease again within its term"


async def until_renewed(player: Player) -> None:
    """Until a renewal that is sent from now on is acknowledged."""
    term = player.election.term
    assert term is not None
    now = clock.now()
    await when(lambda: term.renewed_at > now)


PATHS = {
    "Deployment": "/apis/apps/v1", "Service": "/api/v1", "ServiceAccount": "/api/v1",
    "Role": "/apis/rbac.authorization.k8s.io/v1", "RoleBinding": "/apis/rbac.authorization.k8s.io/v1",
    "PodDisruptionBudget": "/apis/policy/v1", "NetworkPolicy": "/apis/networking.k8s.io/v1",
}  # fmt: skip


@pytest.mark.parametrize("name", ["kubernetes-ha", "kubernetes-strict"])
async def test_the_manifests_of_two_faucets_apply_as_they_are(kube: RealKube, name: str) -> None:
    """By the server's own schemas and defaults; what it warns of, such as an unknown field, is an error."""
    manifests = files("faucet.templates.examples").joinpath(f"{name}.yaml").read_text()
    await kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    for thing in yaml.safe_load_all(manifests):
        kind = thing["kind"]
        plural = "networkpolicies" if kind == "NetworkPolicy" else f"{kind.lower()}s"
        await kube.create(f"{PATHS[kind]}/namespaces/{name}/{plural}?fieldValidation=Strict", thing)
