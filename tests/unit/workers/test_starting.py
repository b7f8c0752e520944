"""How a worker is started: what is found in a directory, --command, ports, environment, advice. Without R."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from faucet.cli.parser import whole_app
from faucet.control.client import Client
from faucet.settings import PackageApi, parse_api, parse_span
from faucet.workers.advice import advice
from faucet.workers.commandline import CommandError, parse_command
from faucet.workers.cpus import available_cpus
from faucet.workers.environment import THREAD_VARIABLES, thread_limits, threads_per_worker, worker_environment
from faucet.workers.launcher import find_rscript
from faucet.workers.layouts import Kind, Layout, find_layout
from faucet.workers.near_misses import USE_THE_PORT, file_instead, near_misses
from faucet.workers.ports import (
    DEFAULT_PORTS,
    ENOUGH,
    accepted_by_plumber,
    child_port_problem,
    child_ports,
    free_port,
    outgoing_ports,
    port_candidates,
)
from faucet.workers.program import Program, ProgramError, find_program
from tests.support.running import Faucet, python_worker

ANNOTATED = "#* @get /hello\nfunction() 1\n"
RUNS = 'library(plumber)\npr("api.R") %>% pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))\n'
UNSAFE = [2049, 3659, 4045, 6000, *range(6665, 6670), 6697]
"""As `httpuv:::unsafe_ports` says above 1023."""


def _fill(directory: Path, files: Sequence[str] | dict[str, str]) -> None:
    for name in files:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name] if isinstance(files, dict) else "")


# -- layouts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "kind", "file"),
    [
        (["plumber.R"], Kind.PLUMBER, "plumber.R"),
        (["PLUMBER.r"], Kind.PLUMBER, "PLUMBER.r"),
        (["plumber.R", "Plumber.r"], Kind.PLUMBER, "plumber.R"),
        (["plumber.R", "entrypoint.R"], Kind.SCRIPT, "entrypoint.R"),
        (["plumber.R", "Entrypoint.r"], Kind.SCRIPT, "Entrypoint.r"),
        (["_server.yml", "plumber.R"], Kind.PLUMBER, "plumber.R"),
        (["_server.yml", "app.R"], Kind.SERVER, "_server.yml"),
        (["_server.yaml"], Kind.SERVER, "_server.yaml"),
        (["entrypoint.R/README", "plumber.R"], Kind.PLUMBER, "plumber.R"),
    ],
)
def test_what_is_in_a_directory(tmp_path: Path, files: list[str], kind: Kind, file: str) -> None:
    _fill(tmp_path, files)
    assert find_layout(tmp_path) == Layout(kind, file)


@pytest.mark.parametrize("files", [[], ["plumber.Rmd"], ["my-plumber.R"], ["server.yml"], ["plumber.R/x"]])
def test_nothing_of_that(tmp_path: Path, files: list[str]) -> None:
    _fill(tmp_path, files)
    assert find_layout(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("engine: plumber2\n", "plumber2"),
        ("# x\nroutes:\n  engine: no\nengine: 'fiery'  # yes\n", "fiery"),
        ('"other": 1\nengine : "mcp.tools"\r\n', "mcp.tools"),
        ("\ufeffengine: plumber2", "plumber2"),
        ("engines: a\n", ""),
        ("engine:\n", ""),
        ("engine: q('no')\n", ""),
    ],
)
def test_the_engine_of_a_server_yml(tmp_path: Path, text: str, engine: str) -> None:
    (tmp_path / "_server.yml").write_text(text)
    assert find_layout(tmp_path) == Layout(Kind.SERVER, "_server.yml", engine)


def test_a_server_yml_without_an_engine_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "_server.yml").write_text("routes: x\n")
    with pytest.raises(ProgramError, match="does not name its engine; add the R package that serves it: engine: "):
        find_program(tmp_path, None, "true")


# -- near misses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "found", "command"),
    [
        ({"run.R": RUNS}, "run.R starts a server. Name it, or rename it", "faucet --command 'Rscript run.R'"),
        (
            {"my run.R": RUNS},
            "my run.R starts a server. Name it, or rename it",
            "faucet --command \"Rscript 'my run.R'\"",
        ),
        (
            {"api.R": ANNOTATED},
            "api.R has Plumber's annotations. Rename it, or name it",
            "mv api.R plumber.R",
        ),
        (
            {"api.R": "#' @post /x\nfunction() 1"},
            "api.R has Plumber's annotations. Rename it, or name it",
            "mv api.R plumber.R",
        ),
        ({"app.R": RUNS}, "app.R starts a server. Name it, or rename it", "faucet --command 'Rscript app.R'"),
        (
            {"run.R": 'plumber::plumb("x.R")$run(port = 8000)'},
            f"run.R starts a server. {USE_THE_PORT}. Then name it, or rename it",
            "faucet --command 'Rscript run.R'",
        ),
        ({"run.R": "plumber::pr() |> plumber::pr_run()"}, "run.R starts a server. Rename it", "mv run.R entrypoint.R"),
        ({"inst/plumber/x/plumber.R": ""}, "inst/plumber/x has an API", "faucet --dir inst/plumber/x"),
        ({"my api/plumber.R": ""}, "my api has plumber.R", "faucet --dir 'my api'"),
    ],
)  # fmt: skip
def test_near_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], found: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _fill(tmp_path, files)
    miss = near_misses(tmp_path)[0]
    assert (miss.found, miss.commands[0]) == (found, command)
    with pytest.raises(ProgramError, match=r"has no plumber\.R, entrypoint\.R or _server\.yml; what is") as error:
        find_program(tmp_path, None, "true")
    assert f"- {found}:\n    {command}" in str(error.value)


def test_what_runs_is_named_before_what_it_runs(tmp_path: Path) -> None:
    others = {"tools.R": "f <- function() job$run()\n", "documented.R": "#' @param x\n"}
    _fill(tmp_path, {"api.R": ANNOTATED, "run.R": RUNS, **others})
    assert [miss.found.partition(" ")[0] for miss in near_misses(tmp_path)] == ["run.R", "api.R"]


def test_the_api_of_a_source_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _fill(tmp_path, {"inst/plumber/penguins/entrypoint.R": "", "DESCRIPTION": "Package: birds\nVersion: 1\n"})
    assert near_misses(tmp_path)[0].commands == ("faucet --dir inst/plumber/penguins", "faucet --api birds::penguins")


@pytest.mark.parametrize("files", [{"app.R": "library(shiny)\nshinyApp(ui, server)"}, {"ui.R": "", "server.R": ""}])
def test_shiny_is_served_by_others(tmp_path: Path, files: dict[str, str]) -> None:
    _fill(tmp_path, files)
    (miss,) = near_misses(tmp_path)
    assert "a Shiny app. Faucet serves Plumber APIs; Shiny Server, ShinyProxy and Posit Connect serve" in miss.found


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "plumber.R").symlink_to("elsewhere.R")
    assert near_misses(tmp_path)[0].found == "plumber.R is a symbolic link to elsewhere.R, which does not exist"


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("api/plumber.R", "faucet --dir api"),
        ("api/run.R", "faucet --dir api --command 'Rscript run.R'"),
        ("plumber.R", "faucet"),
    ],
)
def test_a_file_instead_of_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _fill(tmp_path, {file: RUNS})
    assert file_instead(Path(file)).commands[0] == command
    with pytest.raises(ProgramError, match=f"{file} is not a directory, and --dir takes the directory of an API"):
        find_program(Path(file), None, "true")


def test_a_file_beside_one_that_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """plumber.R was named, but the directory would serve entrypoint.R."""
    monkeypatch.chdir(tmp_path)
    _fill(tmp_path, {"api/plumber.R": ANNOTATED, "api/entrypoint.R": RUNS})
    (command,) = file_instead(Path("api/plumber.R")).commands
    assert command.startswith("faucet --dir api --command ")
    words = shlex.split(command)
    assert parse_command(words[-1].replace("Rscript", "sh"), tmp_path)[1:] == (
        "-e",
        'plumber::pr_run(plumber::pr("plumber.R"), port = {port})',
    )


# -- --command, --api, --rscript ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "sh run.R && sh more.R",
        "sh a | sh b",
        "sh run.R > log",
        "sh run.R >log 2>&1",
        "sh run.R 2>&1",
        "sh run.R &",
        "cd api; sh run.R",
        "sh a || sh b",
        "sh a < b",
        "sh a `cat b`",
        "sh a $(cat b)",
        "sh 'a b' > c",
        "sh \"a\" 'b' $PORT > c",
    ],
)
def test_a_command_for_a_shell_is_an_error_before_anything_starts(tmp_path: Path, command: str) -> None:
    with pytest.raises(CommandError, match=r"no shell that understands .*; start one: --command .sh -c ") as error:
        parse_command(command, tmp_path)
    advised = shlex.split(str(error.value).rpartition("--command ")[2])[0]
    assert parse_command(advised, tmp_path)[1:] == ("-c", command)


@pytest.mark.parametrize("word", ["$FAUCET_PORT", "--port=$PORT", "'${FAUCET_PORT}'", '"0.0.0.0:$PORT"'])
def test_a_variable_that_nobody_replaces(tmp_path: Path, word: str) -> None:
    with pytest.raises(CommandError, match=r"there is no shell that replaces .*; write \{port\} instead"):
        parse_command(f"sh run {word}", tmp_path)


def test_an_assignment_in_front(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no shell that sets 'A=1'; write: --command 'env A=1 sh run\.R'"):
        parse_command("A=1 sh run.R", tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'exec sh run.R --port $FAUCET_PORT > log 2>&1 && true'",
        "env A=1 sh -lc 'node app.js $PORT; true'",
        'sh -e "a <- b | c; x && y"',
        "sh -e 'config$PORT'",
        "sh --url http://x/?a=1&b=2;c --port {port}",
        r"sh a\;b \> \&\& c",
        "sh -e 'f(\"$other\")'",
    ],
)
def test_commands_that_need_no_shell_of_ours(tmp_path: Path, command: str) -> None:
    assert Path(parse_command(command, tmp_path)[0]).name in ("sh", "env")


@pytest.mark.parametrize("text", ["plumber", "a:b", "::b", "a::", "a::b::c", "a b::c", ""])
def test_no_api_of_a_package(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected PACKAGE::NAME"):
        parse_api(text)


def test_an_api_of_a_package(tmp_path: Path) -> None:
    program = find_program(tmp_path, None, "true", PackageApi("plumber", "01-append"))
    assert program.arguments[2:] == ("package", "plumber", "01-append")
    assert program.description == "plumber::01-append"
    with pytest.raises(ProgramError, match="both say what to serve"):
        find_program(tmp_path, "true", "true", PackageApi("a", "b"))


@pytest.mark.parametrize("given", ["R/Rscript", "./R/Rscript"])
def test_a_relative_rscript_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    _fill(tmp_path, ["R/Rscript", "api/plumber.R"])
    (tmp_path / "R" / "Rscript").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_rscript(given) == str(tmp_path / "R" / "Rscript")
    program = find_program(Path("api"), None, given)
    assert (program.arguments[0], program.rscript) == (str(tmp_path / "R" / "Rscript"),) * 2
    monkeypatch.setenv("PATH", "R")
    assert find_rscript("Rscript") == str(tmp_path / "R" / "Rscript")


# -- ports -------------------------------------------------------------------------------------------------------------


def test_which_ports_plumber_accepts() -> None:
    assert [port for port in range(70000) if not accepted_by_plumber(port)] == [
        *range(1024),
        *UNSAFE,
        *range(49152, 70000),
    ]


@pytest.mark.parametrize(
    ("first", "last"),
    [(32768, 60999), (49152, 65535), (1024, 65535), (10000, 65535), (25000, 65535), (15000, 39999)],
)
def test_ports_to_choose_from(first: int, last: int) -> None:
    outgoing = range(first, last + 1)
    ports = port_candidates(outgoing)
    assert len(ports) >= min(ENOUGH, 12000)
    assert all(map(accepted_by_plumber, ports))
    others = set(range(7000, 49152)) - set(outgoing)
    if len(others) > ENOUGH - 1:
        assert not set(ports) & set(outgoing)
    if not set(DEFAULT_PORTS) & set(outgoing):
        assert ports == list(DEFAULT_PORTS)


def test_the_ports_of_outgoing_connections(tmp_path: Path) -> None:
    (tmp_path / "range").write_text("15000\t60999\n")
    assert outgoing_ports(tmp_path / "range") == range(15000, 61000)
    assert outgoing_ports(tmp_path / "none") == range(49152, 65536)


def test_no_two_workers_get_the_same_port() -> None:
    """None of them listens when the others are chosen."""
    used: set[int] = set()
    for _ in range(500):
        port = free_port(used)
        assert port not in used
        used.add(port)
    assert used <= set(DEFAULT_PORTS) or outgoing_ports().start < DEFAULT_PORTS.stop


def test_ports_that_others_have_are_left_to_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(OSError, match="no free port"):
            free_port(set(), [taken])
        with socket.create_server(("127.0.0.1", 0)) as third:
            free = third.getsockname()[1]
        assert {free_port({taken + 1}, [taken, taken + 1, free]) for _ in range(20)} == {free}


def test_a_port_that_somebody_is_about_to_listen_on_is_not_free() -> None:
    """As Faucet itself: it binds its address at once, and listens when a worker is ready."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="no free port"):
            free_port(set(), [other.getsockname()[1]])


def test_the_block_of_fixed_ports() -> None:
    assert [child_ports(20000, number, 3) for number in (1, 3)] == [
        [20000, 20003, 20004, 20005],
        [20002, 20003, 20004, 20005],
    ]


@pytest.mark.parametrize(
    ("first", "most", "said"),
    [
        (0, 4, ""),
        (20000, 1000, ""),
        (1024, 4, ""),
        (49144, 4, ""),
        (49145, 4, "take ports 49145 to 49152. plumber listens on ports 1024 to 49151 only"),
        (1023, 1, "--child-port 1023: 1 worker, and as many successors in rolling restarts, take ports 1023 to 1024"),
        (6658, 4, "plumber refuses port 6665, which browsers call unsafe. Choose another first port, e.g. --child-"),
        (2041, 4, ""),
        (2042, 4, "plumber refuses port 2049"),
    ],
)  # fmt: skip
def test_fixed_ports_that_plumber_refuses(first: int, most: int, said: str) -> None:
    problem = child_port_problem(first, most)
    assert said in problem
    assert bool(problem) == bool(said)


# -- the environment ---------------------------------------------------------------------------------------------------


def test_the_port_under_each_name() -> None:
    told = worker_environment({"HOME": "/h", "PORT": "1"}, 20001, 3)
    names = ("FAUCET_PORT", "PORT", "PLUMBER_PORT", "PLUMBER2_PORT")
    assert {told[name] for name in names} == {"20001"}
    assert (told["PLUMBER2_HOST"], told["FAUCET_WORKER_ID"], told["HOME"]) == ("127.0.0.1", "3", "/h")
    assert not set(THREAD_VARIABLES) & set(told)


@pytest.mark.parametrize(
    ("workers", "cpus", "threads"), [(None, 8, 1), ("1", 8, 8), ("3", 8, 2), ("2..4", 8, 2), ("16", 8, 1)]
)
def test_threads_of_a_worker(workers: str | None, cpus: int, threads: int) -> None:
    assert threads_per_worker(parse_span(workers) if workers else None, cpus) == threads


@pytest.mark.parametrize(
    ("base", "names"),
    [
        ({}, THREAD_VARIABLES),
        ({"OMP_NUM_THREADS": ""}, THREAD_VARIABLES),
        ({"OMP_NUM_THREADS": "4"}, ()),
        ({"MKL_NUM_THREADS": "4"}, THREAD_VARIABLES[:2]),
    ],
)
def test_who_decides_about_threads(base: dict[str, str], names: tuple[str, ...]) -> None:
    """OpenBLAS and MKL follow OMP_NUM_THREADS, so who has set that has decided for them as well."""
    assert thread_limits(base, 2) == dict.fromkeys(names, "2")
    told = worker_environment(base, 20001, 1, threads=2)
    assert {name: told[name] for name in base if base[name]} == {name: base[name] for name in base if base[name]}


def test_config_shows_threads(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    whole_app()(["config", "-w", "1..500"], exit_on_error=False, result_action="return_value")
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["OMP_NUM_THREADS"][0] == "1"
    assert lines["OMP_NUM_THREADS"][1].endswith("for 500 workers")
    assert lines["MKL_NUM_THREADS"] == ["3", "environment"]


async def test_a_worker_has_its_share_and_its_details_show_it(
    faucet: Callable[..., Faucet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    options = ("-w", "1", "--control", str(tmp_path / "s"))
    service = faucet("--command", python_worker("echo"), *options, env={"MKL_NUM_THREADS": "7"}).wait_ready()
    client = await Client.connect(tmp_path / "s")
    environment = (await client.ask("details", worker="1"))["environment"]
    await client.close()
    share = str(available_cpus())
    told = psutil.Process(service.worker_pids[1]).environ()
    for name, value in (("OMP_NUM_THREADS", share), ("OPENBLAS_NUM_THREADS", share), ("MKL_NUM_THREADS", "7")):
        assert told[name] == value
        assert name == "MKL_NUM_THREADS" or environment[name] == value


# -- advice ------------------------------------------------------------------------------------------------------------


NO_HTTPUV = """\
Error: package or namespace load failed for ‘plumber’ in loadNamespace(i, c(lib.loc, .libPaths())):
 there is no package called ‘httpuv’"""

OLD_RLANG = """\
Error in loadNamespace(j <- i[[1L]], c(lib.loc, .libPaths()), versionCheck = vI[[j]]) :
  namespace ‘rlang’ 0.4.1 is already loaded, but >= 1.0.0 is required"""


@pytest.mark.parametrize(
    ("said", "advised"),
    [
        (
            "Error in library(plumber) : there is no package called ‘plumber’",
            "The R package plumber is missing; install it with: /r/Rscript -e 'install.packages(\"plumber\")' (Debian",
        ),
        (
            NO_HTTPUV,
            "The R package httpuv, which plumber needs, is missing; install it with: /r/Rscript -e 'install.packages(",
        ),
        (
            OLD_RLANG,
            "The R package rlang has to be >= 1.0.0; install it with: ",
        ),
        ("No package found with name: 'birds'", "The R package birds is missing; install it with: "),
        (
            "unable to load shared object '/usr/lib/R/library/sodium/libs/sodium.so':\n  libsodium.so.23: cannot open",
            "The R package sodium does not find a library of the system",
        ),
        (
            "Error in findPort(port) : \n  Port must be an integer in the range 1024 to 49151 (inclusive).",
            "listens on ports 1024 to 49151 only",
        ),
        ("Error in findPort(port) : Port 6000 is an unsafe port. Please choose", "leave out --child-port"),
        (
            "Error: the package 'fiery', the engine in _server.yml, has no launch_server()",
            "a newer one may: install it with: /r/Rscript -e 'install.packages(\"fiery\")'",
        ),
        ("Error: whatever", ""),
    ],
)  # fmt: skip
def test_advice(tmp_path: Path, said: str, advised: str) -> None:
    program = Program(("/r/Rscript", "x"), tmp_path, "plumber.R", "/r/Rscript")
    text = advice(said.splitlines(), program).text
    assert advised in text
    assert bool(text) == bool(advised)


@pytest.mark.parametrize("file", ["renv.lock", "renv/activate.R"])
def test_advice_in_an_renv_project(tmp_path: Path, file: str) -> None:
    _fill(tmp_path, [file])
    program = Program(("/r/Rscript", "x"), tmp_path, "plumber.R", "/r/Rscript")
    said = advice(["there is no package called ‘dplyr’"], program).text
    assert said.endswith(f"cd {tmp_path} && /r/Rscript -e 'renv::restore()'")
    said = advice(["there is no package called ‘renv’"], program).text
    assert said.endswith("""/r/Rscript -e 'install.packages("renv")'""")


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(tmp_path, ["plumber.R"])
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(ProgramError, match="cannot be read by you; allow that: chmod"):
        find_program(tmp_path, None, "true")
