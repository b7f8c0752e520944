"""Report readiness, progress and a heartbeat to systemd, or to another supervisor with its protocol."""

from __future__ import annotations

import asyncio
import os

from faucet.service.systemd import Notifier, watchdog_interval
from faucet.status.collect import Runtime

STATUS_SECONDS = 5.0
"""Seconds between two status lines."""


class Supervised:
    """Sends the state of a runtime to the supervisor, if there is one."""

    def __init__(self, runtime: Runtime) -> None:
        """Read the settings from the environment. Raises SystemdError for invalid watchdog settings."""
        interval = watchdog_interval(os.environ)
        self._runtime = runtime
        self._watched = interval is not None
        self._interval = min(interval or STATUS_SECONDS, STATUS_SECONDS)
        self._notifier = Notifier(os.environ)
        self._timer: asyncio.TimerHandle | None = None
        self._reloading = False

    def ready(self) -> None:
        """Report that the service is ready, and start the heartbeat."""
        self._notifier.ready(self._status())
        self._tick()

    def reloading(self) -> None:
        """Report that a rolling restart was requested."""
        self._reloading = True
        self._notifier.reloading()

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._notifier.stopping()

    def close(self) -> None:
        """Stop the heartbeat and the status lines."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        """Send the heartbeat and the status. That the event loop runs this proves to the watchdog that it is alive."""
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
