"""Commands that serve nothing: files to start from, completions, versions, and a look at this machine."""

from __future__ import annotations

import platform
import shlex
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from faucet import __version__
from faucet.log.handler import print_error

EXAMPLES = {"kubernetes": "kubernetes.yaml", "containerfile": "Containerfile", "systemd": "faucet.service"}


def example(which: Literal["kubernetes", "containerfile", "systemd"], /) -> int:
    """Print a file to start from: manifests for Kubernetes, a Containerfile, or a systemd unit."""
    print(files("faucet.templates.examples").joinpath(EXAMPLES[which]).read_text("utf-8"), end="")
    return 0


def versions() -> str:
    """Of everything that matters in a report."""
    lines = [f"faucet {__version__}", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"]
    for name in ("uvloop", "textual", "cyclopts", "psutil", "dnspython", "h11", "prometheus-client", "asyncssh",
                 "watchfiles"):  # fmt: skip
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return "\n".join(lines)


def doctor(
    *,
    dir: Annotated[
        Path, Parameter(("--dir", "-d"), env_var="FAUCET_DIR", help="Directory of the API.", show_default=lambda _: ".")
    ] = Path(),
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None,
    rscript: Annotated[str | None, Parameter(help="The Rscript to start R with.")] = None,
    command: Annotated[str | None, Parameter(help="The program to serve with, if not R.")] = None,
    as_json: Annotated[bool, Parameter(("--json", "-j"), help="JSON for programs.", negative=())] = False,
) -> int:
    """Look at all that serving a directory needs: what is there, what is missing, and what to do. 1: it will not serve.

    Looked at is what would be in force: flags, variables, faucet.toml. Nothing is changed or left running.
    """
    from faucet.doctor import examine, report

    return report(examine(dir, host, rscript, command), as_json)


def init(directory: Path = Path(), /) -> int:
    """Write a small API to start from, and a faucet.toml, into DIRECTORY. Never over a file."""
    from faucet.templates.starter import StarterError, write_starter

    try:
        written = write_starter(directory)
    except StarterError as error:
        print_error(str(error))
        return 1
    where = "" if directory == Path() else f" --dir {shlex.quote(str(directory))}"
    print(*(f"wrote {path}" for path in written), f"Serve it: faucet{where}", sep="\n")
    return 0


def add_to(app: App) -> None:
    """Add all of them."""

    def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
        """Print the completions for a shell: eval "$(faucet completion bash)"; faucet completion fish | source."""
        print(app.generate_completion(prog_name="faucet", shell=shell), end="")
        return 0

    for command in (example, completion, doctor, init):
        app.command(command)
