"""A record of a request, for tests of what becomes of records."""

from __future__ import annotations

from faucet.proxy.stats import Record

RECORD = Record(1700000000.5, "10.0.0.1", b"GET", b'/a"b', 1, 503, 312, 40, 0.031, 0.0, "", "full")
