"""The monitor in a real terminal, with its runtime in a process of its own, as users have it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest
import requests

from faucet.control.paths import socket_path
from tests.support.running import python_worker, wait_gone
from tests.support.terminal import Terminal

COUNTING = python_worker("counting")
Open = Callable[..., Terminal]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def terminal(tool: Callable[[str], str], tmp_path: Path, port: int) -> Iterator[Open]:
    tool("tmux")
    opened: list[Terminal] = []

    def open_terminal(width: int = 120, height: int = 36) -> Terminal:
        opened.append(Terminal(tmp_path, width, height))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()
    for process in family(port).values():
        wait_gone(process.pid, 10)


def family(port: int) -> dict[str, psutil.Process]:
    """The monitor and the runtime that serve on `port`."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "faucet" in words and f"127.0.0.1:{port}" in words:
            found["runtime" if "-P" in words else "monitor"] = process
    return found


def everybody(port: int) -> list[psutil.Process]:
    """Both, and the workers."""
    both = family(port)
    return [*both.values(), *both["runtime"].children(recursive=True)]


def load(port: int, target: str, times: int) -> list[threading.Thread]:
    """So many requests at once."""
    threads = [
        threading.Thread(target=requests.get, args=(f"http://127.0.0.1:{port}{target}",), kwargs={"timeout": 30})
        for _ in range(times)
    ]
    for thread in threads:
        thread.start()
    return threads


def test_a_tour(terminal: Open, port: int, plumber: str) -> None:
    """All that a user does, on the Plumber demo."""
    window = terminal()
    window.run("demo", "--host", f"127.0.0.1:{port}", "-w", "2")
    window.wait("● serving", "○ ready", "curl -d 'x=1,2,3'")
    threads = load(port, "/sleep?t=3", 4)
    screen = window.wait("● busy", "GET /sleep?t=3", "busy 2/2", "queue 2")
    assert "Queue 2" in screen
    window.keys("3")
    window.wait("   1 ", "   2 ", "GET /sleep?t=3  127.0.0.1")
    for thread in threads:
        thread.join()
    window.wait("queue 0", "The queue is empty.")
    window.keys("2")
    window.wait("200 q=")
    window.keys("r")
    window.wait("Restart worker 1")
    window.keys("y")
    window.wait("worker 1 is replaced")
    window.keys("4")
    window.wait("restarted by the monitor")
    window.keys("R")
    window.wait("Restart all 2 workers?")
    window.keys("y")
    window.wait("rolling restart: ")
    window.wait("all 2 workers are replaced")
    window.keys("+")
    window.wait("busy 0/3", "3 ○ ready")
    window.keys("-")
    window.wait("Remove a worker?", "3 workers become 2.")
    window.keys("y")
    window.wait("busy 0/2")
    window.keys("h")
    window.wait("1 ‖ held")
    window.keys("h")
    window.wait("1 ○ ready")
    window.keys("1", "/")
    window.wait("filter lines by")
    window.type("sleep")
    window.keys("Enter")
    assert "Running swagger" not in window.wait("/sleep/")
    window.keys("Escape")
    window.wait_without("/sleep/")
    window.keys("Tab")
    window.resize(80, 24)
    window.wait_without("  PORT")
    window.wait("STATE", "○ ready", "Log")
    window.resize(50, 12)
    window.wait_without("Log")
    window.wait("STATE", "○ ready")
    window.resize(120, 36)
    window.wait("PORT", "Log", "rps")
    window.keys("q")
    window.wait("Detach, keep serving")
    window.keys("Enter")
    window.wait("faucet keeps serving", f"faucet attach {port}", "ended with 0")
    assert requests.get(f"http://127.0.0.1:{port}/hello", timeout=5).status_code == 200
    window.type("clear")
    window.keys("Enter")
    window.run("attach", str(port))
    window.wait("● serving", "○ ready")
    window.keys("q")
    window.wait("Leave, keep serving")
    window.keys("Right", "Enter")
    window.wait("ended with 0")
    assert family(port) == {}


def test_details_and_stop(terminal: Open, port: int) -> None:
    window = terminal()
    window.run("--command", COUNTING, "-w", "1", "--host", f"127.0.0.1:{port}")
    window.wait("○ ready", "● serving")
    window.keys("Enter")
    window.wait("FAUCET_WORKER_ID=1", "Last lines of output")
    window.keys("Escape")
    window.wait_without("Last lines of output")
    window.keys("C-c")
    window.wait("Stop, drain first")
    window.keys("C-c", "Enter")
    window.wait("stopped; every request in flight was finished", "ended with 0")
    assert family(port) == {}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV])
def test_a_monitor_that_ends_without_a_word_takes_everything_along(
    terminal: Open, port: int, number: signal.Signals
) -> None:
    window = terminal()
    window.run("--command", COUNTING, "-w", "3", "--host", f"127.0.0.1:{port}")
    window.wait("3 ○ ready")
    everyone = everybody(port)
    assert len(everyone) >= 5
    family(port)["monitor"].send_signal(number)
    for process in everyone:
        wait_gone(process.pid, 5)
    window.wait("ended with")
    assert not socket_path(port).exists()
    if number in (signal.SIGTERM, signal.SIGHUP):
        window.type("stty -a | grep -o '.icanon'; stty -a | grep -o '.echo '")
        window.keys("Enter")
        window.wait(" icanon", " echo")


def test_a_request_in_hand_is_finished_when_the_monitor_vanishes(terminal: Open, port: int) -> None:
    window = terminal()
    window.run("--command", COUNTING, "-w", "1", "--host", f"127.0.0.1:{port}")
    window.wait("1 ○ ready")
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(requests.get(f"http://127.0.0.1:{port}/slow?2", timeout=10).status_code)
    )
    thread.start()
    window.wait("1 ● busy")
    runtime = family(port)["runtime"]
    family(port)["monitor"].kill()
    thread.join()
    assert answers == [200]
    wait_gone(runtime.pid, 5)


def test_a_closed_terminal(terminal: Open, port: int) -> None:
    window = terminal()
    window.run("--command", COUNTING, "-w", "1", "--host", f"127.0.0.1:{port}")
    window.wait("1 ○ ready")
    everyone = everybody(port)
    window.close()
    for process in everyone:
        wait_gone(process.pid, 5)


def test_ctrl_z_suspends_the_monitor_and_nothing_else(terminal: Open, port: int) -> None:
    window = terminal()
    window.type("set -m")
    window.keys("Enter")
    window.type(f"{sys.executable} -m faucet --command '{COUNTING}' -w 1 --host 127.0.0.1:{port}")
    window.keys("Enter")
    window.wait("1 ○ ready")
    monitor = family(port)["monitor"]
    window.keys("C-z")
    deadline = monotonic() + 10
    while monitor.status() != psutil.STATUS_STOPPED:
        assert monotonic() < deadline, window.screen
        threading.Event().wait(0.05)
    for _ in range(20):
        assert requests.get(f"http://127.0.0.1:{port}/quick", timeout=5).status_code == 200
    window.type("fg")
    window.keys("Enter")
    window.wait("1 ○ ready", "GET /quick")
    window.keys("q")
    window.wait("Stop now")
    window.keys("Right", "Right", "Enter")
    window.wait_without("STATE")
    for process in family(port).values():
        wait_gone(process.pid, 5)


def test_a_stopped_monitor_slows_nobody(terminal: Open, port: int) -> None:
    """SIGSTOP: it does not read. Latencies before and meanwhile are of the same kind."""
    window = terminal()
    window.run("--command", COUNTING, "-w", "2", "--host", f"127.0.0.1:{port}")
    window.wait("2 ○ ready")

    def latencies() -> list[float]:
        with requests.Session() as session:
            return sorted(
                session.get(f"http://127.0.0.1:{port}/", timeout=5).elapsed.total_seconds() for _ in range(400)
            )

    before = latencies()
    monitor = family(port)["monitor"]
    monitor.suspend()
    meanwhile = latencies()
    monitor.resume()
    assert meanwhile[380] < before[380] * 3 + 0.1
    window.wait("● serving")


def test_what_cannot_be_is_said_on_the_plain_terminal(terminal: Open, port: int) -> None:
    window = terminal()
    window.run("--host", "nonsense:")
    window.wait("invalid address 'nonsense:'", "ended with 2")
    window.run("--dir", "nowhere")
    window.wait("nowhere does not exist", "ended with 2")
    window.run("--keys", "nonsense", "--command", "true")
    window.wait("write a list like restart=f5,quit=x", "ended with 2")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        window.run("--command", COUNTING, "--host", f"127.0.0.1:{taken}")
        assert "no Faucet" not in window.wait("the port is in use by", "ended with 1")
    window.run("attach", "1")
    window.wait("no running Faucet found on port 1", "ended with 1")


def test_a_broken_app_is_shown_and_tried_again(terminal: Open, port: int, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    program = f"sh -c 'test -e {broken} && echo my config is gone && exit 3; exec {COUNTING}'"
    window = terminal()
    window.run("--command", program, "-w", "1", "--host", f"127.0.0.1:{port}", "--max-restarts", "2")
    window.wait("✖ failed", "exited with code 3", "my config is gone", "✖ failing")
    answer = requests.get(f"http://127.0.0.1:{port}/", timeout=5)
    assert (answer.status_code, "exited with code 3" in answer.text) == (503, True)
    broken.unlink()
    window.keys("r")
    window.wait("○ ready", "● serving")


@pytest.mark.parametrize(("variable", "because"), [("TERM=dumb", "(TERM=dumb)"), ("CI=true", "the variable CI is set")])
def test_without_a_monitor_one_line_says_so(terminal: Open, port: int, variable: str, because: str) -> None:
    window = terminal()
    window.type(f"export {variable}")
    window.keys("Enter")
    window.run("--command", COUNTING, "-w", "1", "--host", f"127.0.0.1:{port}")
    window.wait("no monitor, since", because, "ready on port")
    window.keys("C-c")
    window.wait("stopped; every request in flight was finished")


def test_headless_imports_neither_textual_nor_asyncssh_and_starts_quickly(tmp_path: Path) -> None:
    """Until the workers are spawned: 0.2 s on a calm machine, of which what it stands on takes a third."""
    ours = (
        "import sys, time; began = time.monotonic(); import os, faucet.workers.supervisor as local\n"
        "sys.argv = ['faucet', '--headless', '--command', 'true', '--host', '127.0.0.1:0']\n"
        "def start(self):\n"
        "    heavy = [name for name in ('textual', 'asyncssh', 'rich.console') if name in sys.modules]\n"
        "    print(round(time.monotonic() - began, 3), heavy, flush=True)\n"
        "    os._exit(0)\n"
        "local.Supervisor.start = start\n"
        "import faucet.cli.main; faucet.cli.main.main()"
    )
    ground = (
        "import time; began = time.monotonic(); import asyncio, ssl, uvloop, cyclopts\n"
        "print(round(time.monotonic() - began, 3), [], flush=True)"
    )
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}

    def seconds(code: str) -> float:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        took, heavy = done.stdout.strip().split(" ", 1)
        assert heavy == "[]"
        return float(took)

    assert min(seconds(ours) / seconds(ground) for _ in range(5)) < 5
