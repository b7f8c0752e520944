"""What is served: which program each worker runs, and what it is told.

A directory is looked at once, before anything is started, so that what is missing is said at once and with the
next step in it.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

MINIMAL_ENTRYPOINT = """\
    library(plumber)
    pr("plumber.R") %>%
      pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))"""

MINIMAL_PLUMBER = """\
    #* @get /hello
    function(name = "world") paste("hello", name)"""

SERVE_PLUMBER_R = (
    'plumber::pr_run(plumber::pr("plumber.R"), host = "127.0.0.1", port = as.integer(Sys.getenv("FAUCET_PORT")))'
)

INSTALL_R = "install R (Debian, Ubuntu: apt-get install r-base-core r-cran-plumber), or name it with --rscript"

INSTALL_PACKAGE = """install it with: {rscript} -e 'install.packages("{package}")'"""

INSTALL_PLUMBER = INSTALL_PACKAGE + " (Debian, Ubuntu: apt-get install r-cran-plumber)"


class ProgramError(Exception):
    """Nothing can be served. The text is for the user and has the next step in it."""


@dataclass(frozen=True, slots=True)
class Program:
    """What each worker runs."""

    arguments: tuple[str, ...]
    """The program and its arguments; `{port}` stands for the worker's port."""
    directory: Path
    """Where it runs."""
    description: str
    """What it is, for the ready line: `entrypoint.R`."""
    rscript: str | None = None
    """The Rscript, if R runs it."""

    def argv(self, port: int) -> list[str]:
        """The command line of a worker on `port`."""
        return [argument.replace("{port}", str(port)) for argument in self.arguments]

    def environment(self, port: int, worker: int) -> dict[str, str]:
        """The environment of worker number `worker` (from 1): ours, and what it has to know."""
        return {
            **os.environ,
            "FAUCET_PORT": str(port),
            "FAUCET_WORKER_ID": str(worker),
            "PORT": str(port),
        }


def find_program(directory: Path, command: str | None, rscript: str) -> Program:
    """What to serve from `directory`. Raises EntryError."""
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise ProgramError(f"{directory} {what}; name the directory of your API with --dir")
    directory = directory.resolve()
    if command is not None:
        return _from_command(directory, command)
    if (directory / "entrypoint.R").is_file():
        return Program((_find_rscript(rscript), "entrypoint.R"), directory, "entrypoint.R", rscript)
    if (directory / "plumber.R").is_file():
        return Program((_find_rscript(rscript), "-e", SERVE_PLUMBER_R), directory, "plumber.R", rscript)
    raise ProgramError(
        f"{directory} has neither entrypoint.R nor plumber.R, and no --command was given.\n"
        f"A minimal plumber.R, which is enough:\n\n{MINIMAL_PLUMBER}\n\n"
        f"A minimal entrypoint.R, to start it in your own way:\n\n{MINIMAL_ENTRYPOINT}\n\n"
        "Or try `faucet demo`, which brings an API of its own."
    )


def _from_command(directory: Path, command: str) -> Program:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ProgramError(f"--command {command!r} cannot be split into words: {error}") from error
    if not arguments:
        raise ProgramError("--command is empty")
    program = arguments[0]
    found = shutil.which(str(directory / program) if os.sep in program else program)
    if found is None:
        raise ProgramError(f"--command: {program!r} is not an executable program in {directory} or on PATH")
    return Program((found, *arguments[1:]), directory, command)


def _find_rscript(rscript: str) -> str:
    found = shutil.which(rscript)
    if found is None:
        raise ProgramError(f"{rscript!r} was not found: {INSTALL_R}")
    return found
