"""The dataclasses of `faucet/settings` as flags: name, variable, unit, range, help and default of each field."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter, Token, env_var_split

from faucet import units
from faucet.cli.keymap import parse_keymap
from faucet.cli.misuse import UnknownWord
from faucet.cli.toml import is_directory
from faucet.http1.forwarded import Trust
from faucet.net.address import Address, AddressError, UnixAddress, parse_address, parse_listen
from faucet.net.service_url import ServiceUrl, parse_dns_server, parse_service_url
from faucet.settings import Option, PackageApi, differing, parse_api, parse_limit, parse_span, parse_warmup
from faucet.settings.control import Which, parse_control, parse_which
from faucet.ssh.target import parse_target


def _listened(text: str) -> Address | UnixAddress:
    """Raises ValueError."""
    try:
        return parse_listen(text)
    except AddressError as error:
        raise ValueError(str(error)) from error


def _address(text: str) -> Address | None:
    """Parse an address; None for an empty text, as of an empty variable. Raises ValueError."""
    try:
        return parse_address(text) if text.strip() else None
    except AddressError as error:
        raise ValueError(str(error)) from error


def _target(text: str) -> str:
    """`text`, if it can be asked for. Raises ValueError."""
    if text and not re.fullmatch(r"/[!-~]*", text):
        raise ValueError(f"invalid path {text!r}; expected one like /health")
    return text


def _service_url(text: str) -> ServiceUrl | None:
    """Raises ValueError."""
    return parse_service_url(text) if text else None


def _collector(text: str) -> str | None:
    """Return `text`, if it is a URL. Raises ValueError."""
    if text and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text):
        raise ValueError(f"invalid URL {text!r}; expected one as http://localhost:4318")
    return text or None


def _api(text: str) -> PackageApi | None:
    """Raises ValueError."""
    return parse_api(text) if text else None


def _glob(text: str) -> str:
    """`text`, if it can mean a file in the directory of the API. Raises ValueError."""
    if text.startswith(("/", "~", "../")):
        raise ValueError(f"invalid pattern {text!r}; patterns start at the directory of the API: data/*.json")
    return text


def _name(text: str) -> str:
    """Return the name of a query parameter or of a host, as it stands in a URL. Raises ValueError."""
    if not re.fullmatch(r"[^\s&;#=?\"']+", text):
        raise ValueError(f"invalid name {text!r}; expected one as in a URL: token, metrics.example.com")
    return text


def parse_screen(text: str) -> tuple[int, int]:
    """Return the columns and lines of a screen: `120x36`. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,3})x([0-9]{1,3})", text.strip())
    columns, lines = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (20 <= columns <= 500 and 3 <= lines <= 200):
        raise ValueError(f"invalid size {text!r}; expected columns x lines from 20x3 to 500x200: 120x36")
    return columns, lines


def whole_number(_type: Any, tokens: Sequence[Token]) -> int:
    """Convert the value of an option: cyclopts itself would round 1.5. Raises ValueError."""
    return _count(tokens[0].value)


def _count(text: str) -> int:
    """Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"invalid number {text!r}; expected a whole number") from None


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


_UNITS: dict[str, Callable[[str], Any]] = {
    "target": _target,
    "span": parse_span,
    "keys": parse_keymap,
    "duration": units.parse_duration,
    "size": units.parse_size,
    "address": _listened,
    "url": _service_url,
    "dns": parse_dns_server,
    "ssh": parse_target,
    "admin": _address,
    "trust": Trust,
    "count": _count,
    "api": _api,
    "globs": _glob,
    "names": _name,
    "signal": units.parse_stop_signal,
    "screen": parse_screen,
    "control": parse_control,
    "which": parse_which,
    "limit": parse_limit,
    "warmup": parse_warmup,
    "otlp": _collector,
}
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
_SHOWN: dict[str, Callable[[Any], str]] = {"duration": units.format_duration, "size": units.format_size}


def _convert(option: Option, _type: Any, tokens: Sequence[Token]) -> Any:
    if option.unit == "directory":
        return directory_of(tokens[0])
    if option.unit in _LISTS:
        between = _LISTS[option.unit]
        words = [word.strip() for token in tokens for word in token.value.split(between) if word.strip()]
        if not words and tokens[0].source != "env":
            raise ValueError("it is empty")
        values = tuple(_UNITS[option.unit](word) for word in words)
        return differing(values) if option.unit == "limit" else values
    return _UNITS[option.unit](tokens[0].value)


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
    if isinstance(value, UnixAddress) and value.mode is not None:
        return f"{value}?mode={value.mode:03o}"
    if option.unit == "screen":
        return "x".join(map(str, value))
    if value == 0 and not isinstance(value, bool):
        return "0"  # of whatever unit
    return _SHOWN.get(option.unit, str)(value)


def _parameter(field: dataclasses.Field[Any], has_variable: bool = True) -> Parameter:
    option: Option = field.metadata["option"]
    flag = f"--{field.name.replace('_', '-')}"
    shown = option.shown or show(option, field.default)
    return Parameter(
        name=(flag, option.short) if option.short else flag,
        env_var=f"FAUCET_{field.name.upper()}" if has_variable else (),
        help=option.help,
        group=Group(option.group),
        converter=partial(_convert, option) if option.unit in (*_UNITS, "directory") else None,
        validator=partial(_check_range, option),
        negative=option.negative or (),
        show_default=lambda _value: shown,
        metavar=METAVARS.get(option.unit),
        # One word each, however many fields the parsed value has.
        n_tokens=1 if option.unit in _UNITS else None,
        accepts_keys=False if option.unit in _UNITS else None,
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
