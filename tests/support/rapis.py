"""The layouts in which people keep their APIs in R: the files of each, and packages for those that need one."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

PLUMBER_R = '#* @get /hello\n#* @serializer text\nfunction() "hello"\n'

ROUTER = 'pr() %>% pr_get("/hello", function() "hello", serializer = serializer_text())'

ENGINE = """\
launch_server <- function(settings, host = NULL, port = NULL, ...) {
  stopifnot(file.exists(settings))
  answer <- function(req) list(status = 200L, headers = list("Content-Type" = "text/plain"), body = "hello")
  httpuv::runServer(host, port, list(call = answer))
}
"""

FIERY = """\
app <- new.env()
app$ignite <- function(block = FALSE, ..., silent = FALSE) {
  stopifnot(block, silent)
  answer <- function(req) list(status = 200L, headers = list("Content-Type" = "text/plain"), body = "hello")
  httpuv::runServer(app$host, app$port, list(call = answer))
}
class(app) <- c("Plumber2", "Fire")
app
"""


@dataclass(frozen=True)
class Api:
    """What is in its directory, and with which options Faucet serves it."""

    files: dict[str, str]
    options: tuple[str, ...] = ()
    described: str = ""
    """As the ready line says."""
    packages: tuple[str, ...] = field(default=())
    """Packages that it needs: see `install`."""


def _api(described: str, packages: tuple[str, ...] = (), options: tuple[str, ...] = (), **files: str) -> Api:
    return Api({name.replace("__", "."): text for name, text in files.items()}, options, described, packages)


def _entrypoint(*lines: str) -> Api:
    return _api("entrypoint.R", plumber__R=PLUMBER_R, entrypoint__R="\n".join(["library(plumber)", *lines, ""]))


APIS = {
    "plumber.R": _api("plumber.R", plumber__R=PLUMBER_R),
    "Plumber.r": _api("Plumber.r", Plumber__r=PLUMBER_R),
    "plumber.R, forward() without library(plumber)": _api(
        "plumber.R", plumber__R=f"#* @filter all\nfunction() forward()\n\n{PLUMBER_R}"
    ),
    "plumber.R with a @plumber block, as vetiver writes it": _api(
        "plumber.R",
        plumber__R="library(plumber)\n\n#* @plumber\nfunction(pr) {\n"
        '  pr %>% pr_get("/hello", function() "hello", serializer = serializer_text())\n}\n',
    ),
    "entrypoint.R that runs": _entrypoint('pr("plumber.R") %>% pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))'),
    "entrypoint.R with a bare pr_run()": _entrypoint('pr("plumber.R") %>% pr_run()'),
    "entrypoint.R that returns a router": _entrypoint("# no plumber.R here", ROUTER),
    "entrypoint.R that returns one unseen": _entrypoint('api <- plumb("plumber.R")'),
    "EntryPoint.r": _api("EntryPoint.r", EntryPoint__r=f"library(plumber)\n{ROUTER}\n"),
    "entrypoint.R that returns an API of plumber2": _api("entrypoint.R", entrypoint__R=FIERY),
    "_server.yml": _api("_server.yml, by stubengine", ("stubengine",), _server__yml="engine: stubengine\nroutes: x\n"),
    "an API in a package": _api("stubapi::annotated", ("stubapi",), ("--api", "stubapi::annotated")),
    "a router in a package": _api("stubapi::router", ("stubapi",), ("--api", "stubapi::router")),
    "a command": _api(
        "Rscript run.R",
        (),
        ("--command", "Rscript run.R"),
        run__R=f'library(plumber)\n{ROUTER} %>% pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))\n',
    ),
}

PACKAGES = {
    "stubengine": {"R/launch.R": ENGINE},
    "stubengineless": {"R/nothing.R": "nothing <- function() NULL\n"},
    "stubapi": {
        "inst/plumber/annotated/plumber.R": PLUMBER_R,
        "inst/plumber/router/entrypoint.R": f"library(plumber)\n{ROUTER}\n",
    },
}


def write(api: Api, directory: Path) -> None:
    """Put the files of an API into `directory`."""
    for name, text in api.files.items():
        (directory / name).write_text(text)


def install(packages: list[str], rscript: str, directory: Path) -> Path:
    """Install packages of our own into a new library; its path, for R_LIBS."""
    library = directory / "library"
    library.mkdir()
    for package in packages:
        source = directory / package
        for name, text in PACKAGES[package].items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        (source / "NAMESPACE").touch()
        (source / "DESCRIPTION").write_text(f"Package: {package}\nVersion: 1.0\nTitle: A Stub\nLicense: MIT\n")
    words = [str(Path(rscript).with_name("R")), "CMD", "INSTALL", "--no-test-load", f"--library={library}"]
    sources = [str(directory / package) for package in packages]
    subprocess.run([*words, *sources], check=True, capture_output=True, timeout=100)
    return library
