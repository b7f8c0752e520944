"""What a user can get wrong: one clear message each, with the next step in it, and no traceback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faucet.cli.variables import unknown_variables
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--dir", "nowhere"], 2, "nowhere does not exist; name the directory of your API"),
        (["--dir", "file"], 2, "file is a file; name the directory of your API"),
        ([], 1, "has no plumber.R, entrypoint.R or _server.yml"),
        ([], 1, "    faucet --dir api"),
        (["--dir", "empty"], 1, "#* @get /hello"),
        (["--dir", "api", "--api", "PKG"], 2, "'PKG' does not name an API in a package; expected PACKAGE::NAME"),
        (["--api", "a::b", "--command", "true"], 1, "--command and --api both say what to serve"),
        (["--dir", "api", "--child-port", "500", "--rscript", "true"], 2, "listens on ports 1024 to 49151 only"),
        (["--dir", "api", "--child-port", "6660", "-w", "3", "--rscript", "true"], 2, "plumber refuses port 6665"),
        (["--command", "Rscript run.R > log"], 1, "there is no shell that understands '>'"),
        (["--command", "Rscript run.R --port $FAUCET_PORT"], 1, "write {port} instead"),
        (["--command", "no-such-program"], 1, "'no-such-program' is not an executable program"),
        (["--command", "./no-such-program"], 1, "'./no-such-program' is not an executable program"),
        (["--command", ""], 1, "--command is empty"),
        (["--command", "a 'b"], 1, "cannot be split into words"),
        (["--dir", "api", "--rscript", "no-rscript"], 1, "apt-get install r-base-core r-cran-plumber"),
        (["--workers", "0"], 2, "invalid number of workers '0'; expected 1 to 1000"),
        (["--workers", "many"], 2, "invalid number of workers 'many'; expected one like 4, or 2..8"),
        (["--child-port", "70000"], 2, "must be at most 65535"),
        (["--queue-timeout", "soon"], 2, "invalid duration 'soon'; expected one like 500ms, 30s, 5m or 1h"),
        (["--max-body", "big"], 2, "invalid size 'big'; expected one like 500, 64KiB, 1MiB or 2GiB"),
        (["--max-body", "-1"], 2, "invalid size"),
        (["--log-level", "loud"], 2, "--log-level"),
        (["--log-file", "no/such/dir/log", "--command", "true"], 1, "cannot write the log to no/such/dir/log"),
        (["--wrokers", "3"], 2, "unknown option --wrokers; did you mean `--workers 3`?"),
        (["serve"], 2, "'serve' is not a faucet command. Did you mean: faucet"),
        (["--host", "nonsense:", "--command", "true"], 2, "invalid address 'nonsense:'; examples: 127.0.0.1:3838"),
        (["--host", "127.0.0.1:99999", "--command", "true"], 2, "invalid address"),
        (["--host", "nonsense.invalid", "--command", "true"], 1, "the name 'nonsense.invalid' "),
        (["--host", "no.such.host.invalid:80", "--command", "true"], 1, "the name 'no.such.host.invalid' "),
        (["--host", "a" * 64 + ":80", "--command", "true"], 1, "is not a host name; use 127.0.0.1, localhost"),
        (["--host", "192.0.2.1:3838", "--command", "true"], 1, "no interface of this machine has that address"),
    ],
)
def test_messages(faucet: Start, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "api").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "api" / "plumber.R").touch()
    service = faucet(*arguments)
    assert service.wait_exit() == code
    assert said in service.output
    assert service.output.startswith("faucet: ")
    assert service.output.count("faucet: ") == 1, "said once"


def test_a_variable_that_is_wrong_is_named(faucet: Start) -> None:
    service = faucet(env={"FAUCET_WORKERS": "x"})
    assert service.wait_exit() == 2
    assert "FAUCET_WORKERS" in service.output


def test_flag_then_variable_then_default(faucet: Start) -> None:
    service = faucet("--command", python_worker("counting"), env={"FAUCET_WORKERS": "2", "FAUCET_QUEUE_LIMIT": "7"})
    service.wait_ready()
    assert "with 2 workers" in service.output
    other = faucet("-w", "1", env={"FAUCET_WORKERS": "2", "FAUCET_COMMAND": python_worker("counting")}).wait_ready()
    assert "with 1 worker" in other.output


@pytest.mark.parametrize("name", ["local", "start"])
def test_names_of_the_command(faucet: Start, name: str) -> None:
    service = faucet(name, "--headless", "--command", python_worker("counting"), "-w", "1").wait_ready()
    assert service.stop() == 0


def test_an_address_in_use_is_by_someone(faucet: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service = faucet("--command", "true", "--host", f"127.0.0.1:{port}")
        assert service.wait_exit() == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use by " in service.output
    assert "(pid " in service.output
    assert "--host" in service.output


def test_the_address_of_the_admin_pages_in_use(faucet: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        service = faucet("--command", "true", "--admin", f"127.0.0.1:{other.getsockname()[1]}")
        assert service.wait_exit() == 1
    assert "; choose another with --admin" in service.output


def test_a_command_that_exits_at_once(faucet: Start) -> None:
    program = (
        f'{sys.executable} -c \'import sys; print("cannot find"); print("my config", file=sys.stderr); sys.exit(7)\''
    )
    service = faucet("--command", program, "-w", "2")
    assert service.wait_exit() == 1
    last = service.output.rpartition("faucet: ")[2]
    assert "no worker could be started, in 3 tries" in last
    assert "exited with code 7 before it listened on port" in last
    assert "  | cannot find" in last
    assert "  | my config" in last


def test_a_command_that_ends_by_a_signal_without_a_word(faucet: Start) -> None:
    service = faucet("--command", "sh -c 'kill -SEGV $$'", "-w", "1")
    assert service.wait_exit() == 1
    assert "crashed (SIGSEGV)" in service.output
    assert "It wrote nothing." in service.output


def test_workers_that_fight_for_one_port(faucet: Start, tmp_path: Path) -> None:
    """The API has its port in the code: one worker gets it, the others end. What is wrong is said, not what follows."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    service = faucet("--command", f"{sys.executable} -m http.server --bind 127.0.0.1 {port}", "-w", "2")
    assert service.wait_exit() == 1
    last = service.output.rpartition("faucet: ")[2]
    assert f"listens on port {port}, not on " in last
    assert 'Sys.getenv("FAUCET_PORT")' in last


def test_one_worker_that_ends_does_not_give_up_for_one_that_still_starts(faucet: Start) -> None:
    program = (
        "sh -c 'test $FAUCET_WORKER_ID = 1 && exit 3; sleep 6; exec " + python_worker("counting").replace("'", "") + "'"
    )
    service = faucet("--command", program, "-w", "2")
    service.wait_ready()
    assert service.output.count("worker 1: exited with code 3") >= 3
    assert service.stop() == 0


def test_variables_that_mean_nothing_are_told(faucet: Start) -> None:
    service = faucet("--command", "true", env={"FAUCET_WROKERS": "2", "FAUCET_PORT": "1"})
    service.wait_line(r"unknown variable FAUCET_WROKERS \(ignored\); did you mean FAUCET_WORKERS?")
    assert "FAUCET_PORT means" not in service.output


def test_a_failure_is_in_the_log_file_and_on_the_terminal(faucet: Start, tmp_path: Path) -> None:
    service = faucet("--command", "false", "-w", "1", "--log-file", "log")
    assert service.wait_exit() == 1
    assert service.lines[0] == "faucet: logging to log"
    assert "faucet: no worker could be started" in service.output
    assert "error: no worker could be started" in (tmp_path / "log").read_text()


def test_a_failure_is_json_where_json_was_asked_for(faucet: Start) -> None:
    service = faucet("--command", "false", "-w", "1", "--log-format", "json")
    assert service.wait_exit() == 1
    events = [json.loads(line) for line in service.lines]
    assert events[-1]["level"] == "error"
    assert events[-1]["text"].startswith("no worker could be started")
    assert {event["worker"] for event in events if "exited" in event["text"]} == {"1", None}


def test_a_command_that_never_listens(faucet: Start) -> None:
    service = faucet("--command", "sleep 60", "-w", "1", "--startup-timeout", "300ms")
    assert service.wait_exit() == 1
    assert "did not listen on port" in service.output
    assert "--startup-timeout gives it more" in service.output


def test_sigterm_while_nothing_is_ready_yet(faucet: Start) -> None:
    service = faucet("--command", "sleep 60", "-w", "2")
    service.wait_line("starting 2 workers")
    assert service.stop() == 0
    assert service.lines[-1].endswith("stopped before it served anything")


def test_help_names_every_variable_and_unit() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "faucet", "local", "--help"], capture_output=True, text=True, check=True
    )
    for text in ("FAUCET_DIR", "FAUCET_QUEUE_TIMEOUT", "--request-timeout TIME", "--max-body SIZE", "Exit codes"):
        assert text in result.stdout
    version = subprocess.run([sys.executable, "-m", "faucet", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("faucet ")


def test_variables_that_kubernetes_sets_are_no_slips() -> None:
    """In each pod beside services `faucet` and `faucet-admin`; FAUCET_ADMIN_PORT=3839 would be one."""
    links = {
        "FAUCET_PORT": "tcp://10.96.0.7:80",
        "FAUCET_PORT_80_TCP": "tcp://10.96.0.7:80",
        "FAUCET_PORT_80_TCP_ADDR": "10.96.0.7",
        "FAUCET_PORT_80_TCP_PORT": "80",
        "FAUCET_PORT_80_TCP_PROTO": "tcp",
        "FAUCET_SERVICE_HOST": "10.96.0.7",
        "FAUCET_SERVICE_PORT": "80",
        "FAUCET_SERVICE_PORT_HTTP": "80",
        "FAUCET_ADMIN_PORT": "tcp://10.96.0.8:3839",
        "FAUCET_ADMIN_PORT_3839_TCP": "tcp://10.96.0.8:3839",
        "FAUCET_ADMIN_SERVICE_HOST": "10.96.0.8",
    }
    assert unknown_variables(links) == []
    assert len(unknown_variables({"FAUCET_ADMIN_PORT": "3839", "FAUCET_SERVICE_URI": "http://x"})) == 2
