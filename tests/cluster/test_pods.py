"""The pods of a service, end to end: a cluster in a network namespace, real DNS, real requests.

Each pod counts what it has in hand, and goes on computing when its client has gone: a second request meanwhile is an
offence, and there may be none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import faucet.templates.demo
from faucet.control.client import Refusal
from tests.support.certificates import make_ca
from tests.support.cluster import PODS, SERVICE, Cluster
from tests.support.cluster_net import DNS, HOLE
from tests.support.cluster_pods import ADDRESSES
from tests.support.kubeapi import Endpoint, KubeApi
from tests.support.load import Crowd, Stream, fetch, hang_up, read_response
from tests.support.running import WORKERS, Faucet
from tests.support.status import control, ready, states, until

URL = f"http://{SERVICE}:8000"
DEMO = Path(faucet.templates.demo.__file__).parent

Serve = Callable[..., Faucet]


@pytest.fixture
def town(cluster: Cluster) -> Iterator[Cluster]:
    """We are in the cluster."""
    with cluster.stay("cluster"):
        yield cluster


@pytest.fixture
def serve(town: Cluster, faucet: Callable[..., Faucet]) -> Serve:
    """`faucet k8s` in the cluster, ready."""

    def start(*options: str, url: str = URL, **more: Any) -> Faucet:
        service = faucet("k8s", "--service-url", url, *options, wrapper=town.wrapper("cluster"), **more)
        return service.wait_ready()

    return start


async def test_a_pod_that_leaves_finishes_what_it_has_and_one_that_returns_keeps_its_lock(
    serve: Serve, town: Cluster
) -> None:
    town.dns.set("plumber", PODS[:1])
    service = serve("--resolve-interval", "1s")
    async with control(service) as client:
        slow = asyncio.ensure_future(fetch(service.port, "/sleep?6"))
        await until(client, "busy", lambda s: states(s) == [f"{PODS[0]} busy"])
        town.dns.set("plumber", PODS[1:2])
        await until(client, "leaving", lambda s: sorted(states(s)) == [f"{PODS[0]} draining", f"{PODS[1]} ready"])
        town.dns.set("plumber", PODS[:1])
        await until(client, "back", lambda s: states(s) == [f"{PODS[0]} busy"])
        second = asyncio.ensure_future(fetch(service.port, "/"))
        await until(client, "the second waits", lambda s: s["totals"]["waiting"] == 1)
        town.dns.set("plumber", PODS[1:2])
        assert await second == (200, PODS[1].encode())
        assert await slow == (200, PODS[0].encode())
        await until(client, "left", lambda s: states(s) == [f"{PODS[1]} ready"])


async def test_sixty_pods_are_all_found(serve: Serve, town: Cluster) -> None:
    town.dns.set("plumber", ADDRESSES)
    service = serve()
    async with control(service) as client:
        await until(client, "sixty", ready(60))
    answers = await asyncio.gather(*(fetch(service.port, "/sleep?0.5") for _ in range(60)))
    assert {body.decode() for _, body in answers} == set(ADDRESSES)


@pytest.mark.parametrize("how", ["system", "direct"])
async def test_dns_is_gone_for_a_while(serve: Serve, town: Cluster, how: str) -> None:
    service = serve("--resolve-interval", "1s", *(("--dns", DNS) if how == "direct" else ()))
    async with control(service) as client:
        stream = Stream(service.port, 3)
        town.dns.stop()
        status = await until(client, "trouble", lambda s: s["service"]["trouble"])
        assert ready(3)(status)
        await stream.reach(200)
        town.dns.start()
        town.dns.set("plumber", PODS[:2])
        began = monotonic()
        status = await until(client, "two pods", ready(2))
        # A question that had no answer may be under way still: it has its own time.
        assert monotonic() - began < (1 + 1 + 5) * 2
        assert status["service"]["trouble"] == ""
        await stream.end()
    assert stream.statuses.keys() == {200}


async def test_dns_that_says_nothing(serve: Serve, town: Cluster) -> None:
    """And the service ends at once all the same, though a thread still waits for an answer."""
    service = serve("--resolve-interval", "1s")
    town.dns.freeze()
    try:
        await asyncio.to_thread(service.wait_line, "timed out after")
        assert await fetch(service.port, "/") is not None
        began = monotonic()
        assert service.stop() == 0
        assert monotonic() - began < 3
    finally:
        town.dns.thaw()


async def test_a_pod_that_refuses_is_put_aside_and_tried_again(serve: Serve, town: Cluster) -> None:
    service = serve()
    async with control(service) as client:
        town.pods.set(PODS[0], "refuse")
        stream = Stream(service.port, 6, method="POST")
        await until(client, "aside", lambda s: f"{PODS[0]} backoff" in states(s))
        await stream.reach(100)
        town.pods.set(PODS[0], "normal")
        answer = await client.ask("retry", worker=PODS[0], who="a test")
        assert answer == f"retrying pod {PODS[0]} now"
        await until(client, "back", ready(3))
        await stream.reach(100)
        await stream.end()
    assert stream.statuses[200] >= stream.statuses.total() - 1, "a POST may have been on the way when it was cut"
    assert "reachable again" in service.output


async def test_a_pod_that_has_vanished(serve: Serve, town: Cluster) -> None:
    """Nobody answers its address: the request goes to another pod, and nobody else waits."""
    town.dns.set("plumber", [*PODS, HOLE])
    service = serve("--connect-timeout", "500ms")
    async with control(service) as client:
        stream = Stream(service.port, 3, method="POST")
        status = await until(client, "aside", lambda s: f"{HOLE} backoff" in states(s))
        row = next(row for row in status["workers"] if row["name"] == HOLE)
        assert row["reason"].startswith("it did not answer in time; next try at ")
        await stream.reach(100)
        await stream.end()
    assert stream.statuses.keys() == {200}
    assert stream.longest < 2


async def test_a_pod_that_never_answers_stays_locked_for_a_grace(serve: Serve, town: Cluster) -> None:
    town.dns.set("plumber", PODS[:2])
    service = serve("--request-timeout", "1s", "--lock-grace", "3s")
    async with control(service) as client:
        town.pods.set(PODS[0], "silent")
        answers = await asyncio.gather(*(fetch(service.port, "/") for _ in range(2)))
        assert sorted(status for status, _ in answers) == [200, 504]
        assert b"stays locked for 3 s more, or until it has answered" in b"".join(body for _, body in answers)
        answered = monotonic()
        status = await client.ask("status")
        assert f"{PODS[0]} busy" in states(status)
        for _ in range(10):
            assert await fetch(service.port, "/") == (200, PODS[1].encode())
        await until(client, "unlocked", lambda s: f"{PODS[0]} ready" in states(s))
        assert 2 < monotonic() - answered < 9


async def test_a_pod_that_answers_too_late_is_unlocked_by_its_answer(serve: Serve, town: Cluster) -> None:
    town.dns.set("plumber", PODS[:1])
    service = serve("--request-timeout", "1s", "--lock-grace", "60s")
    late = asyncio.ensure_future(fetch(service.port, "/sleep?3"))
    async with control(service) as client:
        assert (await late)[0] == 504
        began = monotonic()
        assert await fetch(service.port, "/") == (200, PODS[0].encode())
        assert 0.5 < monotonic() - began < 10
        await until(client, "ready", ready(1))


async def test_a_pod_that_resets(serve: Serve, town: Cluster) -> None:
    """With --retry always a GET is sent again, elsewhere; a POST may not be. Nobody else notices."""
    town.dns.set("plumber", PODS[:2])
    service = serve("--retry", "always")
    async with control(service) as client:
        answers = await asyncio.gather(*(fetch(service.port, "/reset") for _ in range(4)))
        assert {status for status, _ in answers} == {502}, "it was sent twice, and reset twice"
        town.pods.set(PODS[0], "reset")
        gets = Stream(service.port, 1)  # the other pod is free when the first fails
        await gets.reach(100)
        await gets.end()
        assert gets.statuses.keys() == {200}
        posts = Stream(service.port, 2, method="POST")
        await posts.reach(100)
        await posts.end()
        assert posts.statuses.keys() <= {200, 502}
        status = await client.ask("status")
        errors = {row["name"]: row["errors"] for row in status["workers"]}
        assert errors[PODS[0]] >= posts.statuses[502], "failures are counted with the pod"


async def test_a_request_that_may_have_crashed_its_pod_is_not_sent_to_another(serve: Serve, town: Cluster) -> None:
    """By default: a new connection that ends without an answer may be the request's doing."""
    town.dns.set("plumber", PODS[:2])
    service = serve()
    async with control(service) as client:
        assert (await fetch(service.port, "/reset"))[0] == 502
        status = await until(client, "idle", lambda s: s["totals"]["locked"] == 0)
        assert sorted(row["errors"] for row in status["workers"]) == [0, 1]
        assert sorted(row["requests"] for row in status["workers"]) == [0, 1]


async def test_connections_are_kept_looked_after_and_dropped(serve: Serve, town: Cluster) -> None:
    town.dns.set("plumber", PODS[:1])
    service = serve()
    async with control(service) as client:
        assert (await fetch(service.port, "/"))[0] == 200
        details = await client.ask("details", worker=PODS[0])
        assert ["connection", "open, kept"] in details["facts"]
        assert await client.ask("drop", worker=PODS[0], who="a test") == f"connection to pod {PODS[0]} dropped"
        await until_fact(client, PODS[0], ["connection", "none"])
        assert (await fetch(service.port, "/", "POST", b"x"))[0] == 200
        town.pods.set(PODS[0], "refuse")  # resets what it has
        await until_fact(client, PODS[0], ["connection", "none"])


async def until_fact(client: Any, worker: str, fact: list[str]) -> None:
    for _ in range(200):
        if fact in (await client.ask("details", worker=worker))["facts"]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(fact)


async def test_a_pod_that_is_dropped_while_it_computes_stays_locked(serve: Serve, town: Cluster) -> None:
    """It does not know, or does not care, that its connection is gone; the request goes to another."""
    town.dns.set("plumber", PODS[:2])
    service = serve("--lock-grace", "3s")
    async with control(service) as client:
        slow = asyncio.ensure_future(fetch(service.port, "/sleep?2"))
        status = await until(client, "busy", lambda s: s["totals"]["locked"] == 1)
        first = next(row["name"] for row in status["workers"] if row["state"] == "busy")
        said = await client.ask("drop", worker=first, who="a test")
        assert said.endswith("it stays locked while it may be busy")
        assert (await slow)[1].decode() != first
        await until(client, "free", lambda s: s["totals"]["locked"] == 0)


async def test_another_pod_at_the_same_address_waits_for_the_first_to_finish(
    serve: Serve, configured: dict[str, str], tmp_path: Path
) -> None:
    async with KubeApi(tmp_path / "api") as api:
        api.kubeconfig(tmp_path / "kubeconfig")
        api.set_slice("one", "plumber", [Endpoint(PODS[0], "first")])
        words = ("--resolve", "kubernetes")
        service = await asyncio.to_thread(serve, *words, url="http://plumber.default:8000", env=configured)
        async with control(service) as client:
            await until(client, "first", lambda s: states(s) == ["first ready"])
            slow = asyncio.ensure_future(fetch(service.port, "/sleep?1.5"))
            await until(client, "busy", lambda s: s["totals"]["locked"] == 1)
            api.set_slice("one", "plumber", [Endpoint(PODS[0], "second")])
            status = await until(client, "leaving", lambda s: states(s) == ["first draining"])
            assert status["workers"][0]["reason"] == "replaced by second"
            next_one = asyncio.ensure_future(fetch(service.port, "/"))
            assert (await slow)[0] == 200
            assert (await next_one)[0] == 200
            await until(client, "second", lambda s: states(s) == ["second ready"])


async def test_a_pod_is_held_and_resumed(serve: Serve, town: Cluster) -> None:
    service = serve()
    async with control(service) as client:
        await client.ask("hold", worker=PODS[0], who="a test")
        for _ in range(6):
            assert (await fetch(service.port, "/"))[1].decode() in PODS[1:]
        assert f"{PODS[0]} held" in states(await client.ask("status"))
        await client.ask("resume", worker=f"{PODS[0]}:8000", who="a test")
        assert {(await fetch(service.port, "/"))[1].decode() for _ in range(3)} == set(PODS)


async def test_without_a_port_the_srv_records_tell_it(serve: Serve, town: Cluster) -> None:
    town.dns.set_ports("plumber", PODS)
    service = serve("--resolve-interval", "1s", url=f"http://{SERVICE}")
    async with control(service) as client:
        status = await until(client, "three", ready(3))
        assert states(status) == ["pod-0 ready", "pod-1 ready", "pod-2 ready"]
        assert {(await fetch(service.port, "/"))[1].decode() for _ in range(3)} == set(PODS)


async def test_a_short_name_and_another_server(serve: Serve, town: Cluster) -> None:
    service = serve("--dns", f"{DNS}:53", url="http://plumber:8000")
    async with control(service) as client:
        status = await until(client, "three", ready(3))
        assert status["service"]["resolved_by"] == f"DNS at {DNS}"
        assert 0 <= status["now"] - status["service"]["resolved"] < 10


def test_a_name_that_does_not_exist_is_waited_for(serve: Serve, town: Cluster) -> None:
    service = serve("--resolve-interval", "1s", url="http://later.default.svc.cluster.local:8000")
    assert "later.default.svc.cluster.local: " in service.output
    town.dns.set("later", PODS[:1])
    service.wait_line(rf"pod {PODS[0]}: joined at {PODS[0]}:8000", 10)


def test_one_address_may_be_that_of_a_service(serve: Serve, town: Cluster) -> None:
    town.dns.set("plumber", PODS[:1])
    assert "clusterIP: None" in serve().output
    assert "clusterIP: None" not in serve(url=f"http://{PODS[0]}:8000").output


async def test_https_with_a_certificate_for_another_name(serve: Serve, town: Cluster, tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    bad = ca.issue("elsewhere.example")
    town.more_pods(PODS[2:], 8444, bad.chain, bad.key)
    town.dns.set("plumber", PODS[2:])
    wrong = serve("--ca-file", str(ca.ca_file), "--queue-timeout", "2s", url=f"https://{SERVICE}:8444")
    assert (await fetch(wrong.port, "/"))[0] == 503
    wrong.wait_line("its certificate is not accepted: Hostname mismatch")
    careless = serve("--insecure-skip-verify", url=f"https://{SERVICE}:8444")
    assert "certificates of pods are not checked" in careless.output
    assert (await fetch(careless.port, "/"))[0] == 200


async def test_clients_that_leave_their_bodies_over_tls(serve: Serve, town: Cluster, tmp_path: Path) -> None:
    """TLS has no half-close: the pod's connection is closed, and its lock comes back."""
    certificate = make_ca(tmp_path).issue(SERVICE)
    town.more_pods(PODS[:1], 8443, certificate.chain, certificate.key)
    town.dns.set("plumber", PODS[:1])
    service = serve(
        "--insecure-skip-verify", "--buffer-request", "1KiB", "--spool-limit", "0", url=f"https://{SERVICE}:8443"
    )
    async with control(service) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        await until(client, "locked", lambda s: s["totals"]["locked"] == 1)
        writer.transport.abort()
        await until(client, "free", lambda s: s["totals"]["locked"] == 0)
        assert (await fetch(service.port, "/"))[0] == 200


@pytest.fixture
def configured(tool: Callable[[str], str], tmp_path: Path) -> dict[str, str]:
    """The environment in which kubectl talks to the API server that the test starts."""
    tool("kubectl")
    return {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig")}


async def test_pods_by_kubectl_which_restarts_them(serve: Serve, configured: dict[str, str], tmp_path: Path) -> None:
    async with KubeApi(tmp_path / "api") as api:
        api.kubeconfig(tmp_path / "kubeconfig")
        pods = [Endpoint(address, f"plumber-{number}") for number, address in enumerate(PODS)]
        api.set_slice("one", "plumber", pods)
        service = await asyncio.to_thread(
            serve, "--resolve", "kubernetes", url="http://plumber.default:8000", env=configured
        )
        async with control(service) as client:
            status = await until(client, "three", ready(3))
            assert states(status) == ["plumber-0 ready", "plumber-1 ready", "plumber-2 ready"]
            assert status["service"]["resolved_by"] == "EndpointSlices of default/plumber, by kubectl here"
            slow = asyncio.ensure_future(fetch(service.port, "/sleep?2"))
            status = await until(client, "busy", lambda s: s["totals"]["locked"] == 1)
            busy = next(row["name"] for row in status["workers"] if row["state"] == "busy")
            said = await client.ask("restart", worker=busy, who="a test")
            assert said == f'pod "{busy}" deleted'
            assert api.deleted == [("default", busy)]
            leaving = [Endpoint(p.address, p.pod, terminating=True) if p.pod == busy else p for p in pods]
            api.set_slice("one", "plumber", leaving)
            status = await until(client, "leaving", lambda s: f"{busy} draining" in states(s))
            assert "terminating" in [row["reason"] for row in status["workers"]]
            assert (await slow)[0] == 200
            await until(client, "gone", ready(2))
            with pytest.raises(Refusal, match="no pod"):
                await client.ask("restart", worker=busy, who="a test")
            api.denied.add(("delete", "pods"))
            other = next(p.pod for p in pods if p.pod != busy)
            with pytest.raises(Refusal, match="Forbidden"):
                await client.ask("restart", worker=other, who="a test")


async def test_what_pods_do_not_do(serve: Serve, town: Cluster) -> None:
    service = serve()
    async with control(service) as client:
        for do, said in {
            "restart": "the name of the pod at 10.244.1.11:8000 is unknown; use --resolve kubernetes",
            "kill": "drop 10.244.1.11", "rolling-restart": "kubectl rollout restart", "retry": "not waiting for",
            "resume": "is not held", "drop": "has no open connection",
        }.items():  # fmt: skip
            with pytest.raises(Refusal, match=said):
                await client.ask(do, worker=PODS[0], who="a test")
        with pytest.raises(Refusal, match="kubectl scale deployment/… --replicas 4"):
            await client.ask("scale", count="+1", who="a test")


@contextlib.contextmanager
def plumber_pods(town: Cluster, rscript: str, addresses: Sequence[str]) -> Iterator[None]:
    """A real Plumber API at each address, port 8200, with one in front that counts."""
    processes = []
    for address in addresses:
        start = f'plumber::pr_run(plumber::pr("plumber.R"), host = "{address}", port = 8201, quiet = TRUE)'
        processes.append(town.spawn("cluster", [rscript, "-e", start], cwd=DEMO))
        watched = [sys.executable, str(WORKERS / "watched.py"), address, "8200", "8201"]
        processes.append(town.spawn("cluster", watched))
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def test_the_lock_on_two_real_plumber_processes(serve: Serve, town: Cluster, plumber: str) -> None:
    """Clients that leave, on two R processes behind a name."""
    pods = PODS[:2]
    town.dns.set("plumber", pods)
    with plumber_pods(town, plumber, pods):
        for address in pods:
            await listens(address, 8201)
            await listens(address, 8200)
        service = serve("--resolve-interval", "1s", url=f"http://{SERVICE}:8200")
        async with control(service) as client:
            await until(client, "both", ready(2))
            status, body = await fetch(service.port, "/hello?name=pod")
            assert (status, json.loads(body)["hello"]) == (200, "pod")
            crowd = Crowd(service.port, 7)
            await crowd.run(8, 400)
            await until(client, "idle", lambda s: s["totals"]["locked"] == 0)
            for address in pods:
                assert await ask(address, "/offences") == b"0"
                assert int(await ask(address, "/served")) > 50


async def listens(address: str, port: int) -> None:
    """Wait until somebody does."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(address, port)
                await hang_up(writer)
                return
            await asyncio.sleep(0.05)


async def ask(address: str, target: str) -> bytes:
    """Straight to what stands in front of a worker."""
    reader, writer = await asyncio.open_connection(address, 8200)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    try:
        return (await read_response(reader))[1]
    finally:
        await hang_up(writer)
