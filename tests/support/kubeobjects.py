"""Kubernetes objects as a real API server writes them: what kubeapi.py stores, lists and refuses.

Shapes are those of Kubernetes 1.32. Where the real server has an odd habit that breaks naive clients, it is kept:
absent conditions instead of null, `"endpoints": null` for none, list items without `kind`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Ports = Sequence[tuple[str, int]]

USER = "system:serviceaccount:default:default"
CREATED = "2025-11-24T08:00:00Z"
HTTP: Ports = (("http", 8000),)


@dataclass(frozen=True)
class Resource:
    """A kind of object, and where it is found."""

    plural: str
    kind: str
    group: str = ""
    short: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """As objects have it."""
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def qualified(self) -> str:
        """As messages have it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


RESOURCES = {
    resource.plural: resource
    for resource in (
        Resource("pods", "Pod", short=("po",)),
        Resource("services", "Service", short=("svc",)),
        Resource("endpointslices", "EndpointSlice", group="discovery.k8s.io"),
        Resource("leases", "Lease", group="coordination.k8s.io"),
        Resource("serviceaccounts", "ServiceAccount", short=("sa",)),
        Resource("deployments", "Deployment", group="apps", short=("deploy",)),
        Resource("roles", "Role", group="rbac.authorization.k8s.io"),
        Resource("rolebindings", "RoleBinding", group="rbac.authorization.k8s.io"),
    )
}
GROUPS = sorted({resource.group for resource in RESOURCES.values()} - {""})
BASES = {"/api/v1": "", **{f"/apis/{group}/v1": group for group in GROUPS}}
"""The group of each base path."""


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of a slice. A condition that is None is left out, as the real server does."""

    address: str | Sequence[str]
    pod: str | None = None
    ready: bool | None = True
    serving: bool | None = None
    terminating: bool | None = None

    def to_json(self, namespace: str, uid: str) -> Json:
        """As it stands in a slice."""
        conditions = {"ready": self.ready, "serving": self.serving, "terminating": self.terminating}
        result: Json = {
            "addresses": [self.address] if isinstance(self.address, str) else list(self.address),
            "conditions": {name: value for name, value in conditions.items() if value is not None},
            "nodeName": "node-1",
        }
        if self.pod is not None:
            result["targetRef"] = {"kind": "Pod", "namespace": namespace, "name": self.pod, "uid": uid}
        return result


def metadata(name: str, namespace: str, labels: dict[str, str]) -> Json:
    """Of a new object; another `uid` each time, because a name can come back."""
    return {
        "name": name,
        "namespace": namespace,
        "uid": str(uuid.uuid4()),
        "creationTimestamp": CREATED,
        "labels": labels,
    }


def _object(plural: str, meta: Json, **rest: Any) -> Json:
    resource = RESOURCES[plural]
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta, **rest}


def endpoint_slice(
    meta: Json, endpoints: Sequence[tuple[Endpoint, str]], ports: Ports = HTTP, address_type: str = "IPv4"
) -> Json:
    """An EndpointSlice. Without endpoints it is the placeholder that a service without ready pods has.

    Objects are stored as protobuf, which has no empty list: what was `[]` comes back as null.
    """
    listed = [endpoint.to_json(meta["namespace"], uid) for endpoint, uid in endpoints]
    numbers = [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports]
    return _object(
        "endpointslices",
        meta,
        addressType=address_type,
        endpoints=listed or None,
        ports=(numbers or None) if listed else None,
    )


def service(meta: Json, cluster_ip: str, ports: Ports) -> Json:
    """A Service; headless where `cluster_ip` is "None"."""
    spec = {
        "clusterIP": cluster_ip,
        "clusterIPs": [cluster_ip],
        "ports": [{"name": name, "port": port, "protocol": "TCP", "targetPort": port} for name, port in ports],
        "selector": {"app": meta["name"]},
        "type": "ClusterIP",
    }
    return _object("services", meta, spec=spec, status={"loadBalancer": {}})


def pod(meta: Json, address: str) -> Json:
    """A running Pod."""
    spec = {"containers": [{"name": "plumber", "image": "plumber"}], "terminationGracePeriodSeconds": 30}
    return _object("pods", meta, spec=spec, status={"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]})


def bookmark(plural: str) -> Json:
    """The object of a BOOKMARK event: empty but for its version, which comes later."""
    empty: Json = {"addressType": "", "endpoints": None, "ports": None} if plural == "endpointslices" else {"spec": {}}
    return _object(plural, {"creationTimestamp": None}, **empty)


def plural_of(thing: Json) -> str:
    """The resource that an object belongs to."""
    return next(resource.plural for resource in RESOURCES.values() if resource.kind == thing["kind"])


def list_of(plural: str, items: Sequence[Json], version: str) -> Json:
    """A list. Its items have neither kind nor apiVersion."""
    resource = RESOURCES[plural]
    bare = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
    kind = f"{resource.kind}List"
    return {"kind": kind, "apiVersion": resource.api_version, "metadata": {"resourceVersion": version}, "items": bare}


class Refused(Exception):
    """An answer that is a Status object."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({} if details is None else {"details": details}),
            "code": code,
        }


def refusal(code: int) -> Refused:
    """What refuses any request whatever."""
    match code:
        case 401:
            return Refused(401, "Unauthorized", "Unauthorized")
        case 500:
            details = {"causes": [{"message": "etcdserver: request timed out"}]}
            return Refused(500, "InternalError", "Internal error occurred: etcdserver: request timed out", details)
        case 503:
            return Refused(503, "ServiceUnavailable", "apiserver not ready")
    raise ValueError(f"no message for {code}")


def forbidden(verb: str, plural: str, namespace: str | None, name: str | None) -> Refused:
    """403 as RBAC words it."""
    resource = RESOURCES[plural]
    what = f'{resource.qualified} "{name}"' if name else resource.qualified
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = (
        f'{what} is forbidden: User "{USER}" cannot {verb} resource "{plural}" in API group "{resource.group}" {where}'
    )
    return Refused(403, "Forbidden", message, _details(plural, name))


def not_found(plural: str, name: str) -> Refused:
    """404 for an object."""
    message = f'{RESOURCES[plural].qualified} "{name}" not found'
    return Refused(404, "NotFound", message, _details(plural, name))


def conflict(plural: str, name: str) -> Refused:
    """409 for an object of which the client knows an old version."""
    message = (
        f'Operation cannot be fulfilled on {RESOURCES[plural].qualified} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return Refused(409, "Conflict", message, _details(plural, name))


def replaced(plural: str, name: str, uid: str) -> Refused:
    """409 for an object that was deleted, and perhaps made again: the client names the uid of the old one."""
    message = (
        f'Operation cannot be fulfilled on {RESOURCES[plural].qualified} "{name}": StorageError: invalid object, '
        f"Code: 4, Key: /registry/{plural}/default/{name}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
    )
    return Refused(409, "Conflict", message, _details(plural, name))


def exists(plural: str, name: str) -> Refused:
    """409 for an object that is to be created."""
    message = f'{RESOURCES[plural].qualified} "{name}" already exists'
    return Refused(409, "AlreadyExists", message, _details(plural, name))


def no_such_path() -> Refused:
    """404 for a path that means nothing."""
    return Refused(404, "NotFound", "the server could not find the requested resource", {})


def gone(asked: int, oldest: int) -> Refused:
    """410: a watch from a version that is forgotten."""
    return Refused(410, "Expired", f"too old resource version: {asked} ({oldest})")


def _details(plural: str, name: str | None) -> Json:
    group = RESOURCES[plural].group
    return {**({"name": name} if name else {}), **({"group": group} if group else {}), "kind": plural}


VERBS = ["delete", "get", "list", "watch"]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""Accepted by kubectl since 1.30: one answer instead of one for each group. Older ones get the older answers."""


def discovery(path: str, aggregated: bool) -> Json | None:
    """What tells kubectl which kinds exist and where; None for other paths."""
    if path == "/version":
        return {"major": "1", "minor": "32", "gitVersion": "v1.32.4", "platform": "linux/amd64"}
    if aggregated and path in ("/api", "/apis"):
        return _groups([""] if path == "/api" else GROUPS)
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        versions = [{"groupVersion": f"{group}/v1", "version": "v1"} for group in GROUPS]
        groups = [
            {"name": group, "versions": [version], "preferredVersion": version}
            for group, version in zip(GROUPS, versions, strict=True)
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path in BASES:
        return _resource_list(BASES[path])
    return None


def _resource_list(group: str) -> Json:
    entries = [
        {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "namespaced": True,
            "kind": resource.kind,
            "verbs": VERBS,
            "shortNames": list(resource.short),
        }
        for resource in RESOURCES.values()
        if resource.group == group
    ]
    version = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": entries}


def _groups(groups: list[str]) -> Json:
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [_group(group) for group in groups],
    }


def _group(group: str) -> Json:
    entries = [
        {
            "resource": resource.plural,
            "responseKind": {"group": group, "version": "v1", "kind": resource.kind},
            "scope": "Namespaced",
            "singularResource": resource.kind.lower(),
            "verbs": VERBS,
            "shortNames": list(resource.short),
        }
        for resource in RESOURCES.values()
        if resource.group == group
    ]
    versions = [{"version": "v1", "resources": entries, "freshness": "Current"}]
    return {"metadata": {"name": group} if group else {"creationTimestamp": None}, "versions": versions}
