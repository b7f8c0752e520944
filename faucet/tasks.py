"""The one way to start a task: the task has a name, is referenced until it ends, and its exception is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger("faucet")
_running: set[asyncio.Task[Any]] = set()


def start(coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Run `coroutine` as a task of the running loop. The loop alone would keep only a weak reference to it."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s failed", task.get_name(), exc_info=error)


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task`, and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])
