"""The Kubernetes API and kubectl: lists, watches, and every way in which they fail."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from faucet.net.commands import LocalPrograms
from faucet.net.service_url import parse_service_url
from faucet.pods.discovery.choose import CannotResolve, choose
from faucet.pods.discovery.endpoint_slices import ServiceName
from faucet.pods.discovery.endpoints import Answer, Denied, Endpoint, Found, Missing, Resolver, Trouble
from faucet.pods.discovery.in_cluster import WATCH_PATIENCE, InCluster, in_cluster
from faucet.pods.discovery.kubernetes import Fallback, Kubectl, Slices
from faucet.pods.discovery.polling import Fixed
from tests.support.kubeapi import Endpoint as ApiEndpoint
from tests.support.kubeapi import KubeApi
from tests.support.resolved import B, heard

SERVICE = ServiceName("plumber", "default")

# -- EndpointSlices -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def api_of(tmp_path: Path) -> AsyncIterator[tuple[KubeApi, InCluster]]:
    """A fake API server, and our client for it."""
    async with KubeApi(tmp_path / "api") as api:
        account = api.service_account(tmp_path / "account")
        source = in_cluster(api.in_cluster_env, account)
        assert source is not None
        yield api, source


async def take(answers: AsyncIterator[Answer], wanted: Callable[[Answer], bool]) -> Answer:
    """The first answer that is as wanted."""
    async with asyncio.timeout(10):
        async for answer in answers:
            if wanted(answer):
                return answer
    raise AssertionError("it ended")


def names(answer: Answer) -> list[str]:
    return [endpoint.name for endpoint in answer.endpoints] if isinstance(answer, Found) else []


POD_A, POD_B = ApiEndpoint("10.0.0.1", "plumber-a"), ApiEndpoint("10.0.0.2", "plumber-b")


@pytest.mark.slow
async def test_list_watch_and_what_breaks_them(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        slices = Slices(source, SERVICE, 8000, "http")
        async with heard(slices) as answers:
            assert await anext(answers) == Found((Endpoint("10.0.0.1", 8000, "plumber-a"),))
            await api.wait_watch()
            api.set_slice("two", "plumber", [POD_B])
            assert names(await anext(answers)) == ["plumber-a", "plumber-b"]
            api.set_slice("other", "another", [ApiEndpoint("10.0.0.9", "x")])
            api.bookmark()
            assert names(await anext(answers)) == ["plumber-a", "plumber-b"], "the bookmark: it is well"
            api.delete_slice("one")
            assert names(await anext(answers)) == ["plumber-b"]
            api.end_watches()
            assert names(await anext(answers)) == ["plumber-b"]
            for number, breaks in enumerate((api.cut, lambda: api.cut(reset=True))):
                await api.wait_watch()
                breaks()
                api.set_slice("one", "plumber", [POD_A] if number % 2 else [])
                expected = ["plumber-a", "plumber-b"] if number % 2 else ["plumber-b"]
                await take(answers, lambda answer, expected=expected: names(answer) == expected)  # type: ignore[misc]


@pytest.mark.parametrize("http", [False, True], ids=["as an event", "as a status"])
async def test_a_version_that_is_forgotten(tmp_path: Path, http: bool) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        api.gone_once(http=http)
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            assert names(await anext(answers)) == ["plumber-a"]
            assert names(await anext(answers)) == ["plumber-a"], "listed anew, without a word"
            await api.wait_watch()
            assert len([request for request in api.log if "watch" not in request.query]) == 2


async def test_the_token_is_read_again(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        slices = Slices(source, SERVICE, 8000, "http")
        async with heard(slices) as answers:
            assert names(await anext(answers)) == ["plumber-a"]
            await api.wait_watch()
            api.token = "another"
            api.cut()
            refused = await take(answers, lambda answer: isinstance(answer, Trouble) and "401" in answer.text)
            assert "the Kubernetes API refused with 401" in str(refused)
            api.service_account(tmp_path / "account")
            assert names(await take(answers, lambda answer: isinstance(answer, Found))) == ["plumber-a"]


@pytest.mark.parametrize(("status", "said"), [(403, "kind: Role\n"), (401, "automountServiceAccountToken")])
async def test_who_is_denied_falls_back(
    tmp_path: Path, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with api_of(tmp_path) as (api, source):
        api.forbid = status
        resolver: Resolver = Fallback(Slices(source, SERVICE, 8000, "http"), Fixed(B))
        async with heard(resolver) as answers:
            assert await anext(answers) == Found((B,))
        assert said in caplog.text
        assert "Using one address instead." in caplog.text
        assert "resources: [endpointslices]" in caplog.text or status != 403


@pytest.mark.slow
async def test_a_server_that_fails_silent_or_down_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faucet.pods.discovery.in_cluster.PATIENCE", 0.3)
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            api.forbid = 503
            assert "503" in str(await anext(answers))
            api.forbid = None
            api.silent = True
            assert await anext(answers) == Trouble("the Kubernetes API: it did not answer in time")
            await api.down()
            assert "refused" in str(await take(answers, lambda answer: "refused" in str(answer)))
            api.silent = False
            await api.up()
            assert names(await take(answers, lambda answer: isinstance(answer, Found))) == ["plumber-a"]


async def silence_of(api: KubeApi, answers: AsyncIterator[Answer], began: Callable[[], None]) -> float:
    """Seconds from `began` to the first trouble."""
    await api.wait_watch()
    began()
    since = monotonic()
    await take(answers, lambda answer: isinstance(answer, Trouble))
    return monotonic() - since


async def test_an_api_that_falls_silent_is_noticed_long_before_the_watch_ends(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        source.look_after, source.look_patience = 0.4, 0.4
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            took = await silence_of(api, answers, lambda: setattr(api, "silent", True))
            assert took < 5 * (source.look_after + source.look_patience) < WATCH_PATIENCE / 20
            api.silent = False
            assert names(await take(answers, lambda answer: isinstance(answer, Found))) == ["plumber-a"]


async def test_a_quiet_watch_is_confirmed_and_stays(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        source.look_after = 0.05
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            for _ in range(4):
                assert names(await anext(answers)) == ["plumber-a"]
            api.denied.add(("list", "endpointslices"))
            refused = await take(answers, lambda answer: isinstance(answer, Trouble))
            assert "refused with 403" in str(refused)
            api.set_slice("two", "plumber", [POD_B])
            both = ["plumber-a", "plumber-b"]
            await take(answers, lambda answer: names(answer) == both)  # by the watch
            api.denied.clear()
            await take(answers, lambda answer: names(answer) == both)
            assert len([request for request in api.log if "watch" in request.query]) == 1


async def test_a_watch_that_is_told_nothing_is_replaced(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        source.look_after = 0.2
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            await api.wait_watch()
            deaf = api.watches[0]
            api.deaf_watches = True
            api.set_slice("two", "plumber", [POD_B])
            await take(answers, lambda answer: names(answer) == ["plumber-a", "plumber-b"])
            await api.wait(lambda: bool(api.watches) and deaf not in api.watches)
            api.deaf_watches = False
            source.look_after = 60.0
            api.delete_slice("one")
            await take(answers, lambda answer: names(answer) == ["plumber-b"])


@pytest.mark.slow
async def test_a_watch_that_is_denied_and_an_api_that_never_answers(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.set_slice("one", "plumber", [POD_A])
        api.denied.add(("watch", "endpointslices"))
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            assert names(await anext(answers)) == ["plumber-a"]
            with pytest.raises(Denied, match="cannot watch resource"):
                await anext(answers)
        await api.down()
        async with heard(Fallback(Slices(source, SERVICE, 8000, "http"), Fixed(B))) as answers:
            assert await take(answers, lambda answer: isinstance(answer, Found)) == Found((B,))


async def test_a_name_that_is_no_service(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (_, source), heard(Slices(source, SERVICE, 8000, "http")) as answers:
        expected = "there are no EndpointSlices of default/plumber: is that the name of a service?"
        assert await anext(answers) == Missing(expected)


async def test_a_certificate_that_is_not_the_clusters(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source), KubeApi(tmp_path / "other") as other:
        shutil.copy(other.ca_file, tmp_path / "account" / "ca.crt")
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            assert "certificate" in str(await anext(answers))


async def test_events_that_come_in_pieces(tmp_path: Path) -> None:
    async with api_of(tmp_path) as (api, source):
        api.chunk_size = 7
        async with heard(Slices(source, SERVICE, 8000, "http")) as answers:
            assert isinstance(await anext(answers), Missing)
            await api.wait_watch()
            api.set_slice("one", "plumber", [POD_A])
            assert names(await anext(answers)) == ["plumber-a"]


# -- kubectl, the real one ----------------------------------------------------------------------------------------


@pytest.fixture
def kubectl(tool: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """For the fake API server, when that has written its configuration."""
    tool("kubectl")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return Kubectl(LocalPrograms())


async def test_kubectl_lists_and_watches(kubectl: Kubectl, tmp_path: Path) -> None:
    async with KubeApi(tmp_path / "api") as api:
        api.kubeconfig(tmp_path / "kubeconfig", namespace="models")
        assert await kubectl.namespace() == "models"
        api.set_slice("one", "plumber", [POD_A])
        async with heard(Slices(kubectl, SERVICE, 8000, "http")) as answers:
            assert names(await anext(answers)) == ["plumber-a"]
            await api.wait_watch()
            api.set_slice("two", "plumber", [POD_B])
            assert names(await anext(answers)) == ["plumber-a", "plumber-b"]
            api.cut()
            assert isinstance(await anext(answers), Trouble)
            assert names(await anext(answers)) == ["plumber-a", "plumber-b"]
            await api.wait_watch()
        await api.wait(lambda: not api.watches)  # kubectl is gone with the iterator


async def test_kubectl_is_asked_again_while_its_watch_is_quiet(kubectl: Kubectl, tmp_path: Path) -> None:
    async with KubeApi(tmp_path / "api") as api:
        api.kubeconfig(tmp_path / "kubeconfig")
        api.set_slice("one", "plumber", [POD_A])
        kubectl.look_after = 0.5
        async with heard(Slices(kubectl, SERVICE, 8000, "http")) as answers:
            for _ in range(3):
                assert names(await anext(answers)) == ["plumber-a"]
            kubectl.look_patience = 1.0
            took = await silence_of(api, answers, lambda: setattr(api, "silent", True))
            assert took < 5 * (kubectl.look_after + kubectl.look_patience) < WATCH_PATIENCE / 20
            api.silent = False
            assert names(await take(answers, lambda answer: isinstance(answer, Found))) == ["plumber-a"]


async def test_kubectl_is_denied(kubectl: Kubectl, tmp_path: Path) -> None:
    async with KubeApi(tmp_path / "api") as api:
        api.kubeconfig(tmp_path / "kubeconfig")
        for status, said in ((403, "needs this Role"), (401, "token is not accepted")):
            api.forbid = status
            async with heard(Slices(kubectl, SERVICE, 8000, "http")) as answers:
                with pytest.raises(Denied, match=said):
                    await anext(answers)


async def test_without_kubectl_there_is_no_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CannotResolve, match="no kubectl here"):
        await choose(parse_service_url("http://plumber:8000"), "kubernetes", None, 5)
    assert isinstance(await choose(parse_service_url("http://10.0.0.1"), "kubernetes", None, 5), Fixed)
    assert "KUBERNETES_SERVICE_HOST" not in os.environ
    assert (await choose(parse_service_url("http://plumber:8000"), "auto", None, 5)).described == "DNS"
