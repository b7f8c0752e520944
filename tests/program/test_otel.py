"""Traces and metrics arrive at a collector; one that is away disturbs nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.collector import Taker, serving
from tests.support.load import fetch, hang_up, read_response
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COUNTING = python_worker("counting")


class Collector(ThreadingHTTPServer):
    """Takes what OTLP exporters send."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Reader)
        self.spans: list[Any] = []
        self.metrics: set[str] = set()
        self.services: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Reader(Taker):
    protocol_version = "HTTP/1.0"
    server: Collector

    def take(self, data: bytes) -> None:
        if self.headers.get("Content-Encoding") == "gzip":
            raise AssertionError("not asked for")
        if self.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
                self.server.services |= {
                    a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
                }
                for scope in resource.scope_spans:
                    self.server.spans += scope.spans
        else:
            for found in ExportMetricsServiceRequest.FromString(data).resource_metrics:
                self.server.metrics |= {metric.name for scope in found.scope_metrics for metric in scope.metrics}


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    with serving(Collector()) as collector:
        yield collector


async def traced(port: int, target: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\nTraceparent: 00-{TRACE}-{SPAN}-01\r\n\r\n".encode())
    status, _ = await read_response(reader)
    await hang_up(writer)
    return status


async def test_a_collector_gets_spans_and_metrics(faucet: Start) -> None:
    with collecting() as collector:
        service = faucet("--command", COUNTING, "-w", "1", "--otel-endpoint", collector.url).wait_ready()
        statuses = await asyncio.gather(traced(service.port, "/slow?0.2"), traced(service.port, "/slow?0.2"))
        assert statuses == [200, 200]
        assert await asyncio.to_thread(service.stop) == 0, service.output  # it sends what is left
    ours = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    assert sorted(span.name for span in ours) == ["GET /slow", "GET /slow", "lock", "lock", "queue"]
    assert {span.parent_span_id.hex() for span in ours if span.name == "GET /slow"} == {SPAN}
    queued = next(span for span in ours if span.name == "queue")
    assert queued.end_time_unix_nano - queued.start_time_unix_nano > 0.1e9
    assert {
        "http.server.request.duration",
        "faucet.queue.wait",
        "faucet.lock.held",
        "faucet.queue.length",
    } <= collector.metrics
    assert collector.services == {"faucet"}


async def test_a_collector_that_is_away_disturbs_nobody(faucet: Start) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    service = faucet("--command", COUNTING, "-w", "1", env=env).wait_ready()
    assert await fetch(service.port, "/") == (200, b"hello")
    await asyncio.to_thread(service.wait_line, "OpenTelemetry: ")
    assert await fetch(service.port, "/") == (200, b"hello")
    assert await asyncio.to_thread(service.stop) == 0, service.output
    assert "Traceback" not in service.output
