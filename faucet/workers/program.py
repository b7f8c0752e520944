"""Find out what to serve: which program each worker runs, and in which directory.

The directory is checked once, before anything is started. An error names what is missing, and the next step.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from faucet.settings import PackageApi
from faucet.workers.commandline import CommandError, parse_command
from faucet.workers.environment import worker_environment
from faucet.workers.launcher import find_rscript, layout_arguments, package_arguments
from faucet.workers.layouts import Kind, Layout, find_layout
from faucet.workers.near_misses import NearMiss, file_instead, near_misses

MINIMAL_PLUMBER = """\
    #* @get /hello
    function(name = "world") paste("hello", name)"""

INSTALL_R = "install R (Debian, Ubuntu: apt-get install r-base-core r-cran-plumber), or name it with --rscript"

INSTALL_COMMAND = """{rscript} -e 'install.packages("{package}")'"""

INSTALL_PACKAGE = f"install it with: {INSTALL_COMMAND}"

INSTALL_PLUMBER = INSTALL_PACKAGE + " (Debian, Ubuntu: apt-get install r-cran-plumber)"

SHOWN = 5
"""Most near misses that are shown."""


class ProgramError(Exception):
    """Nothing can be served. The text tells the user why, and the next step."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program that each worker runs."""

    arguments: tuple[str, ...]
    """The program and its arguments; `{port}` stands for the worker's port."""
    directory: Path
    """The working directory of the program."""
    description: str
    """What it is, for the ready line: `entrypoint.R`."""
    rscript: str | None = None
    """The absolute path of the Rscript, if Faucet itself serves the API in R; then plumber's rules for ports hold."""
    threads: int = 0
    """Threads that the numerical libraries of a worker may use, unless the user has decided that; 0: as they like."""

    def argv(self, port: int) -> list[str]:
        """Return the command line of a worker on `port`."""
        return [argument.replace("{port}", str(port)) for argument in self.arguments]

    def own_files(self) -> frozenset[str]:
        """Files of the directory that the command line names, e.g. a program that is built there."""
        paths = [Path(os.path.normpath(self.directory / argument)) for argument in self.arguments]
        inside = [path for path in paths if path.is_relative_to(self.directory) and path.is_file()]
        return frozenset(path.relative_to(self.directory).as_posix() for path in inside)

    def environment(self, port: int, worker: int) -> dict[str, str]:
        """Return the environment of worker number `worker` (from 1): Faucet's, and the worker's variables."""
        return worker_environment(os.environ, port, worker, self.threads)


def find_program(directory: Path, command: str | None, rscript: str, api: PackageApi | None = None) -> Program:
    """Return what to serve from `directory`: `command`, or the `api` of a package, or what is there.

    Raises ProgramError.
    """
    _check_directory(directory)
    # Not resolved: where a link is what is deployed, the next worker runs in what it leads to by then.
    directory = directory.resolve() if ".." in directory.parts else directory.absolute()
    if command is not None and api:
        raise ProgramError("--command and --api both say what to serve; leave one of them out")
    if command is not None:
        try:
            return Program(parse_command(command, directory), directory, command)
        except CommandError as error:
            raise ProgramError(str(error)) from error
    if api:
        return _from_package(directory, api, rscript)
    layout = _layout(directory)
    found = _require_rscript(rscript)
    return Program(layout_arguments(found, layout), directory, described(layout), found)


def uses_renv(directory: Path) -> bool:
    """Return whether renv decides which R packages the API in `directory` has."""
    return any((directory / name).is_file() for name in ("renv.lock", "renv/activate.R"))


def described(layout: Layout) -> str:
    """Return `plumber.R`, or `_server.yml, by plumber2`."""
    return f"{layout.file}, by {layout.engine}" if layout.kind is Kind.SERVER else layout.file


def _check_directory(directory: Path) -> None:
    if directory.is_dir():
        return
    if directory.exists():
        raise ProgramError(_with_commands(file_instead(directory)))
    raise ProgramError(f"{directory} does not exist; name the directory of your API with --dir")


def _layout(directory: Path) -> Layout:
    try:
        layout = find_layout(directory)
    except OSError as error:
        raise ProgramError(
            f"{directory} cannot be read: {error.strerror}; allow that, or name another --dir"
        ) from error
    if layout is None:
        raise ProgramError(nothing_to_serve(directory))
    path = directory / layout.file
    if not os.access(path, os.R_OK):
        raise ProgramError(f"{path} cannot be read by you; allow that: chmod +r {shlex.quote(str(path))}")
    if layout.kind is Kind.SERVER and not layout.engine:
        raise ProgramError(f"{path} does not name its engine; add the R package that serves it: engine: plumber2")
    return layout


def nothing_to_serve(directory: Path) -> str:
    """Return what is missing, what was found instead, and what to do."""
    misses = near_misses(directory)
    what = f"{directory} has no plumber.R, entrypoint.R or _server.yml"
    if misses:
        return "\n".join([f"{what}; what is there:", *(f"- {_with_commands(miss)}" for miss in misses[:SHOWN])])
    return (
        f"{what}; nothing else there is an API, either.\nThis is enough of a plumber.R:\n\n{MINIMAL_PLUMBER}\n\n"
        f"`faucet init {shlex.quote(str(directory))}` writes a longer one; `faucet demo` brings its own. --dir names\n"
        "another directory, --api an API in an installed package, --command any other program."
    )


def _with_commands(miss: NearMiss) -> str:
    if not miss.commands:
        return f"{miss.found}."
    return "\n".join([f"{miss.found}:", *(f"    {command}" for command in miss.commands)])


def _from_package(directory: Path, api: PackageApi, rscript: str) -> Program:
    found = _require_rscript(rscript)
    return Program(package_arguments(found, api.package, api.name), directory, str(api), found)


def _require_rscript(rscript: str) -> str:
    found = find_rscript(rscript)
    if found is None:
        raise ProgramError(f"{rscript!r} was not found: {INSTALL_R}")
    return found
