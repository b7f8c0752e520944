"""Finished requests as spans and metrics, with the SDK and exporter of OpenTelemetry. Runs in its own thread.

A request is a span with two child spans: `queue`, while it was queued, and `lock`, while it held the lock of a worker.
If the request has a `traceparent`, that is the parent of the span. The field is forwarded unchanged, so it is also the
parent of spans that the API itself sends.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from math import ceil

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from faucet import __version__
from faucet.proxy.record import Account
from faucet.proxy.stats import Record
from faucet.status.endpoints import Endpoints

Figures = tuple[int, int, int]
"""Numbers of queued requests, held locks, and workers."""

COMPLAINT_SECONDS = 60.0
"""Seconds between two log lines about an unreachable collector."""

TURN = 8
"""Requests after which the thread yields to the event loop. They take less than a millisecond."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


MOST_TRACED = 500
"""Most requests with spans in one batch, i.e. per second. Spans take 0.16 ms per request, metrics 0.02 ms."""

SPANS_AT_ONCE = 512
"""Spans in one message to the collector: the default of OpenTelemetry."""


class Sender:
    """Sends batches of requests."""

    def __init__(self, endpoint: str, figures: Callable[[], Figures], complain: Callable[[str], None]) -> None:
        """Create the exporters. `complain` is called with log messages of OpenTelemetry, at a limited rate."""
        complaints = logging.getLogger("opentelemetry")
        complaints.addHandler(_Complaints(complain))
        complaints.propagate = False
        base = endpoint.rstrip("/") or None  # None: the exporters read OTEL_* variables
        resource = Resource.create(_service())
        self._spans = Spans(resource)
        self.exporter: SpanExporter = OTLPSpanExporter(endpoint=base and f"{base}/v1/traces")
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=base and f"{base}/v1/metrics"))
        self._meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._metrics = Metrics(self._meters, figures)

    def send(self, records: Sequence[Record]) -> None:
        """Send metrics of all these requests, and traces: of all or, if too many, of every second, third, etc."""
        step = ceil(len(records) / MOST_TRACED)
        for number, record in enumerate(records):
            route = self._metrics.route(record)
            self._metrics.add(record, route)
            if number % step == 0:
                self._spans.add(record, route)
            if number % TURN == TURN - 1:
                time.sleep(0)
        spans = self._spans.take()
        for start in range(0, len(spans), SPANS_AT_ONCE):
            self.exporter.export(spans[start : start + SPANS_AT_ONCE])

    def close(self) -> None:
        """Send the last metrics, and end."""
        self.exporter.shutdown()
        self._meters.shutdown()


def _service() -> dict[str, str]:
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {} if named else {"service.name": "faucet", "service.version": __version__}


class Spans(SpanProcessor):
    """Creates spans for requests, and collects the ended spans for sending."""

    def __init__(self, resource: Resource) -> None:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self)
        self._tracer = provider.get_tracer("faucet", __version__)
        self._ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Called by the SDK."""
        self._ended.append(span)

    def take(self) -> list[ReadableSpan]:
        """Return and remove the collected spans."""
        ended, self._ended = self._ended, []
        return ended

    def add(self, record: Record, route: str) -> None:
        """Create the spans of one request, unless its trace is not sampled."""
        method, path = record.method.decode("latin-1"), record.target.partition(b"?")[0].decode("latin-1")
        end = _nanoseconds(record.ended)
        locked = end - _nanoseconds(record.service)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "http.response.status_code": record.status,
            "http.route": route.partition(" ")[2] or route,
            "url.path": path,
            "client.address": record.client,
        }
        if record.note:
            attributes["faucet.note"] = record.note
        root = self._tracer.start_span(route, parent_of(record.trace), SpanKind.SERVER, attributes,
                                       start_time=_begin(record, end))  # fmt: skip
        if not root.is_recording():
            return
        inside = trace.set_span_in_context(root)
        if record.waited:
            begin = locked - _nanoseconds(record.waited)
            self._tracer.start_span("queue", inside, start_time=begin).end(locked)
        if record.worker:
            worker: dict[str, AttributeValue] = {"faucet.worker": record.worker}
            self._tracer.start_span("lock", inside, attributes=worker, start_time=locked).end(end)
        if record.status >= 500:
            root.set_status(Status(StatusCode.ERROR))
        root.end(end)


def _begin(record: Record, end: int) -> int:
    """Return when a request was complete, in nanoseconds. It may have held other locks before its last one."""
    if isinstance(record, Account) and record.ready_at:
        return min(_nanoseconds(time.time() - time.monotonic() + record.ready_at), end)
    return end


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def parent_of(traceparent: str) -> Context | None:
    """Return the parent span of a request from its `traceparent` (W3C Trace Context, 3.2); None if it is invalid."""
    match = _TRACEPARENT.match(traceparent)
    if match is None or match[1] == "ff":
        return None
    flags = TraceFlags(int(match[4], 16))
    span = SpanContext(int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(span)) if span.is_valid else None


class Metrics:
    """Histograms of requests, and gauges of the queue, the locks and the workers."""

    def __init__(self, provider: MeterProvider, figures: Callable[[], Figures]) -> None:
        meter = provider.get_meter("faucet", __version__)
        self._endpoints = Endpoints()
        self._duration = meter.create_histogram(
            "http.server.request.duration", "s", "From the complete request to the end of its response."
        )
        self._queued = meter.create_histogram("faucet.queue.wait", "s", "Time in the queue.")
        self._held = meter.create_histogram("faucet.lock.held", "s", "From the lock to the end of the response.")
        for place, (name, text) in enumerate(
            (
                ("faucet.queue.length", "Queued requests."),
                ("faucet.locks.held", "Workers whose lock is held."),
                ("faucet.workers", "Workers."),
            )
        ):
            meter.create_observable_gauge(name, [_observed(figures, place)], description=text)

    def route(self, record: Record) -> str:
        """Return the method and folded path of a request: `GET /sales/<n>`. The number of routes is bounded."""
        return self._endpoints.name_of(record)

    def add(self, record: Record, route: str) -> None:
        """Count one request."""
        attributes: dict[str, AttributeValue] = {
            "http.request.method": record.method.decode("latin-1"),
            "http.response.status_code": record.status,
            "http.route": route.partition(" ")[2] or route,
        }
        self._duration.record(record.waited + record.service, attributes)
        self._queued.record(record.waited, attributes)
        if record.worker:
            self._held.record(record.service, attributes)


def _observed(figures: Callable[[], Figures], place: int) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(figures()[place])]


class _Complaints(logging.Handler):
    """Forwards log messages of OpenTelemetry, at most one every COMPLAINT_SECONDS."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._complain = complain
        self._not_before = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        if time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + COMPLAINT_SECONDS
            self._complain(record.getMessage())
