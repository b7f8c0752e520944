"""`faucet k8s --ha`: one Faucet of several, put together from the options and from what the cluster tells."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from secrets import token_hex

from faucet.fleet import StartFailed
from faucet.ha.election import Election
from faucet.ha.identity import identity_of
from faucet.ha.lease_client import LeaseClient
from faucet.ha.replica import Replica
from faucet.ha.timing import Timing
from faucet.net.address import is_address
from faucet.net.service_url import ServiceUrl
from faucet.pods.discovery.endpoint_slices import service_of
from faucet.pods.discovery.in_cluster import InCluster, in_cluster
from faucet.pods.fleet import Pods
from faucet.proxy.server import Proxy
from faucet.settings import K8sSettings

MakePods = Callable[[Proxy, Replica], Pods]

OUTSIDE = (
    "--ha needs the Kubernetes API, as a pod with a service account has it: run Faucet in the cluster, and see "
    "docs/kubernetes.md for the Role"
)


def replica(
    url: ServiceUrl, settings: K8sSettings, proxy: Proxy, make_pods: MakePods,
    environment: Mapping[str, str] = os.environ, api: InCluster | None = None,
) -> Replica:  # fmt: skip
    """Return it. Raises StartFailed with what is missing."""
    api = api or in_cluster(environment)
    if api is None:
        raise StartFailed(OUTSIDE)
    try:
        timing = Timing(settings.lease_duration, settings.renew_deadline)
    except ValueError as error:
        raise StartFailed(f"--renew-deadline: {error}") from error
    election = Election(
        identity_of(environment), timing, token=token_hex(16), serve_partitioned=settings.ha_on_partition == "serve"
    )
    return Replica(
        proxy, lambda gate: make_pods(proxy, gate), election, lease_of(url, settings, api, timing), settings.peer_host,
        environment, settings.lock_grace, settings.connect_timeout,
    )  # fmt: skip


def lease_of(url: ServiceUrl, settings: K8sSettings, api: InCluster, timing: Timing) -> LeaseClient:
    """Return the Lease of the service: in its namespace, so that all Faucets of a service mean the same. Raises
    StartFailed if it has no name."""
    if is_address(url.host):
        if settings.lease is None:
            raise StartFailed("--ha: the service is given as an address, so the Lease needs a name: add --lease NAME")
        return LeaseClient(api, api.namespace, settings.lease, timing)
    service = service_of(url.host, api.namespace)
    return LeaseClient(api, service.namespace, settings.lease or f"faucet-{service.name}", timing)
