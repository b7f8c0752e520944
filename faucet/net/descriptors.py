"""Accounting of file descriptors: clients must not use up those that the service itself needs.

A few are reserved: for connections to workers, for starting workers, for the log and the control socket. Clients that
would take one of those are not accepted. A few more are for clients that connect while others are closed to make room.

A failure for lack of a descriptor is Faucet's own shortage, not a worker's fault, and is reported as such: in the log,
at most every 30 s, and in a counter.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
from time import monotonic

_log = logging.getLogger("faucet")

LEAST_KEPT, MOST_KEPT = 8, 64
"""Limits of the number of reserved descriptors: an eighth of all."""

COUNT_SECONDS, MANY = 0.1, 4096
"""Seconds for which a count is reused; 20 times longer if the limit is MANY or more, since counting takes longer."""

PERIOD_SECONDS = 60.0
"""The peak of descriptors used by anything but clients is remembered for one to two of these periods."""

TELL_SECONDS = 30.0
"""Seconds between two lines in the log."""


def is_shortage(error: BaseException | None) -> bool:
    """Whether `error` is a lack of file descriptors, of this process or of the whole system."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def _in_use(limit: int) -> int:
    """Return the number of descriptors in use by this process; `limit`, if none is left to count with."""
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(directory)) - 1  # noqa: PTH208
        except OSError as error:
            if is_shortage(error):
                return limit
    return 0


class Descriptors:
    """The file descriptors of this process."""

    def __init__(self) -> None:
        self.limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.kept = min(max(self.limit // 8, LEAST_KEPT), MOST_KEPT)
        self._spare = self.kept // 2
        self.unproblematic = max(self.limit // 2 - MOST_KEPT, 0)
        """Up to this many clients, no exact count is needed."""
        self._room = 0
        self._counted = -COUNT_SECONDS
        self._most = self._most_before = 0
        self._period_began = monotonic()
        self.shortages: dict[str, int] = {}
        """How often a descriptor was missing, by purpose."""
        self._untold = 0
        self._timer: asyncio.TimerHandle | None = None

    def has_room(self, clients: int) -> bool:
        """Whether one more than `clients` connections may be accepted, without taking a reserved descriptor."""
        return clients < self.unproblematic or clients < self._count(clients) + self._spare

    def too_many(self, clients: int) -> bool:
        """Whether one of `clients` connections should be closed to make room for the next."""
        return clients > self._count(clients)

    def _count(self, clients: int) -> int:
        """Return the limit of client connections, without the spare ones. `clients` is how many are open now."""
        if monotonic() - self._counted > (COUNT_SECONDS if self.limit < MANY else COUNT_SECONDS * 20):
            self._room = self.limit - self.kept - self._spare - self._most_others(_in_use(self.limit) - clients)
            self._counted = monotonic()
            self.unproblematic = max(self._room - 2 * self.kept, 0)
        return self._room

    def _most_others(self, others: int) -> int:
        """Return the recent peak of descriptors used by anything but clients. `others` is their number now.

        The descriptors of a worker that has exited must be left for its successor.
        """
        if monotonic() - self._period_began > PERIOD_SECONDS:
            self._period_began = monotonic()
            self._most_before, self._most = self._most, 0
        self._most = max(self._most, others)
        return max(self._most, self._most_before)

    def note(self, purpose: str) -> None:
        """Record that a descriptor was missing for `purpose`: `client`, `worker`, `readiness check`, `health check`."""
        self.shortages[purpose] = self.shortages.get(purpose, 0) + 1
        if self._timer is not None:
            self._untold += 1
            return
        _log.warning(
            "Faucet has no file descriptors to spare (limit %d): idle clients are closed, and new ones have to wait. "
            "Raise the limit: ulimit -n, LimitNOFILE= in a systemd unit",
            self.limit,
        )
        self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)

    def _tell(self) -> None:
        self._timer = None
        if self._untold:
            _log.warning("file descriptors were missing %d more times in %g s", self._untold, TELL_SECONDS)
            self._untold = 0
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)
        else:
            _log.info("there are enough file descriptors again")

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
