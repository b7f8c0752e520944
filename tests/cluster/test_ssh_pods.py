"""The pods of a remote cluster, through a real sshd: from the laptop no route leads to a pod, and no name is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.support.bastion import ssh_options
from tests.support.cluster import PODS, SERVICE, Cluster
from tests.support.cluster_net import BASTION, DNS, HOLE, wait_until
from tests.support.cluster_pods import ADDRESSES
from tests.support.kubeapi import Endpoint, KubeApi
from tests.support.load import Stream, fetch
from tests.support.running import Faucet
from tests.support.status import control, ready, states, until

URL = f"http://{SERVICE}:8000"

Serve = Callable[..., Faucet]


@pytest.fixture
def laptop(cluster: Cluster) -> Iterator[Cluster]:
    """We are on the laptop."""
    with cluster.stay("laptop"):
        yield cluster


@pytest.fixture
def serve(laptop: Cluster, faucet: Callable[..., Faucet], monkeypatch: pytest.MonkeyPatch) -> Serve:
    """`faucet k8s --via-ssh` on the laptop, ready."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def start(*options: str, url: str = URL, wait: bool = True, port: int = 2222, **more: Any) -> Faucet:
        words = ["k8s", "--service-url", url, *ssh_options(laptop, port), *options]
        service = faucet(*words, wrapper=laptop.wrapper("laptop"), **more)
        return service.wait_ready() if wait else service

    return start


async def test_the_link_is_shown_and_its_session_ends_with_the_service(serve: Serve, laptop: Cluster) -> None:
    service = serve()
    assert (await fetch(service.port, "/"))[0] == 200
    async with control(service) as client:
        status = await until(client, "idle", lambda s: s["totals"]["locked"] == 0)
        origin = status["service"]
        assert origin["resolved_by"] == f"DNS at {DNS}, from root@{BASTION}:2222"
        assert (origin["link"], origin["link_state"]) == (f"root@{BASTION}:2222", "up")
        assert origin["link_detail"].startswith("aes128-gcm, ")
    assert service.stop() == 0
    wait_until(lambda: not laptop.ssh.main.sessions(), "no session is left")


async def test_pods_that_fail_behind_the_bastion(serve: Serve, laptop: Cluster) -> None:
    laptop.dns.set("plumber", [*PODS, HOLE])
    service = serve("--connect-timeout", "1s", "--request-timeout", "2s", "--lock-grace", "5s")
    async with control(service) as client:
        laptop.pods.set(PODS[0], "refuse")
        stream = Stream(service.port, 4, method="POST")
        status = await until(client, "two aside", lambda s: {f"{PODS[0]} backoff", f"{HOLE} backoff"} <= set(states(s)))
        reasons = {row["name"]: row["reason"] for row in status["workers"]}
        assert reasons[PODS[0]].startswith(f"connection refused, seen from root@{BASTION}:2222; next try at ")
        assert reasons[HOLE].startswith("it did not answer in time")
        await stream.reach(50)
        await stream.end()
        assert stream.statuses.keys() == {200}
        assert status["service"]["link_state"] == "up", "it is not the link's fault"
        laptop.pods.set(PODS[1], "silent")
        answers = await asyncio.gather(*(fetch(service.port, "/") for _ in range(2)))
        assert sorted(status for status, _ in answers) == [200, 504]
        assert f"{PODS[1]} busy" in states(await client.ask("status"))
        assert (await fetch(service.port, "/"))[1].decode() == PODS[2]


async def test_a_large_body_each_way_and_flat_memory(serve: Serve, laptop: Cluster) -> None:
    import hashlib

    from tests.support.running import resident_memory

    laptop.dns.set("plumber", PODS[:1])
    service = serve()
    assert (await fetch(service.port, "/"))[0] == 200
    before = resident_memory(service.process.pid)
    size = 100_000_000
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
    digest, part = hashlib.sha256(), bytes(range(250)) * 4000
    for _ in range(size // len(part)):
        digest.update(part)
        writer.write(part)
        await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert (await reader.read(200)).split() == [str(size).encode(), digest.hexdigest().encode()]
    writer.write(f"GET /big?{size} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    got, there = hashlib.sha256(), hashlib.sha256()
    left = size
    while left:
        data = await reader.read(min(left, 1 << 18))
        assert data
        got.update(data)
        left -= len(data)
    writer.close()
    await writer.wait_closed()
    said = laptop.run("cluster", ["sh", "-c", f"curl -s 'http://{PODS[0]}:8000/big?{size}' | sha256sum"])
    there = said.stdout.split()[0]  # type: ignore[assignment]
    assert got.hexdigest() == there
    assert resident_memory(service.process.pid) - before < 40 << 20


async def test_slow_readers_do_not_stop_others(serve: Serve, laptop: Cluster) -> None:
    """Fifty clients ask for much and read nothing; one that reads is served all the while."""
    laptop.dns.set("plumber", ADDRESSES)
    service = serve("--buffer-response", "64KiB", "--spool-limit", "0")
    slow = []
    for _ in range(50):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1024)
        writer.write(b"GET /big?20000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        slow.append((reader, writer))
    async with control(service) as client:
        await until(client, "fifty locks", lambda s: s["totals"]["locked"] == 50)
        stream = Stream(service.port, 1, target="/")
        await stream.reach(100)
        await stream.end()
        assert stream.statuses.keys() == {200}
        assert stream.longest < 3
    for _, writer in slow:
        writer.transport.abort()


async def test_the_session_is_killed_under_load(serve: Serve, laptop: Cluster) -> None:
    """Ten requests a second: none is lost, and the longest wait is short."""
    service = serve()
    async with control(service) as client:
        assert (await fetch(service.port, "/sleep?0.05"))[0] == 200
        answers: list[tuple[int, float]] = []

        async def one() -> None:
            began = monotonic()
            status, _ = await fetch(service.port, "/sleep?0.05")
            answers.append((status, monotonic() - began))

        tasks = []
        for number in range(40):
            tasks.append(asyncio.ensure_future(one()))
            if number in (10, 25):
                laptop.ssh.main.kill_sessions()
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
        assert [status for status, _ in answers] == [200] * 40
        assert max(took for _, took in answers) < 4
        assert (await client.ask("status"))["service"]["link_state"] == "up"
    assert "lost; reconnecting" in service.output


async def test_a_pod_whose_request_was_cut_off_stays_locked(serve: Serve, laptop: Cluster) -> None:
    """R goes on computing: another request meanwhile would be an offence."""
    laptop.dns.set("plumber", PODS[:2])
    service = serve("--lock-grace", "6s")
    async with control(service) as client:
        slow = asyncio.ensure_future(fetch(service.port, "/sleep?3"))
        status = await until(client, "busy", lambda s: s["totals"]["locked"] == 1)
        first = next(row["name"] for row in status["workers"] if row["state"] == "busy")
        laptop.ssh.main.kill_sessions()
        status = await until(client, "sent again", lambda s: s["totals"]["locked"] == 2)
        row = next(row for row in status["workers"] if row["name"] == first)
        assert (row["request"], row["client"]) == ("GET /sleep?3", "127.0.0.1 (cut off)")
        third = asyncio.ensure_future(fetch(service.port, "/"))
        await until(client, "it waits", lambda s: s["totals"]["waiting"] == 1)
        other = next(address for address in PODS[:2] if address != first)
        assert await slow == (200, other.encode())
        assert (await third)[0] == 200


async def test_an_answer_that_had_begun_is_cut(serve: Serve, laptop: Cluster) -> None:
    service = serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"GET /drip HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    laptop.ssh.main.kill_sessions()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1000)
    writer.transport.abort()


async def test_a_silent_cut(serve: Serve, laptop: Cluster) -> None:
    """Detected within ten seconds; what is asked meanwhile waits, and is answered, or told 503, in time."""
    service = serve("--ssh-wait", "6s", "--connect-timeout", "1s")
    async with control(service) as client:
        assert (await fetch(service.port, "/"))[0] == 200
        laptop.cut()
        began = monotonic()
        waiting = [asyncio.ensure_future(fetch(service.port, "/")) for _ in range(5)]
        status = await until(client, "noticed", lambda s: s["service"]["link_state"] != "up")
        assert monotonic() - began < 10
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*waiting)
        assert {status for status, _ in answers} == {503}
        assert b"The workers are unreachable: the ssh link is" in answers[0][1]
        assert 5 < monotonic() - began < 20
        late = asyncio.ensure_future(fetch(service.port, "/"))
        status = await until(client, "waits", lambda s: s["totals"]["waiting"] == 1)
        assert status["service"]["notice"].startswith(f"ssh link to root@{BASTION}:2222: ")
        laptop.heal()
        assert (await late)[0] == 200
        await until(client, "up", lambda s: s["service"]["link_state"] == "up" and ready(3)(s))


async def test_another_bastion_has_its_turn(serve: Serve, laptop: Cluster) -> None:
    laptop.ssh.start(port=2223)
    second = f"{laptop.ssh.user}@{BASTION}:2223"
    service = serve("--via-ssh", second)
    async with control(service) as client:
        assert (await client.ask("status"))["service"]["link"].endswith(":2222")
        laptop.ssh.main.stop()
        await until(client, "the other", lambda s: s["service"]["link"] == second and ready(3)(s))
        await until(client, "asked from there", lambda s: s["service"]["resolved_by"].endswith(second))
        assert (await fetch(service.port, "/"))[0] == 200


async def test_names_by_getent_where_dns_does_not_know_them(serve: Serve, laptop: Cluster) -> None:
    """The far side's /etc/hosts knows this one."""
    hosts = Path("/etc/netns") / laptop.spaces.names["cluster"] / "hosts"
    before = hosts.read_text()
    hosts.write_text(before + "".join(f"{address} only-here\n" for address in PODS[:2]))
    try:
        service = serve(url="http://only-here:8000")
        async with control(service) as client:
            status = await until(client, "two", ready(2))
            assert status["service"]["resolved_by"] == f"getent on root@{BASTION}:2222"
            assert {(await fetch(service.port, "/"))[1].decode() for _ in range(2)} == set(PODS[:2])
    finally:
        hosts.write_text(before)


async def test_a_bastion_without_a_shell(serve: Serve, laptop: Cluster) -> None:
    """MaxSessions 0: names by a server that is named, and requests are served all the same."""
    laptop.ssh.start("MaxSessions 0", port=2224)
    service = serve("--dns", DNS, port=2224)
    async with control(service) as client:
        await until(client, "three", ready(3))
        assert (await fetch(service.port, "/"))[0] == 200
    lost = serve(port=2224)
    assert "set a DNS server with --dns" in lost.output


async def test_pods_by_kubectl_on_the_bastion(
    serve: Serve, laptop: Cluster, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("kubectl")
    kubeconfig = f"KUBECONFIG={tmp_path / 'kubeconfig'}"
    laptop.ssh.start(f"SetEnv {kubeconfig} HOME={tmp_path}", port=2225)
    with laptop.inside("cluster"):
        api = KubeApi(tmp_path / "api")
        await api.__aenter__()
    try:
        api.kubeconfig(tmp_path / "kubeconfig")
        pods = [Endpoint(address, f"plumber-{number}") for number, address in enumerate(PODS)]
        api.set_slice("one", "plumber", pods)
        api.set_service("plumber")
        service = await asyncio.to_thread(
            serve, "--resolve", "kubernetes", url="http://plumber.default:8000", port=2225
        )
        async with control(service) as client:
            status = await until(client, "three", ready(3))
            assert states(status)[0] == "plumber-0 ready"
            assert status["service"]["resolved_by"].endswith(f"by kubectl on root@{BASTION}:2225")
            said = await client.ask("restart", worker="plumber-1", who="a test")
            assert said == 'pod "plumber-1" deleted'
            api.set_slice("one", "plumber", [pods[0], pods[2]])
            await until(client, "two", ready(2))
        unnamed = await asyncio.to_thread(serve, url="", port=2225, wait=False)
        assert await asyncio.to_thread(unnamed.wait_exit) == 1
        assert "1  http://plumber.default.svc.cluster.local:8000" in unnamed.output
        await asyncio.to_thread(service.stop)
        await api.wait(lambda: not api.watches)  # the bastion's kubectl has ended, too
    finally:
        await api.__aexit__(None, None, None)
