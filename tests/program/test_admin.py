"""The admin pages, who the client is, and where it is listened: the real program, with real peers in front."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from faucet import machine
from faucet.proxy.record import Account
from faucet.proxy.stats import Stats
from tests.bench.peers import consecutive_ports, process, scratch
from tests.support.checkout import ROOT
from tests.support.load import fetch, get
from tests.support.running import Faucet, python_worker
from tests.support.status import control, until

Start = Callable[..., Faucet]
ECHO = python_worker("echo")
COUNTING = python_worker("counting")


@pytest.fixture
def admin_port() -> int:
    return consecutive_ports(1)[0]  # not one that the kernel may give to somebody else meanwhile


def test_clients_of_the_admin_pages_that_say_nothing_keep_nobody_out(faucet: Start, admin_port: int) -> None:
    """They took the file descriptors of the clients of the API, and counted as the service's own for minutes."""
    few = ("sh", "-c", 'ulimit -n 120; exec "$@"', "sh")
    service = faucet("--command", COUNTING, "-w", "1", "--admin", f"127.0.0.1:{admin_port}", wrapper=few)
    service.wait_workers(1)
    with contextlib.ExitStack() as idle:
        for _ in range(90):
            idle.enter_context(socket.create_connection(("127.0.0.1", admin_port), timeout=10))
        assert get(admin_port, "/livez") == (200, "ok\n")
        assert get(service.port, "/")[0] == 200
        assert "file descriptors" not in service.output


async def test_pages_while_every_worker_is_busy(faucet: Start, admin_port: int) -> None:
    service = faucet("--command", COUNTING, "-w", "2", "--admin", f"127.0.0.1:{admin_port}")
    service.wait_workers(2)
    slow = [asyncio.ensure_future(fetch(service.port, "/slow?2")) for _ in range(3)]
    async with control(service) as client:
        await until(client, "busy", lambda s: s["totals"]["waiting"] == 1)

        def ask(target: str) -> tuple[int, str]:
            return get(admin_port, target)

        assert await asyncio.to_thread(ask, "/livez") == (200, "ok\n")
        assert await asyncio.to_thread(ask, "/readyz") == (200, "serving: 2 of 2 workers ready\n")
        status, text = await asyncio.to_thread(ask, "/status")
        assert (status, json.loads(text)["totals"]["waiting"]) == (200, 1)
        assert (await asyncio.to_thread(ask, "/metrics?x"))[0] == 200
        assert await asyncio.to_thread(ask, "/") == (404, "Not found. Pages: /livez /readyz /metrics /status\n")
        for name in ("1", "2"):
            await client.ask("hold", worker=name, who="a test")
        await asyncio.gather(*slow[:2])
        assert (await asyncio.to_thread(ask, "/readyz"))[0] == 503
        for name in ("1", "2"):
            await client.ask("resume", worker=name, who="a test")
        await slow[2]
    for request, status in (
        (b"POST /livez HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"BREW /metrics?x HTTP/1.0\r\n\r\n", 405),
        (b"POST /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"HEAD /livez HTTP/1.2\r\nHost: a\r\n\r\n", 200),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
        writer.write(request)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        # RFC 9110, 6.6.1 and 15.5.6.
        date = re.search(rb"\r\nDate: ([^\r]+)\r\n", answer)
        assert date is not None
        assert abs(parsedate_to_datetime(date[1].decode()).timestamp() - time.time()) < 60
        assert (b"\r\nAllow: GET, HEAD\r\n" in answer) is (status == 405)
        writer.close()
        await writer.wait_closed()


async def test_the_numbers_are_what_has_happened(faucet: Start, admin_port: int) -> None:
    service = faucet(
        "--command", COUNTING, "-w", "2", "--admin", f"127.0.0.1:{admin_port}", "--queue-limit", "0", "--max-body", "10"
    )
    service.wait_workers(2)
    for _ in range(5):
        assert (await fetch(service.port, "/"))[0] == 200
    assert (await fetch(service.port, "/", "POST", b"x" * 11))[0] == 413
    slow = [asyncio.ensure_future(fetch(service.port, "/slow?1")) for _ in range(2)]
    async with control(service) as client:
        await until(client, "busy", lambda s: s["totals"]["locked"] == 2)
        assert (await fetch(service.port, "/"))[0] == 503
        await asyncio.gather(*slow)
        before = service.worker_pids[1]
        await client.ask("restart", worker="1", who="a test")
        await until(client, "restarted", lambda s: s["workers"][0]["pid"] != before and len(s["workers"]) == 2)
        os.kill(service.worker_pids[2], signal.SIGKILL)
        again = await until(client, "again", lambda s: s["workers"][1]["restarts"] == 1)
        assert again["workers"][0]["restarts"] == 0, "somebody asked for that one"
    status, text = await asyncio.to_thread(get, admin_port, "/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(name: str, **labels: str) -> float:
        samples = [s for family in families.values() for s in family.samples if s.name == name and s.labels == labels]
        assert len(samples) == 1, (name, labels, text)
        return float(samples[0].value)

    served = [value("faucet_requests_total", worker=name, status="2xx") for name in "12"]
    assert sum(served) == 7
    assert value("faucet_requests_total", worker="none", status="4xx") == 1
    assert value("faucet_requests_total", worker="none", status="5xx") == 1
    assert value("faucet_endpoint_requests_total", endpoint="GET /") == 6
    assert value("faucet_endpoint_errors_total", endpoint="GET /") == 1
    assert value("faucet_endpoint_requests_total", endpoint="GET /slow") == 2
    assert value("faucet_endpoint_requests_total", endpoint="other") == 1
    assert 2 <= value("faucet_endpoint_service_seconds_total", endpoint="GET /slow") < 4
    assert value("faucet_endpoint_queue_wait_seconds_total", endpoint="GET /") < 1
    assert value("faucet_endpoint_requests_uncounted_total") == 0
    assert value("faucet_refusals_total", reason="queue_full") == 1
    assert value("faucet_worker_restarts_total", reason="restart") == 1
    assert value("faucet_worker_restarts_total", reason="exit") == 1
    assert value("faucet_service_seconds_count") == 7
    assert 2 <= value("faucet_service_seconds_sum") < 4
    assert value("faucet_lock_held_seconds_count") == 7
    assert value("faucet_service_seconds_bucket", le="+Inf") == 7
    assert value("faucet_queue_limit") == 0
    assert (value("faucet_buffered_bytes"), value("faucet_bodies_waiting")) == (0, 0)
    assert value("faucet_buffered_bytes_limit") == machine.buffer_total(machine.memory())
    assert value("faucet_client_connections_limit") == machine.max_clients()
    assert value("faucet_worker_resident_memory_bytes", worker="1") > 1e6
    assert sum(value("faucet_workers", state=s) for s in ("ready", "starting", "backoff")) == 2
    assert families["faucet_build_info"].samples[0].labels["version"]
    buckets = [s.value for s in families["faucet_service_seconds"].samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert 8 < len(buckets) < 20


async def test_counters_neither_fall_nor_move(faucet: Start, admin_port: int) -> None:
    """Whatever becomes of a worker: restarted, scaled away, and its number given to another."""
    service = faucet("--command", COUNTING, "-w", "3", "--admin", f"127.0.0.1:{admin_port}")
    service.wait_workers(3)
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    async def look() -> None:
        _, text = await asyncio.to_thread(get, admin_port, "/metrics")
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        now = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples if s.name.endswith("_total")}
        assert not set(seen) - set(now)
        assert {key: value for key, value in seen.items() if now[key] < value} == {}
        assert ("faucet_requests_total", (("status", "2xx"), ("worker", "none"))) not in now
        total = sum(value for (name, _), value in now.items() if name == "faucet_requests_total")
        assert total == served
        seen.update(now)

    served = 0
    async with control(service) as client:
        for change, arguments, count in (
            ("status", {}, 3), ("restart", {"worker": "1"}, 3), ("scale", {"count": 1}, 1), ("scale", {"count": 3}, 3),
        ):  # fmt: skip
            before = await client.ask("status")
            await client.ask(change, **arguments)
            gone = {row["pid"] for row in before["workers"]} if change == "restart" else set()
            await until(
                client, change, lambda s, count=count, gone=gone: (
                    len(s["workers"]) == count and all(row["state"] == "ready" for row in s["workers"])
                    and (not gone or {row["pid"] for row in s["workers"]} != gone)
                )
            )  # fmt: skip
            await look()
            for _ in range(9):
                assert (await fetch(service.port, "/"))[0] == 200
                served += 1
            await look()


def test_counts_of_workers_that_are_gone_are_kept_but_not_of_any_number_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faucet.proxy.stats.NAMES_REMEMBERED", 3)
    stats = Stats()
    for number in range(10):
        for _ in range(number + 1):
            account = Account("10.0.0.1", b"GET", b"/")
            account.worker = f"pod-{number}"
            account.settle(200, "")
            stats.add(account)
        stats.forget(f"pod-{number}")
    counts = {name: by_class[2] for name, by_class in stats.requests_by_worker().items()}
    assert counts == {"pod-7": 8, "pod-8": 9, "pod-9": 10, "": 0}


# -- who the client is --------------------------------------------------------------------------------------------


async def heads(port: int, request: bytes) -> str:
    """The head that the worker got, in lower case."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await reader.readuntil(b"\r\n\r\n")
    content = await reader.read()
    writer.transport.abort()
    return content.decode()


GET = b"GET / HTTP/1.1\r\nHost: example.org\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n"


async def test_by_default_nothing_is_added(faucet: Start) -> None:
    service = faucet("--command", ECHO, "-w", "1")
    service.wait_workers(1)
    assert (await heads(service.port, GET)).encode() == GET


async def test_fields_and_addresses(faucet: Start) -> None:
    service = faucet(
        "--command", ECHO, "-w", "1", "--forwarded", "--ip-from", "x-forwarded-for", "--trust", "127.0.0.0/8",
        "--request-id",
    )  # fmt: skip
    service.wait_workers(1)
    head = await heads(service.port, GET)
    assert head.startswith(GET.decode()[:-2]), "what was there stays as it was"
    added = head[len(GET) - 2 :].splitlines()
    request_id = re.fullmatch(r"Faucet-Request-Uuid: ([0-9a-f-]{36})", added[0])
    assert request_id
    assert added[1:] == [
        "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "Forwarded: for=127.0.0.1;proto=http;host=example.org",
        "",
    ]  # fmt: skip
    await asyncio.to_thread(service.wait_line, rf'192\.0\.2\.7 "GET / .* id={request_id[1]}')
    await heads(service.port, GET[:-2] + b"Faucet-Request-Uuid: mine\r\n\r\n")
    await asyncio.to_thread(service.wait_line, "id=mine")


async def test_whoever_is_not_trusted_is_not_believed(faucet: Start) -> None:
    service = faucet("--command", ECHO, "-w", "1", "--ip-from", "x-forwarded-for", "--trust", "10.0.0.0/8")
    service.wait_workers(1)
    await heads(service.port, GET)
    await asyncio.to_thread(service.wait_line, r'127\.0\.0\.1 "GET / ')


def test_options_that_make_no_sense(faucet: Start) -> None:
    for words, said in (
        (("--trust", "10.0.0.1/8"), "10.0.0.0/8"), (("--ip-from", "nobody"), "ip-from"),
        (("--admin", "x:99999"), "invalid address"),
        (("--host", "unix:"), "invalid Unix socket"), (("--host", "unix:/x?mode=9"), "invalid Unix socket"),
    ):  # fmt: skip
        wrong = faucet("--command", ECHO, *words)
        assert wrong.wait_exit() == 2
        assert said in wrong.output


@pytest.mark.parametrize("version", [1, 2])
async def test_the_proxy_protocol(faucet: Start, version: int) -> None:
    service = faucet("--command", ECHO, "-w", "1", "--proxy-protocol")
    service.wait_workers(1)
    header = b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 80\r\n"
    if version == 2:
        addresses = socket.inet_aton("192.0.2.9") + socket.inet_aton("198.51.100.1") + bytes([18, 103, 0, 80])
        header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(addresses).to_bytes(2, "big") + addresses
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    for byte in header + GET:
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await reader.read()).endswith(GET)
    writer.close()
    await asyncio.to_thread(service.wait_line, r'192\.0\.2\.9 "GET / ')
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(GET)
    assert await reader.read() == b""
    writer.close()
    await asyncio.to_thread(service.wait_line, r"a connection from 127\.0\.0\.1 is closed: ")


def test_nginx_in_front(faucet: Start, tool: Callable[[str], str]) -> None:
    nginx = tool("nginx")
    service = faucet("--command", ECHO, "-w", "1", "--ip-from", "x-forwarded-for", "--trust", "127.0.0.1")
    service.wait_workers(1)
    port = consecutive_ports(1)[0]
    with scratch() as directory:
        (directory / "nginx.conf").write_text(
            textwrap.dedent(f"""
            daemon off; pid {directory}/pid; error_log stderr;
            events {{}}
            http {{ access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};
              fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
              server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{service.port};
                proxy_set_header X-Forwarded-For "$proxy_add_x_forwarded_for"; }} }} }}""")
        )
        with process("nginx", port, [nginx, "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]):
            words = ["curl", "-s", "-H", "X-Forwarded-For: 203.0.113.5", f"http://127.0.0.1:{port}/"]
            assert "203.0.113.5, 127.0.0.1" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
    service.wait_line(r'203\.0\.113\.5 "GET / ')


def test_haproxy_in_front_with_the_proxy_protocol(faucet: Start, tool: Callable[[str], str]) -> None:
    haproxy = tool("haproxy")
    service = faucet("--command", ECHO, "-w", "1", "--proxy-protocol", "--forwarded")
    service.wait_workers(1)
    port = consecutive_ports(1)[0]
    with scratch() as directory:
        (directory / "haproxy.cfg").write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
            f"listen front\n bind 127.0.0.1:{port}\n server faucet 127.0.0.1:{service.port} send-proxy-v2\n"
        )
        with process("haproxy", port, [haproxy, "-db", "-f", str(directory / "haproxy.cfg")]):
            words = ["curl", "-s", "--interface", "127.0.0.2", f"http://127.0.0.1:{port}/"]
            said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "X-Forwarded-For: 127.0.0.2" in said
    service.wait_line(r'127\.0\.0\.2 "GET / ')


# -- where it listens ---------------------------------------------------------------------------------------------


async def test_several_addresses_and_a_unix_socket(faucet: Start, tmp_path: Path) -> None:
    path, port = tmp_path / "faucet.sock", consecutive_ports(1)[0]
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # of a Faucet that was killed
    service = faucet(
        "--command", COUNTING, "-w", "1", "--host", "127.0.0.1:0", "--host", f"unix:{path}?mode=600",
        "--host", f"127.0.0.1:{port}",
    )  # fmt: skip
    service.wait_line(rf"serving .* on http://127.0.0.1:\d+ and unix:{path} and http://127.0.0.1:{port} with")
    assert path.stat().st_mode & 0o777 == 0o600
    assert (await fetch(port, "/"))[0] == 200
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()
    service.wait_line('unix "GET / ')
    another = faucet("--command", COUNTING, "--host", f"unix:{path}")
    assert another.wait_exit() == 1
    assert "another process listens there" in another.output
    assert service.stop() == 0
    assert not path.exists()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def hear(supervisor: socket.socket, wanted: str) -> str:
    """The next message with `wanted` in it."""
    while True:
        said = supervisor.recv(4096).decode()
        if wanted in said:
            return said


def test_under_a_supervisor(faucet: Start, supervisor: socket.socket, tmp_path: Path) -> None:
    """Its socket, its watchdog, and what it is told from the start to the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000", "LISTEN_FDS": "1"}
        start = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"
        words = [sys.executable, "-m", "faucet", "--headless", "--command", COUNTING, "-w", "1"]

        def hand_over() -> None:
            """Descriptor 3 is the first that systemd gives."""
            os.dup2(listening.fileno(), 3)
            os.set_inheritable(3, True)

        running = subprocess.Popen(
            [sys.executable, "-c", start, *words],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hand_over,
            close_fds=False,
        )  # fmt: skip
        try:
            assert "STATUS=serving with 1 worker, 0 busy, 0 waiting" in hear(supervisor, "READY=1")
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200")
            hear(supervisor, "WATCHDOG=1")
            running.send_signal(signal.SIGHUP)
            assert "MONOTONIC_USEC=" in hear(supervisor, "RELOADING=1")
            hear(supervisor, "READY=1")
            running.send_signal(signal.SIGTERM)
            hear(supervisor, "STOPPING=1")
            assert running.wait(20) == 0
        finally:
            running.kill()
            running.wait()
            assert running.stderr is not None
            running.stderr.close()
