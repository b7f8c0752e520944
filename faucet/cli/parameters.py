"""The dataclasses of `faucet/settings` as flags: name, variable, unit, range, help and default of each field."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter, Token, env_var_split

from faucet import units
from faucet.cli.errors import UnknownWord
from faucet.cli.toml import is_directory
from faucet.settings.control import Which, parse_which
from faucet.settings.option import Option


def whole_number(_type: Any, tokens: Sequence[Token]) -> int:
    """Convert the value of an option: cyclopts itself would round 1.5. Raises ValueError."""
    from faucet.cli.values import parse_count

    return parse_count(tokens[0].value)


def which_service(_type: Any, tokens: Sequence[Token]) -> Which | None:
    """Convert the value of --at."""
    return parse_which(tokens[0].value)


def path_of(token: Token) -> Path:
    """Return the path that is named. Raises ValueError for an empty word on the command line: most likely a slip."""
    if not token.value and token.source == "cli":
        raise ValueError("it is empty: is a shell variable not set? The current directory is `.`")
    return Path(token.value)


def directory_of(token: Token) -> Path:
    """Return the directory that is named. Raises ValueError; UnknownWord if the command line names something else.

    A variable or a file may name a directory that does not exist yet, for doctor to report.
    """
    path = path_of(token)
    if token.source == "cli" and not is_directory(path):
        raise UnknownWord(token.value, is_path=token.keyword is not None)
    return path


METAVARS = {
    "duration": "TIME",
    "size": "SIZE",
    "address": "ADDRESS",
    "keys": "KEYS",
    "span": "N",
    "url": "URL",
    "dns": "ADDRESS",
    "ssh": "HOST",
    "admin": "ADDRESS",
    "trust": "NETWORKS",
    "api": "PKG::NAME",
    "directory": "DIR",
    "globs": "GLOB",
    "names": "NAMES",
    "signal": "SIGNAL",
    "screen": "SIZE",
    "control": "PATH",
    "limit": "LIMIT",
    "warmup": "REQUEST",
    "otlp": "URL",
}
"""What stands for a value of each unit in usage lines."""
_LISTS = {"ssh": ",", "address": ",", "globs": ",", "names": ",", "limit": ";", "warmup": ";"}
"""Options that can be given several times, and what may be between two values in one word."""


def _show_address(value: Any) -> str:
    from faucet.net.address import UnixAddress

    mode = value.mode if isinstance(value, UnixAddress) else None
    return str(value) if mode is None else f"{value}?mode={mode:03o}"


_SHOWN: dict[str, Callable[[Any], str]] = {
    "duration": units.format_duration,
    "size": units.format_size,
    "address": _show_address,
}


def _convert(option: Option, _type: Any, tokens: Sequence[Token]) -> Any:
    if option.unit == "directory":
        return directory_of(tokens[0])
    from faucet.cli.values import PARSERS

    parse = PARSERS[option.unit]
    if option.unit in _LISTS:
        between = _LISTS[option.unit]
        words = [word.strip() for token in tokens for word in token.value.split(between) if word.strip()]
        if not words and tokens[0].source != "env":
            raise ValueError("it is empty")
        values = tuple(map(parse, words))
        if option.unit == "limit":
            from faucet.settings.limit import differing

            return differing(values)
        return values
    return parse(tokens[0].value)


def _check_range(option: Option, _type: Any, value: Any) -> None:
    if value is None:
        return
    if option.minimum is not None and not value >= option.minimum:  # a NaN is not, either
        raise ValueError(f"must be at least {show(option, option.minimum)}")
    if option.maximum is not None and value > option.maximum:
        raise ValueError(f"must be at most {show(option, option.maximum)}")


def show(option: Option, value: Any) -> str:
    """A value as help and `faucet config` show it."""
    if isinstance(value, tuple) and option.unit in _LISTS:
        return f"{_LISTS[option.unit]} ".join(show(option, item) for item in value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={key}" for name, key in value.items())
    if option.unit == "screen":
        return "x".join(map(str, value))
    if value == 0 and not isinstance(value, bool):
        return "0"  # of whatever unit
    return _SHOWN.get(option.unit, str)(value)


def _parameter(field: dataclasses.Field[Any], has_variable: bool = True) -> Parameter:
    option: Option = field.metadata["option"]
    flag = f"--{field.name.replace('_', '-')}"
    shown = option.shown or show(option, field.default)
    is_parsed = option.unit not in ("plain", "directory")
    return Parameter(
        name=(flag, option.short) if option.short else flag,
        env_var=f"FAUCET_{field.name.upper()}" if has_variable else (),
        help=option.help,
        group=Group(option.group),
        converter=partial(_convert, option) if option.unit != "plain" else None,
        validator=partial(_check_range, option),
        negative=option.negative or (),
        show_default=lambda _value: shown,
        metavar=METAVARS.get(option.unit),
        # One word each, however many fields the parsed value has.
        n_tokens=1 if is_parsed else None,
        accepts_keys=False if is_parsed else None,
        env_var_split=_whole if _LISTS.get(option.unit) == ";" else env_var_split,
        json_list=False,  # [::1]:80 is an address
        json_dict=False,
    )


def _whole(_type: Any, text: str, **_: Any) -> list[str]:
    """Return the value of a variable as one word: it may have blanks."""
    return [text]


def option_of(settings: type[Any], name: str) -> Parameter:
    """Return the flag and the variable of one field of `settings`, for a command that takes it, too."""
    return _parameter(next(field for field in dataclasses.fields(settings) if field.name == name))


_KINDS = {
    "only": inspect.Parameter.POSITIONAL_ONLY,
    "also": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "no": inspect.Parameter.KEYWORD_ONLY,
}


def with_options(command: Callable[..., int], settings: type[Any], flags_only: bool = False) -> Callable[..., int]:
    """Return `command` with a flag for each field of `settings` in place of its first argument.

    Its other arguments stay as they are. `flags_only`: no variable but the directory's sets an option.
    """
    fields = dataclasses.fields(settings)
    positional = [field.name for field in fields if field.metadata["option"].positional != "no"]
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @wraps(command)
    def with_flags(*words: Any, **values: Any) -> int:
        more = {part.name: values.pop(part.name) for part in own if part.name in values}
        return command(settings(**dict(zip(positional, words, strict=False)), **values), **more)

    hints = typing.get_type_hints(settings)
    parts = [_signature_part(field, hints[field.name], flags_only) for field in fields]
    with_flags.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        sorted([*parts, *own], key=lambda part: part.kind)
    )
    return with_flags


def _signature_part(field: dataclasses.Field[Any], kind: Any, flags_only: bool) -> inspect.Parameter:
    option: Option = field.metadata["option"]
    has_variable = not flags_only or option.unit == "directory"
    parameter = _parameter(field, has_variable)
    if option.positional == "only":  # a word without a flag or a variable
        parameter = Parameter(help=option.help, converter=parameter.converter, n_tokens=1, accepts_keys=False)
    return inspect.Parameter(
        field.name, _KINDS[option.positional], default=field.default, annotation=Annotated[kind, parameter]
    )
