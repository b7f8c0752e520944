"""What a service stands on may be closed, full or gone: each is a clear line or a working service, no traceback."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import pty
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
import requests

from faucet.log.writer import FileOutput
from faucet.net.descriptors import Descriptors
from faucet.service.run import _unhandled
from tests.support.checkout import ROOT
from tests.support.running import Faucet, is_alive, python_worker, wait_gone

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")
FAUCET = (sys.executable, "-m", "faucet")


# -- the terminal goes ------------------------------------------------------------------------------------------


class Pty:
    """A program on a terminal of which the test is the other end."""

    def __init__(
        self, directory: Path, *words: str, ignore_hangup: bool, controlling: bool = True, wrapper: Sequence[str] = ()
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        self.screen = b""

        def prepare() -> None:
            os.setsid()
            if controlling:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignore_hangup else signal.SIG_DFL)

        environment = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
        environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self.errors = directory / "errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*wrapper, *FAUCET, *words], cwd=directory, env=environment, stdin=slave, stdout=slave, stderr=errors,
                preexec_fn=prepare,
            )  # fmt: skip
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while part := os.read(self.master, 1 << 16):
                self.screen += part

    def wait(self, text: str, seconds: float = 60) -> None:
        """Wait until `text` was drawn."""
        deadline = monotonic() + seconds
        while text.encode() not in self.screen:
            assert monotonic() < deadline, self.screen[-2000:]
            threading.Event().wait(0.05)

    def hang_up(self) -> None:
        """The other end is closed, as by the death of a terminal emulator. A reader would keep it open."""
        self.process.send_signal(signal.SIGSTOP)  # what it draws must not wake the reader later
        descriptor, self.master = self.master, -1
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        self.process.send_signal(signal.SIGCONT)
        os.close(descriptor)

    def close(self) -> None:
        """End it."""
        if self.master >= 0:
            os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def on_pty(tmp_path: Path) -> Iterator[Callable[..., Pty]]:
    opened: list[Pty] = []

    def start(*words: str, **more: Any) -> Pty:
        opened.append(Pty(tmp_path, *words, **more))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.parametrize("ignore_hangup", [True, False])
@pytest.mark.parametrize("controlling", [True, False])
def test_a_terminal_that_is_gone_ends_the_monitor_and_the_service(
    on_pty: Callable[..., Pty], ignore_hangup: bool, controlling: bool
) -> None:
    """With a controlling terminal there is a SIGHUP, which may be ignored; without, there is none."""
    window = on_pty("--command", COUNTING, "-w", "1", "--host", "127.0.0.1:0", ignore_hangup=ignore_hangup,
                    controlling=controlling)  # fmt: skip
    window.wait("ready")
    monitor = psutil.Process(window.process.pid)
    everyone = [monitor, *monitor.children(recursive=True)]
    assert len(everyone) >= 3
    window.hang_up()
    began = monotonic()
    window.process.wait(5)
    assert window.process.returncode in (0, 129, -signal.SIGHUP)
    for process in everyone[1:]:
        wait_gone(process.pid, 10)
    assert monotonic() - began < 10
    assert "Traceback" not in window.errors.read_text()


def test_a_request_in_progress_is_finished_when_the_terminal_goes(on_pty: Callable[..., Pty]) -> None:
    window = on_pty("--command", COUNTING, "-w", "1", "--host", "127.0.0.1:0", ignore_hangup=True)
    window.wait("ready")
    runtime = next(one for one in psutil.Process(window.process.pid).children() if "-P" in one.cmdline())
    listening = [one.laddr.port for one in runtime.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(requests.get(f"http://127.0.0.1:{listening[0]}/slow?3", timeout=10).status_code)
    )
    thread.start()
    window.wait("busy")
    window.hang_up()
    window.process.wait(5)
    assert is_alive(runtime.pid)
    thread.join()
    assert answers == [200]
    wait_gone(runtime.pid, 5)


def test_an_attached_monitor_ends_with_its_terminal_and_the_service_goes_on(
    on_pty: Callable[..., Pty], faucet: Start
) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    window = on_pty("attach", str(service.port), ignore_hangup=True)
    window.wait("ready")
    window.hang_up()
    assert window.process.wait(5) == 129
    assert requests.get(f"http://127.0.0.1:{service.port}/", timeout=5).status_code == 200


# -- standard input, output and error -----------------------------------------------------------------------------


CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-", "full": ">/dev/full",
          "full stderr": "2>/dev/full", "pipe": "| head -c 1 >/dev/null; exit ${PIPESTATUS[0]}"}  # fmt: skip
CANNOT = {"stdout": "Bad file descriptor", "full": "No space left on device"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize("how", CLOSED)
@pytest.mark.parametrize("words", ["--version", "--help", "config", "example systemd", "completion bash", "doctor -j"])
def test_commands_that_print(tmp_path: Path, words: str, how: str) -> None:
    done = shell(tmp_path, f"{words} {CLOSED[how]}")
    assert "Traceback" not in done.stderr + done.stdout
    expected = int(how in CANNOT or "all" in how or words.startswith("doctor"))
    assert done.returncode == expected
    if how in CANNOT:
        assert f"cannot write to standard output: {CANNOT[how]}" in done.stderr
    elif how in ("stdin", "stderr", "full stderr"):
        assert done.stdout


@pytest.mark.parametrize("how", CLOSED)
def test_ctl_and_attach(tmp_path: Path, faucet: Start, how: str) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    done = shell(tmp_path, f"ctl status --at {service.port} {CLOSED[how]}")
    assert "Traceback" not in done.stderr
    assert done.returncode == int(how in CANNOT or how == "all")
    if how in CANNOT:
        assert f"cannot write to standard output: {CANNOT[how]}" in done.stderr
    done = shell(tmp_path, f"attach {service.port} {CLOSED[how]}")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, "there is no terminal for it"


@pytest.mark.parametrize("how", ["stdin", "stdout", "stderr", "all", "full", "full stderr"])
def test_a_service_with_closed_descriptors(tmp_path: Path, how: str) -> None:
    with free_port() as port:
        words = f"--headless --command '{COUNTING}' -w 1 --host 127.0.0.1:{port}"
    script = f"exec {' '.join(FAUCET)} {words} {CLOSED[how]}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(["/bin/bash", "-c", script], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        assert answer_of(port) == 200
        targets = [str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in (0, 1, 2)]
        assert all(target.startswith("/dev/") for target in targets), targets
    finally:
        process.terminate()
        assert process.wait(20) == 0


def shell(directory: Path, words: str) -> subprocess.CompletedProcess[str]:
    """Run `faucet …` by a shell."""
    return subprocess.run(
        ["/bin/bash", "-c", f"{' '.join(FAUCET)} {words}"], cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        yield probe.getsockname()[1]


def status_of(port: int) -> int:
    """Of one answer; 0 if there is none."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code
    except requests.ConnectionError:
        return 0


def answer_of(port: int, seconds: float = 20) -> int:
    """Status of the first answer."""
    deadline = monotonic() + seconds
    while not (status := status_of(port)):
        assert monotonic() < deadline
        threading.Event().wait(0.05)
    return status


# -- no descriptors left ------------------------------------------------------------------------------------------


def test_clients_that_are_busy_are_not_closed_for_others(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--admin", "127.0.0.1:0",
                     wrapper=["sh", "-c", 'ulimit -n 48; exec "$@"', "sh"])  # fmt: skip
    admin = service.wait_line(r"admin pages are on (?P<url>\S+)")["url"]
    before = service.wait_workers(1)
    crowd = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(60)]
    for sock in crowd:
        with contextlib.suppress(OSError):
            sock.sendall(b"GET / HT")
    process = psutil.Process(service.process.pid)
    with socket.create_connection(("127.0.0.1", service.port), timeout=0.5) as waiting, pytest.raises(TimeoutError):
        waiting.recv(1)
    used = sum(process.cpu_times()[:2])
    threading.Event().wait(1.0)
    assert sum(process.cpu_times()[:2]) - used < 0.3, "no busy loop"
    page = requests.get(f"{admin}/metrics", timeout=5).text
    assert 'faucet_descriptor_shortages_total{purpose="client"}' in page
    for sock in crowd:
        sock.close()
    deadline = monotonic() + 10
    while status_of(service.port) != 200:
        assert monotonic() < deadline
    assert service.worker_pids == before
    assert service.output.count("no file descriptors to spare (limit 48)") == 1


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_a_worker_is_not_blamed_for_our_shortage(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1")
    before = service.wait_workers(1)
    pid, number = service.process.pid, resource.RLIMIT_NOFILE
    usual = resource.prlimit(pid, number)
    with requests.Session() as session:
        url = f"http://127.0.0.1:{service.port}"
        assert session.get(f"{url}/no", timeout=5).status_code == 200
        os.kill(before[1], signal.SIGKILL)  # what comes next has no connection to us yet
        after = service.wait_line(r"ready on port \d+ \(pid (?P<pid>\d+)\)")["pid"]
        highest = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, number, (highest + 1, usual[1]))
        fill(pid, service.port, highest)
        answer = session.get(url, timeout=10)
        assert (answer.status_code, "no file descriptors" in answer.text) == (503, True)
        resource.prlimit(pid, number, usual)
        assert session.get(url, timeout=5).status_code == 200
    assert service.worker_pids == {1: int(after)}
    assert "accepts no connections" not in service.output


def fill(pid: int, port: int, highest: int) -> None:
    """Take what is free below `highest`, by clients that stay for a moment."""
    taken = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    HELD.extend(socket.create_connection(("127.0.0.1", port)) for _ in range(highest + 1 - len(taken)))
    deadline = monotonic() + 5
    while len(list(Path(f"/proc/{pid}/fd").iterdir())) <= highest:
        assert monotonic() < deadline
        threading.Event().wait(0.02)


HELD: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    while HELD:
        HELD.pop().close()


async def test_what_the_loop_cannot_accept_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Without uvloop, asyncio complains each second, with a traceback."""
    loop, descriptors = asyncio.get_running_loop(), Descriptors()
    for _ in range(5):
        _unhandled(descriptors, loop, {"message": "accept", "exception": OSError(errno.EMFILE, "Too many open files")})
    assert descriptors.shortages == {"client": 5}
    assert caplog.text.count("no file descriptors to spare") == 1
    assert "Traceback" not in caplog.text
    descriptors.close()


# -- nowhere to write ---------------------------------------------------------------------------------------------


@pytest.fixture
def own_mounts(tool: Callable[[str], str]) -> list[str]:
    """A wrapper that runs a program with mounts of its own."""
    unshare = tool("unshare")
    if subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode:
        if os.environ.get("CI"):
            pytest.fail("CI needs mount namespaces")
        pytest.skip("needs mount namespaces")
    return [unshare, "-m"]


READ_ONLY = """
for mount in $(awk '{print $2}' /proc/self/mounts | sort -r); do mount -o remount,ro,bind "$mount" 2>/dev/null; done
unset XDG_RUNTIME_DIR
! touch /tmp/probe 2>/dev/null && exec "$@"
"""


def test_a_service_that_can_write_nowhere(faucet: Start, own_mounts: list[str]) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--log-file", "/var/log/no-faucet.log", checked=False,
                     env={"TMPDIR": ""}, wrapper=[*own_mounts, "sh", "-c", READ_ONLY, "sh"])  # fmt: skip
    service.wait_ready()
    assert answer_of(service.port) == 200
    assert service.stop() == 0
    assert service.output.count("cannot write the log to /var/log/no-faucet.log (Read-only file system)") == 1
    assert service.output.count("cannot create the control socket") == 1
    assert service.output.count("serving ") == 1
    assert "Traceback" not in service.output


def test_commands_where_nothing_can_be_written(tmp_path: Path, own_mounts: list[str]) -> None:
    for words in (["ctl", "status"], ["doctor"], ["config"]):
        done = subprocess.run([*own_mounts, "sh", "-c", READ_ONLY, "sh", *FAUCET, *words], cwd=tmp_path, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": "", "XDG_RUNTIME_DIR": ""},
                              capture_output=True, check=False)  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr, done
        assert done.stdout + done.stderr


def test_the_monitor_where_nothing_can_be_written(on_pty: Callable[..., Pty], own_mounts: list[str]) -> None:
    window = on_pty("--command", COUNTING, "-w", "1", "--host", "127.0.0.1:0", ignore_hangup=False,
                    wrapper=[*own_mounts, "sh", "-c", READ_ONLY, "sh"])  # fmt: skip
    window.wait("ready")
    window.wait("Read-only file system")
    assert window.errors.read_text() == ""


def test_a_full_disk_under_the_log(faucet: Start, tmp_path: Path, own_mounts: list[str]) -> None:
    (tmp_path / "disk").mkdir()
    script = 'mount -t tmpfs -o size=64k none disk && exec "$@"'
    service = faucet("--command", COUNTING, "-w", "1", "--log-file", "disk/log", "--admin", "127.0.0.1:0",
                     wrapper=[*own_mounts, "sh", "-c", script, "sh"])  # fmt: skip
    service.wait_ready()
    disk = Path(f"/proc/{service.process.pid}/root{tmp_path}/disk")
    admin = (disk / "log").read_text().partition("admin pages are on ")[2].split()[0]
    with requests.Session() as session:
        url = f"http://127.0.0.1:{service.port}/quick"
        deadline = monotonic() + 30
        while "the log cannot be written (No space left on device)" not in service.output:
            assert session.get(url, timeout=5).status_code == 200
            assert monotonic() < deadline
        assert service.output.count("cannot be written") == 1
        page = requests.get(f"{admin}/metrics", timeout=5).text
        assert float(page.partition("\nfaucet_log_lines_lost_total ")[2].split()[0]) > 0
        with (disk / "log").open("r+b") as log:
            log.truncate(0)
        while "the log can be written again" not in service.output:
            assert session.get(url, timeout=5).status_code == 200
            threading.Event().wait(0.05)
            assert monotonic() < deadline
    assert "lines were dropped: No space left on device" in (disk / "log").read_text()


def test_a_log_file_that_can_be_opened_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, read_end = os.open, os.pipe()

    def refuse(path: object, *more: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Read-only"):
        FileOutput(tmp_path / "log")
    output = FileOutput(tmp_path / "log", instead=read_end[1])
    output.write(b"one\n")
    assert os.read(read_end[0], 100) == b"one\n"
    monkeypatch.setattr(os, "open", opened)
    output.write(b"two\n")
    output.close()
    assert (tmp_path / "log").read_bytes() == b"two\n"
    for descriptor in read_end:
        os.close(descriptor)
