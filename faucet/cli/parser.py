"""Makes the command line: with the command that is meant, or with all of them for help and for messages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from cyclopts import App

from faucet import settings
from faucet.cli.commands import ALIASES, COMMANDS
from faucet.cli.help import add_help
from faucet.cli.parameters import with_options
from faucet.cli.toml import fill_from_file


@cache
def whole_app() -> App:
    """Return the command line with all commands."""
    return _make_app(COMMANDS)


def app_for(words: Sequence[str]) -> App:
    """Return a command line that has what `words` ask for; it may lack commands that they do not name."""
    first = ALIASES.get(words[0], words[0]) if words else "local"
    if first in COMMANDS:
        return _make_app([first])
    return whole_app() if "--help-all" in words else _make_app(["local"])  # that page lists the commands


def _make_app(names: Collection[str]) -> App:
    app = App(
        name="faucet",
        help="One address in front of N R Plumber workers, each with one request at a time, and one fair queue.",
        version=_versions,
        help_format="plaintext",
        config=fill_from_file,
    )
    for name in names:
        _add(app, name)
    add_help(app)
    return app


def _add(app: App, name: str) -> None:
    where = COMMANDS[name]
    module: Any = import_module(f"faucet.cli.{where.module}")
    if not where.settings:
        app.command(getattr(module, "app", None) or getattr(module, name))
        return
    command = with_options(getattr(module, name), getattr(settings, where.settings))
    if name == "local":
        app.default(command)
    app.command(command, name=(name, *(alias for alias, meant in ALIASES.items() if meant == name)))


def _versions() -> str:
    from faucet.cli.versions import versions

    return versions()
