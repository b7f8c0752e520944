"""What holds for the pods of a service from within the cluster, and from a laptop through a bastion alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.bastion import ssh_options
from tests.support.certificates import make_ca
from tests.support.cluster import PODS, SERVICE, Cluster
from tests.support.cluster_pods import ADDRESSES
from tests.support.load import Crowd, Stream, fetch
from tests.support.running import Faucet
from tests.support.status import control, ready, until

URL = f"http://{SERVICE}:8000"


@dataclass(frozen=True)
class Way:
    """Where we are, and how the pods are reached from there."""

    cluster: Cluster
    serve: Callable[..., Faucet]
    """`faucet k8s` there, ready."""


@pytest.fixture(params=["near", "far"])
def way(
    request: pytest.FixtureRequest, cluster: Cluster, faucet: Callable[..., Faucet], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Way]:
    """Within the cluster; or on the laptop, from which no route leads to a pod, and on which no name is known."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    near = request.param == "near"

    def serve(*options: str, url: str = URL) -> Faucet:
        through = [] if near else ssh_options(cluster)
        wrapper = cluster.wrapper("cluster" if near else "laptop")
        return faucet("k8s", "--service-url", url, *through, *options, wrapper=wrapper).wait_ready()

    with cluster.stay("cluster" if near else "laptop"):
        yield Way(cluster, serve)


async def test_requests_go_to_all_pods_and_never_two_to_one(way: Way) -> None:
    service = way.serve()
    await asyncio.gather(*(Crowd(service.port, seed).run(12, 300) for seed in range(2)))
    served = [way.cluster.pods.served(address) for address in PODS]
    assert min(served) > sum(served) / 3 / 2, served


async def test_the_service_is_followed_under_load(way: Way) -> None:
    """3, 5, 1, 0, 3 pods: nobody fails, and with none everybody waits."""
    service = way.serve("--resolve-interval", "1s")
    async with control(service) as client:
        stream = Stream(service.port, 6)
        await stream.reach(30)
        for count in (5, 1):
            way.cluster.dns.set("plumber", ADDRESSES[:count])
            await until(client, f"{count} pods", ready(count))
            await stream.reach(30)
        way.cluster.dns.set("plumber", [])
        status = await until(client, "nobody", lambda s: not s["workers"] and s["totals"]["waiting"] == 6)
        assert status["service"]["state"] == "serving"
        way.cluster.dns.set("plumber", PODS)
        await until(client, "three again", ready(3))
        await stream.reach(30)
        await stream.end()
    assert stream.statuses.keys() == {200}
    assert stream.bodies.keys() == set(ADDRESSES[:5])


async def test_https(way: Way, tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    good = ca.issue(SERVICE)
    way.cluster.more_pods(PODS[:2], 8443, good.chain, good.key)
    way.cluster.dns.set("plumber", PODS[:2])
    url = f"https://{SERVICE}:8443"
    trusting = way.serve("--ca-file", str(ca.ca_file), url=url)
    stream = Stream(trusting.port, 4)
    await stream.reach(50)
    await stream.end()
    assert stream.statuses.keys() == {200}
    assert stream.bodies.keys() == set(PODS[:2])
    status, answer = await fetch(trusting.port, "/", "POST", b"x" * 3_000_000)
    assert (status, answer.split()[0]) == (200, b"3000000")
    doubting = way.serve("--queue-timeout", "2s", url=url)
    assert (await fetch(doubting.port, "/"))[0] == 503
    doubting.wait_line("its certificate is not accepted: .*; --ca-file names the CA to trust")
