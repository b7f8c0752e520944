"""Files of the API change, and a rolling restart follows: ready first, so a mistake costs nothing but a message."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from faucet.workers.fleet import Refused

if TYPE_CHECKING:
    from faucet.workers.local import LocalWorkers

_log = logging.getLogger("faucet")

DEBOUNCE = 300
"""Milliseconds in which changes are taken for one: editors write a file in several steps."""


class ReloadError(Exception):
    """It cannot be watched. The text is for the user."""


def require() -> None:
    """Raises ReloadError if what watches files is not installed."""
    try:
        import watchfiles  # noqa: F401
    except ImportError as error:
        raise ReloadError("--reload needs the package watchfiles: pip install 'faucet[reload]'") from error


async def reload_on_change(pool: LocalWorkers, directory: Path, ignored: Path | None) -> None:
    """Roll after each change in `directory`, for ever. The file `ignored` (the log) may change."""
    from watchfiles import Change, DefaultFilter, awatch

    class Filter(DefaultFilter):
        """Not what editors and version control leave around."""

        def __call__(self, change: Change, path: str) -> bool:
            hidden = any(part.startswith(".") for part in Path(path).relative_to(directory).parts)
            return (
                super().__call__(change, path) and not hidden and not path.endswith("~") and not _is_log(path, ignored)
            )

    async for changes in awatch(directory, watch_filter=Filter(), debounce=DEBOUNCE, step=50):
        names = sorted({str(Path(path).relative_to(directory)) for _, path in changes})
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        if pool.stopping:
            return
        await _roll(pool, f"a change of {shown}")


def _is_log(path: str, log: Path | None) -> bool:
    """The log, or what it was rotated to."""
    return log is not None and path.startswith(str(log.absolute()))


async def _roll(pool: LocalWorkers, why: str) -> None:
    while pool.rolling is not None:  # with the code of before the change, perhaps
        await asyncio.wait([pool.rolling.result])
        await asyncio.sleep(0)
    try:
        _, result = pool.roll(why)
        await asyncio.wait([result])
    except Refused as error:
        _log.warning("no rolling restart after %s: %s", why, error)
