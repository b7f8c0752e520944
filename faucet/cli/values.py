"""The values of options: for each unit a function that parses a word, or raises ValueError with a text for the user.

Imported when there is a word to be parsed: what these functions make comes from all over the program.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from faucet import units
from faucet.cli.keymap import parse_keymap
from faucet.http1.forwarded import Trust
from faucet.net.address import Address, AddressError, UnixAddress, parse_address, parse_listen
from faucet.net.service_url import ServiceUrl, parse_dns_server, parse_service_url
from faucet.settings import PackageApi, parse_api, parse_limit, parse_span, parse_warmup
from faucet.settings.control import parse_control, parse_which
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
        raise ValueError(f"invalid URL {text!r}; expected one like http://localhost:4318")
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
        raise ValueError(f"invalid name {text!r}; expected a name without spaces, = and &, like token")
    return text


def parse_screen(text: str) -> tuple[int, int]:
    """Return the columns and lines of a screen: `120x36`. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,3})x([0-9]{1,3})", text.strip())
    columns, lines = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (20 <= columns <= 500 and 3 <= lines <= 200):
        raise ValueError(f"invalid size {text!r}; expected columns x lines from 20x3 to 500x200: 120x36")
    return columns, lines


def parse_count(text: str) -> int:
    """Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"invalid number {text!r}; expected a whole number") from None


PARSERS: dict[str, Callable[[str], Any]] = {
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
    "count": parse_count,
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
"""By the unit of the option."""
