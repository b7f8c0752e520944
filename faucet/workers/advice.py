"""Advice for failed starts: recognizes well-known errors in the last lines of a worker's output."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import NamedTuple

from faucet.workers.layouts import text_of
from faucet.workers.near_misses import ANNOTATION
from faucet.workers.ports import PLUMBER_PORTS
from faucet.workers.program import INSTALL_COMMAND, INSTALL_PACKAGE, INSTALL_PLUMBER, Program, uses_renv

_PACKAGE = r"[‘'\"“]?(?P<package>[A-Za-z0-9.]+)"

_NO_PACKAGE = re.compile(rf"(?:there is no package called|No package found with name:) {_PACKAGE}")

_NEEDED_BY = re.compile(r"package or namespace load failed for [‘'\"](?P<parent>[A-Za-z0-9.]+)")

_TOO_OLD = re.compile(
    rf"namespace {_PACKAGE}\S* \S+ is (?:already|being) loaded, but (?P<wanted>[<>=]+ \S+) is required"
)

_NO_LIBRARY = re.compile(r"unable to load shared object '[^']*/(?P<package>[A-Za-z0-9.]+)/libs/")

_NO_ENGINE = re.compile(r"the package '(?P<package>[A-Za-z0-9.]+)', the engine in \S+, has no launch_server\(\)")

_NO_API = re.compile(r"Could not find Plumber API for package '(?P<package>[^']*)'\s+with name '(?P<name>[^']*)'")

_PORT = re.compile(r"Port must be an integer in the range|Port \d+ is an unsafe port")

_NO_SERVER = re.compile(r"(?P<file>\S+) ended without starting a server, and its last value")

_RUNS_ITSELF = re.compile(r"`\$run\(\)` method should not be called while `plumb\(\)`ing a file")

_NO_ADDRESS = re.compile(r"(?P<host>\S+) is not a valid IPv4 or IPv6 address")
"""The error of httpuv for `host = "localhost"`."""

_NO_TEMPORARY = re.compile(r"creating temporary file .*failed|cannot create 'R_TempDir'|R_TempDir")


class Advice(NamedTuple):
    """A problem, and the next step."""

    fact: str = ""
    """The problem, short enough for a table cell, with the most important word first."""
    text: str = ""
    """One sentence with the next step in it."""
    command: str = ""
    """The command in `text` that solves the problem; empty if there is none."""


class _Step(NamedTuple):
    """A sentence, and the command in it."""

    text: str
    command: str = ""


NONE = Advice()


def advice(last_lines: Sequence[str], program: Program) -> Advice:
    """Return what is known about a process whose last lines these are; NONE if nothing is."""
    text = "\n".join(last_lines)
    for pattern, advise, fact in _ADVICE:
        if matches := list(pattern.finditer(text)):
            match = matches[-1]
            return Advice(fact.format(**match.groupdict()), *advise(match, text, program))
    return NONE


def _missing(match: re.Match[str], text: str, program: Program) -> _Step:
    package = match["package"]
    parent = _NEEDED_BY.search(text)
    needed = f", which {parent['parent']} needs," if parent and parent["parent"] != package else ""
    return _install(f"The R package {package}{needed} is missing", package, program)


def _install(fault: str, package: str, program: Program, then: str = "; ") -> _Step:
    """How to get a package. What renv has recorded is installed in the versions that the project was made with."""
    if package != "renv" and uses_renv(program.directory):
        command = f"cd {shlex.quote(str(program.directory))} && {_rscript(program)} -e 'renv::restore()'"
        return _Step(f"{fault}{then}install what this renv project has recorded: {command}", command)
    template = INSTALL_PLUMBER if package == "plumber" else INSTALL_PACKAGE
    text = template.format(package=package, rscript=_rscript(program))
    return _Step(f"{fault}{then}{text}", INSTALL_COMMAND.format(package=package, rscript=_rscript(program)))


def _rscript(program: Program) -> str:
    return shlex.quote(program.rscript or "Rscript")


def _too_old(match: re.Match[str], text: str, program: Program) -> _Step:
    return _install(f"The R package {match['package']} has to be {match['wanted']}", match["package"], program)


def _broken(match: re.Match[str], text: str, program: Program) -> _Step:
    package = match["package"]
    fault = f"The R package {package} does not find a library of the system that it was built with"
    return _install(f"{fault}, e.g. after an upgrade of the system", package, program)


def _engine(match: re.Match[str], text: str, program: Program) -> _Step:
    package = match["package"]
    fault = f"The installed version of {package} cannot serve a _server.yml, or it is not an engine"
    return _install(f"{fault}; a newer one may", package, program, ": ")


def _no_api(match: re.Match[str], text: str, program: Program) -> _Step:
    """Ask for the list in R."""
    package = match["package"]
    command = f"""{_rscript(program)} -e 'plumber::plumb_api("{package}")'"""
    return _Step(f"{package} has no API called {match['name']}; list those it has: {command}", command)


def _port(match: re.Match[str], text: str, program: Program) -> _Step:
    return _Step(
        f"plumber 1.3 and later listens on ports {PLUMBER_PORTS[0]} to {PLUMBER_PORTS[-1]} only, without those that "
        "browsers call unsafe. Let the API use the port in FAUCET_PORT; if that is such a port, leave out --child-port"
    )


def _no_server(match: re.Match[str], text: str, program: Program) -> _Step:
    file = match["file"]
    if ANNOTATION.search(text_of(program.directory / file)):
        command = _rename(program, file, "plumber.R")
        return _Step(f"{file} has Plumber's annotations; that is a plumber.R: {command}", command)
    run = 'pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))'
    return _Step(f"Let the last line of the file be the router, or run it: {run}")


def _runs_itself(match: re.Match[str], text: str, program: Program) -> _Step:
    return _Step("Leave out pr_run() in the file, e.g. in its @plumber block: Faucet runs the router")


def _no_address(match: re.Match[str], text: str, program: Program) -> _Step:
    return _Step(f'httpuv takes numeric addresses only: write host = "127.0.0.1" in place of "{match["host"]}".')


def _no_temporary(match: re.Match[str], text: str, program: Program) -> _Step:
    return _Step("R has no directory for temporary files; name a writable one in TMPDIR")


def _rename(program: Program, name: str, to: str) -> str:
    return shlex.join(["mv", str(program.directory / name), str(program.directory / to)])


_Advise = Callable[[re.Match[str], str, Program], _Step]

_ADVICE: tuple[tuple[re.Pattern[str], _Advise, str], ...] = (
    (_NO_TEMPORARY, _no_temporary, "no TMPDIR"),
    (_NO_PACKAGE, _missing, "{package} is missing (R package)"),
    (_TOO_OLD, _too_old, "{package} is too old (R package)"),
    (_NO_LIBRARY, _broken, "{package} lacks a library (R package)"),
    (_NO_ENGINE, _engine, "{package} is not an engine"),
    (_NO_API, _no_api, "{package} has no API {name}"),
    (_PORT, _port, "plumber refuses the port"),
    (_NO_SERVER, _no_server, "{file} starts no server"),
    (_RUNS_ITSELF, _runs_itself, "pr_run() in a file that is plumbed"),
    (_NO_ADDRESS, _no_address, "{host} is not a numeric address"),
)
"""What R says, the sentence for it, and the fact in a few words."""
