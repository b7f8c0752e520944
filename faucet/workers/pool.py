"""The part of a supervisor that recycling, autoscaling and rolling restarts use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Protocol

from faucet.settings import Span
from faucet.workers.causes import Cause
from faucet.workers.context import Context
from faucet.workers.slot import Slot


class Pool(Protocol):
    """The slots of a service."""

    context: Context
    slots: list[Slot]
    span: Span
    stopping: bool
    """Whether all workers are being stopped."""

    @property
    def ending(self) -> bool:
        """Whether no new operation may begin."""
        ...

    @property
    def starting(self) -> bool:
        """Whether some of the workers that there should be are not in service."""
        ...

    @property
    def changing(self) -> bool:
        """Whether some workers are not in service, or about to leave it."""
        ...

    @property
    def is_rolling(self) -> bool:
        """Whether a rolling restart is in progress."""
        ...

    async def replace(self, slot: Slot, cause: Cause) -> bool:
        """Replace the process in `slot`; return whether that succeeded."""
        ...

    def scale(self, count: int, who: str) -> str:
        """Scale to `count` workers."""
        ...

    def reload(self, why: str) -> None:
        """Request a rolling restart, after the one in progress if there is one."""
        ...

    def renewed(self) -> contextlib.AbstractAsyncContextManager[None]:
        """What workers are started from is loaded again, for the body and afterwards; if the body fails, it stays.

        Raises ReplaceError before the body.
        """
        ...

    def act(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run a coroutine as a task, which the shutdown waits for."""
        ...
