"""Which API a directory contains, by its files: the conventions of Plumber, Posit Connect and plumber2.

`find_layout` only looks at files and starts nothing. `near_misses.py` explains directories that are almost an API.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Kind(Enum):
    """How an API is laid out, and so how it is started. The value is the name that `launch.R` uses."""

    SCRIPT = "script"
    """entrypoint.R: runs a server, or returns a router."""
    PLUMBER = "plumber"
    """plumber.R: annotated functions."""
    SERVER = "server"
    """_server.yml: settings for the package that it names as its engine."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The API in a directory."""

    kind: Kind
    file: str
    """The name of the file as spelled in the directory: `Plumber.R`."""
    engine: str = ""
    """Kind.SERVER: the R package that serves it; empty if the file does not say."""


NAMES = (
    (Kind.SCRIPT, re.compile(r"entrypoint\.r", re.IGNORECASE)),
    (Kind.PLUMBER, re.compile(r"plumber\.r", re.IGNORECASE)),
    (Kind.SERVER, re.compile(r"_server\.ya?ml", re.IGNORECASE)),
)
"""Names in the order in which they count, in any case, as for `plumber::plumb()` and `rsconnect::deployAPI()`. Both let
entrypoint.R win over plumber.R, and these over _server.yml."""

_ENGINE = re.compile(r"""^engine\s*:\s*["']?([A-Za-z][A-Za-z0-9.]*)["']?\s*(?:#.*)?$""", re.MULTILINE)


def find_layout(directory: Path) -> Layout | None:
    """Return the API in `directory`; None if there is none. Raises OSError if the directory cannot be read."""
    names = sorted((path.name for path in directory.iterdir()), key=_plumbs_spelling)
    for kind, pattern in NAMES:
        for name in names:
            if pattern.fullmatch(name) and (directory / name).is_file():
                return Layout(kind, name, engine_of(directory / name) if kind is Kind.SERVER else "")
    return None


def _plumbs_spelling(name: str) -> tuple[bool, str]:
    """Return a sort key that puts the usual spelling first, if there are both plumber.R and Plumber.r."""
    return name not in ("entrypoint.R", "plumber.R", "_server.yml"), name


def engine_of(path: Path) -> str:
    """Return the R package that a `_server.yml` names; empty if it names none."""
    match = _ENGINE.search(text_of(path))
    return match[1] if match else ""


def text_of(path: Path, limit: int = 1 << 20) -> str:
    """Return the beginning of a file; empty if it cannot be read, which is reported when the file is run."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(limit)
    except OSError:
        return ""
