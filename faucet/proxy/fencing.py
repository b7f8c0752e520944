"""Fencing of a pod that is a Faucet itself: it refuses requests of an active that has a successor.

The active in front adds a field with its epoch to each request. The pod removes the field again, so that its worker
gets what the client has sent, and refuses an epoch that is older than the newest one that it knows. For a minute only:
epochs begin anew where an administrator deletes the Lease, and a pod may live through that.

This is the second line. The first is the pod's own lock: with a queue of length 0 it refuses requests while it is busy.
"""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faucet.http1 import RequestHead

REMEMBERED = 60.0
"""Seconds for which older epochs are refused, after the newest one was seen last."""

OLDER_EPOCH = "Another Faucet has become the active since this request was sent."

_FIELD = re.compile(rb"\r\nFaucet[-_]Epoch:[ \t]*([^\r]*)", re.IGNORECASE)
"""The field, also one that a worker might mistake for it: in CGI names of fields, `_` is `-`."""

_EPOCH = re.compile(rb"[0-9]{1,15}")


def with_epoch(raw_head: bytes, epoch: int) -> bytes:
    """Return the head of a request with `epoch` as its field, and without such fields of the client."""
    raw_head = _FIELD.sub(b"", raw_head)
    return b"%bFaucet-Epoch: %d\r\n\r\n" % (raw_head[:-2], epoch)


def take_epoch(raw_head: bytes) -> tuple[bytes, int | None]:
    """Return the head without such fields, and the epoch; None if there is none. The last field counts: it was added
    by whoever is nearest."""
    values = _FIELD.findall(raw_head)
    if not values:
        return raw_head, None
    value = values[-1].strip()
    return _FIELD.sub(b"", raw_head), int(value) if _EPOCH.fullmatch(value) else None


class Fence:
    """The newest epoch that one pod knows."""

    def __init__(self) -> None:
        self.newest = 0
        self._seen_at = -inf

    def check_in(self, head: RequestHead, now: float) -> bool:
        """Remove the other Faucet's field from `head`. Return whether to refuse its request at `now` (monotonic)."""
        head.raw, epoch = take_epoch(head.raw)
        return epoch is not None and self.refuses(epoch, now)

    def refuses(self, epoch: int, now: float) -> bool:
        """Return whether a request of `epoch` is to be refused at `now`."""
        if epoch < self.newest and now - self._seen_at <= REMEMBERED:
            return True
        self.newest, self._seen_at = epoch, now
        return False
