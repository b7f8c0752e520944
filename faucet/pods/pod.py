"""One pod: an address that Faucet did not start, with a lock.

It gets requests while the service lists it, nobody holds it, and it accepts connections. One that does not is put
aside, tried again after a while and, when that succeeds, given requests again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from faucet import tasks
from faucet.net.connect import Connector, LinkDown, LinkLost, why_not
from faucet.pods.discovery.endpoints import Endpoint
from faucet.proxy.upstream import Backend
from faucet.units import format_duration

if TYPE_CHECKING:
    from faucet.proxy.server import Proxy

_log = logging.getLogger("faucet")

BACKOFF_FIRST, BACKOFF_LIMIT = 1.0, 30.0
"""Seconds before a pod that accepts no connection is tried again, doubled each time up to the limit."""

FORGIVEN_AFTER = 30.0
"""Seconds without trouble after which earlier failures are forgotten."""


class PodLog(logging.LoggerAdapter[logging.Logger]):
    """Names the pod at the start of the text, for people, and apart, for programs."""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        """Called by logging."""
        assert self.extra is not None
        name = str(self.extra["worker"]).replace("%", "%%")  # as in fe80::1%eth0
        return f"pod {name}: {msg}", {**kwargs, "extra": self.extra}


class Pod:
    """A pod and its lock. `on_trouble()` is called when it accepts no connection: the set may be another by now."""

    def __init__(
        self, endpoint: Endpoint, name: str, proxy: Proxy, connector: Connector, timeout: float, grace: float,
        on_trouble: Callable[[], None],
    ) -> None:  # fmt: skip
        self.endpoint = endpoint
        self.listed = True
        """The service says that it wants requests."""
        self.why = ""
        """Why it is not listed."""
        self.held = False
        self.linked = True
        """There is a way to it."""
        self.trouble = ""
        """Why it could not be reached the last time; empty when it can be."""
        self.next_try: float | None = None
        """When it is tried again, while it is put aside (monotonic)."""
        self.since = monotonic()
        """When it joined."""
        self.unreached = 0
        """How often it could not be reached."""
        self.log = PodLog(_log, {"worker": name})
        self._proxy = proxy
        self._connector = connector
        self._timeout = timeout
        self._on_trouble = on_trouble
        self._failures = 0  # in a row
        self._failed_at = 0.0
        self._retrying: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()
        self.backend = Backend(name, endpoint.host, endpoint.port, connector, timeout, grace)
        self.backend.on_unreachable = self._unreachable
        self.backend.on_hung = lambda: self.log.warning("did not answer in time; it stays locked, as it is at work")
        proxy.add(self.backend, held=True)  # until `settle`: it may be held, or there may be no way to it

    def __str__(self) -> str:
        return self.backend.name

    @property
    def locked(self) -> bool:
        """Its lock is held."""
        return self._proxy.dispatcher.holder(self.backend) is not None

    def settle(self) -> None:
        """Give it requests, or none, as its state says."""
        if self.listed and self.linked and not self.held and self._retrying is None:
            self._proxy.resume(self.backend)
        else:
            self._proxy.hold(self.backend)

    def close(self) -> None:
        """It is gone: what it says no more matters to anybody."""
        if self._retrying is not None:
            self._retrying.cancel()
        self._proxy.remove(self.backend)
        self.backend.close(whatever=False)

    # -- put aside ---------------------------------------------------------------------------------------------

    def _unreachable(self, error: Exception) -> None:
        """It accepted no connection. The proxy holds it already."""
        if isinstance(error, LinkDown | LinkLost):
            self.settle()  # which is nothing that it has done
            return
        if monotonic() - self._failed_at > FORGIVEN_AFTER:
            self._failures = 0
        self._failed(error)
        if self._retrying is None:
            self._retrying = tasks.start(self._retry(), f"retry of pod {self}")
        self._on_trouble()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self.unreached += 1
        self._failed_at = monotonic()
        self.trouble = why_not(error)

    def _pause(self) -> float:
        return float(min(BACKOFF_FIRST * 2 ** min(self._failures - 1, 10), BACKOFF_LIMIT))

    async def _retry(self) -> None:
        """Until it accepts a connection."""
        told = ""
        while True:
            pause = self._pause()
            if self.trouble != told:
                told = self.trouble
                self.log.warning("cannot be reached: %s; next try in %s", told, format_duration(pause))
            self.next_try = monotonic() + pause
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._at_once.wait()
            self._at_once.clear()
            try:
                transport, _ = await self._connector(
                    asyncio.Protocol, self.endpoint.host, self.endpoint.port, self._timeout
                )
            except (LinkDown, LinkLost):
                continue  # as long as before: nothing new is known
            except (OSError, TimeoutError) as error:
                self._failed(error)
            else:
                transport.close()
                break
        self.log.info("can be reached again")
        self.trouble = ""
        self.next_try = self._retrying = None
        self.settle()

    def retry(self) -> bool:
        """Forget the pauses, and try now. False if it is not put aside."""
        self._failures = 0
        self._at_once.set()
        if self._retrying is None:
            self._at_once.clear()
        return self._retrying is not None
