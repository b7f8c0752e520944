"""What a worker is started with: the whole environment, the limits and the scheduling of Faucet's own start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from faucet.units import parse_stop_signal
from faucet.workers.spawn import spawn
from faucet.workers.stopping import Manner
from tests.support.checkout import ROOT
from tests.support.load import fetch
from tests.support.running import WORKERS, Faucet, python_worker
from tests.support.status import control

Start = Callable[..., Faucet]


def output_of(argv: list[str], **environment: str) -> str:
    process = spawn(argv, Path("/"), {**os.environ, **environment})
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, b"")
    return output.decode("utf-8", "surrogateescape")


def test_the_environment_arrives_whole() -> None:
    odd = {
        "a.b": "dotted", "BASH_FUNC_greet%%": "() {  echo hello\n}", "with space": "x", "1st": "y", "lines": "a\nb",
        "octets": "\udcff\udc80", "empty": "", "R_LIBS_SITE": "%v", "ünicode": "ä",
    }  # fmt: skip
    got = output_of(["env", "-0"], **odd).split("\0")
    for name, value in odd.items():
        assert f"{name}={value}" in got


def test_exported_functions_arrive(tool: Callable[[str], str]) -> None:
    function = {"BASH_FUNC_greet%%": "() {  echo hello\n}"}
    assert output_of([tool("bash"), "-c", "greet"], **function) == "hello\n"


def test_a_script_without_an_interpreter_line_is_run_by_sh(tmp_path: Path) -> None:
    script = tmp_path / "serve"
    script.write_text('echo "$1"\n')
    script.chmod(0o755)
    assert output_of([str(script), "served"]) == "served\n"
    script.write_text("#!/no/such/interpreter\n")
    with pytest.raises(FileNotFoundError, match="serve"):
        spawn([str(script)], Path("/"), os.environ)


def python(code: str, *wrapper: str) -> str:
    """Run Python code that may use `spawn`; what it prints."""
    start = "import os, resource, subprocess, sys\nfrom pathlib import Path\nfrom faucet.workers import spawn\n"
    helper = 'def says(*argv): return spawn.spawn(argv, Path("/"), os.environ).communicate()[0].decode().strip()\n'
    words = [*wrapper, sys.executable, "-c", f"{start}{helper}{code}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("used", [0, 300])
def test_workers_get_the_limit_of_open_files_that_faucet_was_started_with(used: int) -> None:
    """Also when more descriptors are in use than that limit allows."""
    code = f"""
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 1000))
spawn.raise_file_limit()
kept = [os.open("/", os.O_RDONLY) for _ in range({used})]
print(says("sh", "-c", "sleep 0.1; ulimit -Sn; ulimit -Hn"), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    assert python(code).split() == ["200", "1000", "1000", "1000"]


def test_the_limit_holds_from_the_first_instruction() -> None:
    code = """
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 1000))
spawn.raise_file_limit()
del resource.prlimit
print({says("sh", "-c", "ulimit -Sn") for _ in range(50)})
"""
    assert python(code) == "{'200'}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")
@pytest.mark.parametrize(
    ("options", "own", "workers"),
    [
        ([], "0 0", "3"),
        (["chrt", "-o", "0"], "0 0", "3"),
        (["chrt", "-b", "0"], "3 0", "3"),
        (["chrt", "-i", "0"], "5 0", "5"),
        (["chrt", "-f", "10"], "1 10", "1"),
        (["chrt", "-r", "3"], "2 3", "2"),
        (["chrt", "-R", "-f", "10"], "1073741825 10", "0"),
        (["chrt", "-R", "-o", "0"], "1073741824 0", "3"),
        (["nice", "-n", "7"], "0 0", "3"),
    ],
)
def test_scheduling_policies(options: list[str], own: str, workers: str, tool: Callable[[str], str]) -> None:
    if options[:1] == ["chrt"]:
        tool("chrt")
        if subprocess.run([*options, "true"], check=False, capture_output=True).returncode:
            pytest.skip("not allowed to choose this policy here")
    code = """
policy = lambda pid: f"{os.sched_getscheduler(pid)} {os.sched_getparam(pid).sched_priority} {os.getpriority(0, pid)}"
before = policy(0)
process = spawn.spawn(["sleep", "60"], Path("/"), os.environ)
print(before, policy(0), policy(process.pid), sep="|")
process.kill(); process.communicate()
"""
    before, after, worker = python(code, *options).strip().split("|")
    niceness = "7" if options[:1] == ["nice"] else "0"
    assert before == after == f"{own} {niceness}"
    assert (int(worker.split()[0]) & 0xFF, worker.split()[2]) == (int(workers), niceness)


@pytest.mark.parametrize(("text", "name"), [("INT", "INT"), ("sigterm", "TERM"), (" SIGQUIT ", "QUIT"), ("hup", "HUP"),
                                            ("USR1", "USR1"), ("SIGUSR2", "USR2"), ("Auto", "auto")])  # fmt: skip
def test_stop_signals(text: str, name: str) -> None:
    assert parse_stop_signal(text) == name


@pytest.mark.parametrize("text", ["", "KILL", "STOP", "15", "SIGSIGINT", "nonsense", "INT,TERM", "CHLD"])
def test_what_is_no_stop_signal(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid signal .*; expected auto, or one of INT, TERM"):
        parse_stop_signal(text)


def test_the_stop_signal_is_checked_by_the_command_line(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "faucet", "--stop-signal", "KILL"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert "invalid signal 'KILL'" in done.stderr


STOPPABLE = """
import os, signal, sys, time
sys.path.insert(0, {workers!r})
import counting
def heard(number, _):
    print("heard", signal.Signals(number).name, flush=True)
    if signal.Signals(number).name in {deadly!r}:
        os._exit(0)
for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGUSR1"):
    signal.signal(getattr(signal, name), heard)
counting.Handler.listen()
"""


@pytest.mark.parametrize(
    ("option", "deadly", "heard", "outcome"),
    [
        ([], ["SIGTERM"], ["SIGTERM"], "stopped after"),
        (["--stop-signal", "SIGUSR1"], ["SIGUSR1"], ["SIGUSR1"], "stopped after"),
        (["--stop-signal", "int"], ["SIGTERM"], ["SIGINT", "SIGINT", "SIGTERM"], "stopped after"),
        (["--stop-signal", "QUIT"], [], ["SIGQUIT", "SIGQUIT", "SIGTERM"], "was killed after"),
    ],
)
def test_the_signals_come_one_after_the_other(
    faucet: Start, tmp_path: Path, option: list[str], deadly: list[str], heard: list[str], outcome: str
) -> None:
    workers = str(WORKERS)
    (tmp_path / "app.py").write_text(STOPPABLE.format(workers=workers, deadly=deadly))
    service = faucet("--command", f"{sys.executable} app.py", "-w", "1", *option)
    service.wait_workers(1)
    asyncio.run(_restart(service))
    service.wait_line(outcome)
    assert [line.rpartition(" ")[2] for line in service.lines if "heard" in line] == heard
    assert "warning: worker" not in service.output, "it was asked to"


async def _restart(service: Faucet) -> None:
    async with control(service) as client:
        await client.ask("restart", worker="1")


def test_a_worker_that_closes_its_port_has_time_for_the_rest(faucet: Start, tmp_path: Path) -> None:
    """An exit hook of two seconds is not cut short by SIGTERM."""
    (tmp_path / "app.py").write_text(
        "import os, time\nfrom http.server import *\n"
        "server = HTTPServer(('127.0.0.1', int(os.environ['FAUCET_PORT'])), BaseHTTPRequestHandler)\n"
        "try:\n    server.serve_forever()\n"
        "except KeyboardInterrupt:\n"
        "    server.server_close()\n    time.sleep(2)\n    print('hook done', flush=True)\n"
    )
    service = faucet("--command", f"{sys.executable} app.py", "-w", "1", "--stop-signal", "INT").wait_ready()
    assert service.stop() == 0
    assert "hook done" in service.output


# -- what is missing -------------------------------------------------------------------------------------------


def test_standard_streams_that_are_closed(faucet: Start, tmp_path: Path) -> None:
    service = faucet("--command", python_worker("counting"), "-w", "1", "--headless", "--log-file", "log",
                     wrapper=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "closed"])  # fmt: skip
    port = asyncio.run(service.listening_port())
    assert asyncio.run(fetch(port, "/")) == (200, b"hello")
    descriptors = Path(f"/proc/{service.process.pid}/fd")
    assert [str((descriptors / str(number)).readlink()) for number in range(3)] == ["/dev/null"] * 3
    assert service.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_message_does_not_end_in_a_traceback(closed: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words, code in (("--version", 0), ("--nonsense", 2), ("doctor --help", 0)):
        script = f"exec {sys.executable} -W error -m faucet {words} {closed}"
        done = subprocess.run(["sh", "-c", script], check=False, capture_output=True, text=True, env=environment)
        lost = code == 0 and ">&-" in closed.split()  # what it has to say cannot be said
        assert (done.returncode, "Traceback" in done.stderr) == (1 if lost else code, False), done


async def test_no_descriptors_left(faucet: Start) -> None:
    """Nobody blames the worker, and it is back as soon as there are some."""
    service = faucet("--command", python_worker("counting"), "-w", "1", "--control", "c.sock", "--admin", "127.0.0.1:0")
    await asyncio.to_thread(service.wait_workers, 1)
    admin = int(next(line for line in service.lines if "admin pages" in line).rpartition(":")[2])
    process = psutil.Process(service.process.pid)
    limits = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (3, limits[1]))  # all that may be opened from now on are open already
    os.kill(service.worker_pids[1], signal.SIGKILL)
    await asyncio.to_thread(service.wait_line, "error: worker 1: could not be started: .*no file descriptors are left")
    process.rlimit(psutil.RLIMIT_NOFILE, limits)
    await asyncio.to_thread(service.wait_line, "worker 1: ready on port")
    status, page = await fetch(admin, "/metrics")
    assert status == 200
    lines = [line.rpartition(" ") for line in page.decode().splitlines() if line[0] != "#"]
    counted = {name: float(value) for name, _, value in lines}
    assert counted['faucet_worker_start_shortages_total{resource="descriptors"}'] >= 1
    assert counted['faucet_worker_restarts_total{reason="exit"}'] == 1
    assert not [line for line in service.lines if "failed to start" in line]


def test_no_descriptors_from_the_beginning(faucet: Start, tool: Callable[[str], str]) -> None:
    service = faucet("--command", python_worker("counting"), "-w", "1", wrapper=[tool("prlimit"), "--nofile=17:17"])
    assert service.wait_exit() == 1
    assert "descriptors are left; raise the limit" in service.output or "Too many open files" in service.output
    assert "Traceback" not in service.output


async def test_whether_a_worker_still_serves_is_asked_where_it_is_reached() -> None:
    """At 127.0.0.1 nobody would answer for one that listens at ::1 only, and it would seem about to exit."""
    try:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "::1", 0)
    except OSError as error:
        pytest.skip(f"needs ::1: {error}")
    port = server.sockets[0].getsockname()[1]
    assert await Manner("TERM", os.getpid(), "::1", port).serves()
    assert not await Manner("TERM", os.getpid(), "127.0.0.1", port).serves()
    server.close()
    await server.wait_closed()
    assert not await Manner("TERM", os.getpid(), "::1", port).serves()
