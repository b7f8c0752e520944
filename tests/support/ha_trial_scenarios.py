"""What is done to the Faucets, the API, the network and the pods of a trial, and what may come of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from tests.support.ha_trial_net import API, cut, heal, host_address, plug, pod_address, unplug
from tests.support.ha_trial_parts import Pod
from tests.support.ha_trial_site import HOSTS, HOUR, PODS, Trial

LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/faucet-plumber"
BINDING = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
DRAINED = 1.0
"""Seconds after which everybody knows that a pod gets nothing new."""


class Scenario(NamedTuple):
    """What is done, and for how many seconds a request that is served may wait, and the pods be without one."""

    run: Callable[[Trial], Awaitable[None]]
    longest: float = 1.0
    pause: float = 1.0


# -- Faucets that end, die or hang -----------------------------------------------------------------------------


async def rolling_update(trial: Trial) -> None:
    """One after the other is replaced."""
    for number in range(1, HOSTS + 1):
        await trial.end(number)
        trial.start(number)
        await trial.all_ready()


async def kill_and_restart(trial: Trial) -> None:
    """The active dies, and its container is started again."""
    number = await trial.active()
    trial.kill(number, active=number)
    trial.start(number)
    await trial.all_ready()


async def kill(trial: Trial) -> None:
    """The active dies, and its host with it."""
    number = await trial.active()
    trial.kill(number, active=number)
    await trial.active(but=number)
    trial.start(number)
    await trial.all_ready()


async def kill_relay(trial: Trial) -> None:
    """A relay dies, and its container is started again."""
    active = await trial.active()
    number = active % HOSTS + 1
    trial.kill(number, active)
    trial.start(number)
    await trial.all_ready()


async def freeze(trial: Trial) -> None:
    """The active does not run for half a minute."""
    await _freeze(trial, await trial.active(), 30.0, was_active=True)


async def freeze_relay(trial: Trial) -> None:
    """A relay does not run for a while."""
    await _freeze(trial, await trial.active() % HOSTS + 1, 10.0, was_active=False)


async def _freeze(trial: Trial, number: int, seconds: float, *, was_active: bool) -> None:
    with trial.lost(number, was_active=was_active):
        trial.faucets[number].send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        trial.faucets[number].send_signal(signal.SIGCONT)
    await trial.all_ready()


async def clocks_apart(trial: Trial) -> None:
    """Each starts anew with another clock, and the active dies and comes back with one that has gone backwards."""
    for number in range(1, HOSTS + 1):
        await trial.end(number)
        trial.clocks[number] += 400 * 24 * HOUR
        trial.start(number)
        await trial.all_ready()
    number = await trial.active()
    trial.kill(number, active=number)
    trial.clocks[number] = 0
    trial.start(number)
    await trial.all_ready()


# -- the API ---------------------------------------------------------------------------------------------------


async def api_gone(trial: Trial) -> None:
    """The API server is gone for a minute, for all."""
    async with _nothing_changes(trial):
        trial.kube.stop_server()
        await asyncio.sleep(60)
        trial.kube.start_server()
        await trial.kube.wait_ready()


async def etcd_frozen(trial: Trial) -> None:
    """The API server answers nothing, since its etcd hangs."""
    async with _nothing_changes(trial):
        trial.kube.etcd.send_signal(signal.SIGSTOP)
        await asyncio.sleep(30)
        trial.kube.etcd.send_signal(signal.SIGCONT)
        await trial.kube.wait_ready()


async def etcd_killed(trial: Trial) -> None:
    """The etcd dies, and starts again after a while."""
    async with _nothing_changes(trial):
        trial.kube.stop_etcd()
        await asyncio.sleep(15)
        trial.kube.start_etcd()
        await trial.kube.wait_ready()


@contextlib.asynccontextmanager
async def _nothing_changes(trial: Trial) -> AsyncIterator[None]:
    before = await trial.active()
    yield
    assert await trial.active() == before, "it goes on"
    await trial.all_ready()


async def api_cut(trial: Trial) -> None:
    """The active alone does not reach the API server: what is queued there waits until it can read who is the next."""
    number = await trial.active()
    cut(number, API)
    await trial.active(but=number)
    await asyncio.sleep(5)
    heal(number, API)
    await trial.all_ready()


async def api_cut_relay(trial: Trial) -> None:
    """A relay alone does not reach the API server."""
    async with _nothing_changes(trial):
        number = await trial.active() % HOSTS + 1
        cut(number, API)
        await asyncio.sleep(20)
        heal(number, API)


async def lease_deleted(trial: Trial) -> None:
    """Somebody deletes the Lease."""
    await trial.kube.admin.send("DELETE", LEASE)
    await asyncio.sleep(15)
    await trial.all_ready()


async def role_removed(trial: Trial) -> None:
    """The Role is taken away for a while."""
    content = json.loads(await trial.kube.admin.get(f"{BINDING}/faucet"))
    await trial.kube.admin.send("DELETE", f"{BINDING}/faucet")
    await asyncio.sleep(20)
    del content["metadata"]["resourceVersion"], content["metadata"]["uid"]
    await trial.kube.create(BINDING, content)
    await asyncio.sleep(5)
    await trial.all_ready()


# -- the network -----------------------------------------------------------------------------------------------


async def peers_cut(trial: Trial) -> None:
    """Each of the Faucets does not reach each other for a while, one direction after the other.

    What a relay had sent or was to get then comes when TCP tries again: that may be as long again.
    """
    active = await trial.active()
    pairs = [(near, far) for near in range(1, HOSTS + 1) for far in range(1, HOSTS + 1) if near != far]
    for near, far in pairs:
        relay = far if near == active else near
        trouble = trial.trouble("parted", host_address(relay))
        cut(near, host_address(far))
        await asyncio.sleep(8)
        heal(near, host_address(far))
        await trial.all_ready()
        trouble.ended = time.monotonic()


async def host_cut(trial: Trial) -> None:
    """Nothing reaches the active's host, or comes from there."""
    number = await trial.active()
    with trial.lost(number, was_active=True):
        unplug(number)
        await trial.active(but=number)
        await asyncio.sleep(5)
        plug(number)
    await trial.all_ready()


async def pods_cut(trial: Trial) -> None:
    """The active reaches neither pods nor API, but its clients and the relays reach it: what it sends is stuck."""
    number = await trial.active()
    with trial.lost(number, was_active=True):
        unreached = [API, *(pod.address for pod in trial.pods)]
        cut(number, *unreached)
        await trial.active(but=number)
        await asyncio.sleep(8)
        heal(number, *unreached)
        await asyncio.sleep(20)  # in which TCP tries again
    await trial.all_ready()


# -- the pods --------------------------------------------------------------------------------------------------


async def pods_replaced(trial: Trial) -> None:
    """Each pod is replaced, by one that gets the address of the one before."""
    free = pod_address(PODS + 1)
    for pod in list(trial.pods):
        await trial.new_pod(free)
        await _retire(trial, pod)
        free = pod.address
    await _move(trial, free)


async def _retire(trial: Trial, *pods: Pod) -> None:
    """As Kubernetes ends a pod: terminating, then gone."""
    ending = [pod for pod in trial.pods if pod in pods]
    trial.terminating += ending
    await trial.publish()
    await asyncio.sleep(DRAINED)
    for pod in ending:
        await pod.close()
        trial.forget(pod)
    await trial.publish()


async def _move(trial: Trial, free: str) -> None:
    """Leave the spare address free again."""
    (last,) = [pod for pod in trial.pods if pod.address == pod_address(PODS + 1)]
    await trial.new_pod(free)
    await _retire(trial, last)


async def addresses_swapped(trial: Trial) -> None:
    """Two pods come back under their names, each with the other's address."""
    one, other = trial.pods[:2]
    await _retire(trial, one, other)
    await trial.new_pod(other.address, one.name)
    await trial.new_pod(one.address, other.name)
    await trial.publish()
    await asyncio.sleep(2)


async def address_reused(trial: Trial) -> None:
    """A pod dies at work, and another has its address at once, before the API knows."""
    pod = trial.pods[0]
    trouble = trial.trouble("pod", pod.address)
    while not pod.is_busy:
        await asyncio.sleep(0)
    pod.die()
    trial.forget(pod)
    await trial.new_pod(pod.address)
    trouble.ended = time.monotonic()
    await asyncio.sleep(1)
    await trial.publish()
    await asyncio.sleep(2)


async def all_at_once(trial: Trial) -> None:
    """The Faucets are updated while the pods are replaced."""
    await asyncio.gather(rolling_update(trial), pods_replaced(trial))


SCENARIOS: dict[str, Scenario] = {
    "rolling_update": Scenario(rolling_update),
    "kill_and_restart": Scenario(kill_and_restart, 5.0, 3.0),
    "kill": Scenario(kill, 15.0, 13.0),
    "kill_relay": Scenario(kill_relay),
    "freeze": Scenario(freeze, 45.0, 13.0),
    "freeze_relay": Scenario(freeze_relay, 15.0),
    "clocks_apart": Scenario(clocks_apart, 5.0, 3.0),
    "api_gone": Scenario(api_gone),
    "etcd_frozen": Scenario(etcd_frozen),
    "etcd_killed": Scenario(etcd_killed),
    "api_cut": Scenario(api_cut, 12.0, 3.0),
    "api_cut_relay": Scenario(api_cut_relay),
    "lease_deleted": Scenario(lease_deleted),
    "role_removed": Scenario(role_removed),
    "peers_cut": Scenario(peers_cut, 20.0),
    "host_cut": Scenario(host_cut, 45.0, 13.0),
    "pods_cut": Scenario(pods_cut, 45.0, 13.0),
    "pods_replaced": Scenario(pods_replaced),
    "addresses_swapped": Scenario(addresses_swapped, 2.0),
    "address_reused": Scenario(address_reused),
    "all_at_once": Scenario(all_at_once),
}
