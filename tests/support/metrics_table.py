"""Writes docs/metrics.md from the metrics page: each name with its type, unit, labels and meaning. `just reference`.

The page is asked for its families with a service that has everything: limits for endpoints, `--ha`, workers of its own.
Only the text on top, and when a metric is missing, is written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock, patch

from prometheus_client.metrics_core import Metric

from faucet.admin import metrics
from faucet.workers.causes import Reason
from faucet.workers.shortages import RESOURCES

INTRO = """\
# Metrics

`--admin 127.0.0.1:3839` serves `/metrics` in the text format of Prometheus. `faucet example prometheus` prints a
configuration that scrapes it, and `faucet example alerts` rules for alerts. Each Faucet has metrics of its own.
Counters start at 0 with the service, and go on while workers are replaced.

```console
$ curl -s http://127.0.0.1:3839/metrics | grep faucet_queue
faucet_queue_length 0.0
faucet_queue_limit 1024.0
```

"""

WITHOUT = {
    "faucet_limit": "Only with `--limit`.",
    "faucet_endpoint": "Not with `--no-endpoint-metrics`.",
    "faucet_role": "Only with `--ha`.",
    "faucet_epoch": "Only with `--ha`.",
    "faucet_pods_quarantined": "Only with `--ha`.",
    "faucet_lease": "Only with `--ha`.",
    "faucet_takeovers": "Only with `--ha`.",
    "faucet_relayed": "Only with `--ha`.",
    "faucet_tls": "Only with `--tls-cert`.",
    "faucet_worker_cpu": "Workers on this machine only.",
    "faucet_worker_resident": "Workers on this machine only.",
}
"""When a metric is missing, by the beginning of its name."""

REFUSALS = (
    "buffers_full", "cancelled", "descriptors", "limit_full", "link_down", "max_clients", "no_worker", "not_begun",
    "older_epoch", "queue_full", "queue_timeout", "shutdown", "websockets",
)  # fmt: skip
"""Reasons of `faucet_refusals_total`. A test looks for others in the sources."""

VALUES = {
    "faucet_refusals": REFUSALS,
    "faucet_descriptor_shortages": ("client", "worker", "readiness check", "health check"),
    "faucet_requests": ("`1xx` to `5xx`, and `4xx` for clients that have left (499)",),
    "faucet_workers": metrics.STATES,
    "faucet_role": metrics.ROLES,
    "faucet_worker_restarts": sorted(reason.value for reason in Reason if reason is not Reason.SCALE_DOWN),
    "faucet_worker_start_shortages": RESOURCES,
}
"""What the label of a metric can be."""


def families() -> list[Metric]:
    """Return all families that the page can have."""
    runtime: Any = MagicMock()
    runtime.workers.return_value = []
    with patch.object(metrics, "limit_rows", lambda _: [MagicMock(match="GET /report")]):
        return list(metrics.Metrics(runtime).collect())


def labels(family: Metric) -> tuple[str, ...]:
    """Return the names of its labels."""
    return tuple(getattr(family, "_labelnames", ()))


def unit(name: str) -> str:
    """Return the unit, which Prometheus has as the end of the name."""
    return next((unit for unit in ("seconds", "bytes") if unit in name.split("_")), "")


def shown_name(family: Metric) -> str:
    """Return the name as on the page: counters end in `_total`, what is always 1 in `_info`."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def row(family: Metric) -> str:
    """Return the row of a family."""
    name = shown_name(family)
    remark = next((text for begin, text in WITHOUT.items() if name.startswith(begin)), "")
    named = ", ".join(f"`{label}`" for label in labels(family) if label != "le")
    if values := VALUES.get(family.name):
        named += ": " + ", ".join(map(str, values))
    text = " ".join(part for part in (family.documentation, remark) if part)
    return f"| `{name}` | {family.type} | {unit(name)} | {named} | {text} |"


def lines() -> Iterator[str]:
    """Yield the table."""
    yield "| name | type | unit | labels | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    yield from map(row, sorted(families(), key=shown_name))


def page() -> str:
    """Return docs/metrics.md."""
    return INTRO + "\n".join(lines()) + "\n"
