"""How local workers are started, watched and replaced."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from faucet.settings.option import LOG, MOST_WORKERS, SERVICE, WORKERS, option
from faucet.settings.serving import ServeSettings
from faucet.settings.warmup import EXAMPLE, Warmup


class Span(NamedTuple):
    """How many workers there may be."""

    least: int
    most: int

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}..{self.most}"


def parse_span(text: str) -> Span:
    """`4`, `2..8`, or `0..4`. Raises ValueError."""
    least, dots, most = text.strip().partition("..")
    if not (least.isascii() and least.isdigit() and (most.isascii() and most.isdigit() if dots else True)):
        raise ValueError(f"invalid number of workers {text!r}; expected one like 4, or 2..8")
    span = Span(int(least), int(most if dots else least))
    if not (span.least <= span.most <= MOST_WORKERS and span.most):
        raise ValueError(f"invalid number of workers {text!r}; expected 1 to {MOST_WORKERS}, the smaller one first")
    return span


class PackageApi(NamedTuple):
    """An API in an installed R package."""

    package: str
    name: str

    def __str__(self) -> str:
        return f"{self.package}::{self.name}"


_API = re.compile(r"([A-Za-z][A-Za-z0-9.]*)::([^:\s]+)")


def parse_api(text: str) -> PackageApi:
    """Return package and name of `PKG::NAME`. Raises ValueError."""
    match = _API.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} does not name an API in a package; expected PACKAGE::NAME, e.g. plumber::01-append")
    return PackageApi(match[1], match[2])


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How many local workers there are, and how each is started."""

    workers: Span | None = option(
        None,
        "Number of workers; `2..8`: between 2 and 8, as needed; `0..4`: none while no requests come.",
        WORKERS,
        unit="span",
        short="-w",
        shown="CPUs of this process",
        example="4",
        counts="workers",
        detail="The default counts CPU affinity and the quota of the cgroup.",
    )
    scale_up_after: float = option(
        1.0,
        "With `-w 2..8`: start another worker when a request has been queued for this long.",
        WORKERS,
        unit="duration",
        example="500ms",
    )
    scale_down_after: float = option(
        60.0,
        "With `-w 2..8`: end a worker when not all were needed for this long.",
        WORKERS,
        unit="duration",
        minimum=1,
        example="5m",
    )
    spare: int = option(
        0,
        "With `-w 2..8`: have this many more workers than are busy, so that the next request need not wait.",
        WORKERS,
        unit="count",
        minimum=0,
        maximum=MOST_WORKERS,
        example="1",
        counts="workers",
    )
    fencing: bool = option(
        False,
        "In a pod behind `faucet k8s --ha --fencing`: refuse requests of a Faucet that is not the active any more.",
        WORKERS,
        detail="With `--workers 1 --queue-limit 0`, whatever happens, R has one request at a time: "
        "[kubernetes.md](kubernetes.md#strict-pods).",
    )
    idle_timeout: float = option(
        600.0,
        "With `-w 0..4`: end the last worker when no request has come for this long; the next one waits for a start.",
        WORKERS,
        unit="duration",
        minimum=1,
        example="30m",
    )
    roll_batch: int = option(
        1,
        "Workers that a rolling restart replaces at the same time.",
        WORKERS,
        unit="count",
        minimum=1,
        example="2",
        counts="workers",
    )
    max_requests: int = option(
        0,
        "Replace a worker that has served this many requests. 0: never.",
        WORKERS,
        unit="count",
        minimum=0,
        example="10000",
        counts="requests",
        detail="One worker at a time, and never while more requests wait than there are workers.",
    )
    max_age: float = option(0.0, "Replace a worker of this age. 0: never.", WORKERS, unit="duration", example="24h")
    max_rss: int = option(
        0,
        "Replace a worker whose process has this much memory. 0: never.",
        WORKERS,
        unit="size",
        example="1GiB",
        detail="With --preload, what is its own counts, and not what it shares.",
    )
    health_path: str = option(
        "",
        "Check idle workers with a GET of this path, e.g. /health; three failures in a row replace a worker.",
        WORKERS,
        unit="target",
        shown="none",
        example="/health",
        detail="The check takes the worker's lock, so it never runs beside a request.",
    )
    health_interval: float = option(
        10.0, "Time between two health checks of a worker.", WORKERS, unit="duration", minimum=1, example="30s"
    )
    preload: bool = option(
        False,
        "Load the API once, and fork all workers from that: they share its memory, and start in milliseconds.",
        WORKERS,
        detail="Linux only, for APIs in R. What is shared, and what must not be: [preload.md](preload.md).",
    )
    reload: bool = option(
        False,
        "Rolling restart when code in the directory changes.",
        WORKERS,
        detail="It needs the package watchfiles. Which files count: [workers.md](workers.md#reload).",
    )
    reload_include: tuple[str, ...] = option(
        (),
        "With --reload: other files that count: `*.txt`, `models/*.rds`. Can be repeated, or separated by commas.",
        WORKERS,
        unit="globs",
        shown="none",
        example="models/*.rds",
    )
    reload_exclude: tuple[str, ...] = option(
        (),
        "With --reload: files and directories that do not count: `state.json`, `cache/`. Can be repeated, or "
        "separated by commas.",
        WORKERS,
        unit="globs",
        shown="none",
        example="cache/,state.json",
    )
    log_worker_rate: int = option(
        1000,
        "Lines that a worker may log a second. Of any more, a sample is kept and the rest counted; the "
        "worker's output is read more slowly. 0: all lines are kept.",
        LOG,
        unit="count",
        minimum=0,
        example="5000",
        counts="lines a second",
    )
    child_port: int = option(
        0,
        "First port of the workers; worker i gets the i-th. 0: free ports. plumber takes 1024 to 49151.",
        WORKERS,
        unit="count",
        minimum=0,
        maximum=65535,
        example="21000",
        counts="port",
        detail="By default, free ports from 20000 to 32767. While a worker is replaced, its successor takes a "
        "port behind those of all workers.",
    )
    startup_timeout: float = option(
        60.0,
        "How long a worker may take until it listens; then it is stopped and started again.",
        WORKERS,
        unit="duration",
        minimum=0.1,
        example="3m",
    )
    warmup: tuple[Warmup, ...] = option(
        (),
        "Request that each new worker answers before it serves: `/path`, or `POST /path @file`. Can be repeated.",
        WORKERS,
        unit="warmup",
        shown="none",
        example=EXAMPLE,
        detail="The file is looked for in the directory of the API. A worker that does not answer with 2xx or 3xx has "
        "failed to start: [workers.md](workers.md#warm-up).",
    )
    stop_signal: str = option(
        "auto",
        "Signal that asks a worker to end: INT, TERM, QUIT, HUP, USR1, USR2. auto: INT for R, which then runs"
        " its exit hooks; TERM for other programs.",
        WORKERS,
        unit="signal",
        example="TERM",
        detail="What follows if the worker does not end: [workers.md](workers.md#how-a-worker-ends).",
    )
    max_restarts: int = option(
        5,
        "Failed starts in a row after which a worker is started only once a minute.",
        WORKERS,
        unit="count",
        minimum=1,
        example="10",
        counts="failed starts",
    )
    keep_trying: bool = option(False, "Keep running if no worker can be started at first.", WORKERS)
    rscript: str = option(
        "Rscript",
        "Rscript to run R with; a path is relative to where you start Faucet.",
        WORKERS,
        example="/opt/R/4.4.1/bin/Rscript",
    )


@dataclass(frozen=True, kw_only=True)
class DemoSettings(ServeSettings, WorkerSettings):
    """`faucet demo`: what any service with local workers needs to know."""


@dataclass(frozen=True, kw_only=True)
class LocalSettings(DemoSettings):
    """`faucet local`."""

    dir: Path = option(
        Path(),
        "Directory of the API.",
        SERVICE,
        unit="directory",
        short="-d",
        positional="also",
        shown=".",
        example="my-api",
        detail="`faucet my-api` is `faucet --dir my-api`. A command of that name wins: `faucet ./demo`.",
    )
    command: str | None = option(
        None,
        "Program that serves HTTP on the port in FAUCET_PORT; `{port}` is replaced; no shell.",
        WORKERS,
        shown="entrypoint.R, else plumber.R, else _server.yml",
        example="python3 app.py {port}",
        detail="No shell is used: `sh -c '…'` starts one.",
    )
    api: PackageApi | None = option(
        None,
        "Serve an API of an installed R package: PACKAGE::NAME, as plumber::plumb_api() finds it.",
        WORKERS,
        unit="api",
        shown="what is in the directory",
        example="plumber::01-append",
    )
