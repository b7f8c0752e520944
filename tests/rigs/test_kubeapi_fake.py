"""The fake Kubernetes API server is one: a plain TLS client and the real kubectl both say so."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support import kubeobjects
from tests.support.certificates import make_ca
from tests.support.kubeapi import Endpoint, KubeApi
from tests.support.load import hang_up

SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
OURS = f"{SLICES}?labelSelector={quote('kubernetes.io/service-name=plumber', safe='')}"
Kubectl = Callable[..., Awaitable[asyncio.subprocess.Process]]
TWO = [Endpoint("10.244.1.11", "plumber-0"), Endpoint("10.244.1.12", "plumber-1", ready=False)]


class Client:
    """One connection; knows just enough HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._reader = reader
        self.writer = writer
        self._token = token
        self._rest = b""

    async def ask(self, target: str, method: str = "GET") -> tuple[int, bool]:
        """Send a request; the status, and whether the answer is chunked."""
        self.writer.write(
            f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self._token}\r\n\r\n".encode()
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        self._length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        return int(head.split(" ")[1]), "transfer-encoding: chunked" in head

    async def chunk(self) -> bytes:
        """The content of the next chunk; empty at the end."""
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    async def fetch(self, target: str, method: str = "GET") -> tuple[int, Any]:
        """A request and its whole answer."""
        status, chunked = await self.ask(target, method)
        body = b""
        if chunked:
            while part := await self.chunk():
                body += part
        else:
            body = await self._reader.readexactly(self._length)
        return status, json.loads(body)

    async def event(self) -> tuple[str, Any] | None:
        """The next event of a watch; None at its end."""
        while b"\n" not in self._rest:
            part = await self.chunk()
            if not part:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        event = json.loads(line)
        return event["type"], event["object"]

    async def refused(self) -> None:
        """The connection breaks off within a chunk."""
        with pytest.raises((asyncio.IncompleteReadError, OSError)):
            await self.chunk()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubeApi]:
    async with KubeApi(tmp_path / "kube") as server:
        server.set_slice("plumber-abc", "plumber", TWO)
        server.set_slice("other-abc", "other", [Endpoint("10.244.1.99")])
        yield server


@contextlib.asynccontextmanager
async def connected(api: KubeApi, token: str | None = None) -> AsyncIterator[Client]:
    """A client that trusts the server's authority."""
    context = ssl.create_default_context(cafile=str(api.ca_file))
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, ssl=context)
    try:
        async with asyncio.timeout(10):
            yield Client(reader, writer, api.token if token is None else token)
    finally:
        await hang_up(writer)


async def watching(client: Client, version: str, more: str = "") -> None:
    status, chunked = await client.ask(f"{OURS}&watch=1&resourceVersion={version}&allowWatchBookmarks=true{more}")
    assert (status, chunked) == (200, True)


async def test_lists_and_watches(api: KubeApi) -> None:
    async with connected(api) as client:
        status, found = await client.fetch(OURS)
        assert (status, found["kind"]) == (200, "EndpointSliceList")
        (item,) = found["items"]
        assert "kind" not in item
        assert [endpoint["conditions"] for endpoint in item["endpoints"]] == [{"ready": True}, {"ready": False}]
        assert item["endpoints"][0]["targetRef"]["name"] == "plumber-0"
        api.set_slice("plumber-abc", "plumber", [])  # between the list and the watch
        await watching(client, found["metadata"]["resourceVersion"])
        kind, thing = await client.event() or ("", {})
        assert (kind, thing["endpoints"], thing["ports"]) == ("MODIFIED", None, None)
        api.set_slice("other-abc", "other", [])
        api.set_slice("plumber-v6", "plumber", [Endpoint("fd00::1")], address_type="IPv6")
        api.bookmark()
        api.delete_slice("plumber-v6")
        events = [await client.event() or ("", {}) for _ in range(3)]
        assert [kind for kind, _ in events] == ["ADDED", "BOOKMARK", "DELETED"]
        versions = [int(thing["metadata"]["resourceVersion"]) for _, thing in events]
        assert versions == sorted(set(versions))
        api.end_watches()
        assert await client.event() is None
        assert (await client.fetch(OURS))[0] == 200
    assert [request.status for request in api.log] == [200, 200, 200]
    assert api.log[0].query == {"labelSelector": "kubernetes.io/service-name=plumber"}


async def test_a_watch_without_a_version_begins_with_what_exists_and_ends_in_time(api: KubeApi) -> None:
    api.chunk_size = 7
    async with connected(api) as client:
        await client.ask(f"{OURS}&watch=true&timeoutSeconds=1")
        kind, thing = await client.event() or ("", {})
        assert (kind, thing["metadata"]["name"]) == ("ADDED", "plumber-abc")
        assert await client.event() is None
    assert not api.watches


async def test_a_large_list_is_chunked(api: KubeApi) -> None:
    api.set_slice("plumber-big", "plumber", [Endpoint(f"10.244.2.{number}", f"big-{number}") for number in range(100)])
    async with connected(api) as client:
        _, chunked = await client.ask(OURS)
        assert chunked


@pytest.mark.parametrize("reset", [False, True])
async def test_cut_watches_and_what_is_missed_meanwhile(api: KubeApi, reset: bool) -> None:
    version = str(api.version)
    async with connected(api) as client:
        await watching(client, version)
        api.cut(reset)
        api.set_slice("plumber-abc", "plumber", TWO[:1])
        await client.refused()
    async with connected(api) as client:
        await watching(client, version)
        assert (await client.event() or ("",))[0] == "MODIFIED"
        await api.down()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", api.port)
        await api.up()
    async with connected(api) as client:
        assert (await client.fetch(OURS))[0] == 200


async def test_gone(api: KubeApi) -> None:
    version = str(api.version)
    async with connected(api) as client:
        for how in ("once", "compacted"):
            if how == "once":
                api.gone_once()
            else:
                api.bookmark()
                api.compact()
            await watching(client, version)
            kind, status = await client.event() or ("", {})
            assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
            assert await client.event() is None
        api.gone_once(http=True)
        status, content = await client.fetch(f"{OURS}&watch=1&resourceVersion={api.version}")
        assert (status, content["code"]) == (410, 410)
        await watching(client, str(api.version))


async def test_refusals(api: KubeApi) -> None:
    async with connected(api) as client, connected(api, token="stale") as stranger:
        assert (await stranger.fetch(OURS))[0] == 401
        api.token = "stale"
        assert (await stranger.fetch(OURS))[0] == 200
        assert (await client.fetch(OURS))[0] == 401
        api.forbid = 403
        status, content = await stranger.fetch(OURS)
        assert status == content["code"] == 403
        assert content["message"] == (
            'endpointslices.discovery.k8s.io is forbidden: User "system:serviceaccount:default:default" cannot list '
            'resource "endpointslices" in API group "discovery.k8s.io" in the namespace "default"'
        )
        for api.forbid in (401, 500, 503):
            status, content = await stranger.fetch(OURS)
            assert (status, content["kind"], content["code"]) == (api.forbid, "Status", api.forbid)
        api.forbid = None
        api.denied.add(("watch", "endpointslices"))
        assert (await stranger.fetch(f"{OURS}&watch=1"))[0] == 403
        assert (await stranger.fetch("/api/v1/nonsense"))[0] == 404
        assert (await stranger.fetch(SLICES, "DELETE"))[0] == 405


async def test_silence(api: KubeApi) -> None:
    async with connected(api) as client, connected(api) as late:
        await watching(client, str(api.version))
        api.silent = True
        api.set_slice("plumber-abc", "plumber", TWO[:1])
        late.writer.write(f"GET {OURS} HTTP/1.1\r\n\r\n".encode())
        await api.wait(lambda: api.log[-1].status == 0)
        api.silent = False
        assert (await client.event() or ("",))[0] == "MODIFIED"


async def test_who_does_not_know_the_authority_is_not_served(api: KubeApi) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", api.port, ssl=ssl.create_default_context())


async def test_expired_certificates(tmp_path: Path) -> None:
    authority = make_ca(tmp_path / "ca")
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    server = await asyncio.start_server(
        lambda *_: None, "127.0.0.1", 0, ssl=authority.server_context("127.0.0.1", not_after=past)
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await asyncio.open_connection("127.0.0.1", port, ssl=authority.client_context())


def test_service_account_files(tmp_path: Path) -> None:
    api = KubeApi(tmp_path / "kube")
    files = api.service_account(tmp_path / "account", "science")
    assert sorted(path.name for path in files.iterdir()) == ["ca.crt", "namespace", "token"]
    api.token = "rotated"
    assert (api.service_account(files) / "token").read_text() == "rotated"


@pytest.fixture
def kubectl(api: KubeApi, tmp_path: Path, tool: Callable[[str], str]) -> Kubectl:
    """Starts the real one. Its home is the test's: kubectl caches discovery there, by host and port."""
    program = tool("kubectl")
    config = str(api.kubeconfig(tmp_path / "kubeconfig"))
    env = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": config}
    null, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE

    async def start(*words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(program, *words, env=env, stdin=null, stdout=pipe, stderr=pipe)

    return start


async def run(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Exit code, output and errors."""
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(), errors.decode()


async def test_kubectl_lists(api: KubeApi, kubectl: Kubectl) -> None:
    api.set_service("plumber")
    api.set_service("web", "production", "10.96.0.20", [("http", 80), ("metrics", 9090)])
    code, output, errors = await run(await kubectl("get", "services", "-A", "-o", "json"))
    assert code == 0, errors
    found = {item["metadata"]["name"]: item["spec"] for item in json.loads(output)["items"]}
    assert {name: spec["clusterIP"] for name, spec in found.items()} == {"plumber": "None", "web": "10.96.0.20"}
    code, output, errors = await run(await kubectl("get", "endpointslices", "-o", "name"))
    assert code == 0, errors
    assert output.split() == [f"endpointslice.discovery.k8s.io/{name}-abc" for name in ("other", "plumber")]
    code, output, errors = await run(await kubectl("get", "--raw", OURS))
    assert [item["metadata"]["name"] for item in json.loads(output)["items"]] == ["plumber-abc"], errors


async def test_kubectl_watches(api: KubeApi, kubectl: Kubectl) -> None:
    process = await kubectl("get", "--raw", f"{OURS}&watch=1&resourceVersion={api.version}")
    try:
        await api.wait_watch()
        api.set_slice("plumber-abc", "plumber", TWO[:1])
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 10)
        assert json.loads(line)["type"] == "MODIFIED"
        api.end_watches()
    finally:
        code, *_ = await run(process)
    assert code == 0
    api.gone_once()
    code, output, _ = await run(await kubectl("get", "--raw", f"{OURS}&watch=1&resourceVersion=1"))
    assert (code, json.loads(output)["object"]["code"]) == (0, 410)


@pytest.mark.parametrize("wait", ["--wait=false", "--wait=true"])
async def test_kubectl_deletes_a_pod(api: KubeApi, kubectl: Kubectl, wait: str) -> None:
    api.grace = 60 if wait == "--wait=false" else 0.3
    code, output, errors = await run(await kubectl("delete", "pod", "plumber-0", "-n", "default", wait))
    assert (code, output) == (0, 'pod "plumber-0" deleted\n'), errors
    assert api.deleted == [("default", "plumber-0")]
    async with connected(api) as client:
        status, _ = await client.fetch("/api/v1/namespaces/default/pods/plumber-0")
        assert status == (200 if wait == "--wait=false" else 404)


async def test_kubectl_before_aggregated_discovery(
    api: KubeApi, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It falls back to a request for each group, as with servers before 1.27."""
    monkeypatch.setattr(kubeobjects, "AGGREGATED", "application/unknown")
    code, _, errors = await run(await kubectl("delete", "pod", "plumber-0"))
    assert (code, api.deleted) == (0, [("default", "plumber-0")]), errors
    assert "/api/v1" in [request.path for request in api.log]


async def test_kubectl_is_refused(api: KubeApi, kubectl: Kubectl) -> None:
    code, _, errors = await run(await kubectl("delete", "pod", "nobody", "-n", "default"))
    assert (code, errors) == (1, 'Error from server (NotFound): pods "nobody" not found\n')
    api.denied.add(("delete", "pods"))
    code, _, errors = await run(await kubectl("delete", "pod", "plumber-0", "-n", "default"))
    assert (code, 'Error from server (Forbidden): pods "plumber-0" is forbidden: User ' in errors) == (1, True), errors
    api.forbid = 500
    code, _, errors = await run(await kubectl("get", "--raw", OURS))
    assert (code, "etcdserver: request timed out" in errors) == (1, True), errors
    api.forbid, api.token = None, "rotated"
    code, _, errors = await run(await kubectl("get", "--raw", OURS))
    assert (code, "Unauthorized" in errors) == (1, True), errors
    assert api.deleted == []
