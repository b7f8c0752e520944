"""Where workers listen: at ::1 too, exposed to others, or where nobody looks for them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from faucet.workers.listening import Listening, listening_of
from tests.support.load import fetch
from tests.support.needs import needs_ipv6
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]

PORT = 20001


def listening(*places: tuple[str, int] | str) -> Listening:
    return Listening(
        frozenset(place for place in places if isinstance(place, tuple)),
        frozenset(place for place in places if isinstance(place, str)),
    )


# -- what it means -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "reached", "exposed"),
    [
        (["127.0.0.1"], {"127.0.0.1"}, None),
        (["::ffff:127.0.0.1"], {"127.0.0.1"}, None),
        (["::1"], {"::1"}, None),
        (["::1", "127.0.0.1"], {"127.0.0.1", "::1"}, None),
        (["0.0.0.0"], {"127.0.0.1"}, f"0.0.0.0:{PORT}"),
        (["::"], {"127.0.0.1", "::1"}, f"[::]:{PORT}"),
        (["127.0.0.1", "10.0.0.7"], {"127.0.0.1"}, f"10.0.0.7:{PORT}"),
        (["127.0.0.1", "::ffff:10.0.0.7"], {"127.0.0.1"}, f"[::ffff:10.0.0.7]:{PORT}"),
        (["127.0.0.1", "2001:db8::7"], {"127.0.0.1"}, f"[2001:db8::7]:{PORT}"),
        (["127.0.0.2"], set(), None),
        (["10.0.0.7"], set(), f"10.0.0.7:{PORT}"),
        ([], set(), None),
    ],
)
def test_who_reaches_it(hosts: list[str], reached: set[str], exposed: str | None) -> None:
    where = listening(*((host, PORT) for host in hosts), ("0.0.0.0", PORT + 1), "/run/x")
    assert {host for host in ("127.0.0.1", "::1") if where.reached_at(host, PORT)} == reached
    assert where.on(PORT) is bool(reached)
    assert where.exposed(PORT) == exposed


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([], ""),
        ([("127.0.0.1", PORT)], f"listens on port {PORT}, but accepts no connection"),
        ([("10.0.0.7", PORT)], f"listens on 10.0.0.7:{PORT}, not on 127.0.0.1:{PORT}: "),
        ([("fd00::7", PORT), ("127.0.0.2", PORT)], f"listens on 127.0.0.2:{PORT}, [fd00::7]:{PORT}, not on 127.0.0.1:"),
        ([("127.0.0.1", 8000)], f"listens on port 8000, not on {PORT}: "),
        ([("0.0.0.0", 8000), ("::", 8000), ("::1", 80), "/run/x"], f"listens on port 80, 8000, not on {PORT}: "),
        (["/run/a b", "@x"], f"listens on the Unix socket /run/a b, @x, not on port {PORT}: "),
    ],
)
def test_what_it_does_instead(places: list[tuple[str, int] | str], said: str) -> None:
    text = listening(*places).instead_of(PORT)
    assert text.startswith(said)
    assert bool(text) is bool(said)


def test_each_says_what_to_do() -> None:
    assert 'host = "127.0.0.1"' in listening(("10.0.0.7", PORT)).instead_of(PORT)
    assert 'Sys.getenv("FAUCET_PORT")' in listening(("10.0.0.7", 80)).instead_of(PORT)
    assert "127.0.0.1 and the port in FAUCET_PORT" in listening("/run/x").instead_of(PORT)


# -- what the kernel tells -----------------------------------------------------------------------------------------


@contextmanager
def open_sockets(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Of this process; the port that listens, and one that is only bound."""
    with ExitStack() as stack:
        tcp, bound = (stack.enter_context(socket.socket()) for _ in range(2))
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        bound.bind(("127.0.0.1", 0))
        connected = stack.enter_context(socket.create_connection(tcp.getsockname()))
        stack.enter_context(tcp.accept()[0])
        named, silent, abstract = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3))
        named.bind(str(tmp_path / "a b"))
        named.listen()
        silent.bind(str(tmp_path / "silent"))
        if sys.platform == "linux":
            abstract.bind("\0faucet-test")
            abstract.listen()
        for end in socket.socketpair():
            stack.enter_context(end)
        assert connected.getsockname()
        yield tcp.getsockname()[1], bound.getsockname()[1]


def test_what_this_process_listens_on(tmp_path: Path) -> None:
    with open_sockets(tmp_path) as (port, bound):
        where = listening_of(os.getpid())
        assert where is not None
        assert ("127.0.0.1", port) in where.tcp
        assert bound not in {other for _, other in where.tcp}
        assert str(tmp_path / "a b") in where.unix
        if sys.platform == "linux":
            assert "@faucet-test" in where.unix
            assert str(tmp_path / "silent") not in where.unix
    where = listening_of(os.getpid())
    assert where is not None
    assert not where.unix


def test_descendants_count_and_strangers_do_not() -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    words = ["sh", "-c", '"$@"; :', "sh", sys.executable, "-c", code]
    with socket.create_server(("127.0.0.1", 0)) as ours:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            assert listening_of(process.pid) == listening(("127.0.0.1", port))
            where = listening_of(os.getpid())
            assert where is not None
            assert {("127.0.0.1", port), ours.getsockname()} <= where.tcp
        finally:
            process.communicate("\n")
    assert listening_of(process.pid) is None


def test_children_that_end_while_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """They say nothing against their parent."""
    import psutil

    class Gone(psutil.Process):
        def net_connections(self, kind: str = "inet") -> list[psutil.pconn]:
            raise psutil.NoSuchProcess(self.pid)

    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [Gone(os.getppid())])
    with socket.create_server(("127.0.0.1", 0)) as ours:
        where = listening_of(os.getpid())
        assert where is not None
        assert ours.getsockname() in where.tcp


# -- the program ---------------------------------------------------------------------------------------------------


def bound(*places: str) -> str:
    return python_worker("bound", *places)


@needs_ipv6
@pytest.mark.parametrize("place", ["::1", "localhost"])
async def test_a_worker_at_the_loopback_of_ipv6_is_reached(faucet: Start, place: str) -> None:
    service = faucet("--command", bound(place), "-w", "2", "--max-requests", "3")
    service.wait_workers(2)
    for _ in range(10):
        assert (await fetch(service.port, "/"))[0] == 200
    if place == "::1":
        service.wait_line(r"ready on port \d+ \(pid \d+\) at ::1 after", 10)  # a successor
    assert "bypass the lock" not in service.output
    assert service.stop() == 0


@needs_ipv6
async def test_another_program_at_the_loopback_of_ipv6_is_never_taken_for_the_worker(faucet: Start) -> None:
    """The port was free at 127.0.0.1, and nobody looked at ::1."""
    service = faucet("--command", bound("thief", "127.0.0.1"), "-w", "1").wait_ready()
    assert (await fetch(service.port, "/"))[0] == 200
    assert "ready on port" in service.output
    assert "at ::1" not in service.output
    assert "answers on port" not in service.output
    assert service.stop() == 0


@needs_ipv6
async def test_a_worker_that_is_left_at_the_other_loopback_only_is_replaced(faucet: Start) -> None:
    """It was reached at 127.0.0.1. That it still answers at ::1 helps nobody, and must not look like recovery."""
    service = faucet("--command", bound("brief:127.0.0.1", "::1"), "-w", "1", "--startup-timeout", "2s").wait_ready()
    for _ in range(2):
        assert (await fetch(service.port, "/"))[0] == 200
    assert "it accepts no connections any more" in service.output
    assert service.stop() == 0


@pytest.mark.parametrize("place", ["0.0.0.0", pytest.param("::", marks=needs_ipv6)])
async def test_workers_on_all_interfaces_are_warned_about_once(faucet: Start, place: str) -> None:
    service = faucet("--command", bound(place), "-w", "2")
    service.wait_workers(2)
    for _ in range(4):
        assert (await fetch(service.port, "/"))[0] == 200
    warnings = [line for line in service.lines if "bypass the lock" in line]
    assert len(warnings) == 1
    written = f"[{place}]" if ":" in place else place
    assert f": listens on {written}:" in warnings[0]
    assert 'host = "127.0.0.1"' in warnings[0]
    assert service.stop() == 0


def test_where_a_worker_listens_that_is_not_reached(faucet: Start, tmp_path: Path) -> None:
    """It is told on after a few seconds, long before it is given up: both at once, since each takes its time."""
    path = tmp_path / "worker.sock"
    cases = {
        bound("127.0.0.2"): r"worker 1: listens on 127\.0\.0\.2:(\d+), not on 127\.0\.0\.1:\1: .*host = \"127",
        bound(f"unix:{path}"): rf"worker 1: listens on the Unix socket {path}, not on port \d+: .*FAUCET_PORT",
    }
    if sys.platform != "linux":
        cases.pop(bound("127.0.0.2"))  # macOS has no such address until it is given one
    services = [(faucet("--command", command, "-w", "1"), said) for command, said in cases.items()]
    for service, said in services:
        service.wait_line(said, 20)
        assert "ready on port" not in service.output
        service.stop()


def test_workers_that_fight_for_a_unix_socket(faucet: Start, tmp_path: Path) -> None:
    """One has it, the others end: what is said at the end is what is wrong, not what follows from it."""
    command = f"{sys.executable} -c '{FIGHT}' {tmp_path / 'one.sock'}"
    service = faucet("--command", command, "-w", "2")
    assert service.wait_exit() == 1
    last = service.output.rpartition("faucet: ")[2]
    assert f"listens on the Unix socket {tmp_path / 'one.sock'}, not on port" in last


FIGHT = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(60)"
