"""A finished request as spans."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil
from typing import ClassVar

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from faucet.otel.sender import MOST_TRACED, SPANS_AT_ONCE, Sender, Spans, parent_of
from faucet.proxy.record import Account
from faucet.proxy.stats import Record

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def record(trace: str = "", waited: float = 0.25, worker: str = "3", status: int = 200) -> Record:
    return Record(
        ended=1000.0, client="10.0.0.7", method=b"GET", target=b"/sales/17?token=secret", minor=1, status=status,
        sent=10, received=20, waited=waited, service=0.5, worker=worker, note="", trace=trace,
    )  # fmt: skip


def spans_of(*records: Record) -> dict[str, ReadableSpan]:
    made = Spans(Resource({}))
    for one in records:
        made.add(one, "GET /sales/<n>")
    spans = made.take()
    assert made.take() == []
    return {span.name: span for span in spans}


def seconds(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time / 1e9, span.end_time / 1e9


def test_the_queue_and_the_lock_are_parts_of_a_request_that_is_part_of_a_trace() -> None:
    spans = spans_of(record(f"00-{TRACE}-{SPAN}-01"))
    assert set(spans) == {"GET /sales/<n>", "queue", "lock"}
    root = spans["GET /sales/<n>"]
    assert root.context is not None
    assert root.parent is not None
    assert (f"{root.context.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, SPAN)
    assert seconds(spans["queue"]) == (999.25, 999.5)
    assert seconds(spans["lock"]) == (999.5, 1000.0)
    assert {span.parent.span_id for name, span in spans.items() if name in ("queue", "lock") and span.parent} == {
        root.context.span_id
    }
    assert dict(root.attributes or {}) == {
        "http.request.method": "GET", "http.response.status_code": 200, "http.route": "/sales/<n>",
        "url.path": "/sales/17", "client.address": "10.0.0.7",
    }  # fmt: skip
    assert dict(spans["lock"].attributes or {}) == {"faucet.worker": "3"}


def test_a_trace_that_is_not_sampled_is_not_sent() -> None:
    assert spans_of(record(f"00-{TRACE}-{SPAN}-00")) == {}


def test_without_a_parent_it_is_a_trace_of_its_own() -> None:
    root = spans_of(record())["GET /sales/<n>"]
    assert root.parent is None


def test_what_no_worker_had_and_what_failed() -> None:
    spans = spans_of(record(worker="", status=503))
    assert "lock" not in spans
    assert spans["GET /sales/<n>"].status.status_code is StatusCode.ERROR
    assert set(spans_of(record(waited=0.0))) == {"GET /sales/<n>", "lock"}


def test_it_begins_when_the_request_was_in_hand() -> None:
    account = Account("10.0.0.7", b"GET", b"/")
    account.ready()
    account.ready_at -= 2.0  # it had a worker before, which failed it
    account.granted("1", time.monotonic())
    account.settle(200, "")
    begin, end = seconds(spans_of(account)["GET /sales/<n>"])
    assert 2.0 <= end - begin < 3.0


def test_of_very_many_requests_only_some_are_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")  # nobody takes the metrics

    class Kept(InMemorySpanExporter):
        messages: ClassVar[list[int]] = []

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.messages.append(len(spans))
            return super().export(spans)

    sender, kept = Sender("http://127.0.0.1:9", lambda: (0, 0, 0), print), Kept()
    sender.exporter.shutdown()
    sender.exporter = kept
    sender.send([record(waited=0.0)] * (2 * MOST_TRACED + 1))
    spans = kept.get_finished_spans()
    assert sum(span.parent is None for span in spans) == ceil((2 * MOST_TRACED + 1) / 3)
    assert max(kept.messages) <= SPANS_AT_ONCE
    sender.close()


@pytest.mark.parametrize(
    "text",
    ["", "00", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}"],
)
def test_what_is_no_parent(text: str) -> None:
    assert parent_of(text) is None
