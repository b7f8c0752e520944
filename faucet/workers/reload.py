"""Rolling restarts when the API's files change. Old workers serve until new ones are ready: an error stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from itertools import islice
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING

from faucet.fleet import StartFailed
from faucet.machine import RELOAD, install_command
from faucet.workers.instance import State
from faucet.workers.loops import Loops, Moment
from faucet.workers.watched import Watched

if TYPE_CHECKING:
    from watchfiles import Change

    from faucet.workers.supervisor import Supervisor

_log = logging.getLogger("faucet")

LOOK_AGAIN = 1.0
"""Seconds between two looks for a directory that is gone, and at files behind links."""

DEBOUNCE = 300
"""Milliseconds in which changes are taken for one: editors write a file in several steps."""

AFTER_START, AFTER_REQUEST = 3.0, 0.75
"""Seconds in which a change is taken for the work of a worker that has become ready, or has answered."""

CALM = 3.0
"""Seconds for which a file must be left alone that has caused many restarts in a row."""

ADDED = 1
"""watchfiles.Change.added, without importing that where nobody reloads."""

MOST_LINKS = 1000

OPTIONS_FILE = "faucet.toml"


def require() -> None:
    """Raises StartFailed if what watches files is not installed."""
    try:
        import watchfiles  # noqa: F401
    except ImportError as error:
        text = f"--reload needs the package watchfiles. Install it with: {install_command(RELOAD)}"
        raise StartFailed(text) from error


async def reload_on_change(pool: Supervisor, watched: Watched) -> None:
    """Start a rolling restart after each change of `watched` files, until the service is stopping."""
    reloader = _Reloader(pool, watched)
    directory = watched.directory
    while True:
        async for names in _changes(watched):
            if pool.ending:
                return
            reloader.take(names)
        _log.warning("%s is gone: no reload until it is back", directory)
        while _identity(directory) is None:  # noqa: ASYNC110, nothing tells of its return
            await asyncio.sleep(LOOK_AGAIN)
        pool.reload(f"a new {directory.name}")


class _Reloader:
    """Turns changes into rolling restarts, and refuses those that would never end."""

    def __init__(self, pool: Supervisor, watched: Watched) -> None:
        self._pool = pool
        self._watched = watched
        self._loops = Loops()
        self._postponed: set[str] = set()
        self._last_change = 0.0

    def take(self, names: set[str]) -> None:
        """Process changed files, or with no names, the passing of time."""
        if OPTIONS_FILE in names:
            _log.warning("%s has changed: its options take effect when Faucet is restarted", OPTIONS_FILE)
        wanted = {name for name in names if name != OPTIONS_FILE and not self._loops.ignores(name)}
        if wanted:
            self._last_change = monotonic()
            left_out = self._loops.judge(wanted, self._moment())
            if left_out:
                self._say_left_out(left_out)
            wanted = {name for name in wanted if not self._loops.ignores(name)}
            self._postponed = {name for name in self._postponed | wanted if not self._loops.ignores(name)}
        if self._postponed and (not self._loops.calm or monotonic() - self._last_change >= CALM):
            names, self._postponed = self._postponed, set()
            self._pool.reload(f"a change of {_listed(sorted(names))}")

    def _say_left_out(self, names: str) -> None:
        patterns = " ".join(f"--reload-exclude '{name}'" for name in names.split(", "))
        _log.warning(
            "%s changes again after each restart: the API seems to write it. Its changes are ignored until Faucet is "
            "restarted, those of other files are not; %s makes that permanent",
            names, patterns,
        )  # fmt: skip

    def _moment(self) -> Moment:
        pool = self._pool
        dispatcher, stats = pool.proxy.pool.dispatcher, pool.proxy.stats
        instances = [instance for slot in pool.slots for instance in slot.instances]
        fresh = monotonic() - AFTER_START
        answered = bool(stats.recent) and 0 <= time() - stats.recent[-1].ended < AFTER_REQUEST
        return Moment(
            starting=any(instance.state is State.STARTING or instance.ready_at > fresh for instance in instances),
            requested=answered or dispatcher.locked > 0,
            requests=stats.exchanges + dispatcher.locked,
            rolls=pool.rolling.begun,
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


async def _changes(watched: Watched) -> AsyncGenerator[set[str], None]:
    """Yield the names of changed files, or an empty set once a second, until the directory is removed or replaced."""
    identity = _identity(watched.directory)
    links = await asyncio.to_thread(_Links, watched)
    looked = monotonic()
    while True:
        async with contextlib.aclosing(_raw_changes(watched.directory)) as batches:
            async for changes in batches:
                if identity is None or _identity(watched.directory) != identity:
                    return
                names = await asyncio.to_thread(_names, watched, changes) if changes else set()
                elsewhere = False
                if names or monotonic() - looked >= LOOK_AGAIN:
                    looked = monotonic()
                    moved = links.changed(names)
                    elsewhere = any(watched.leads_to_directory(name) for name in moved)
                    names |= moved
                yield names
                if elsewhere:
                    break  # what a link leads to by now is watched only from the start


async def _raw_changes(directory: Path) -> AsyncGenerator[set[tuple[Change, str]], None]:
    """Yield the changes that the system reports. If it cannot report them (it has limits), poll the files."""
    from watchfiles import awatch

    polling: bool | None = None
    while True:
        try:
            async for changes in awatch(
                directory, watch_filter=None, debounce=DEBOUNCE, step=50, yield_on_timeout=True, rust_timeout=1000,
                force_polling=polling, poll_delay_ms=1000,
            ):  # fmt: skip
                yield changes
        except (OSError, RuntimeError) as error:
            yield set()
            if _identity(directory) is not None and not polling:
                polling = True
                _log.warning("--reload: the system does not report changes (%s); looking for them instead", error)
            else:
                await asyncio.sleep(LOOK_AGAIN)


def _names(watched: Watched, changes: set[tuple[Change, str]]) -> set[str]:
    """Return the names of files that count. A directory that was moved here stands for its content."""
    names: set[str] = set()
    for change, text in changes:
        path = Path(text)
        if not path.is_dir():
            names.update([watched.name_of(path)] if watched(path) else ())
        elif change == ADDED and not watched.leaves_out(Path(watched.name_of(path)).parts):
            names.update(map(watched.name_of, watched.files(path)))
    return names


class _Links:
    """Symbolic links: their targets may be anywhere, so the system reports no change of them."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        found = (path for path in watched.files(watched.directory) if path.is_symlink())
        self._seen = {watched.name_of(path): _state(path) for path in islice(found, MOST_LINKS)}

    def changed(self, names: set[str]) -> set[str]:
        """Return the links whose target has changed. Some of `names`, the changed files, may be new links."""
        for name in names:
            path = self._watched.directory / name
            if path.is_symlink() and len(self._seen) < MOST_LINKS:
                self._seen.setdefault(name, _state(path))
        before, self._seen = self._seen, {name: _state(self._watched.directory / name) for name in self._seen}
        return {name for name, state in self._seen.items() if state is not None and state != before[name]}


def _state(path: Path) -> tuple[int, ...] | None:
    """Return what identifies a link's target; of a directory, without its content. None if the link is broken."""
    try:
        status = path.stat()
    except OSError:
        return None
    which = (status.st_dev, status.st_ino)
    return which if path.is_dir() else (*which, status.st_mtime_ns, status.st_size)


def _identity(directory: Path) -> tuple[int, int] | None:
    """Return what tells a directory from another of the same name; None if there is none."""
    try:
        status = directory.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
