"""Whether telemetry is sent, and where to."""

from __future__ import annotations

import importlib.util
import logging

import pytest

from faucet.fleet import StartFailed
from faucet.otel.telemetry import KEPT, Telemetry, destination
from faucet.proxy.record import Account

VARIABLE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def test_where_to() -> None:
    assert destination(None, {}) is None
    assert destination("http://a", VARIABLE) == "http://a"
    assert destination(None, VARIABLE) == ""
    assert destination("http://a", {"OTEL_SDK_DISABLED": "true"}) is None


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An option cannot be followed then. A variable may be meant for the workers."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartFailed, match=r"--otel-endpoint needs packages .* pip install .*opentelemetry-sdk "):
        destination("http://a", {})
    with caplog.at_level(logging.WARNING, "faucet"):
        assert destination(None, VARIABLE) is None
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set, but telemetry needs packages" in caplog.text


def test_only_so_many_wait_to_be_sent() -> None:
    telemetry = Telemetry("")
    for _ in range(KEPT + 3):
        telemetry.record(Account("a", b"GET", b"/"))
    assert telemetry.dropped == 3
