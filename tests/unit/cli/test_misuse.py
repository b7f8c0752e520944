"""Near misses on the command line: the message says what was meant, and the command in it works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from faucet.cli.main import main
from faucet.cli.parser import whole_app
from faucet.cli.variables import drop_service_links, unknown_variables
from faucet.settings import ACTIONS
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]

Say = Callable[..., str]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """What `faucet …` says in a directory with some files; it is wrong usage."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-api").mkdir()
    (tmp_path / "my-api/plumber.R").write_text("#* @get /\nfunction() 1\n")
    (tmp_path / "both").mkdir()
    (tmp_path / "both/plumber.R").touch()
    (tmp_path / "both/entrypoint.R").touch()
    (tmp_path / "users.R").write_text("#* @get /\nfunction() 1\n")
    (tmp_path / "run.R").write_text("#* @get /\nfunction() 1\nplumber::pr_run(plumber::pr('users.R'))\n")
    (tmp_path / "app.R").write_text("library(shiny)\nshinyApp(fluidPage(), identity)\n")
    (tmp_path / "serve me.py").touch()
    (tmp_path / "logs").mkdir()
    (tmp_path / "link").symlink_to("nowhere")

    def run(*arguments: str, code: int = 2) -> str:
        assert main(arguments) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("faucet: ")
        return said.err.removeprefix("faucet: ").strip()

    return run


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *((name, f"faucet ctl {name}") for name in ("status", "workers", "requests", "logs", "health", "stop")),
        ("rolling-restart", "faucet ctl rolling-restart"),
        *((f"{name} 2", f"faucet ctl {name} 2") for name in ("restart", "hold", "resume", "drop", "retry", "kill")),
        ("scale +1", "faucet ctl scale +1"),
        ("reload", "faucet ctl rolling-restart"),
        ("logs -f", "faucet ctl logs -f"),
        ("tail", "faucet ctl logs --follow"),
        ("status --json --at 3838", "faucet ctl status --json --at 3838"),
        ("stop 3838", "faucet ctl stop --at 3838"),
        ("version", "faucet --version"),
        ("help", "faucet --help"),
        ("help k8s", "faucet k8s --help"),
        ("serve", "faucet"),
        ("run my-api -w 4", "faucet my-api -w 4"),
        ("kubernetes --service-url http://x:80", "faucet k8s --service-url http://x:80"),
        ("kube", "faucet k8s"),
        ("monitor", "faucet attach"),
        ("check", "faucet doctor"),
        ("new my-api", "faucet init my-api"),
        ("ctl reload", "faucet ctl rolling-restart"),
        ("ctl statsu", "faucet ctl status"),
        ("ctl attach", "faucet attach"),
        ("ctl help", "faucet ctl --help"),
    ],
)
def test_words_of_other_programs(say: Say, typed: str, meant: str) -> None:
    text = say(*shlex.split(typed))
    command = text.partition("Did you mean: ")[2].splitlines()[0]
    assert command == meant
    whole_app().parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


def test_what_a_command_needs_is_named(say: Say) -> None:
    assert "faucet ctl restart WORKER; all of them, one after the other: faucet ctl rolling-restart" in say("restart")
    assert "faucet ctl scale COUNT" in say("scale")
    assert say("ctl", "restart").startswith("WORKER is missing: faucet ctl restart WORKER")


def test_a_word_of_ctl_is_never_a_directory(say: Say) -> None:
    assert "To serve the directory of that name: faucet ./logs" in say("logs")
    assert "'demo' is a command, and has to come first: faucet demo -w 4" in say("-w", "4", "demo")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("my-api/plumber.R", "Faucet serves directories: faucet my-api"),
        ("both/plumber.R", "Faucet serves directories: faucet both, which runs entrypoint.R"),
        ("users.R", "rename it to plumber.R, then: faucet"),
        ("app.R", "app.R is a Shiny app. Faucet serves Plumber APIs"),
        ("run.R", "To run it: faucet --command 'Rscript run.R'"),
        ("'serve me.py'", """To run it: faucet --command 'python3 '"'"'serve me.py'"'"''"""),
        ("plumber.R", "plumber.R does not exist; name the directory of your API"),
        ("./my-ap", "./my-ap does not exist; name the directory of your API; did you mean faucet my-api?"),
        ("link", "link is a symbolic link to nothing (nowhere)"),
        ("my-ap", "did you mean faucet my-api?\nCommands:\n"),
        ("statsu", "did you mean faucet ctl status?\nCommands:\n"),
        ("demoo", "did you mean faucet demo?"),
        ("frobnicate", "unknown command 'frobnicate': it is neither a command nor a directory\nCommands:\n"),
        ("doctor my-ap", "my-ap does not exist; name the directory of your API; did you mean faucet doctor my-api?"),
        ("config my-api/plumber.R", "faucet config my-api"),
        ("start nowhere", "nowhere does not exist"),
        ("http://plumber:8000", "faucet k8s --service-url http://plumber:8000"),
        ("k8s http://plumber:8000", "faucet k8s --service-url http://plumber:8000"),
        (":8080", "faucet --host :8080"),
        ("8080", "faucet attach 8080"),
        ("ops@bastion", "faucet attach --via-ssh ops@bastion"),
        ("my-api both", "unexpected argument 'both'; one directory can be served"),
        ("ctl status 3838", "faucet ctl status --at 3838"),
        ("ctl 3838", "faucet ctl status --at 3838"),
        ("ctl --at 3838", "faucet ctl status --at 3838"),
    ],
)
def test_paths_and_addresses(say: Say, typed: str, said: str) -> None:
    assert said in say(*shlex.split(typed))


@pytest.mark.parametrize("path", ["my-api/plumber.R", "users.R", "app.R", "serve me.py", "link", "./my-ap", "my-ap.d"])
@pytest.mark.parametrize("command", [[], ["local"], ["doctor"], ["config"]])
def test_a_path_is_judged_alike_with_the_flag_and_without(say: Say, path: str, command: list[str]) -> None:
    said = say(*command, path)
    assert say(*command, "--dir", path) == said
    assert say(*command, f"-d={path}") == said


def test_the_value_of_a_flag_is_no_command(say: Say) -> None:
    assert "status does not exist; name the directory of your API" in say("--dir", "status")
    assert "http://x does not exist" in say("--dir", "http://x")


def test_the_overview_has_every_command(say: Say) -> None:
    text = say("frobnicate")
    for name in whole_app():
        assert name.startswith("-") or name in ("local", "start", "ctl") or f"  faucet {name} " in text
    assert all(name in text for name in whole_app()["ctl"] if not name.startswith("-"))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--wrokers 3", "did you mean `--workers 3`?"),
        ("start -s ip-hash -w 2", "unknown option -s: leave it out; there is one queue, "),
        ("start --strategy ip-hash --type plumber -w 2", "\nSo: faucet start -w 2\n"),
        ("start --max-log-file-size 10M", "did you mean `--log-max-size 10M`?"),
        ("router --conf x", "start a Faucet for each API, and let nginx choose by path: faucet example nginx"),
        ("--worker=3", "did you mean `--workers 3`?"),
        ("-workers 3", "did you mean `--workers`?"),
        ("--queue_timeot 5s", "did you mean `--queue-timeout 5s`?"),
        ("--port 8000", "did you mean `--host 127.0.0.1:8000` (this machine alone) or `--host :8000`?"),
        ("-p 8000", "`--host :8000`"),
        ("--no-monitor", "did you mean `--headless`?"),
        ("--timeout 10", "did you mean `--request-timeout 10`?"),
        ("--ssl-keyfile x", "did you mean `--tls-key x`?"),
        ("--service-url http://x", "--service-url is an option of `faucet k8s`"),
        ("--at 3838", "faucet ctl status --at 3838"),
        ("k8s -w 4", "--workers is an option of `faucet local`, for example: `faucet local --workers 4`"),
        ("k8s --child-port 8000 --rscript R", "for example: `faucet local --child-port 8000`"),
        ("ctl restart 1 --port 4000", "by its port: `faucet ctl restart 1 --at 4000`"),
        ("ctl status --host=127.0.0.1:4000 -j", "by its port: `faucet ctl status -j --at 4000`"),
        ("attach --port 4000", "by its port: `faucet attach 4000`"),
        ("attach --at 4000", "by its port: `faucet attach 4000`"),
        ("doctor -w many", "-w: invalid number of workers 'many'"),
        ("doctor --host nonsense:port", "--host: invalid address"),
        ("doctor --service-url http://x", "for example: `faucet doctor k8s --service-url http://x`"),
        ("doctor k8s -w 4", "--workers is an option of `faucet doctor local`"),
        ("attach --foo", "unknown option --foo\nTry `faucet attach --help`."),
        ("--queue-timeout -1s", "--queue-timeout: invalid duration '-1s'; expected one like 500ms, 30s, 5m or 1h"),
        ("--max-rss -1MiB", "--max-rss: invalid size '-1MiB'"),
        ("--queue-timeout", "--queue-timeout needs a value, for example --queue-timeout 30s"),
        ("--host --headless", "--host needs a value, for example --host :8080"),
        ("-w", "-w needs a value, for example -w 4"),
        ("--queue-limit -1", "--queue-limit: '-1' is invalid: must be at least 0"),
        ("--log-level loud", """--log-level: 'loud' is invalid: choose from: "debug","""),
        ("--refresh often", "--refresh: 'often' is invalid: write a number"),
        ("--keys foo=x", "unknown action 'foo'; there are details, restart,"),
        ("--keys killl=x", "unknown action 'killl'; did you mean kill?"),
        ("--keys kill=x,hold=x", "the key 'x' is in the list twice"),
        ("--keys kill=x,kill=y", "the action 'kill' is in the list twice"),
        ("ctl requests --last 1.5", "--last: invalid number '1.5'; expected a whole number"),
        ("ctl logs -n 0", "-n: '0' is invalid: must be at least 1"),
        ("ctl logs -n -1", "-n: '-1' is invalid: must be at least 1"),
        ("--max-body 1.5", "--max-body: invalid size '1.5'"),
        ("--log-max-size 0.5B", "invalid size '0.5B'"),
        ("init ''", "DIRECTORY: '' is invalid: it is empty: is a shell variable not set?"),
        ("''", "DIR: '' is invalid: it is empty"),
        ("--dir ''", "--dir: '' is invalid: it is empty"),
        ("doctor ''", "DIR: '' is invalid: it is empty"),
        ("ctl scale many", "COUNT: 'many' is invalid: a number of workers"),
        ("my-api --host :4000 --admin :4000", "--admin :4000 and --host :4000 are the same address; use another port"),
        ("my-api --host 127.0.0.1:4000 --admin :4000", "are the same address"),
        ("my-api --host localhost:4000 --admin 127.0.0.1:4000", "are the same address"),
        ("my-api --host 127.0.0.1:4000,:4000", "--host :4000 and --host 127.0.0.1:4000 are the same address"),
        ("demo --admin 3838", "are the same address"),
        ("k8s --service-url http://x --admin 3838", "are the same address"),
    ],
)
def test_options(say: Say, typed: str, said: str, plumber: str) -> None:
    assert said in say(*shlex.split(typed))


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('workers = "many"', "faucet.toml: workers: invalid number of workers 'many'"),
        ("queue-limit = -1", "faucet.toml: queue-limit: '-1' is invalid: must be at least 0"),
        ('host = ["nonsense:", ":80"]', "faucet.toml: host: invalid address 'nonsense:'"),
        ('log-level = "loud"', "faucet.toml: log-level: 'loud' is invalid: choose from"),
        ("refresh = 100", "faucet.toml: refresh: '100' is invalid: must be at most 10"),
        ('[keys]\nfoo = "x"', "faucet.toml: keys: 'foo=x' is invalid: unknown action 'foo'"),
        ("worker = 3", "faucet.toml: unknown option worker; did you mean workers?"),
    ],
)
def test_a_wrong_value_in_the_file(say: Say, toml: str, said: str) -> None:
    Path("my-api/faucet.toml").write_text(toml)
    assert f"my-api/{said}" in say("my-api")


@pytest.mark.parametrize(
    ("named", "said"), [("users.R", "rename it to plumber.R"), ("nowhere", "nowhere does not exist; name the")]
)
def test_a_variable_that_names_no_directory(say: Say, monkeypatch: pytest.MonkeyPatch, named: str, said: str) -> None:
    monkeypatch.setenv("FAUCET_DIR", named)
    text = say("--headless")
    assert text.startswith("the variable FAUCET_DIR: ")
    assert said in text


def test_a_wrong_value_in_a_variable(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_QUEUE_TIMEOUT", "soon")
    assert say().startswith("the variable FAUCET_QUEUE_TIMEOUT: invalid duration 'soon'")


def test_actions_are_those_of_the_monitor() -> None:
    from faucet.tui.app import Monitor
    from faucet.tui.palette import own_bindings
    from faucet.tui.table import WorkerTable

    bindings = [*own_bindings(Monitor), *WorkerTable.BINDINGS]
    there = {binding.id for binding in bindings if binding.id}  # type: ignore[union-attr]
    assert there == set(ACTIONS)


def test_a_directory_needs_no_flag(faucet: Start, tmp_path: Path) -> None:
    """Nor in faucet.toml's sight: it is found there."""
    (tmp_path / "my-api").mkdir()
    (tmp_path / "my-api/faucet.toml").write_text("workers = 1\n")
    service = faucet("-w", "2", "my-api", "--command", python_worker("counting")).wait_ready()
    assert f"serving {tmp_path}/my-api" in service.output
    assert "with 2 workers" in service.output
    other = faucet("local", "my-api", "--command", python_worker("counting")).wait_ready()
    assert "with 1 worker" in other.output


# -- variables --------------------------------------------------------------------------------------------------

LINKS = {
    "FAUCET_PORT": "tcp://10.0.0.1:80",
    "FAUCET_SERVICE_HOST": "10.0.0.1",
    "FAUCET_SERVICE_PORT": "80",
    "FAUCET_SERVICE_PORT_HTTP": "80",
    "FAUCET_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "FAUCET_PORT_8080_TCP_PROTO": "tcp",
    "FAUCET_PORT_8080_TCP_PORT": "8080",
    "FAUCET_PORT_8080_TCP_ADDR": "10.0.0.1",
    "FAUCET_CHILD_PORT": "tcp://10.0.0.2:80",
    "FAUCET_MY_API_PORT": "udp://10.0.0.2:80",
    "FAUCET_MY_API_SERVICE_HOST": "10.0.0.2",
    "FAUCET_MY_API_SERVICE_PORT_ADMIN": "3839",
    "FAUCET_MY_API_PORT_53_UDP_ADDR": "10.0.0.2",
}
"""Of services called faucet, faucet-child and faucet-my-api."""


def test_what_kubernetes_sets_is_no_slip() -> None:
    assert unknown_variables(LINKS) == []
    environment = {**LINKS, "FAUCET_WORKERS": "2"}
    drop_service_links(environment)
    assert set(LINKS) - set(environment) == {"FAUCET_CHILD_PORT"}
    assert environment["FAUCET_WORKERS"] == "2"
    child = {"FAUCET_CHILD_PORT": "9000"}
    drop_service_links(child)
    assert child == {"FAUCET_CHILD_PORT": "9000"}


@pytest.mark.parametrize("name", ["FAUCET_CHLD_PORT", "FAUCET_SERVICE_URLS", "FAUCET_WROKERS", "FAUCET_SERVICE"])
def test_slips_are_still_reported(name: str) -> None:
    assert len(unknown_variables({name: "8000"})) == 1


def test_the_service_runs_among_them(faucet: Start) -> None:
    service = faucet("--command", python_worker("counting"), "-w", "1", env=LINKS).wait_ready()
    assert not re.search(r"unknown variable|CHILD_PORT", service.output)
    assert service.stop() == 0
