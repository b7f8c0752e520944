"""Every layout of an API in R: started, served, restarted, rolled, ended; and that a script does not notice."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from faucet.workers.launcher import LAUNCH_R
from faucet.workers.ports import DEFAULT_PORTS
from tests.support.rapis import APIS, FIERY, PLUMBER_R, ROUTER, install, write
from tests.support.running import Faucet, wait_gone

Start = Callable[..., Faucet]

PORT = "20999"
"""A port for scripts that do not listen on it."""


@pytest.fixture(scope="session")
def library(plumber: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library with the packages that some layouts need."""
    names = ["stubengine", "stubengineless", "stubapi"]
    return str(install(names, plumber, tmp_path_factory.mktemp("packages")))


@pytest.mark.parametrize("name", APIS)
def test_each_layout_is_served_restarted_rolled_and_ended(
    faucet: Start, tmp_path: Path, library: str, name: str
) -> None:
    api = APIS[name]
    write(api, tmp_path)
    service = faucet(*api.options, "-w", "1", env={"R_LIBS": library})
    pids = [service.wait_workers(1, 60)]
    assert f"({api.described})" in service.output
    url = f"http://127.0.0.1:{service.port}/hello"
    assert requests.get(url, timeout=20).text == "hello"

    subprocess.run(
        [sys.executable, "-m", "faucet", "ctl", "restart", "1", "--at", str(service.port)], check=True, timeout=30
    )
    service.wait_line(r"worker 1 stopped after .*\(restarted by", 60)  # the old one has gone
    pids.append(service.worker_pids)
    service.signal(signal.SIGHUP)
    service.wait_line("rolling restart: the worker is replaced", 60)
    pids.append(service.worker_pids)
    assert requests.get(url, timeout=20).text == "hello"
    assert len({pid for those in pids for pid in those.values()}) == 3

    assert service.stop() == 0
    for pid in (pid for those in pids for pid in those.values()):
        wait_gone(pid, 5)
    assert "before it listened" not in service.output
    ports = {int(port) for port in re.findall(r"ready on port (\d+)", service.output)}
    assert ports <= set(DEFAULT_PORTS)
    if "pr_run" not in "".join(api.files.values()):  # else the API itself prints the address of a worker
        assert not [port for port in ports if f"127.0.0.1:{port}" in service.output]


def test_entrypoint_wins_over_plumber_and_that_over_server_yml(faucet: Start, tmp_path: Path, plumber: str) -> None:
    (tmp_path / "_server.yml").write_text("engine: nowhere\n")
    (tmp_path / "plumber.R").write_text(PLUMBER_R)
    service = faucet("-w", "1").wait_ready(60)
    assert "(plumber.R)" in service.output
    assert service.stop() == 0
    (tmp_path / "entrypoint.R").write_text(f"library(plumber)\n{ROUTER}\n")
    assert "(entrypoint.R)" in faucet("-w", "1").wait_ready(60).output


def test_texts_of_a_router_are_utf_8_in_any_locale(faucet: Start, tmp_path: Path, plumber: str) -> None:
    """Containers often have the locale C, where R would take them for bytes."""
    (tmp_path / "entrypoint.R").write_text('library(plumber)\npr() %>% pr_get("/x", function() "é")\n')
    service = faucet("-w", "1", env={"LC_ALL": "C"}).wait_ready(60)
    assert requests.get(f"http://127.0.0.1:{service.port}/x", timeout=20).content == '["é"]'.encode()


def test_fixed_ports_and_a_relative_rscript(faucet: Start, tmp_path: Path, plumber: str) -> None:
    """Relative to where the user is; the workers run in the directory of the API, where its .Rprofile counts (renv)."""
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / ".Rprofile").write_text('Sys.setenv(SAID = "hello")\n')
    (tmp_path / "api" / "plumber.R").write_text(PLUMBER_R.replace('"hello"', 'Sys.getenv("SAID")'))
    (tmp_path / "Rscript").symlink_to(plumber)
    service = faucet("--dir", "api", "--rscript", "./Rscript", "-w", "1", "--child-port", "21950")
    service.wait_ready(60)
    assert requests.get(f"http://127.0.0.1:{service.port}/hello", timeout=20).text == "hello"
    assert "ready on port 21950" in service.output


def test_an_engine_without_launch_server(faucet: Start, tmp_path: Path, library: str) -> None:
    (tmp_path / "_server.yml").write_text("engine: stubengineless\n")
    service = faucet("-w", "1", env={"R_LIBS": library})
    assert service.wait_exit(60) == 1
    assert "the engine in _server.yml, has no launch_server()" in service.output
    assert "a newer one may: install it with: " in service.output


def test_an_api_that_a_package_does_not_have(faucet: Start, tmp_path: Path, library: str) -> None:
    service = faucet("--api", "stubapi::none", "-w", "1", env={"R_LIBS": library})
    assert service.wait_exit(60) == 1
    assert """stubapi has no API called none; list those it has""" in service.output


def test_an_entrypoint_that_serves_nothing(faucet: Start, tmp_path: Path, plumber: str) -> None:
    (tmp_path / "entrypoint.R").write_text("x <- 3\n")
    service = faucet("-w", "1")
    assert service.wait_exit(60) == 1
    assert "ended without starting a server, and its last value (numeric) is not a router" in service.output
    assert "Let the last line of the file be the router" in service.output


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("entrypoint.R", PLUMBER_R, "entrypoint.R has Plumber's annotations; that is a plumber.R: mv "),
        ("plumber.R", "#* @plumber\nfunction(pr) pr_run(pr)\n", "Leave out pr_run() in the file"),
    ],
)
def test_what_belongs_into_the_other_file(
    faucet: Start, tmp_path: Path, plumber: str, name: str, code: str, said: str
) -> None:
    (tmp_path / name).write_text(code)
    service = faucet("-w", "1")
    assert service.wait_exit(30) == 1
    assert said in service.output


SCRIPTS = {
    "what it sees": "print(sys.calls()); print(sys.frames()); print(environment()); print(parent.frame())\n"
    "print(ls(all.names = TRUE)); print(search()); print(interactive()); print(getwd()); print(loadedNamespaces())\n"
    "f <- function() { print(sys.calls()); parent.frame() }\nf()\ncommandArgs()\ncommandArgs(TRUE)\n",
    "what is printed": "3\ninvisible(4)\n(x <- 5)\nNULL\nif (FALSE) 3\nfor (i in 1:2) i\nfunction(a) a\n"
    'print.foo <- function(x, ...) cat("a foo\\n")\nstructure(1, class = "foo")\n'
    'setClass("A", representation(x = "numeric"))\nsetMethod("show", "A", function(object) cat("an A\\n"))\n'
    'new("A", x = 1)\nprint <- function(...) cat("masked\\n")\n3\n',
    "warnings": 'f <- function() { warning("a"); 1 }\nf()\ncat("between\\n")\nfor (i in 1:12) warning("w", i)\n'
    'options(warn = 1)\nf()\noptions(warn = 0)\nwarning("last")\nlibrary(notthere)\n',
    "errors": "f <- function() g()\ng <- function() stop('boom')\non.exit(cat('x\\n'))\nf()\n",
    "errors after warnings": "f <- function() { warning('w'); stop('boom') }\nf()\n",
    "its own handler": "options(error = quote({ cat('handler\\n'); traceback(2); q(status = 7) }))\nstop('x')\n",
    "handlers of conditions": "globalCallingHandlers(message = function(m) cat('got', conditionMessage(m)))\n"
    "message('hello')\ntryCatch(stop('a'), error = function(e) print(sys.calls()), finally = cat('f\\n'))\nstop()\n",
    "quit": ".Last <- function() cat('last\\n')\nx <- 1\nquit(status = 3)\n",
    "the end of all": ".Last <- function() cat('last\\n')\nrm(list = setdiff(ls(all.names = TRUE), '.Last'))\nstop()\n",
    "nothing in the way": "rm(list = ls(all.names = TRUE))\nx <- 1\nls(all.names = TRUE)\nstop('so')\n",
    "sinks": 'con <- textConnection("z", "w")\nsink(con, type = "message")\nmessage("m")\nwarning("w")\n'
    'sink(type = "message")\nclose(con)\nz\nwarning("after")\nstop("end")\n',
    "source()": "writeLines(\"print(sys.call()); h <- function() stop('in')\", 'other.r')\nsource('other.r')\nh()\n",
    "texts": 'x <- "é"\nx\nEncoding(x)\ncharToRaw(x)\nstop("é")\n',
    "break": "cat('a')\nbreak\ncat('b')\n",
    "next": "cat('a')\nnext\ncat('b')\n",
    "return": "cat('a')\nreturn(1)\ncat('b')\n",
    "warnings as errors": 'options(warn = 2)\nas.integer("x")\n',
}


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_not_notice_the_launcher(tmp_path: Path, plumber: str, name: str, locale: str) -> None:
    """All that it prints, on both streams in their order, and its exit code: as by `Rscript entrypoint.R`."""
    runs = "if (FALSE) pr_run()\n"  # it is one that runs, and not one that returns a router
    (tmp_path / "entrypoint.R").write_text(f"{SCRIPTS[name]}{runs}", "utf-8")

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [plumber, *words],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "FAUCET_PORT": PORT, "LC_ALL": locale},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )
        return done.returncode, re.sub(r"0x[0-9a-f]+", "0x", done.stdout.decode("utf-8", "replace"))

    assert run(str(LAUNCH_R), "script", "entrypoint.R") == run("entrypoint.R")


def _launched(plumber: str, directory: Path, code: str | bytes) -> subprocess.CompletedProcess[str]:
    (directory / "entrypoint.R").write_bytes(code if isinstance(code, bytes) else code.encode())
    words = [plumber, str(LAUNCH_R), "script", "entrypoint.R"]
    return subprocess.run(
        words, cwd=directory, env={"PATH": "/usr/bin:/bin", "FAUCET_PORT": PORT}, check=False, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("code", [b'\xef\xbb\xbfcat("well\\n")\n', b'f <- \\(a) {\r\n a\r\n}\r\ncat(f("well\\n"))'])
def test_files_from_windows(tmp_path: Path, plumber: str, code: bytes) -> None:
    done = _launched(plumber, tmp_path, code)
    assert (done.returncode, done.stdout) == (0, "well\n")


def test_a_syntax_error_is_told_with_file_and_line(tmp_path: Path, plumber: str) -> None:
    done = _launched(plumber, tmp_path, "x <- 3\nx +\n")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: entrypoint.R:3:0: unexpected end of input\n")
    assert done.stderr.endswith("Execution halted\n")


def test_an_api_that_has_been_stopped_is_not_run_again(tmp_path: Path, plumber: str) -> None:
    """Those of fiery and plumber2 are returned by what ran them, invisibly; R would serve for ever."""
    stopped = FIERY.replace("  httpuv::runServer", "  cat('ran\\n'); invisible(app)\n  if (FALSE) httpuv::runServer")
    done = _launched(plumber, tmp_path, f"{stopped}\ninvisible({{ app$ignite(block = TRUE, silent = TRUE); app }})\n")
    assert (done.returncode, done.stdout.count("ran")) == (0, 1), done


def test_a_router_is_not_printed(tmp_path: Path, plumber: str) -> None:
    code = """
        print.Plumber <- function(x, ...) stop()
        router <- structure(new.env(), class = 'Plumber')
        router$run <- function(host, port) cat('runs on', port, '\\n')
        router
    """
    done = _launched(plumber, tmp_path, code)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"runs on {PORT} \n", "")
