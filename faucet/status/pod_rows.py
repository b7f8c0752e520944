"""Pods as rows of a snapshot."""

from __future__ import annotations

from time import localtime, strftime
from typing import TYPE_CHECKING, Any

from faucet.status.figures import NOTHING, epoch, figures, lock_figures
from faucet.status.snapshot import WorkerRow
from faucet.units import counted

if TYPE_CHECKING:
    from faucet.pods.pod import Pod
    from faucet.proxy.server import Proxy


def pod_row(pod: Pod, proxy: Proxy) -> WorkerRow:
    """Return the row of one pod."""
    state, reason = _state(pod)
    return WorkerRow(
        key=str(pod.endpoint),
        name=str(pod),
        state=state,
        reason=reason,
        pid=0,
        port=pod.endpoint.port,
        since=epoch(pod.since),
        **lock_figures(pod.lease),
        **figures(proxy.stats.workers.get(str(pod), NOTHING)),
        restarts=0,
        address=str(pod.endpoint),
    )


def _state(pod: Pod) -> tuple[str, str]:
    """Return the pod's state, and why it gets no requests (empty if it gets some)."""
    if not pod.listed:
        return "draining", pod.why
    if pod.held and pod.next_try is not None:
        return "held", f"also unreachable: {pod.trouble}"
    if pod.next_try is not None:
        return "backoff", f"{pod.trouble}; next try at {strftime('%H:%M:%S', localtime(epoch(pod.next_try)))}"
    if pod.held:
        return "held", "" if pod.lease else "no requests until resumed"
    return ("busy" if pod.lease else "ready"), ""


def pod_details(pod: Pod, proxy: Proxy) -> dict[str, Any]:
    """Return all details of a pod: its row, facts, and latest service times in seconds."""
    stats = proxy.stats.workers.get(str(pod), NOTHING)
    connection = pod.backend.connection
    return {
        "row": pod_row(pod, proxy),
        "facts": [
            ["address", str(pod.endpoint)],
            ["connection", "none" if connection is None else "open, new" if connection.fresh else "open, kept"],
            ["unreachable", counted(pod.unreached, "time") + (f", now: {pod.trouble}" if pod.trouble else "")],
        ],
        "took": 0.0,
        "durations": [seconds for _, seconds in stats.recent],
    }
