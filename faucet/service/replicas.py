"""`faucet k8s --ha`: builds one Faucet of several, from the options and from the environment of the pod."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from secrets import token_hex

from faucet import tasks
from faucet.control.commands import Commands
from faucet.control.server import ControlServer
from faucet.fleet import CONTROL_GREETING, Fleet, StartFailed
from faucet.ha.election import Election
from faucet.ha.identity import identity_of
from faucet.ha.lease_client import LeaseClient
from faucet.ha.record import Identity
from faucet.ha.replica import Replica
from faucet.ha.timing import Timing
from faucet.net.address import is_address
from faucet.net.service_url import ServiceUrl
from faucet.pods.discovery.endpoint_slices import ApiError, service_of
from faucet.pods.discovery.endpoints import Unusable
from faucet.pods.discovery.in_cluster import InCluster, in_cluster
from faucet.pods.fleet import Pods
from faucet.proxy.server import Proxy
from faucet.settings import K8sSettings

_log = logging.getLogger("faucet")

LOOK_EVERY = 60.0
"""Seconds between two looks for another Faucet's Lease: it may be started later than this one."""

MakePods = Callable[[Proxy, Replica], Pods]

DENIED = (401, 403)
"""Statuses with which the API says that the Lease may not be read."""

OUTSIDE = (
    "--ha needs the Kubernetes API, as a pod with a service account has it: run Faucet in the cluster, and see "
    "docs/kubernetes.md for the Role"
)

NOT_STRICT = (
    "--ha-on-partition serve without strict pods: if the Faucets cannot reach each other, a pod may get two requests "
    "at once. Start the pods by `faucet local -w 1 --queue-limit 0 --fencing`, and add --fencing here"
)

ANOTHER = (
    "%s serves the same pods (Lease %s), and this Faucet does not know which of them are busy: a pod may get two "
    "requests at once. Start this one with --ha, or end one of both"
)


def replica(
    url: ServiceUrl, settings: K8sSettings, proxy: Proxy, make_pods: MakePods,
    environment: Mapping[str, str] = os.environ, api: InCluster | None = None,
) -> Replica:  # fmt: skip
    """Return the replica. Raises StartFailed with the missing requirement."""
    api = api or in_cluster(environment)
    if api is None:
        raise StartFailed(OUTSIDE)
    try:
        timing = Timing(settings.lease_duration, settings.renew_deadline)
    except ValueError as error:
        raise StartFailed(f"--renew-deadline: {error}") from error
    if settings.ha_on_partition == "serve" and not settings.fencing:
        _log.warning("%s", NOT_STRICT)
    election = Election(
        identity_of(environment), timing, token=token_hex(16), serve_partitioned=settings.ha_on_partition == "serve"
    )
    return Replica(
        proxy, lambda gate: make_pods(proxy, gate), election, lease_of(url, settings, api, timing), settings.peer_host,
        environment, settings.lock_grace, settings.connect_timeout, settings.fencing,
    )  # fmt: skip


def introduce(member: Fleet, control: ControlServer) -> None:
    """Let the control socket reach the active, and other members reach this control server."""
    assert isinstance(member, Replica)
    runtime = control.runtime
    runtime.ask_active, runtime.way_to_active = member.ask_active, member.way_to_active
    member.run_command = Commands(runtime).run
    member.peers.kinds[CONTROL_GREETING] = control.connection_from_afar
    member.on_active_changed = control.active_changed


def lease_of(url: ServiceUrl, settings: K8sSettings, api: InCluster, timing: Timing) -> LeaseClient:
    """Return the Lease of the service. It is in the service's namespace, so that all Faucets of a service use the same
    Lease. Raises StartFailed if the Lease has no name."""
    if is_address(url.host):
        if settings.lease is None:
            raise StartFailed("--ha: the service is given as an address, so the Lease needs a name: add --lease NAME")
        return LeaseClient(api, api.namespace, settings.lease, timing)
    service = service_of(url.host, api.namespace)
    return LeaseClient(api, service.namespace, settings.lease or f"faucet-{service.name}", timing)


@contextlib.asynccontextmanager
async def looking_for_others(
    url: ServiceUrl, settings: K8sSettings, api: InCluster | None = None
) -> AsyncIterator[None]:
    """Without --ha: warn if another Faucet serves the same pods, provided that its Lease can be read."""
    task = tasks.start(_warn_of_others(url, settings, api or in_cluster()), "look for another Faucet")
    try:
        yield
    finally:
        await tasks.end(task)


async def _warn_of_others(url: ServiceUrl, settings: K8sSettings, api: InCluster | None) -> None:
    """Log a warning about each other Faucet that holds the Lease, once. Return if the Lease may not be read."""
    if api is None or (is_address(url.host) and settings.lease is None):
        return
    lease = lease_of(url, settings, api, Timing())
    warned = ""
    while True:
        try:
            holder = await _living_holder(lease)
        except ApiError as error:
            if error.status in DENIED:
                return
            holder = ""
        except (OSError, TimeoutError, Unusable):
            holder = ""
        if holder and holder != warned:
            warned = holder
            _log.warning(ANOTHER, holder, lease)
        await asyncio.sleep(LOOK_EVERY)


async def _living_holder(lease: LeaseClient) -> str:
    """Return the name of the Lease's holder if it renews the Lease within its duration, which means that it is alive;
    otherwise an empty string. Raises as LeaseClient.read does."""
    first = await lease.read()
    if first is None or not first.record.holder:
        return ""
    await asyncio.sleep(first.record.lease_duration)
    second = await lease.read()
    if second is None or not second.record.holder or second.version == first.version:
        return ""
    identity = Identity.parse(second.record.holder)
    return identity.name if identity is not None else second.record.holder
