"""The theme and the layout that the monitor remembers between runs, in the user's state directory.

Errors are ignored: if the file cannot be read or is invalid, the defaults are used.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

SIZE_LIMIT = 4096
"""Most bytes that are read from the file. Usual files have 200."""


@dataclass(frozen=True)
class Layout:
    """The theme and the layout, with their defaults."""

    theme: str = ""
    tab: str = "log"
    sorted_by: str = "name"
    inverted: bool = False
    endpoints_by: str = "share"
    endpoints_inverted: bool = False
    span: float = 0.0
    """Duration of the lock lanes, in seconds; 0: the default."""
    wrapped: bool = False


def state_file() -> Path:
    """Return the path of the file. Raises RuntimeError if the user has no home directory."""
    named = os.environ.get("XDG_STATE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".local/state"
    return base / "faucet" / "monitor.json"


def load() -> Layout:
    """Return the remembered layout. Values that are missing or have another type get their default."""
    try:
        with state_file().open("rb") as file:
            data = json.loads(file.read(SIZE_LIMIT))
    except (OSError, ValueError, RuntimeError, RecursionError):
        return Layout()
    kinds = {field.name: type(field.default) for field in fields(Layout)}
    known = data if isinstance(data, dict) else {}
    return Layout(**{name: known[name] for name, kind in kinds.items() if type(known.get(name)) is kind})


def save(layout: Layout) -> None:
    """Save a layout. The file is replaced atomically, so another monitor always reads a complete one."""
    with contextlib.suppress(OSError, RuntimeError):
        path = state_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(asdict(layout), indent=1) + "\n")
        fresh.replace(path)
