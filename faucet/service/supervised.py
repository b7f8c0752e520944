"""Reports readiness, progress and a heartbeat to systemd, or to anything else that speaks its protocol."""

from __future__ import annotations

import asyncio
import os

from faucet.service.systemd import Notifier, watchdog_interval
from faucet.status.collect import Runtime

STATUS_SECONDS = 5.0
"""Between two lines of status."""


class Supervised:
    """Tells the supervisor, if there is one."""

    def __init__(self, runtime: Runtime) -> None:
        """Raises SystemdError for a watchdog that makes no sense."""
        interval = watchdog_interval(os.environ)
        self._runtime = runtime
        self._watched = interval is not None
        self._interval = min(interval or STATUS_SECONDS, STATUS_SECONDS)
        self._notifier = Notifier(os.environ)
        self._timer: asyncio.TimerHandle | None = None
        self._reloading = False

    def ready(self) -> None:
        """It serves."""
        self._notifier.ready(self._status())
        self._tick()

    def reloading(self) -> None:
        """A rolling restart was asked for."""
        self._reloading = True
        self._notifier.reloading()

    def stopping(self) -> None:
        """It ends."""
        self._notifier.stopping()

    def close(self) -> None:
        """No more to tell."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        """That we get here is what the watchdog wants to know."""
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)
        if self._watched:
            self._notifier.watchdog()
        if self._reloading and not self._runtime.fleet.notice():
            self._reloading = False
            self._notifier.ready(self._status())
        else:
            self._notifier.status(self._status())

    def _status(self) -> str:
        dispatcher = self._runtime.proxy.pool.dispatcher
        service = self._runtime.service()
        return (
            f"{service.state} with {self._runtime.fleet.described()}, {dispatcher.locked} busy, "
            f"{dispatcher.waiting} waiting" + (f"; {service.notice}" if service.notice else "")
        )
