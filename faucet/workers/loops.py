"""Tell a file that the API keeps writing from one that a person edits, so that `--reload` does not restart for ever.

If an API writes a file when it starts, and that file counts as code, each restart leads to the next. Such a file is
recognized by when it changes: while workers start or just after, after each restart, and nothing else has changed. A
file that is written for each request is recognized likewise: each change comes with a request, and hardly a request
comes without a change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

from faucet.workers.watched import is_source

DATA_LIMIT, SOURCE_LIMIT = 5, 12
"""Restarts in a row that one file may cause in this manner. Editors that save while somebody types look like this for a
while, but in source files only, and not when each restart waits until they pause (see `calm`)."""

CALM_AFTER = 5
"""Restarts in a row after which another one for the same source file waits until that has been left alone for a
while."""

FEW_REQUESTS = 3
"""Requests between two changes, at most, if each request is to be the cause of one."""


@dataclass(frozen=True)
class Moment:
    """The state of the service when files changed."""

    starting: bool
    """Workers were starting, or had become ready a moment ago."""
    requested: bool
    """A request was in progress, or had ended a moment ago."""
    requests: int
    """Requests that workers have begun since the start."""
    rolls: int
    """Rolling restarts that have begun since the start."""


@dataclass
class Loops:
    """Remembers the changes of one service."""

    left_out: set[str] = field(default_factory=set)
    """Files, or patterns of files, that no longer cause a restart."""
    _names: set[str] = field(default_factory=set)  # common to all changes of the streak
    _groups: set[str] = field(default_factory=set)  # their directories and suffixes
    _length: int = 0
    _rolls: int = -1
    _requests: int = 0

    def ignores(self, name: str) -> bool:
        """Return whether changes of `name` are ignored."""
        return name in self.left_out or _group(name) in self.left_out

    def judge(self, names: Iterable[str], moment: Moment) -> str:
        """Record a change of `names`. Return the file or pattern to ignore from now on, or ''."""
        changed = set(names)
        groups = {_group(name) for name in changed if not is_source(name)}
        common, shared = self._names & changed, self._groups & groups
        few = 0 < moment.requests - self._requests <= FEW_REQUESTS
        suspicious = moment.starting or (moment.requested and few)
        self._requests = moment.requests
        if not (suspicious and (common or shared)):
            self._names, self._groups, self._length, self._rolls = changed, groups, int(suspicious), moment.rolls
            return ""
        self._names, self._groups = common, shared
        if moment.rolls != self._rolls:  # a long copy is many changes, and one restart
            self._length, self._rolls = self._length + 1, moment.rolls
        return self._verdict()

    def _verdict(self) -> str:
        culprits = sorted(self._names) or sorted(self._groups)
        limit = SOURCE_LIMIT if all(is_source(name) for name in culprits) else DATA_LIMIT
        if self._length <= limit:
            return ""
        self.left_out.update(culprits)
        self._names, self._groups, self._length = set(), set(), 0
        return ", ".join(culprits)

    @property
    def calm(self) -> bool:
        """Whether the next restart should wait until the file stops changing."""
        return self._length > CALM_AFTER


def _group(name: str) -> str:
    """Return a pattern such as `cache/*.json`, for files that have another name each time."""
    path = PurePath(name)
    return (path.parent / f"*{path.suffix}").as_posix()
