"""Files of the API change, and a rolling restart follows: ready first, so a mistake costs nothing but a message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from faucet.fleet import StartFailed

if TYPE_CHECKING:
    from faucet.workers.supervisor import Supervisor

_log = logging.getLogger("faucet")

LOOK_AGAIN = 1.0
"""Seconds between two looks for a directory that is gone."""

DEBOUNCE = 300
"""Milliseconds in which changes are taken for one: editors write a file in several steps."""


def require() -> None:
    """Raises StartFailed if what watches files is not installed."""
    try:
        import watchfiles  # noqa: F401
    except ImportError as error:
        raise StartFailed("--reload needs the package watchfiles: pip install 'faucet[reload]'") from error


async def reload_on_change(pool: Supervisor, directory: Path, ignored: Path | None) -> None:
    """Roll after each change in `directory`, for ever. The file `ignored` (the log) may change."""
    log = _resolved(ignored)
    while True:
        async for names in _changes(directory, log):
            if pool.ending:
                return
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            pool.roll_anew(f"a change of {shown}")
        _log.warning("%s is gone: no reload until it is back", directory)
        while _inode(directory) is None:  # noqa: ASYNC110, nothing tells of its return
            await asyncio.sleep(LOOK_AGAIN)
        pool.roll_anew(f"a new {directory.name}")


async def _changes(directory: Path, log: Path | None) -> AsyncIterator[list[str]]:
    """The names of what has changed, each time; until the directory is gone, or another."""
    from watchfiles import Change, DefaultFilter, awatch

    class Filter(DefaultFilter):
        """Not what editors and version control leave around."""

        def __call__(self, change: Change, path: str) -> bool:
            hidden = any(part.startswith(".") for part in Path(path).relative_to(directory).parts)
            unwanted = hidden or path.endswith("~") or _is_log(Path(path), log)
            return super().__call__(change, path) and not unwanted

    watched = _inode(directory)
    async for changes in awatch(
        directory, watch_filter=Filter(), debounce=DEBOUNCE, step=50, yield_on_timeout=True, rust_timeout=1000
    ):
        if watched is None or _inode(directory) != watched:
            return
        if changes:
            yield sorted({str(Path(path).relative_to(directory)) for _, path in changes})


def _inode(directory: Path) -> int | None:
    """Tells a directory from another of the same name; None if there is none."""
    try:
        return directory.stat().st_ino
    except OSError:
        return None


def _resolved(path: Path | None) -> Path | None:
    return None if path is None else path.resolve()


def _is_log(path: Path, log: Path | None) -> bool:
    """The log, or what it was rotated to: `log`, `log.1`."""
    if log is None or path.parent.resolve() != log.parent:
        return False
    return path.name == log.name or (path.name.startswith(f"{log.name}.") and path.suffix[1:].isdigit())
