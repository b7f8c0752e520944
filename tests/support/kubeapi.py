"""A fake of the Kubernetes API server: TLS, lists, watches and deletions, and every way in which they fail.

It runs in the test's own event loop and is synchronous but for opening and closing: what a test changes is on its way
to the watches when the call returns. The real kubectl works with it (tests/rigs/test_kubeapi_fake.py proves it).

Habits of the real server that are kept, because clients stumble over them: a body of more than 2 kB is chunked (Go's
net/http); a watch from a version replays what has happened since, one without begins with what exists; 410 comes as an
event under a 200; discovery is open to everyone who has a token, whatever RBAC says.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support import kubeobjects
from tests.support.certificates import make_ca
from tests.support.kubeobjects import HTTP, Endpoint, Json, Ports, Refused
from tests.support.kubewire import Change, Connection, Message, Selection, Watch

__all__ = ["Endpoint", "KubeApi", "Request"]

_OBJECTS = re.compile(
    r"(?P<base>/api/v1|/apis/(?:discovery|coordination)\.k8s\.io/v1)(/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z]+)(/(?P<name>[^/]+))?"
)


class Request(NamedTuple):
    """A request that was answered; `status` 0 where silence was the answer."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    body: bytes
    token: str


class KubeApi:
    """`async with KubeApi(tmp_path) as api:`; then `api.port`, `api.ca_file`, and whatever the test wants to happen."""

    def __init__(self, directory: Path) -> None:
        authority = make_ca(directory)
        self._context = authority.server_context("kubernetes.default.svc", "localhost", "127.0.0.1")
        self._server: asyncio.Server | None = None
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._changed = asyncio.Event()
        self._silent = False
        self._oldest = 0
        self._gone: str | None = None
        self.ca_file = authority.ca_file
        self.port = 0
        self.token = "the-token"
        """What must be presented as Bearer from now on."""
        self.log: list[Request] = []
        self.deleted: list[tuple[str, str]] = []
        """Namespace and name of each pod that a client had deleted."""
        self.forbid: int | None = None
        """401, 403, 500 or 503 for every request. 403 leaves discovery alone, as RBAC's defaults do."""
        self.mute_writes = False
        """Whether writes are stored, but not answered."""
        self.deaf_watches = False
        """Whether open watches are told nothing, as over a connection that is dead at its other end only."""
        self.denied: set[tuple[str, str]] = set()
        """403 for these only, such as ("delete", "pods") or ("watch", "endpointslices")."""
        self.grace = 0.0
        """Seconds for which a deleted pod still exists, with a deletionTimestamp."""
        self.chunk_size = 0
        """Split the events of watches into chunks of so many bytes (0: one chunk for each event)."""
        self.version = 1000
        self.history: list[Change] = []
        self.watches: list[Watch] = []
        self.connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen; after `down`, on the same port as before."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self),
            "127.0.0.1",
            self.port,
            ssl=self._context,
            ssl_handshake_timeout=5,
            ssl_shutdown_timeout=1,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, and break off those that there are."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await self.wait(lambda: not self.connections)
        await self._server.wait_closed()
        self._server = None

    @property
    def url(self) -> str:
        """Its address, as a kubeconfig has it."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def in_cluster_env(self) -> dict[str, str]:
        """Environment variables that every container has."""
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}

    def service_account(self, directory: Path, namespace: str = "default") -> Path:
        """Write what containers find in /var/run/secrets/kubernetes.io/serviceaccount; again after a new token."""
        directory.mkdir(parents=True, exist_ok=True)
        content = {"ca.crt": self.ca_file.read_text(), "token": self.token, "namespace": namespace}
        for name, text in content.items():
            new = directory / f".{name}.new"
            new.write_text(text)
            new.replace(directory / name)  # the kubelet does it at one stroke too
        return directory

    def kubeconfig(self, path: Path, namespace: str = "default") -> Path:
        """Write a configuration for kubectl."""
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        path.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: fake\n"
            f"clusters: [{{name: fake, cluster: {{server: '{self.url}', certificate-authority-data: {authority}}}}}]\n"
            f"users: [{{name: tester, user: {{token: '{self.token}'}}}}]\n"
            f"contexts: [{{name: fake, context: {{cluster: fake, user: tester, namespace: {namespace}}}}}]\n"
        )
        path.chmod(0o600)
        return path

    def set_slice(
        self,
        name: str,
        service: str,
        endpoints: Sequence[Endpoint],
        ports: Ports = HTTP,
        address_type: str = "IPv4",
        namespace: str = "default",
    ) -> None:
        """Make or replace an EndpointSlice; pods that are named and unknown are made too."""
        labels = {
            "kubernetes.io/service-name": service,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        listed = [(endpoint, self._uid_of_pod(endpoint, namespace)) for endpoint in endpoints]
        meta = kubeobjects.metadata(name, namespace, labels)
        self._put("endpointslices", kubeobjects.endpoint_slice(meta, listed, ports, address_type))

    def delete_slice(self, name: str, namespace: str = "default") -> None:
        """Delete an EndpointSlice. Its pods stay."""
        self._remove("endpointslices", namespace, name)

    def set_service(self, name: str, namespace: str = "default", cluster_ip: str = "None", ports: Ports = HTTP) -> None:
        """Make or replace a Service."""
        meta = kubeobjects.metadata(name, namespace, {"app": name})
        self._put("services", kubeobjects.service(meta, cluster_ip, ports))

    def set_pod(self, name: str, address: str, namespace: str = "default") -> None:
        """Make or replace a Pod."""
        meta = kubeobjects.metadata(name, namespace, {"app": "plumber"})
        self._put("pods", kubeobjects.pod(meta, address))

    def _uid_of_pod(self, endpoint: Endpoint, namespace: str) -> str:
        if endpoint.pod is None:
            return ""
        if ("pods", namespace, endpoint.pod) not in self._objects:
            address = endpoint.address if isinstance(endpoint.address, str) else endpoint.address[0]
            self.set_pod(endpoint.pod, address, namespace)
        return str(self._objects["pods", namespace, endpoint.pod]["metadata"]["uid"])

    def lease(self, name: str, namespace: str = "default") -> Json | None:
        """The Lease of that name."""
        return self._objects.get(("leases", namespace, name))

    def set_lease(self, name: str, namespace: str = "default", **spec: object) -> None:
        """Make or replace a Lease, as by hand."""
        meta = kubeobjects.metadata(name, namespace, {})
        self._put("leases", {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": meta, "spec": spec})

    def delete_lease(self, name: str, namespace: str = "default") -> None:
        """Delete a Lease."""
        self._remove("leases", namespace, name)

    def bookmark(self) -> None:
        """Something else has changed in the cluster; watches that want bookmarks are told the new version."""
        self._change("BOOKMARK", *(kubeobjects.bookmark(plural) for plural in kubeobjects.RESOURCES))

    def compact(self) -> None:
        """Forget the history: a watch from a version before this one gets 410."""
        self._oldest = self.version
        self.history.clear()

    def gone_once(self, http: bool = False) -> None:
        """The next watch is refused with 410: by an ERROR event, or (`http`) by the status of the response."""
        self._gone = "http" if http else "event"

    def cut(self, reset: bool = False) -> None:
        """Break off all watches in the middle of a chunk, with a FIN or a reset."""
        for watch in list(self.watches):
            watch.cut(reset)

    def end_watches(self) -> None:
        """End all watches as their timeout does."""
        for watch in list(self.watches):
            watch.end()

    @property
    def silent(self) -> bool:
        """While True no request is answered and no watch told anything; later, the watches get what they missed."""
        return self._silent

    @silent.setter
    def silent(self, value: bool) -> None:
        self._silent = value
        self._pump()

    async def wait(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Until `condition`, which is asked again after each request, change, and end of a watch or connection."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; requests: {self.log}") from None

    async def wait_watch(self, count: int = 1, seconds: float = 10) -> None:
        """Until so many watches are open."""
        await self.wait(lambda: len(self.watches) == count, seconds)

    def wake(self) -> None:
        """Those who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _put(self, plural: str, thing: Json) -> None:
        meta = thing["metadata"]
        key = (plural, meta["namespace"], meta["name"])
        before = self._objects.get(key)
        if before is not None:
            meta["uid"] = before["metadata"]["uid"]
        self._objects[key] = thing
        self._change("ADDED" if before is None else "MODIFIED", thing)

    def _remove(self, plural: str, namespace: str, name: str) -> None:
        thing = self._objects.pop((plural, namespace, name))
        self._change("DELETED", {**thing, "metadata": dict(thing["metadata"])})

    def _change(self, kind: str, *things: Json) -> None:
        """A new version of the cluster. From here on, nobody changes these objects."""
        self.version += 1
        for thing in things:
            thing["metadata"]["resourceVersion"] = str(self.version)
            self.history.append(Change(self.version, kind, kubeobjects.plural_of(thing), thing))
        self._pump()
        self.wake()

    def _pump(self) -> None:
        for watch in list(self.watches):
            watch.pump()

    def handle(self, connection: Connection, message: Message) -> None:
        """Answer a request."""
        if self.silent:
            connection.hold()
            self._note(message, 0)
            return
        try:
            status = self._answer(connection, message)
        except Refused as refused:
            status = refused.code
            connection.answer(status, refused.status)
        self._note(message, status)

    def _note(self, message: Message, status: int) -> None:
        self.log.append(Request(message.method, message.path, message.query, status, message.body, message.token))
        self.wake()

    def _answer(self, connection: Connection, message: Message) -> int:
        if message.token != self.token:
            raise kubeobjects.refusal(401)
        if self.forbid is not None and self.forbid != 403:
            raise kubeobjects.refusal(self.forbid)
        aggregated = kubeobjects.AGGREGATED in message.fields.get("accept", "")
        if found := kubeobjects.discovery(message.path, aggregated):
            many = found.get("kind") == "APIGroupDiscoveryList"
            connection.answer(200, found, kubeobjects.AGGREGATED if many else "application/json")
            return 200
        selection = _selection(message)
        verb = _verb(message, selection)
        if self.forbid == 403 or (verb, selection.plural) in self.denied:
            raise kubeobjects.forbidden(verb, selection.plural, selection.namespace, selection.name)
        if verb == "watch":
            self._watch(connection, selection, message.query)
            return 200
        if verb in ("create", "update"):
            status, content = self._store(verb, selection, json.loads(message.body))
        else:
            status, content = 200, self._content(verb, selection)
        if self.mute_writes and verb in ("create", "update"):
            connection.hold()
        else:
            connection.answer(status, content)
        return status

    def _store(self, verb: str, selection: Selection, thing: Json) -> tuple[int, Json]:
        """What a client writes: by compare-and-swap, and without a new version if nothing has changed.

        An update without a uid creates what is missing, as it does for Leases.
        """
        meta = thing["metadata"]
        namespace, name = selection.namespace or "default", selection.name or meta["name"]
        before = self._objects.get((selection.plural, namespace, name))
        if verb == "create" and before is not None:
            raise kubeobjects.exists(selection.plural, name)
        if uid := meta.get("uid") if before is None or before["metadata"]["uid"] != meta.get("uid") else None:
            raise kubeobjects.replaced(selection.plural, name, uid)
        if before is not None and meta.get("resourceVersion", "") not in ("", before["metadata"]["resourceVersion"]):
            raise kubeobjects.conflict(selection.plural, name)
        kept = {"uid", "resourceVersion", "creationTimestamp"}
        old = before["metadata"] if before is not None else kubeobjects.metadata(name, namespace, {})
        ours = {key: value for key, value in meta.items() if key not in kept}
        thing["metadata"] = {**{key: old[key] for key in kept & set(old)}, **ours, "name": name, "namespace": namespace}
        thing["metadata"].setdefault("labels", {})
        if before is None or thing != before:
            self._put(selection.plural, thing)
        return 201 if before is None else 200, self._objects[selection.plural, namespace, name]

    def _content(self, verb: str, selection: Selection) -> Json:
        """What is not a watch."""
        found = self._select(selection)
        if verb == "list":
            return kubeobjects.list_of(selection.plural, found, str(self.version))
        if not found:
            raise kubeobjects.not_found(selection.plural, selection.name or "")
        if verb == "delete":
            return self._delete(selection.plural, found[0])
        return found[0]

    def _select(self, selection: Selection) -> list[Json]:
        things = [thing for (plural, *_), thing in sorted(self._objects.items()) if plural == selection.plural]
        return [thing for thing in things if selection.matches(thing)]

    def _delete(self, plural: str, thing: Json) -> Json:
        """By a client; again while it is being deleted, it changes nothing."""
        meta = thing["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        if plural == "pods":
            self.deleted.append((namespace, name))
        if "deletionTimestamp" in meta:
            return thing
        dying: Json = {**thing, "metadata": {**meta, "deletionTimestamp": kubeobjects.CREATED}}
        self._put(plural, dying)
        if self.grace:
            asyncio.get_running_loop().call_later(self.grace, self._vanish, plural, meta["uid"], namespace, name)
        else:
            self._remove(plural, namespace, name)
        return dying

    def _vanish(self, plural: str, uid: str, namespace: str, name: str) -> None:
        """The end of the grace period, unless the test was faster."""
        thing = self._objects.get((plural, namespace, name))
        if thing is not None and thing["metadata"]["uid"] == uid:
            self._remove(plural, namespace, name)

    def _watch(self, connection: Connection, selection: Selection, query: dict[str, str]) -> None:
        asked = int(query.get("resourceVersion") or 0)
        trouble, self._gone = self._gone, None
        too_old = kubeobjects.gone(asked, self.version) if trouble or 0 < asked < self._oldest else None
        if too_old is not None and trouble == "http":
            raise too_old
        watch = Watch(self, connection, selection, asked or self.version, _is_true(query.get("allowWatchBookmarks")))
        watch.open(float(query.get("timeoutSeconds") or 0))
        if too_old is not None:
            watch.send("ERROR", too_old.status)
            watch.end()
            return
        if not asked:
            for thing in self._select(selection):
                watch.send("ADDED", thing)
        watch.pump()


def _is_true(value: str | None) -> bool:
    return value in ("1", "true")


def _selection(message: Message) -> Selection:
    match = _OBJECTS.fullmatch(message.path)
    resource = kubeobjects.RESOURCES.get(match["plural"]) if match else None
    if match is None or resource is None or resource.group != kubeobjects.BASES[match["base"]]:
        raise kubeobjects.no_such_path()
    labels, fields = (message.query.get(key, "") for key in ("labelSelector", "fieldSelector"))
    return Selection(resource.plural, match["namespace"], match["name"], labels, fields)


def _verb(message: Message, selection: Selection) -> str:
    """As RBAC names it. Raises Refused for methods that are not served."""
    if message.method == "DELETE" and selection.name:
        return "delete"
    if message.method == "POST" and selection.plural == "leases" and not selection.name:
        return "create"
    if message.method == "PUT" and selection.plural == "leases" and selection.name:
        return "update"
    if message.method != "GET":
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})
    if _is_true(message.query.get("watch")):
        return "watch"
    return "get" if selection.name else "list"
