"""The program as users run it, on uvloop, with real processes for workers."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from time import monotonic

import pytest
import requests

from tests.support.load import Crowd, fetch, hang_up, read_response
from tests.support.running import Faucet, is_alive, python_worker, resident_memory, wait_gone
from tests.support.status import control, until

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")
MIB = 1 << 20


async def everything_is_free(port: int, workers: int) -> None:
    """All workers serve, side by side, and no lock is held: as many slow requests as workers take less than two."""
    began = monotonic()
    answers = await asyncio.gather(*(fetch(port, "/slow?1") for _ in range(workers)))
    assert [status for status, _ in answers] == [200] * workers
    assert monotonic() - began < 2


@pytest.mark.parametrize("seed", [1, 2])
async def test_never_two_requests_in_a_worker(faucet: Start, seed: int) -> None:
    """64 clients, 10,000 requests, a third of them abandoned at random moments."""
    service = faucet("--command", COUNTING, "-w", "4", "--log-level", "warning", "--log-file", "log")
    port = await service.listening_port()
    crowd = Crowd(port, seed)
    await asyncio.wait_for(crowd.run(64, 10_000), 100)
    assert set(crowd.statuses) == {200}, crowd.statuses
    assert crowd.broken == 0
    assert crowd.abandoned > 2500
    await everything_is_free(port, 4)
    offences = {await fetch(port, "/offences") for _ in range(8)}
    assert offences == {(200, b"0")}


async def test_first_come_first_served(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    blocker = asyncio.ensure_future(fetch(service.port, "/slow?1"))
    await asyncio.sleep(0.2)
    order: list[int] = []

    async def queued(number: int) -> None:
        assert (await fetch(service.port, f"/quick?{number}"))[0] == 200
        order.append(number)

    waiting = []
    for number in range(200):
        waiting.append(asyncio.ensure_future(queued(number)))
        await asyncio.sleep(0.002)
    await blocker
    await asyncio.gather(*waiting)
    service.stop()
    served = [int(line.split("/quick?")[1].split(" ")[0]) for line in service.lines if "/quick?" in line]
    assert served == list(range(200))
    assert sorted(order) == list(range(200))


async def test_the_queue_is_bounded_in_length_and_in_time(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--queue-timeout", "4s").wait_ready()
    blocker = asyncio.ensure_future(fetch(service.port, "/slow?10"))
    await asyncio.sleep(0.2)
    waiting = [asyncio.ensure_future(fetch(service.port, "/served")) for _ in range(1024)]
    async with control(service) as client:
        await until(client, "the queue is full", lambda status: status["totals"]["waiting"] == 1024)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in head
    assert not any(task.done() for task in waiting), "refused at once, and not when a place has become free"
    await hang_up(writer)
    assert {status for status, _ in await asyncio.gather(*waiting)} == {503}
    assert (await blocker)[0] == 200
    assert (await fetch(service.port, "/served"))[1] == b"1"


async def test_slow_clients_hold_no_worker(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    body = b"x" * 100_000

    async def slow_sender() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 10_000):
            writer.write(body[start : start + 10_000])
            await asyncio.sleep(0.2)
        assert (await read_response(reader))[1].startswith(b"100000 ")
        await hang_up(writer)

    async def slow_reader() -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", service.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=8192)
        writer.write(b"GET /big?4000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(10):
            await reader.readexactly(400_000)
            await asyncio.sleep(0.2)
        await hang_up(writer)

    async def waits(count: int) -> float:
        longest = 0.0
        for _ in range(count):
            began = monotonic()
            assert (await fetch(service.port, "/quick"))[0] == 200
            longest = max(longest, monotonic() - began)
        return longest

    alone = await waits(100)
    slow = [asyncio.ensure_future(slow_sender()), asyncio.ensure_future(slow_reader())]
    await asyncio.sleep(0.3)
    beside = await waits(100)
    assert not any(task.done() for task in slow)
    await asyncio.gather(*slow)
    assert beside < alone * 5 + 0.5, "both take two seconds"


@pytest.mark.parametrize("policy", ["always", "safe"])
async def test_a_killed_worker_costs_no_get_or_the_one_it_was_at_work_on(faucet: Start, policy: str) -> None:
    service = faucet("--command", COUNTING, "-w", "3", "--retry", policy)
    pids = service.wait_workers(3)
    failures: dict[str, int] = {}
    stop = asyncio.Event()

    async def client(method: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        while not stop.is_set():
            writer.write(method.encode() + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            status, _ = await read_response(reader)
            if status != 200:
                assert status == 502
                failures[method] = failures.get(method, 0) + 1
        await hang_up(writer)

    clients = [asyncio.ensure_future(client(method)) for method in ["GET"] * 6 + ["POST"] * 2]
    for number in (1, 2, 3):
        await asyncio.sleep(0.3)
        subprocess.run(["kill", "-KILL", str(pids[number])], check=True)
        began = monotonic()
        while service.worker_pids[number] == pids[number]:
            await asyncio.sleep(0.02)
            assert monotonic() - began < 10
    stop.set()
    await asyncio.gather(*clients)
    if policy == "always":
        assert failures.get("GET", 0) == 0
    assert sum(failures.values()) <= 3
    await everything_is_free(service.port, 3)
    assert re.search(r"was killed by SIGKILL .*\(not by Faucet", service.output)


async def test_a_request_that_crashes_its_worker_is_told_and_costs_nobody_else_anything(faucet: Start) -> None:
    """With four workers, one crash of one of them, and nobody in the queue notices."""
    service = faucet("--command", COUNTING, "-w", "4")
    pids = service.wait_workers(4)
    crashing = [asyncio.ensure_future(fetch(service.port, "/slow?0.3")) for _ in range(4)]
    await asyncio.sleep(0.15)
    waiting = [asyncio.ensure_future(fetch(service.port, "/")) for _ in range(30)]
    await asyncio.sleep(0.05)
    os.kill(pids[2], signal.SIGSEGV)
    service.wait_line(r"worker 2 crashed \(SIGSEGV\) while serving GET /slow\?0.3 from 127.0.0.1 after [0-9.]+ms, ")
    assert {answer[0] for answer in await asyncio.gather(*waiting)} == {200}
    statuses = sorted(answer[0] for answer in await asyncio.gather(*crashing))
    assert statuses.count(502) == 1
    assert len(re.findall(r" worker \d crashed ", service.output)) == 1
    assert service.output.count("The worker crashed (SIGSEGV) without an answer") == 1, "in the line of its request"


async def test_a_hung_worker_is_told_with_its_request_twice(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--request-timeout", "300ms")
    service.wait_workers(1)
    assert (await fetch(service.port, "/slow?9"))[0] == 504
    service.wait_line(r"worker 1: did not answer GET /slow\?9 from 127.0.0.1 within 3[0-9]+ms .*; it is killed")
    service.wait_line(r"worker 1 was killed while serving GET /slow\?9 from 127.0.0.1 after .* \(its request took too")


def test_sigkill_to_faucet_leaves_no_worker(faucet: Start) -> None:
    service = faucet("--command", python_worker("family"), "-w", "3")
    pids = service.wait_workers(3)
    children = [int(line.rpartition(" ")[2]) for line in service.lines if "out | child" in line]
    assert len(children) == 3
    service.signal(signal.SIGKILL)
    service.wait_exit()
    for pid in (*pids.values(), *children):
        assert wait_gone(pid, 2) < 2


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_sigkill_while_starting_leaves_no_worker(faucet: Start, delay: float) -> None:
    service = faucet("--command", python_worker("family"), "-w", "3", env={"FAUCET_TEST_MARK": f"mark-{delay}"})
    threading.Event().wait(0.2 + delay)
    service.signal(signal.SIGKILL)
    service.wait_exit()
    deadline = monotonic() + 3
    while left := marked_processes(f"mark-{delay}"):
        assert monotonic() < deadline, left
        threading.Event().wait(0.02)


def marked_processes(mark: str) -> list[int]:
    """Processes that have `mark` in their environment."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FAUCET_TEST_MARK") == mark and is_alive(process.pid):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def test_sigterm_under_load_loses_no_request(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2").wait_ready()
    answered: dict[int, int] = {}
    lost = 0

    async def client() -> None:
        nonlocal lost
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            except ConnectionRefusedError:
                return
            try:
                for _ in range(10):
                    writer.write(b"GET /slow?0.02 HTTP/1.1\r\nHost: a\r\n\r\n")
                    try:
                        status, _ = await read_response(reader)
                    except (asyncio.IncompleteReadError, ConnectionError):
                        lost += 1
                        break
                    answered[status] = answered.get(status, 0) + 1
                    if status == 503:
                        break
            finally:
                await hang_up(writer)

    clients = [asyncio.ensure_future(client()) for _ in range(20)]
    await asyncio.sleep(1)
    service.signal(signal.SIGTERM)
    await asyncio.gather(*clients)
    assert await asyncio.to_thread(service.wait_exit) == 0
    assert set(answered) == {200, 503}
    assert lost == 0


def test_a_second_signal_ends_at_once(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    connection.request("GET", "/slow?20")
    threading.Event().wait(0.3)
    service.signal(signal.SIGINT)
    service.wait_line("SIGINT: stopping; 1 request in flight")
    service.signal(signal.SIGINT)
    began = monotonic()
    assert service.wait_exit() == 3
    assert monotonic() - began < 6
    answer = connection.getresponse()
    assert (answer.status, b"The service ended before" in answer.read()) == (503, True)
    connection.close()
    requests_logged = [line for line in service.lines if "GET /slow?20" in line]
    assert len(requests_logged) == 1
    assert "503" in requests_logged[0]
    assert "worker=1 (The service ended before the worker had answered.)" in requests_logged[0]
    assert service.lines[-1].endswith("warning: stopped; 1 request in flight was cut")


def test_the_shutdown_timeout(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--shutdown-timeout", "300ms").wait_ready()
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    connection.request("GET", "/slow?20")
    threading.Event().wait(0.3)
    assert service.stop() == 3
    assert connection.getresponse().status == 503
    assert service.lines[-1].endswith("warning: stopped; 1 request in flight was cut")
    connection.close()


def test_a_second_signal_cuts_an_answer_that_had_begun_visibly(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"GET /drip HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(100)
        service.signal(signal.SIGTERM)
        service.wait_line("SIGTERM: stopping; 1 request in flight")
        service.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            b"".join(iter(lambda: client.recv(1000), b""))
        assert service.wait_exit() == 3


def test_under_nohup_a_closed_terminal_means_nothing(faucet: Start) -> None:
    kept = faucet("--command", COUNTING, "-w", "1", wrapper=["nohup"]).wait_ready()
    kept.signal(signal.SIGHUP)
    assert requests.get(f"http://127.0.0.1:{kept.port}/", timeout=10).status_code == 200
    assert kept.stop() == 0
    assert "rolling" not in kept.output


def test_100_mb_up_and_down_in_bounded_memory(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    requests.get(f"http://127.0.0.1:{service.port}/", timeout=10)
    before = resident_memory(service.process.pid)
    largest = before
    done = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.02):
            largest = max(largest, resident_memory(service.process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        content = bytes(range(256)) * (100 * MIB // 256)
        answer = requests.post(f"http://127.0.0.1:{service.port}/body", data=content, timeout=60)
        assert answer.text == f"{len(content)} {hashlib.sha256(content).hexdigest()}"
        digest, size = hashlib.sha256(), 0
        with requests.get(f"http://127.0.0.1:{service.port}/big?{100 * MIB}", stream=True, timeout=60) as response:
            for part in response.iter_content(1 << 16):
                digest.update(part)
                size += len(part)
        assert size == 100 * MIB
        assert digest.hexdigest() == hashlib.sha256(b"x" * size).hexdigest()
    finally:
        done.set()
        watcher.join()
    assert largest - before < 32 * MIB


def test_python_clients(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2").wait_ready()
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    for body in (None, b"hello", iter([b"a", b"b"])):
        connection.request("GET" if body is None else "POST", "/", body)
        assert connection.getresponse().read() == b"hello"
    connection.close()
    with requests.Session() as session:
        for _ in range(5):
            assert session.get(f"http://127.0.0.1:{service.port}/").text == "hello"
            assert session.post(f"http://127.0.0.1:{service.port}/body", data=b"x" * 100_000).text.startswith("100000 ")


@pytest.mark.parametrize(
    "command",
    [
        "curl -sSf http://127.0.0.1:{port}/ http://127.0.0.1:{port}/",
        "curl -sSf --http1.0 http://127.0.0.1:{port}/",
        "curl -sSf --http2 http://127.0.0.1:{port}/",
        "curl -sSf -H Expect:100-continue -d hello http://127.0.0.1:{port}/",
        "ab -q -n 200 -c 8 http://127.0.0.1:{port}/",
        "ab -q -k -n 200 -c 8 http://127.0.0.1:{port}/",
        "hey -n 200 -c 8 http://127.0.0.1:{port}/",
        "wrk -t1 -c8 -d1s http://127.0.0.1:{port}/",
    ],
)
def test_other_clients(faucet: Start, tool: Callable[[str], str], command: str) -> None:
    tool(command.split(maxsplit=1)[0])
    service = faucet("--command", COUNTING, "-w", "2").wait_ready()
    words = command.format(port=service.port).split()
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert service.stop() == 0
    statuses = {line.split('" ')[1].split(" ")[0] for line in service.lines if "HTTP/1." in line}
    assert statuses - {"499"} == {"200"}, result.stdout
    if "499" in statuses:
        assert words[0] == "wrk", "wrk alone leaves in the middle"
    assert "Non-2xx" not in result.stdout


async def test_ten_thousand_idle_clients(faucet: Start) -> None:
    """They cost little memory, and slow nobody down."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    sockets: list[socket.socket] = []
    try:

        async def best_of(times: int) -> float:
            best = 9.0
            for _ in range(times):
                began = monotonic()
                assert (await fetch(service.port, "/quick"))[0] == 200
                best = min(best, monotonic() - began)
            return best

        alone = await best_of(50)
        before = resident_memory(service.process.pid)
        for _ in range(count):
            sock = socket.socket()
            sockets.append(sock)
            sock.connect(("127.0.0.1", service.port))
        crowded = await best_of(50)
        each = (resident_memory(service.process.pid) - before) / count
        print(f"{count} idle connections: {each:.0f} bytes each")
        assert each < 6000
        assert crowded < alone * 2 + 0.005
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_log_in_json(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--log-format", "json")
    service.wait_line("serving")
    port = json.loads(service.lines[-1])["text"].rpartition(":")[2].split()[0]
    requests.get(f"http://127.0.0.1:{port}/x%22?y", timeout=5)
    assert service.stop() == 0
    events = [json.loads(line) for line in service.lines]
    request = next(event for event in events if event["event"] == "request")
    assert request["method"] == "GET"
    assert request["target"] == "/x%22?y"
    assert request["status"] == 200
    assert request["worker"] == "1"
    assert 0 <= request["service_seconds"] < 5


def test_worker_output_is_logged_and_harmless(faucet: Start) -> None:
    service = faucet("--command", python_worker("noisy"), "-w", "1").wait_ready()
    requests.get(f"http://127.0.0.1:{service.port}/", timeout=10)
    assert service.stop() == 0
    assert "worker 1 out | caf\ufffd [bold]" in service.output
    assert r"worker 1 err | \x1b[31mred\x07" in service.output
    assert "worker 1 out | last words" in service.output
    assert sum("x" * 1000 in line for line in service.lines) == 13, "a line of 100,000 bytes is cut, not lost"


def test_environment_of_the_workers(faucet: Start) -> None:
    script = "echo $FAUCET_WORKER_ID $((FAUCET_PORT - {port})) $((PORT - {port})); sleep 60"
    service = faucet("--command", f"sh -c '{script}'", "-w", "2")
    assert {service.wait_line(r"out \| (.*)")[1] for _ in range(2)} == {"1 0 0", "2 0 0"}
    assert service.stop() == 0


def test_fixed_child_ports(faucet: Start) -> None:
    first = 21_000 + os.getpid() % 10_000  # below the ports that the kernel gives to clients
    service = faucet("--command", COUNTING, "-w", "2", "--child-port", str(first))
    service.wait_workers(2)
    ports = sorted(line.split("ready on port ")[1].split()[0] for line in service.lines if "ready on port" in line)
    assert ports == [str(first), str(first + 1)]


def test_a_port_that_turns_out_taken_leads_to_another(faucet: Start) -> None:
    """Whoever answers there is not taken for the worker."""
    service = faucet("--command", python_worker("robbed"), "-w", "1")
    taken = service.wait_line("was taken by .*; trying another")
    lost = taken.string.partition("port ")[2].split()[0]
    service.wait_ready()
    assert f"ready on port {lost}" not in service.output
    assert requests.get(f"http://127.0.0.1:{service.port}/", timeout=5).text == "hello"
