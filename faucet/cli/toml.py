"""`faucet.toml`: the same names as the flags. It fills what neither a flag nor a variable has set.

Found in the directory of the API, or named by --config. An unknown key is an error, with a suggestion.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection, Token

from faucet.cli.errors import Misuse
from faucet.cli.exit_codes import EXIT_FAILED
from faucet.machine import why_unreadable
from faucet.settings import CONFIG_NAME
from faucet.text import LOOSELY, did_you_mean

sources: dict[str, str] = {}
"""Where the value of each option of this command line comes from: `--workers`, `FAUCET_WORKERS`, or a file."""


class ConfigError(Misuse):
    """A file that cannot be used. The text is for the user."""


def fill_from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Called by cyclopts, when flags and variables are known."""
    # What no variable can set, no file can set either: a file must not say that it is to be trusted (--trust-config).
    known = {argument.name.removeprefix("--"): argument for argument in arguments
             if argument.name.startswith("--") and argument.parameter.env_var}  # fmt: skip
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
            sources[name] = token.source if token.source not in ("cli", "env") else token.keyword or "argument"


def _path(known: Mapping[str, Any]) -> Path | None:
    """The file, if there is one. Raises ConfigError if one is named or there, but is not a file."""
    named = _given(known, "config")
    if named is not None:
        _must_be_a_file(Path(named), "--config: ")
        return Path(named)
    if "dir" not in known:
        return None
    found = Path(_given(known, "dir") or ".") / CONFIG_NAME
    try:
        found.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(why_unreadable(found.parent, error), EXIT_FAILED) from error
    _must_be_a_file(found)
    return found


def _must_be_a_file(path: Path, option: str = "") -> None:
    """Raises ConfigError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise ConfigError(f"{option}{path} is a symbolic link to nothing ({path.readlink()})") from error
        raise ConfigError(f"{option}there is no file {path}") from error
    except OSError as error:
        raise ConfigError(f"{option}{why_unreadable(path, error)}", EXIT_FAILED) from error
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise ConfigError(f"{option}{path} is {what}; options are read from a file in TOML")


def is_directory(path: Path) -> bool:
    """Return whether `path` is a directory; True if that cannot be determined: an unreadable one is reported later."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False


def _given(known: Mapping[str, Any], name: str) -> str | None:
    return (known[name].tokens[0].value or None) if name in known and known[name].tokens else None


def _table(path: Path) -> dict[str, Any]:
    """What the file says. Raises ConfigError."""
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise ConfigError(why_unreadable(path, error), EXIT_FAILED) from error
    try:
        return tomllib.loads(octets.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} cannot be read: line {line} is not UTF-8; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _values(path: Path, known: AbstractSet[str]) -> dict[str, str]:
    """The file's values as a command line would have them. Raises ConfigError."""
    table = _table(path)
    values: dict[str, str] = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name in values:
            raise ConfigError(f"{path}: {name} is there twice, with - and with _")
        if name not in known or name == "config":
            hint = did_you_mean(name, known - {"config"}, LOOSELY)
            raise ConfigError(f"{path}: unknown option {key}{hint}")
        values[name] = _text(path, key, value)
    return values


def _text(path: Path, key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict) and key == "keys" and all(isinstance(pressed, str) for pressed in value.values()):
        return ",".join(f"{action}={pressed}" for action, pressed in value.items())
    if key in ("limit", "warmup") and isinstance(value, list):
        return ";".join(_limit(path, item) if key == "limit" else str(item) for item in value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{path}: {key} must be a single value")


def _limit(path: Path, item: Any) -> str:
    """Return a `[[limit]]` table as `--limit` has it. Raises ConfigError."""
    if isinstance(item, str):
        return item
    if not isinstance(item, dict) or not isinstance(item.get("match"), str):
        raise ConfigError(f'{path}: each [[limit]] needs a match, such as match = "GET /report/*"')
    others = {key: value for key, value in item.items() if key != "match"}
    return " ".join([item["match"], *(f"{key}={_text(path, key, value)}" for key, value in others.items())])
