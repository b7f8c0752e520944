"""The Lease in the Kubernetes API: reads, and writes by compare-and-swap of its resourceVersion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from faucet.ha.lease_object import API_VERSION, object_of, record_of
from faucet.ha.record import Lease, Record
from faucet.ha.timing import Timing
from faucet.net.connect import why_not
from faucet.pods.discovery.endpoint_slices import ApiError, parse_object
from faucet.pods.discovery.endpoints import Unusable

NOT_FOUND, CONFLICT = 404, 409

ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: faucet, namespace: {namespace}}}
rules:
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]"""


class Api(Protocol):
    """Sends requests to the Kubernetes API."""

    async def send(self, method: str, path: str, content: bytes = b"") -> bytes:
        """Return the whole response. Raises ApiError, OSError or TimeoutError."""
        ...


class NotStored(Exception):
    """Nothing was written, because the Lease no longer has the version to be replaced."""


class LeaseClient:
    """The Lease `name` in `namespace`. Calls are made one after the other."""

    def __init__(self, api: Api, namespace: str, name: str, timing: Timing) -> None:
        self.name = name
        self.namespace = namespace
        self._api = api
        self._timing = timing
        self._all = f"/apis/{API_VERSION}/namespaces/{namespace}/leases"
        self._path = f"{self._all}/{name}"
        self._object: dict[str, Any] | None = None  # the last object that was read or written

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    async def read(self) -> Lease | None:
        """Return the Lease, None if there is none. Raises ApiError, Unusable, OSError or TimeoutError."""
        try:
            content = await self._api.send("GET", self._path)
        except ApiError as error:
            if not self._is_missing(error):
                raise
            self._object = None
            return None
        return self._remember(content)

    async def write(self, record: Record, version: str) -> str:
        """Replace that version of the Lease, or create it (""); return the new version.

        Raises NotStored if it is another one, or was created or deleted. Raises ApiError, Unusable, OSError or
        TimeoutError as `read` does; after these it may be stored, or not, or later.
        """
        body = object_of(record, self.name, self._before(version) if version else None)
        try:
            if version:
                content = await self._api.send("PUT", self._path, _json(body))
            else:
                content = await self._api.send("POST", self._all, _json(body))
        except ApiError as error:
            if error.status == CONFLICT or self._is_missing(error):
                raise NotStored(str(error)) from error
            raise
        lease = self._remember(content)
        if lease.record != record:
            raise Unusable(f"the API stored another Lease {self} than it was given")
        return lease.version

    def _before(self, version: str) -> Mapping[str, Any]:
        """Return the object of that version, if it is the last one that was seen. Raises NotStored.

        Its `uid` has to be in what replaces it: a Lease that was deleted is created again by a PUT without.
        """
        if self._object is None or self._object["metadata"]["resourceVersion"] != version:
            raise NotStored(f"version {version} of Lease {self} is not the last that was read")
        return self._object

    def _remember(self, content: bytes) -> Lease:
        found = parse_object(content)
        lease = record_of(found, self._timing)
        if found["metadata"].get("name") != self.name or not found["metadata"].get("uid"):
            raise Unusable(f"the API answered with another Lease than {self}")
        self._object = found
        return lease

    def _is_missing(self, error: ApiError) -> bool:
        """Return whether the Lease does not exist. Other errors, e.g. of a starting API server, are "not found" too."""
        return error.status == NOT_FOUND and f'"{self.name}" not found' in str(error)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def why_failed(error: Exception, lease: LeaseClient) -> str:
    """Return the message for the user about a failed call, with the next step."""
    if isinstance(error, ApiError) and error.status == 403:
        role = ROLE.format(namespace=lease.namespace)
        return (
            f"the API refused with 403: {error}. The service account needs this Role, and a RoleBinding to it:\n{role}"
        )
    if isinstance(error, ApiError):
        return f"the API refused with {error.status}: {error}"
    return why_not(error)
