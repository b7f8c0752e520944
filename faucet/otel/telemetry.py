"""The thread that sends traces and metrics. A slow or missing collector costs telemetry, never a request."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import threading
import traceback
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from faucet import pauses
from faucet.fleet import StartFailed
from faucet.machine import OTEL, install_command
from faucet.proxy.pool import Pool
from faucet.proxy.stats import Record

if TYPE_CHECKING:
    from faucet.otel.sender import Sender

_log = logging.getLogger("faucet")

KEPT = 10_000
"""Most finished requests that wait to be sent. Beyond that, the oldest are dropped."""

SEND_SECONDS = 1.0
"""Seconds between two batches."""

FIGURES_SECONDS = 5.0
"""Seconds between two samples of the queue and the locks."""

END_SECONDS = 3.0
"""Seconds for which the shutdown of the service waits for the last batch."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Variables with the destination of traces. OpenTelemetry itself reads them, and many others."""


def destination(endpoint: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the destination: `endpoint`, an empty text if the variables define it, or None without telemetry.

    Raises StartFailed if the option `endpoint` is given and packages are missing.
    """
    named = next((name for name in ENDPOINTS if environ.get(name)), "")
    if not (endpoint or named) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if is_installed():
        return endpoint or ""
    text = f"needs packages that are not installed. Install them with: {install_command(OTEL)}"
    if endpoint:
        raise StartFailed(f"--otel-endpoint {text}")
    _log.warning("%s is set, but telemetry %s", named, text)  # no error: the variable may be meant for the workers
    return None


def is_installed() -> bool:
    """Return whether the required packages of OpenTelemetry are installed."""
    try:
        packages = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
        return all(importlib.util.find_spec(name) is not None for name in packages)
    except ModuleNotFoundError:  # a parent package is missing
        return False


class Telemetry:
    """Sends finished requests to `endpoint`; if that is empty, to the destination in the variables."""

    def __init__(self, endpoint: str) -> None:
        self.dropped = 0
        """Requests that were dropped because too many waited to be sent."""
        self.figures = (0, 0, 0)
        """The latest sample of queued requests, held locks, and workers."""
        self._endpoint = endpoint
        self._records: deque[Record] = deque(maxlen=KEPT)
        self._stopping = threading.Event()

    def record(self, record: Record) -> None:
        """Add a finished request. Called once per request, in the thread of the event loop."""
        self.dropped += len(self._records) == KEPT
        self._records.append(record)

    @contextlib.asynccontextmanager
    async def running(self, pool: Pool) -> AsyncIterator[None]:
        """Send telemetry while the block runs."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        threading.Thread(target=self._run, args=(loop, ended), name="faucet-otel", daemon=True).start()
        self._look(loop, pool)
        try:
            yield
        finally:
            self._timer.cancel()
            self._stopping.set()
            with contextlib.suppress(TimeoutError):
                async with pauses.timeout(END_SECONDS):
                    await asyncio.shield(ended)
            if self.dropped:
                _log.warning("OpenTelemetry: %d requests were not sent, since the collector was too slow", self.dropped)

    def _look(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self.figures = pool.dispatcher.waiting, pool.dispatcher.locked, pool.dispatcher.size
        self._timer = loop.call_later(FIGURES_SECONDS, self._look, loop, pool)

    def _run(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        """Send batches; runs in the thread. Only the thread of the event loop may write to the log."""

        def complain(text: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the service has ended
                loop.call_soon_threadsafe(_log.warning, "OpenTelemetry: %s", text)

        try:
            from faucet.otel.sender import Sender

            sender = Sender(self._endpoint, lambda: self.figures, complain)
            while not self._stopping.wait(SEND_SECONDS):
                self._send(sender)
            self._send(sender)
            sender.close()
        except Exception:  # a bug in the sender must not end the service, but must be logged
            complain(f"nothing is sent any more: {traceback.format_exc()}")
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set_result, None)

    def _send(self, sender: Sender) -> None:
        records = [self._records.popleft() for _ in range(len(self._records))]
        if records:
            sender.send(records)
