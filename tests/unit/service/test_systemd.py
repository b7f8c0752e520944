"""Sockets that are open already, messages to whoever opened them: with real sockets and a real systemd tool."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faucet.service import systemd
from faucet.service.systemd import STATUS_LIMIT, Notifier, SystemdError, inherited_sockets, watchdog_interval
from tests.support.checkout import ROOT

ME = str(os.getpid())

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets, and systemd, are Linux")


# -- Sockets -------------------------------------------------------------------------------------------------------

ACTIVATED = """
import json, os, subprocess, sys
from faucet.service.systemd import inherited_sockets

sockets = inherited_sockets(os.environ)
child = "import os, sys; print([os.path.exists(f'/dev/fd/{fd}') for fd in (3, 4)], *sorted(os.environ))"
told = {
    "descriptors": [sock.fileno() for sock in sockets],
    "inheritable": [sock.get_inheritable() for sock in sockets],
    "blocking": [sock.getblocking() for sock in sockets],
    "variables": [name for name in os.environ if name.startswith("LISTEN_")],
    "again": len(inherited_sockets(os.environ)),
    "child": subprocess.run(
        [sys.executable, "-c", child], stdout=subprocess.PIPE, text=True, check=True, close_fds=False
    ).stdout,
}
for sock in sockets:
    sock.setblocking(True)
    accepted, _ = sock.accept()
    with sock, accepted:
        accepted.sendall(json.dumps(told).encode())
"""

LAUNCH = """
import os, sys

for number, descriptor in enumerate(sys.argv[2:], start=3):
    os.dup2(int(descriptor), number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sys.argv) - 2), "LISTEN_FDNAMES": "http:http"}
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
"""What systemd does between fork and exec."""


def listening(kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


@contextlib.contextmanager
def running(*command: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has to end by itself, and well, but never outlives the test."""
    with subprocess.Popen(command, cwd=ROOT, **more) as process:
        try:
            yield process
            assert process.wait(30) == 0
        finally:
            process.kill()


def everything_from(sock: socket.socket) -> dict[str, object]:
    with sock:
        sock.settimeout(30)
        data = b""
        while part := sock.recv(65536):
            data += part
    told = json.loads(data)
    assert isinstance(told, dict)
    return told


def test_a_process_takes_over_its_sockets() -> None:
    with listening() as one, listening() as two:
        # Far from 3 and 4, where they are to be put.
        high = [os.dup(sock.fileno()) for sock in (one, two)]
        addresses = [sock.getsockname() for sock in (one, two)]
        with running(sys.executable, "-c", LAUNCH, ACTIVATED, *map(str, high), pass_fds=high):
            for descriptor in high:
                os.close(descriptor)
            told = [everything_from(socket.create_connection(address, timeout=30)) for address in addresses]
    assert told[0] == told[1]
    child = str(told[0].pop("child")).split()
    assert told[0] == {
        "descriptors": [3, 4],
        "inheritable": [False, False],
        "blocking": [False, False],
        "variables": [],
        "again": 0,
    }
    assert child[:2] == ["[False,", "False]"]
    assert [name for name in child if name.startswith("LISTEN_")] == []


@on_linux
@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate")
def test_what_systemd_itself_hands_over(tmp_path: Path) -> None:
    with listening() as probe:
        port = probe.getsockname()[1]
    path = tmp_path / "s"
    places = ["-l", str(path), "-l", f"127.0.0.1:{port}"]
    command = ["systemd-socket-activate", *places, "--fdname=unix:tcp", sys.executable, "-c", ACTIVATED]
    with running(*command, stderr=subprocess.DEVNULL):
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        told = everything_from(client)
        assert (told["descriptors"], told["variables"]) == ([3, 4], [])
        assert everything_from(socket.create_connection(("127.0.0.1", port), timeout=30)) == told


@pytest.fixture
def descriptor(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A free descriptor, and the one behind it, in the place of 3 and 4."""
    number = 200
    monkeypatch.setattr(systemd, "FIRST_DESCRIPTOR", number)
    yield number
    for left in (number, number + 1):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(left)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": ME},
        {"LISTEN_PID": ME, "LISTEN_FDS": "0"},
        {"LISTEN_PID": ME, "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "LISTEN_PIDFDID": "5"},
        {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "x"},
    ],
)
def test_no_sockets(environ: dict[str, str], descriptor: int) -> None:
    environ["PATH"] = "/bin"
    assert inherited_sockets(environ) == []
    assert environ == {"PATH": "/bin"}


def ours(**more: str) -> dict[str, str]:
    return {"LISTEN_PID": ME, "LISTEN_FDS": "1"} | more


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (ours(LISTEN_PID=""), "invalid LISTEN_PID ''; expected a number"),
        (ours(LISTEN_PID=f"+{ME}"), "invalid LISTEN_PID "),
        (ours(LISTEN_PID=f" {ME}"), "invalid LISTEN_PID "),
        (ours(LISTEN_FDS=""), "invalid LISTEN_FDS "),
        (ours(LISTEN_FDS="-1"), "invalid LISTEN_FDS '-1'; expected a number"),
        (ours(LISTEN_FDS="1_0"), "invalid LISTEN_FDS "),
        (ours(LISTEN_FDS="１"), "invalid LISTEN_FDS "),
        (ours(LISTEN_FDS="9" * 5000), "invalid LISTEN_FDS "),
        (ours(LISTEN_FDNAMES="a:b"), "LISTEN_FDNAMES has 2 names, and LISTEN_FDS is 1"),
        (ours(LISTEN_FDS="3", LISTEN_FDNAMES="a:b"), "LISTEN_FDNAMES has 2 names, and LISTEN_FDS is 3"),
        (ours(), r"^socket 1 from systemd is not an open socket: Bad file"),
        (ours(LISTEN_FDS="9" * 19), r"^socket 1 from systemd is not an open socket"),
        (ours(LISTEN_FDNAMES="web"), r"^socket 1 \(web\) from systemd is not an open socket"),
    ],
)
def test_nonsense(environ: dict[str, str], said: str, descriptor: int) -> None:
    with pytest.raises(SystemdError, match=said):
        inherited_sockets(environ)
    assert environ == {}


def test_a_file_is_no_socket(descriptor: int, tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:
        os.dup2(file.fileno(), descriptor)
    with pytest.raises(SystemdError, match="not an open socket"):
        inherited_sockets(ours())
    os.close(descriptor)  # not ours to close: who knows what it is


@pytest.mark.parametrize(
    ("family", "kind", "said"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "does not listen: the unit needs Accept=no"),
        (socket.AF_UNIX, socket.SOCK_STREAM, "does not listen"),
        (socket.AF_INET, socket.SOCK_DGRAM, "the unit needs ListenStream="),
        (socket.AF_UNIX, socket.SOCK_DGRAM, "the unit needs ListenStream="),
        (socket.AF_UNIX, socket.SOCK_SEQPACKET, "the unit needs ListenStream="),
    ],
)
def test_sockets_of_no_use(family: int, kind: int, said: str, descriptor: int) -> None:
    with socket.socket(family, kind) as sock:
        os.dup2(sock.fileno(), descriptor)
    with pytest.raises(SystemdError, match=said):
        inherited_sockets(ours(LISTEN_FDNAMES="a"))


def test_one_wrong_socket_is_one_too_many(descriptor: int) -> None:
    with listening() as right, listening(socket.SOCK_DGRAM) as wrong:
        os.dup2(right.fileno(), descriptor)
        os.dup2(wrong.fileno(), descriptor + 1)
    with pytest.raises(SystemdError, match=r"socket 2 \(b\) from systemd is not for TCP"):
        inherited_sockets(ours(LISTEN_FDS="2", LISTEN_FDNAMES="a:b"))


def test_a_socket_in_this_process(descriptor: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix, listening() as tcp:
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        os.dup2(unix.fileno(), descriptor)
        os.dup2(tcp.fileno(), descriptor + 1)
        names = [unix.getsockname(), tcp.getsockname()]
    sockets = inherited_sockets(ours(LISTEN_FDS="2"))
    assert [sock.getsockname() for sock in sockets] == names
    assert [sock.family for sock in sockets] == [socket.AF_UNIX, socket.AF_INET]
    for sock in sockets:
        sock.close()


# -- Messages ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", pytest.param("abstract", marks=on_linux)])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket like systemd's, and what NOTIFY_SOCKET says of it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@faucet-test-{ME}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0") if name[0] == "@" else name)
        sock.settimeout(10)
        yield sock, name


def test_messages(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    environ = {"NOTIFY_SOCKET": name, "PATH": "/bin"}
    notifier = Notifier(environ)
    assert environ == {"PATH": "/bin"}
    notifier.ready("serving at http://localhost:3838")
    notifier.ready()
    notifier.status("3 of 4 workers")
    notifier.status("")
    notifier.watchdog()
    notifier.stopping()
    assert [sock.recv(4096) for _ in range(6)] == [
        b"READY=1\nSTATUS=serving at http://localhost:3838",
        b"READY=1",
        b"STATUS=3 of 4 workers",
        b"STATUS=",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_a_reload_tells_the_time(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier({"NOTIFY_SOCKET": name}).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    kind, clock = sock.recv(4096).decode().split("\n")
    key, _, value = clock.partition("=")
    assert (kind, key) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(value) <= after


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nREADY=1", "a READY=1"),
        ("a\r\n\tb ", "a b"),
        ("für ☂", "für ☂"),
        ("\udcff", "?"),
        ("x" * 5000, "x" * STATUS_LIMIT),
        ("🚰" * 5000, "🚰" * STATUS_LIMIT),
    ],
)
def test_a_status_is_one_line(text: str, line: str, manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.status(text)
    notifier.ready(text)
    messages = [sock.recv(65536) for _ in range(2)]
    assert messages == [f"STATUS={line}".encode(), f"READY=1\nSTATUS={line}".encode()]
    assert max(map(len, messages)) <= 4096


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "/"},
        {"NOTIFY_SOCKET": "@"},
        {"NOTIFY_SOCKET": "relative"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/nowhere/to/be/found"},
        {"NOTIFY_SOCKET": "/" + "x" * 500},
        {"NOTIFY_SOCKET": "@" + "x" * 500},
        {"NOTIFY_SOCKET": "/dev/null"},
        {"NOTIFY_SOCKET": "/\udcff"},
    ],
)
def test_nobody_to_tell(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    assert environ == {}
    notifier.ready("x")
    notifier.reloading()
    notifier.status("x")
    notifier.watchdog()
    notifier.stopping()


def test_who_has_gone_is_not_missed(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    sock.close()
    notifier.watchdog()


@pytest.mark.quiet
def test_a_full_queue_holds_nobody_up(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    start = time.monotonic()
    for number in range(5000):
        notifier.status(f"{number:01000}")
    assert time.monotonic() - start < 10
    sock.setblocking(False)
    received = 0
    with contextlib.suppress(BlockingIOError):
        while sock.recv(4096):
            received += 1
    assert 0 < received < 5000  # the others were lost
    notifier.watchdog()
    assert sock.recv(4096) == b"WATCHDOG=1"


# -- Watchdog ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_PID": ME}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ME}, 15.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": ME}, 0.75),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "x", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    before = dict(environ)
    assert watchdog_interval(environ) == seconds
    assert environ == before


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"WATCHDOG_USEC": ""}, "invalid WATCHDOG_USEC ''; expected a number"),
        ({"WATCHDOG_USEC": "0"}, "WATCHDOG_USEC is 0"),
        ({"WATCHDOG_USEC": "-1"}, "invalid WATCHDOG_USEC '-1'; expected a number"),
        ({"WATCHDOG_USEC": "30s"}, "invalid WATCHDOG_USEC '30s'; expected a number"),
        ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "me"}, "invalid WATCHDOG_PID 'me'; expected a number"),
    ],
)
def test_no_watchdog(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SystemdError, match=said):
        watchdog_interval(environ)
