"""Commands that serve nothing: files to start from, completions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from cyclopts import Parameter, Token

from faucet.cli.exit_codes import EXIT_FAILED
from faucet.cli.parameters import path_of
from faucet.text import print_error, visible


class Example(NamedTuple):
    """A file to start from."""

    file: str
    description: str


ExampleName = Literal[
    "alerts",
    "compose",
    "containerfile",
    "containerfile-r",
    "kubernetes",
    "kubernetes-ha",
    "kubernetes-strict",
    "nginx",
    "prometheus",
    "systemd",
]

EXAMPLES: dict[ExampleName, Example] = {
    "systemd": Example("faucet.service", "a unit for a server: readiness, watchdog, reload"),
    "nginx": Example("nginx.conf", "nginx in front: TLS, who the client is, time limits that fit"),
    "prometheus": Example("prometheus.yml", "scrape the metrics of --admin"),
    "alerts": Example("alerts.yml", "alert rules for Prometheus: no worker, 503s, a full queue"),
    "containerfile-r": Example("Containerfile.r", "an image with R, your API and Faucet"),
    "containerfile": Example("Containerfile", "an image with Faucet alone, for `faucet k8s`"),
    "compose": Example("compose.yaml", "that API image, nginx and Prometheus, by docker compose"),
    "kubernetes": Example("kubernetes.yaml", "a Plumber API with three pods, and Faucet in front of them"),
    "kubernetes-ha": Example("kubernetes-ha.yaml", "the same with two Faucets: updated without a failed request"),
    "kubernetes-strict": Example("kubernetes-strict.yaml", "two Faucets, and pods that refuse a second request"),
}


def example(which: ExampleName | None = None, /) -> int:
    """Print a file to start from; without a name, list them."""
    if which is None:
        print("Print one, and keep it: faucet example NAME > FILE\n")
        print(*(f"  {name:18}{each.description}" for name, each in EXAMPLES.items()), sep="\n")
        return 0
    print(files("faucet.templates.examples").joinpath(EXAMPLES[which].file).read_text("utf-8"), end="")
    return 0


def _named(_type: object, tokens: Sequence[Token]) -> Path:
    """Raises ValueError."""
    return path_of(tokens[0])


def init(directory: Annotated[Path, Parameter(converter=_named)] = Path(), /) -> int:
    """Write a small API to start from, and a faucet.toml, into DIRECTORY. No file is overwritten."""
    from faucet.settings import LocalSettings
    from faucet.templates.starter import StarterError, write_starter

    try:
        written = write_starter(directory)
    except StarterError as error:
        print_error(str(error))
        return EXIT_FAILED
    print(*(f"wrote {visible(path)}" for path in written), f"Serve it: {_serving(directory)}", sep="\n")
    print(f"In a browser, then: {LocalSettings().host[0].url}/")
    return 0


def _serving(directory: Path) -> str:
    """Return the command that serves a directory. A command of the same name would win."""
    from faucet.cli.commands import ALIASES, COMMANDS

    if directory == Path():
        return "faucet"
    before = "./" if str(directory) in (*COMMANDS, *ALIASES) or str(directory).startswith("-") else ""
    return f"faucet {shlex.quote(before + str(directory))}"


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the completions for a shell: eval "$(faucet completion bash)"; faucet completion fish | source."""
    from faucet.cli.parser import whole_app

    print(whole_app().generate_completion(prog_name="faucet", shell=shell), end="")
    return 0
