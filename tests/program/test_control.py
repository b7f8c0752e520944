"""The control socket: for its user alone, deaf to nonsense, and never in the way of the service."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from faucet.cli.main import main
from faucet.control.client import Client, NoRuntime, Refusal
from faucet.control.paths import directory, is_private, socket_path
from faucet.control.protocol import COMMAND_LIMIT, PROTOCOL, ProtocolError, decode, encode
from faucet.control.server import bind
from faucet.log.recent import newest
from faucet.status.snapshot import WorkerRow
from tests.support.load import fetch
from tests.support.running import Faucet, python_worker, resident_memory

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")


class Raw:
    """A client that may send anything."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")
        self.greeting = self.read()

    def read(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(self.lines.readline())
        return message

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message; the next one that comes."""
        self.send(encode(message))
        return self.read()

    def close(self) -> None:
        """Hang up."""
        self.lines.close()
        self.socket.close()


@pytest.fixture
def raw() -> Any:
    clients: list[Raw] = []

    def connect(service: Faucet) -> Raw:
        clients.append(Raw(socket_path(service.port)))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def test_the_socket_is_for_its_user_alone_and_goes_with_the_service(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    path = socket_path(service.port)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert service.stop() == 0
    assert not path.exists()
    assert not path.parent.exists() or any(path.parent.iterdir()), "nobody else needs the directory"


def test_a_directory_that_another_service_has_just_removed_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = Path.mkdir
    gone: list[Path] = []

    def make(self: Path, *arguments: Any, **more: Any) -> None:
        made(self, *arguments, **more)
        if not gone:
            gone.append(self)
            self.rmdir()

    monkeypatch.setattr(Path, "mkdir", make)
    bind(tmp_path / "faucet" / "s.sock").close()
    assert (tmp_path / "faucet" / "s.sock").is_socket()


def test_a_stale_socket_is_replaced_a_live_one_is_not(faucet: Start, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    first = faucet("--command", COUNTING, "-w", "1", "--control", str(path)).wait_ready()
    second = faucet("--command", COUNTING, "-w", "1", "--control", str(path))
    assert second.wait_exit() == 1
    assert f"another Faucet already listens on {path}; choose another path with --control" in second.output
    assert first.stop() == 0
    path.write_text("not a socket")
    third = faucet("--command", COUNTING, "-w", "1", "--control", str(path))
    assert third.wait_exit() == 1
    assert "exists and is not a socket" in third.output
    assert path.read_text() == "not a socket"
    path.unlink()


@pytest.mark.parametrize(
    ("path", "said"),
    [("/proc/no/such/place", "cannot create the control socket"), ("x" * 200, "is longer than 100 bytes")],
)
def test_a_socket_that_cannot_be(faucet: Start, path: str, said: str) -> None:
    service = faucet("--command", COUNTING, "--control", path)
    assert service.wait_exit() == 1
    assert said in service.output


def test_no_control(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--control", "none").wait_ready()
    assert not socket_path(service.port).exists()


def test_a_directory_that_others_could_write_to_is_not_trusted(tmp_path: Path) -> None:
    assert is_private(tmp_path / "not there yet")
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    assert is_private(mine)
    mine.chmod(0o770)
    assert not is_private(mine)
    (tmp_path / "link").symlink_to(mine)
    assert not is_private(tmp_path / "link")


def test_without_a_runtime_directory_it_is_in_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert directory().name == f"faucet-{os.getuid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 90)))
    assert directory().name == f"faucet-{os.getuid()}", "too long for a socket's path"


@pytest.mark.parametrize("line", [b"", b"x", b"[1]", b'"a"', b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 20_000])
def test_no_messages(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(line)


def test_encoding_survives_any_text() -> None:
    message = {"text": "a\nb\u2028\ud800\x1b", "row": WorkerRow(*range(len(WorkerRow._fields)))}  # type: ignore[arg-type]
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line)["row"] == list(range(len(WorkerRow._fields)))


def test_newest() -> None:
    ring = list(range(10, 20))
    assert [(list(items), left) for items, left in (newest(ring, 20, seen, most) for seen, most in
            ((20, 5), (17, 5), (12, 5), (3, 50), (0, 5)))] == [
        ([], 0), ([17, 18, 19], 0), ([15, 16, 17, 18, 19], 3), (ring, 7), ([15, 16, 17, 18, 19], 15)
    ]  # fmt: skip


def test_errors_do_no_harm(faucet: Start, raw: Callable[[Faucet], Raw]) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    client = raw(service)
    assert client.greeting["protocol"] == PROTOCOL
    for sent, said in [
        (b"nonsense\n", "not JSON"), (b"[]\n", "a JSON object"), (b"\n", "not JSON"),
        (b'{"do":"fly"}\n', "unknown command"),
        (b'{"do":7}\n', "unknown command"), (b"{}\n", "unknown command"), (b'{"do":"restart"}\n', "no worker named"),
        (b'{"do":"restart","worker":"9"}\n', "there is no worker 9; there are 1"),
        (b'{"do":"restart","worker":{}}\n', "no worker named"), (b'{"do":"scale","count":[]}\n', "invalid `count`"),
        (b'{"do":"watch","hz":1000}\n', "expected a number up to 10"), (b'{"do":"watch","hz":NaN}\n', "`hz`"),
        (b'{"do":"requests","last":-1}\n', "expected a number from 1"), (b'{"do":"detach"}\n', "only the monitor"),
        (b'{"do":"logs","since":"x"}\n', "invalid `since`"),
        (b'{"do":"status","protocol":99}\n', f"control protocol {PROTOCOL}, not 99: use the same version"),
    ]:  # fmt: skip
        client.send(sent)
        assert said in client.read()["error"], sent
    assert client.ask(id=5, do="health")["ok"]["ready"] == 1
    assert client.ask(id="x", do="details", worker=1)["id"] == "x"
    latest = client.ask(id=6, do="logs", last=1)["ok"][0]["when"] + 0.001
    assert client.ask(id=7, do="logs", since=latest)["ok"] == []
    assert client.ask(id=8, do="logs", since=latest - 3600, until=latest)["ok"]
    client.send(b"x" * (COMMAND_LIMIT + 1))
    assert "line too long" in client.read()["error"]
    assert client.lines.readline() == b""


def test_a_runtime_of_another_version_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        greeting = {"faucet": "9.9", "protocol": 99, "port": 1, "pid": 2, "title": "", "url": "", "mode": "local"}

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(encode(greeting))
            await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(greet, tmp_path / "s"):
            with pytest.raises(NoRuntime, match=rf"is Faucet 9\.9 with control protocol 99, this one has {PROTOCOL}"):
                await Client.connect(tmp_path / "s")
            greeting.clear()
            with pytest.raises(NoRuntime, match="not Faucet"):
                await Client.connect(tmp_path / "s")

    asyncio.run(main())


def read_news(client: Raw, kind: str) -> dict[str, Any]:
    """The next message of that kind."""
    for _ in range(200):
        message = client.read()
        if kind in message:
            return message
    raise AssertionError(kind)


async def test_a_viewer_gets_everything_once_and_then_what_changes(faucet: Start, raw: Callable[[Faucet], Raw]) -> None:
    service = faucet("--command", COUNTING, "-w", "2")
    service.wait_workers(2)
    await fetch(service.port, "/first")
    client = raw(service)
    assert client.ask(do="watch", hz=10)["ok"] == "watching"
    first = await asyncio.to_thread(read_news, client, "snapshot")
    assert set(first["snapshot"]) == {"service", "totals", "workers", "queue", "seconds", "limits", "notices"}
    assert set(first["snapshot"]["workers"]) == {"1", "2"}
    assert any("ready on port" in row[3] for row in read_news(client, "log")["log"])
    assert read_news(client, "requests")["requests"][-1][3] == "/first"
    slow = asyncio.ensure_future(fetch(service.port, "/slow?0.5"))
    known = first["snapshot"]["workers"]
    busy = None
    while busy is None:
        changed = (await asyncio.to_thread(read_news, client, "changes"))["changes"].get("workers", {})
        assert all(known[name] != row for name, row in changed.items()), "only rows that have changed"
        known.update(changed)
        busy = next((row for row in (WorkerRow(*row) for row in changed.values()) if row.state == "busy"), None)
    assert busy.request == "GET /slow?0.5"
    await slow


def test_nobody_watches_nothing_is_made(faucet: Start) -> None:
    """Quiet, it takes no CPU but for the tick of once a second."""
    import psutil

    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    process = psutil.Process(service.process.pid)
    before = process.cpu_times()
    subprocess.run(["sleep", "3"], check=True)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system <= 0.1


async def test_viewers_that_do_not_read_cost_bounded_memory_and_no_time(faucet: Start) -> None:
    service = faucet("--command", python_worker("noisy"), "-w", "2", "--log-file", "log")
    port = await service.listening_port()
    before = resident_memory(service.process.pid)
    viewers = [Raw(socket_path(port)) for _ in range(20)]
    for viewer in viewers:
        viewer.send(encode({"do": "watch", "hz": 10}))
    latencies = []
    for _ in range(300):
        began = asyncio.get_running_loop().time()
        assert (await fetch(port, "/"))[0] == 200
        latencies.append(asyncio.get_running_loop().time() - began)
    assert sorted(latencies)[150] < 0.05
    assert resident_memory(service.process.pid) - before < 48 << 20
    for viewer in viewers:
        viewer.close()


async def test_ten_thousand_broken_messages_and_floods(faucet: Start) -> None:
    """Random bytes, mutated commands, floods and half-open connections, while the service serves."""
    service = faucet("--command", COUNTING, "-w", "2").wait_ready()
    source = random.Random(7)
    path = socket_path(service.port)
    commands = [encode({"do": name, "worker": "1", "count": 1, "hz": 2, "id": 1}) for name in
                ("status", "watch", "details", "logs", "requests", "endpoints", "health", "resume")]  # fmt: skip

    def broken() -> bytes:
        if source.random() < 0.3:
            return source.randbytes(source.randint(0, 200)) + b"\n"
        line = bytearray(source.choice(commands))
        for _ in range(source.randint(1, 4)):
            line[source.randrange(len(line))] = source.randrange(256)
        return bytes(line)

    async def flood(count: int) -> None:
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
        for _ in range(count):
            writer.write(broken())
        if source.random() < 0.5:
            await reader.read(1000)
        writer.transport.abort()

    sent = 0
    while sent < 10_000:
        await asyncio.gather(*(flood(100) for _ in range(5)), return_exceptions=False)
        sent += 500
        assert (await fetch(service.port, "/quick"))[0] in (200, 503)
    client = await Client.connect(path)
    for name in ("1", "2"):
        await client.ask("hold", worker=name)
        await client.ask("resume", worker=name)
    assert (await fetch(service.port, "/"))[0] == 200
    await client.close()


async def test_a_flood_of_good_commands_takes_turns_with_the_service(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2").wait_ready()
    reader, writer = await asyncio.open_unix_connection(socket_path(service.port), limit=1 << 24)
    writer.write(encode({"do": "status"}) * 2000)
    drain = asyncio.ensure_future(reader.read())
    began = asyncio.get_running_loop().time()
    assert (await fetch(service.port, "/quick"))[0] == 200
    assert asyncio.get_running_loop().time() - began < 1
    writer.transport.abort()
    await drain


async def test_refusals_are_events_but_not_each_of_them(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--queue-limit", "0").wait_ready()
    slow = asyncio.ensure_future(fetch(service.port, "/slow?3"))
    await asyncio.sleep(0.2)
    for _ in range(50):
        assert (await fetch(service.port, "/"))[0] == 503
    line = await asyncio.to_thread(service.wait_line, "refused with 503: All workers are busy and the queue is full", 5)
    assert "warning: " in line.string
    assert (await slow)[0] == 200
    assert sum("refused with 503" in line for line in service.lines) <= 2


# -- faucet ctl -------------------------------------------------------------------------------------------------


def ctl(*words: str, code: int = 0) -> str:
    """Run `faucet ctl …` in this process, in a thread of its own; what it says."""
    said = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with ThreadPoolExecutor(1) as thread, redirect_stdout(said), redirect_stderr(said):
        assert thread.submit(main, ["ctl", *words]).result(30) == code
    said.seek(0)
    return said.read()


async def test_ctl(faucet: Start) -> None:
    assert "no running Faucet found for " in ctl("status", code=1)
    service = faucet("--command", COUNTING, "-w", "2")
    service.wait_workers(2)
    assert "p50 -, p95 -, 0 errors" in ctl("status")
    before = json.loads(ctl("status", "--json"))
    assert (before["totals"]["p50"], before["workers"][0]["p95"]) == (None, None), "no request yet has no latency"
    await fetch(service.port, "/first?x=1")
    text = ctl("status")
    assert f"on http://127.0.0.1:{service.port}: serving" in text
    assert "busy 0/2, 0 queued" in text
    assert "○ ready" in text or "o ready" in text
    assert len(json.loads(ctl("workers", "-j"))) == 2
    assert json.loads(ctl("status", "--json"))["totals"]["requests"] == 1
    assert "GET /first?x=1" in ctl("requests", "-n", "5")
    assert json.loads(ctl("requests", "-j"))[0]["status"] == 200
    assert "GET /first" in ctl("endpoints", "-n", "1")
    assert json.loads(ctl("endpoints", "-j"))["endpoints"][0]["share"] == 1
    assert "ready on port" in ctl("logs")
    assert all(json.loads(line)["worker"] == "1" for line in ctl("logs", "1", "-j").splitlines())
    assert ctl("health") == "serving: 2 of 2 workers ready, 0 queued\n"
    assert "gets no more requests" in ctl("hold", "1")
    assert json.loads(ctl("health", "-j"))["ready"] == 1
    assert "serves again" in ctl("resume", "1")
    assert "there is no worker 7; there are 1, 2" in ctl("kill", "7", code=1)
    assert "3 workers, 2 before" in ctl("scale", "+1")
    assert "2 workers, 3 before" in ctl("scale", "-1")
    assert "a number of workers, or a change" in ctl("scale", "many", code=2)
    assert "ctl requests --help" in ctl("requests", "-n", "-5", code=2)
    assert "there is no worker nosuch" in ctl("logs", "nosuch", code=1)
    assert "rolling restart: all 2 workers are replaced" in ctl("rolling-restart")
    assert "worker 1 is replaced as soon as another is ready; worker 2" in ctl("restart", "all")
    assert "no running Faucet found on port 1;" in ctl("status", "--at", "1", code=1)
    ctl("status", "--at", "no/such/socket", code=1)
    assert "--at" in ctl("status", "--help")
    assert ctl("fly", code=2)
    other = faucet("--command", COUNTING, "-w", "1").wait_ready()
    several = ctl("status", code=1)
    assert f"  {service.port} " in several
    assert f"  {other.port} " in several
    assert "stopping: requests in progress are finished first" in ctl("stop", "--at", str(other.port))
    assert other.wait_exit() == 0
    slow = asyncio.ensure_future(fetch(service.port, "/slow?20"))
    await asyncio.sleep(0.2)
    assert await asyncio.to_thread(ctl, "stop", "--now") == "stopping now\n"
    assert (await slow)[0] == 503
    assert service.wait_exit() == 3
    assert any("(ctl): stopping" in line for line in service.lines)


def test_ctl_follows_the_log(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    follower = subprocess.Popen(
        [sys.executable, "-u", "-m", "faucet", "ctl", "logs", "-f"], stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    assert "starting 1 worker" in "".join(follower.stdout.readline() for _ in range(2))
    ctl("hold", "1")
    for line in follower.stdout:
        if "worker 1: held by" in line:
            break
    service.stop()
    assert follower.wait(10) == 0
    follower.stdout.close()


def test_ctl_whose_output_cannot_go_anywhere(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    start = f"{sys.executable} -m faucet ctl"
    for command in (f"{start} logs -f | head -1", f"{start} status | true", f"{start} status > /dev/full"):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=15)
        assert "Traceback" not in done.stderr, done
    assert "cannot write to standard output: No space left on device" in done.stderr
    assert service.stop() == 0


async def test_a_refusal_and_a_lost_runtime_for_the_client(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    client = await Client.connect(socket_path(service.port))
    with pytest.raises(Refusal, match="unknown command"):
        await client.ask("fly")
    service.process.kill()
    await client.closed
    with pytest.raises(NoRuntime, match="has closed the connection"):
        await client.ask("status")
    await client.close()
    socket_path(service.port).unlink()
