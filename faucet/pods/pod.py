"""One pod: an endpoint with a lock, not started by Faucet.

A pod gets requests while the service lists it, it is not held, and it accepts connections. An unreachable pod is
retried with back-off, and gets requests again when a connection succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from faucet import tasks
from faucet.backoff import Backoff
from faucet.fleet import Fault, WorkerDetails, WorkerStatus
from faucet.net.connect import Connector, LinkDown, LinkLost, WorkerBusy, why_not
from faucet.pods.discovery.endpoints import Endpoint
from faucet.pods.gate import Gate, GatedBackend
from faucet.proxy.holders import PoolLease
from faucet.proxy.record import serving
from faucet.proxy.upstream import Backend
from faucet.units import counted, format_duration

if TYPE_CHECKING:
    from faucet.proxy.server import Proxy

_log = logging.getLogger("faucet")

BACKOFF = Backoff(1.0, 30.0)
"""Pauses before an unreachable pod is retried, in seconds."""

REST = 0.2
"""Seconds before a pod gets a request again after it was busy with a request of another Faucet."""

FORGIVEN_AFTER = 30.0
"""Seconds without a failure after which earlier ones no longer count."""


class PodLog(logging.LoggerAdapter[logging.Logger]):
    """A logger that names the pod at the start of the text, for people, and in a field of its own, for programs."""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        """Called by logging."""
        assert self.extra is not None
        name = str(self.extra["worker"]).replace("%", "%%")  # as in fe80::1%eth0
        return f"pod {name}: {msg}", {**kwargs, "extra": self.extra}


class Pod:
    """A pod and its lock. `on_trouble()` is called when the pod is unreachable: the endpoints may have changed."""

    def __init__(
        self, endpoint: Endpoint, name: str, proxy: Proxy, connector: Connector, timeout: float, grace: float,
        on_trouble: Callable[[], None], gate: Gate | None = None,
    ) -> None:  # fmt: skip
        self.endpoint = endpoint
        self.listed = True
        """Whether the service lists the pod as ready."""
        self.why = ""
        """Why the pod is not listed."""
        self.held = False
        self.linked = True
        """Whether the link to the pods is up; always True without a link."""
        self.trouble = ""
        """Why the latest connection failed; empty while the pod is reachable."""
        self.next_try: float | None = None
        """When an unreachable pod is retried (monotonic); None while it is reachable."""
        self.since = monotonic()
        """When the pod joined (monotonic)."""
        self.unreached = 0
        """How often a connection failed."""
        self.log = PodLog(_log, {"worker": name})
        self._proxy = proxy
        self._connector = connector
        self._timeout = timeout
        self._on_trouble = on_trouble
        self._failures = 0  # in a row
        self.failing_since = 0.0
        """When the first connection failed, while the pod is unreachable (monotonic)."""
        self._failed_at = 0.0
        self._retrying: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()
        self._resting: asyncio.TimerHandle | None = None
        self._rested_at, self._why_resting = -inf, ""
        self._gate = gate
        self.backend = (
            Backend(name, endpoint.host, endpoint.port, connector, timeout, grace)
            if gate is None
            else GatedBackend(str(endpoint), gate, name, endpoint.host, endpoint.port, connector, timeout, grace)
        )
        self.backend.on_unreachable = self._unreachable
        self.backend.on_hung = lambda record: self.log.warning(
            "did not answer %s in time; it stays locked, since it is still busy", serving(record)
        )
        proxy.pool.add(self.backend, held=True)  # until `settle`: the pod may be held, or the link may be down

    def __str__(self) -> str:
        return self.backend.name

    @property
    def lease(self) -> PoolLease | None:
        """The lock of the pod, if a request holds it."""
        return self._proxy.pool.dispatcher.lease(self.backend)

    def settle(self) -> None:
        """Resume or hold the backend, according to the state of the pod."""
        free = self.listed and self.linked and not self.held and self._retrying is None and self._resting is None
        if free and not self._why_closed():
            self._proxy.pool.resume(self.backend)
        else:
            self._proxy.pool.hold(self.backend)

    def _why_closed(self) -> str:
        return "" if self._gate is None else self._gate.why_closed(str(self.endpoint))

    def status(self) -> WorkerStatus:
        """Return the state of the pod, and why it gets no requests."""
        state, reason, next_try = "ready", "", None
        if not self.listed:
            state, reason = "draining", self.why
        elif self.held:
            state, reason = "held", "" if self.next_try is None else f"also unreachable: {self.trouble}"
        elif self.next_try is not None:
            state, reason, next_try = "backoff", self.trouble, self.next_try
        elif closed := self._why_closed():
            state, reason = "held", closed
        elif self._resting is not None:
            state, reason = "held", self._why_resting
        return WorkerStatus(
            key=str(self.endpoint), name=str(self), state=state, backend=self.backend, reason=reason,
            counted_as=str(self), port=self.endpoint.port, since=self.since, next_try=next_try,
            address=str(self.endpoint),
        )  # fmt: skip

    def details(self) -> WorkerDetails:
        """Return the status of the pod and the facts of its connection."""
        connection = self.backend.connection
        facts = [
            ["address", str(self.endpoint)],
            ["connection", "none" if connection is None else "open, new" if connection.fresh else "open, kept"],
            ["unreachable", counted(self.unreached, "time") + (f", now: {self.trouble}" if self.trouble else "")],
        ]
        return WorkerDetails(self.status(), {"facts": facts, "took": 0.0})

    def close(self) -> None:
        """Remove the pod from the proxy, and close its connection if no exchange uses it."""
        if self._retrying is not None:
            self._retrying.cancel()
        if self._resting is not None:
            self._resting.cancel()
        self._proxy.pool.remove(self.backend)
        self.backend.close(whatever=False)

    # -- unreachable -------------------------------------------------------------------------------------------

    def _unreachable(self, error: Exception) -> None:
        """Start retrying after a failed connection. The proxy holds the backend already."""
        if isinstance(error, WorkerBusy):
            self._rest(error)
            return
        if isinstance(error, LinkDown | LinkLost):
            self.settle()  # the link failed, not the pod
            return
        if monotonic() - self._failed_at > FORGIVEN_AFTER:
            self._failures = 0
        self._failed(error)
        if self._retrying is None:
            self._retrying = tasks.start(self._retry(), f"retry of pod {self}")
        self._on_trouble()

    def _rest(self, error: Exception) -> None:
        """The pod has refused a request itself: give it no requests for REST seconds."""
        if self._resting is None:
            if monotonic() - self._rested_at > FORGIVEN_AFTER:  # not five times a second
                self.log.info("%s", error)
            self._rested_at, self._why_resting = monotonic(), str(error)
            self._resting = asyncio.get_running_loop().call_later(REST, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.settle()

    def _failed(self, error: Exception) -> None:
        if self._retrying is None:
            self.failing_since = monotonic()
        self._failures += 1
        self.unreached += 1
        self._failed_at = monotonic()
        self.trouble = why_not(error)

    async def _retry(self) -> None:
        """Retry until the pod accepts a connection."""
        reported = ""
        while True:
            pause = BACKOFF.pause(max(self._failures, 1))
            if self.trouble != reported:
                reported = self.trouble
                self.log.warning("unreachable: %s; retry in %s", reported, format_duration(pause))
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
                continue  # with the same pause: nothing new is known about the pod
            except (OSError, TimeoutError) as error:
                self._failed(error)
            else:
                transport.close()
                break
        self.log.info("reachable again")
        self.trouble = ""
        self.next_try = self._retrying = None
        self.settle()

    def retry(self) -> bool:
        """Retry now, and reset the back-off. Return False if the pod is not unreachable."""
        self._failures = 0
        self._at_once.set()
        if self._retrying is None:
            self._at_once.clear()
        return self._retrying is not None


def unreachable_pods(pods: Sequence[Pod]) -> Fault | None:
    """Return the fault that names the pods which accept no connection, and the reasons; None if all accept one."""
    found = sorted((pod for pod in pods if pod.next_try is not None and pod.linked), key=lambda pod: pod.failing_since)
    if not found:
        return None
    fact = f"{len(found)} of {counted(len(pods), 'pod')} cannot be reached: {found[0]}: {found[0].trouble}"
    detail = "\n".join(f"{pod} ({pod.endpoint}): {pod.trouble}" for pod in found)
    return Fault(found[0].failing_since, fact, len(found), detail)
