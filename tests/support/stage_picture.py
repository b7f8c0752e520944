"""A runtime that is not there: the monitor talks to it as to a real one, and it tells what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from faucet.control.client import Greeting, NoRuntime, Refusal
from faucet.control.protocol import decode, encode
from faucet.status.snapshot import (
    EndpointRow,
    LogRow,
    Notice,
    RequestRow,
    SecondRow,
    Service,
    Totals,
    WaitingRow,
    WorkerRow,
)

NOW = 1_800_000_000.0
"""The moment at which all pictures are taken: 2027-01-15 08:00:00 UTC."""


def worker(name: str, state: str = "ready", **more: Any) -> WorkerRow:
    """A row, with what matters given."""
    row = WorkerRow(
        key=name, name=name, state=state, reason="", pid=48210 + int(name), port=43100 + int(name),
        since=NOW - 7980, locked=0.0, request="", client="", requests=18377, errors=0, rps=2.9, p50=0.215, p95=1.4,
        restarts=0, address="",
    )  # fmt: skip
    return row._replace(**more)


WORKERS = [
    worker("1", "busy", locked=NOW - 1.24, request="POST /predict", client="10.0.0.7", errors=2, requests=18422),
    worker("2", "busy", locked=NOW - 0.087, request="GET /score?id=991", client="10.0.0.8", p50=0.208),
    worker("3"),
    worker(
        "4",
        "busy",
        locked=NOW - 31,
        request="GET /report.pdf",
        client="10.0.0.9",
        restarts=2,
        since=NOW - 664,
        left=NOW - 6,
    ),
    worker("4", "draining", key="4-48215", reason="restarted by the monitor", pid=48215, since=NOW - 9000),
    worker("5", "starting", reason="waiting for port 43105", since=NOW - 3, requests=0, rps=0.0, p50=None, p95=None),
    worker("6", "backoff", reason="exited with code 1 after 2.1s; next try at 08:00:04", pid=0, port=0, since=0.0),
    worker("7", "held", reason="no requests until resumed"),
    worker("8", "failed", reason="was ended by SIGSEGV after 0.3s", pid=0, port=0, since=0.0, restarts=7),
]

SERVICE = Service(
    title="/srv/models/api", detail="entrypoint.R", url="http://127.0.0.1:3838", port=3838, state="serving",
    started=NOW - 7980, pid=48200, version="0.1.0", mode="local", owned=True, notice="",
    resolved_by="", resolved=0.0, trouble="", link="", link_state="", link_since=0.0, link_detail="",
    actions=("restart", "rolling-restart", "scale", "hold", "resume", "kill"),
)  # fmt: skip

TOTALS = Totals(
    rps=12.1, p50=0.21, p95=1.4, p99=28.4, locked=3, workers=5, waiting=3, queue_limit=1024, oldest=NOW - 0.4,
    errors=2, refused=0, requests=91234, clients=17, max_clients=16384, buffered=3 << 20, buffer_total=512 << 20,
    seconds=60,
)  # fmt: skip

SECONDS = [
    SecondRow(rps=10 + n % 7, p95=0.5 + n % 5 / 4, locked=n % 6, waiting=max(n - 50, 0), errors=int(n == 30))
    for n in range(60)
]

QUEUE = [WaitingRow(NOW - 0.4 + n / 10, "10.0.0.7", f"GET /score?id={n}", n + 101, 60.0) for n in range(3)]

REQUESTS = [
    RequestRow(NOW - 20 + n, "10.0.0.7", "GET" if n % 3 else "POST", f"/score?id={n}", 200 if n != 4 else 502, 312, 120,
               0.031 * (n % 2), 0.212, str(n % 4 + 1), "" if n != 4 else "The worker ended the connection.")
    for n in range(12)
]  # fmt: skip

LOG = [
    LogRow(NOW - 30, "info", "", "serving /srv/models/api (entrypoint.R) on http://127.0.0.1:3838 with 8 workers"),
    LogRow(NOW - 15.5, "out", "3", '[1] "scoring 991"'),
    LogRow(NOW - 12.5, "err", "1", "Warning: [bold red]NAs[/] introduced by coercion \x1b[31mred\x1b[0m\x1b[2J"),
    LogRow(NOW - 3, "warning", "6", "worker 6: exited with code 1 before it listened on port 43106"),
    LogRow(NOW - 2, "info", "4", "worker 4: restart asked by the monitor"),
]


_INSTALL = "Rscript -e 'install.packages(\"forecast\")'"

NOTICES = [
    Notice("start", "error", NOW - 61,
           f"1 of 8 workers cannot start: The R package forecast is missing; install it with: {_INSTALL}",
           "worker 8 exited with code 1 after 2.1s\n"
           "  | Error in library(forecast) : there is no package called ‘forecast’\n  | Execution halted", _INSTALL),
    Notice("reload", "error", NOW - 14,
           "reload failed: plumber.R:9:11: unexpected '{'; 2 old workers still serve OLD CODE",
           "rolling restart by a change of plumber.R: exited with code 1 after 0.9s\n"
           "  | plumber.R:9:11: unexpected '{'"),
    Notice("queue", "warning", NOW - 5, "queue 900 of 1024; held up by 4 x GET /sleep"),
]  # fmt: skip
"""What may be wrong, the worst first."""


def snapshot(**changes: Any) -> dict[str, Any]:
    """A whole picture, with some sections changed."""
    sections = {
        "service": SERVICE, "totals": TOTALS, "workers": {row.key: row for row in WORKERS}, "queue": QUEUE,
        "seconds": SECONDS,
    }  # fmt: skip
    return {"snapshot": sections | changes, "now": NOW}


DETAILS: dict[str, Any] = {
    "row": WORKERS[0]._asdict(), "now": NOW, "command": ["Rscript", "entrypoint.R"], "directory": "/srv/models/api",
    "environment": {"FAUCET_PORT": "43101", "FAUCET_WORKER_ID": "1"}, "took": 1.3,
    "exits": [(NOW - 60, "crashed (SIGSEGV) while serving GET /segv from 10.0.0.7 after 1.4s, 124MiB")],
    "durations": [0.2] * 50 + [1.4] * 3,
    "last_lines": ["Warning message: [bold]NAs[/]"], "requests": [REQUESTS[0]._asdict()],
}  # fmt: skip


ENDPOINTS: dict[str, Any] = {
    "seconds": 900, "uncounted": 0, "endpoints": [row._asdict() for row in (
        EndpointRow("GET /predict", 1204, 1.338, 0.304, 1.51, 1.52, 0.41, 0, 730.0, 0.712),
        EndpointRow("POST /train", 4, 0.004, 41.0, 60.0, 62.1, 0.0, 1, 205.0, 0.2),
        EndpointRow("GET /score", 611, 0.679, 0.011, 0.027, 0.084, 0.39, 0, 21.5, 0.021),
        EndpointRow("GET /sales/<n>/items/<uuid>", 588, 0.653, 0.004, 0.006, 0.014, 0.402, 588, 4.1, 0.004),
        EndpointRow("other", 12, 0.013, 0.002, 0.003, 0.003, 0.0, 0, 0.02, 0.00002),
    )],
}  # fmt: skip


class StagedRuntime:
    """What `Client` is to the monitor."""

    greeting = Greeting("0.1.0", 2, 3838, 48200, "/srv/models/api", "http://127.0.0.1:3838", "local")

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuse = ""
        self.logs: list[LogRow] = []
        self.closed: asyncio.Future[None]
        self.on_message: Any = None
        self.connections = 0
        self.history: Callable[[int, float], list[Any]] = lambda by, since: []

    async def connect(self) -> StagedRuntime:
        """Come up."""
        if self.refuse == "gone":
            raise NoRuntime("no Faucet listens there")
        self.connections += 1
        self.closed = asyncio.get_running_loop().create_future()
        return self

    def tell(self, message: dict[str, Any]) -> None:
        """Say something, as it would come over the wire."""
        self.on_message(decode(encode(message)))

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Hear something."""
        if do == "watch":
            self.tell(snapshot())
            self.tell({"log": LOG, "skipped": 0})
            self.tell({"requests": REQUESTS, "skipped": 0})
            return "watching"
        self.asked.append((do, arguments))
        if self.refuse:
            raise Refusal(self.refuse)
        if do == "stop":
            self.closed.set_result(None)
        if do == "history":
            return {"by": arguments["by"], "rows": self.history(arguments["by"], arguments["since"])}
        answers = {"details": DETAILS, "endpoints": ENDPOINTS, "logs": [row._asdict() for row in self.logs]}
        return answers.get(do, f"{do} will happen")

    async def close(self) -> None:
        """Hang up."""

    def lose(self) -> None:
        """Break the connection."""
        self.closed.set_result(None)
