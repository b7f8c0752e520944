"""EndpointSlices: the objects of a Kubernetes list and watch, merged into endpoints. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from faucet.pods.discovery.endpoints import Endpoint, Found, Unusable, one_family

GROUP = "discovery.k8s.io"

GONE = 410
"""HTTP status if a watch starts from a version that has expired: list again."""

WATCH_SECONDS = 240
"""Seconds after which the server ends a watch, so that a silently dead connection is noticed."""

ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: faucet, namespace: {namespace}}}
rules:
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]"""


class ApiError(Exception):
    """The API server refused a request. `status` is the HTTP status; the message is the server's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class ServiceName:
    """A service in a namespace."""

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def path(self, watch_from: str = "") -> str:
        """Return the API path that lists the service's slices, or watches them from version `watch_from` on."""
        query = {"labelSelector": f"kubernetes.io/service-name={self.name}"}
        if watch_from:
            query |= {"watch": "1", "resourceVersion": watch_from, "allowWatchBookmarks": "true"}
            query["timeoutSeconds"] = str(WATCH_SECONDS)
        return f"/apis/{GROUP}/v1/namespaces/{self.namespace}/endpointslices?{urlencode(query)}"


def service_of(host: str, namespace: str) -> ServiceName:
    """Return the service that a host name means in a cluster: `plumber`, `plumber.api`, `plumber.api.svc.…`."""
    labels = host.rstrip(".").split(".")
    return ServiceName(labels[0], labels[1] if len(labels) > 1 else namespace)


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse one JSON object. Raises ApiError for a Status of failure, Unusable if `text` is not a JSON object."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Unusable(f"invalid JSON: {text[:80]!r}") from error
    if not isinstance(found, dict):
        raise Unusable(f"not a JSON object: {text[:80]!r}")
    if found.get("kind") == "Status" and found.get("status") != "Success":
        raise ApiError(int(found.get("code") or 500), str(found.get("message") or "it failed"))
    return found


@dataclass
class SliceSet:
    """All slices of one service. `port` is the user's setting; None: the only port, or the one named `scheme`."""

    port: int | None
    scheme: str = "http"
    version: str = ""
    _slices: dict[str, dict[str, Any]] = field(default_factory=dict)

    def load(self, listing: dict[str, Any]) -> None:
        """Replace all slices by those in the response to a list request."""
        self._slices = {item["metadata"]["name"]: item for item in listing.get("items") or ()}
        self.version = str(listing.get("metadata", {}).get("resourceVersion", ""))

    def apply(self, event: dict[str, Any]) -> bool:
        """Apply one event of a watch; return whether a slice has changed. Raises ApiError if the watch is over."""
        kind, item = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise ApiError(int(item.get("code") or 500), str(item.get("message") or "the watch failed"))
        self.version = str(item.get("metadata", {}).get("resourceVersion", self.version))
        if kind == "BOOKMARK":
            return False
        name = item["metadata"]["name"]
        if kind == "DELETED":
            self._slices.pop(name, None)
        else:
            self._slices[name] = item
        return True

    def agrees(self, other: SliceSet) -> bool:
        """Return whether `other` has the same slices in the same versions."""
        return self._versions() == other._versions()

    def _versions(self) -> dict[str, str]:
        return {name: str(item["metadata"].get("resourceVersion")) for name, item in self._slices.items()}

    @property
    def is_empty(self) -> bool:
        """Whether there is no slice at all, not even one without endpoints."""
        return not self._slices

    def found(self) -> Found:
        """Return the endpoints. An address in two slices (while it moves between them) is one endpoint.

        Raises Unusable if the port is ambiguous.
        """
        endpoints: dict[tuple[str, int], Endpoint] = {}
        remark = ""
        for item in self._of_one_family():
            if not item.get("endpoints"):
                continue
            port, remark = self._port_of(item)
            for endpoint in _endpoints(item, port):
                known = endpoints.get(endpoint.key)
                if known is None or endpoint.ready:
                    endpoints[endpoint.key] = endpoint
        return Found(tuple(endpoints[key] for key in sorted(endpoints)), remark=remark)

    def _of_one_family(self) -> list[dict[str, Any]]:
        """Return the slices of one IP version: a pod of a dual-stack cluster is in slices of both but is one worker."""
        kinds = {item.get("addressType") for item in self._slices.values() if item.get("endpoints")}
        kind = "IPv4" if "IPv4" in kinds else "IPv6"
        return [item for item in self._slices.values() if item.get("addressType") == kind]

    def _port_of(self, item: dict[str, Any]) -> tuple[int, str]:
        ports = {port.get("name") or "": int(port["port"]) for port in item.get("ports") or () if port.get("port")}
        listed = ", ".join(f"{name or 'unnamed'} {port}" for name, port in sorted(ports.items()))
        if self.port is not None and self.port in ports.values():
            return self.port, ""
        if len(ports) == 1:
            port = next(iter(ports.values()))
            return port, f"the pods listen on {port}, not on {self.port}" if self.port is not None else ""
        if self.port is None and self.scheme in ports:
            return ports[self.scheme], ""
        if not ports and self.port is not None:
            return self.port, ""
        if not ports:
            raise Unusable("the service has no port: set one in --service-url, and in the service")
        raise Unusable(f"the service has several ports ({listed}): choose one in --service-url")


def _endpoints(item: dict[str, Any], port: int) -> Iterator[Endpoint]:
    for endpoint in item["endpoints"]:
        conditions = endpoint.get("conditions") or {}
        target = endpoint.get("targetRef") or {}
        name = target.get("name", "") if target.get("kind", "Pod") == "Pod" else ""
        terminating = bool(conditions.get("terminating"))
        for host in one_family(endpoint.get("addresses") or ())[:1]:
            # `ready` may be unknown, which counts as true (discovery/v1, EndpointConditions).
            ready = conditions.get("ready") is not False and not terminating
            yield Endpoint(host, port, name, ready, terminating)
