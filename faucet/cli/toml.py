"""`faucet.toml`: the same names as the flags. It fills what neither a flag nor a variable has set.

Found in the directory of the API, or named by --config. A key that is no option is an error, with a suggestion.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection, CycloptsError, Token

NAME = "faucet.toml"

sources: dict[str, str] = {}
"""Where the value of each option of this command line comes from: `--workers`, `FAUCET_WORKERS`, or a file."""


class ConfigError(CycloptsError):
    """A file that cannot be used. The text is for the user."""

    def __init__(self, text: str) -> None:
        super().__init__(msg=text)
        self.text = text

    def __str__(self) -> str:
        return self.text


def fill_from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Called by cyclopts, when flags and variables are known."""
    known = {argument.name.removeprefix("--"): argument for argument in arguments if argument.name.startswith("--")}
    if "config" not in known:
        return
    path = _path(known)
    for name, text in _values(path, known.keys()).items() if path is not None else ():
        argument = known[name]
        if not argument.tokens:
            argument.append(Token(keyword=name, value=text, source=str(path)))
    sources.clear()
    for name, argument in known.items():
        if argument.tokens:
            token = argument.tokens[0]
            sources[name] = token.source if token.source not in ("cli", "env") else str(token.keyword)


def _path(known: Mapping[str, Any]) -> Path | None:
    """The file, if there is one. Raises ConfigError if that which was named is not there."""
    named = _given(known, "config")
    if named is not None:
        if not Path(named).is_file():
            raise ConfigError(f"--config: there is no file {named}")
        return Path(named)
    found = Path(_given(known, "dir") or ".") / NAME
    return found if "dir" in known and found.is_file() else None


def _given(known: Mapping[str, Any], name: str) -> str | None:
    return (known[name].tokens[0].value or None) if name in known and known[name].tokens else None


def _values(path: Path, known: AbstractSet[str]) -> dict[str, str]:
    """The file's values as a command line would have them. Raises ConfigError."""
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    values: dict[str, str] = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name in values:
            raise ConfigError(f"{path}: {name} is there twice, with - and with _")
        if name not in known or name == "config":
            close = difflib.get_close_matches(name, known - {"config"}, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{path}: {key} is no option{hint}")
        values[name] = _text(path, key, value)
    return values


def _text(path: Path, key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict) and key == "keys" and all(isinstance(pressed, str) for pressed in value.values()):
        return ",".join(f"{action}={pressed}" for action, pressed in value.items())
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{path}: {key} has to be one value")
