"""In which ways simulated Faucets run: as the options say, before which pods, and on how bad a machine."""

from __future__ import annotations

from typing import NamedTuple


class Mode(NamedTuple):
    """What the members are told, what their pods are, and what may happen to a write."""

    serve: bool = False
    """`--ha-on-partition serve`: an active goes on without the members that it cannot reach."""
    strict: bool = False
    """Whether each pod refuses a second request itself."""
    late_writes: bool = False
    """Whether a member may be frozen between its look at the clock and the sending of a request."""


PLAIN, STRICT = Mode(), Mode(strict=True, late_writes=True)
STRICT_SERVE = Mode(serve=True, strict=True, late_writes=True)
