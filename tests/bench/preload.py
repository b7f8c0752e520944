"""Eight workers that load a model, each for itself and forked from one (`--preload`): memory, and time to an answer."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import statistics
import subprocess
import tempfile
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import psutil

from faucet.control.client import Client
from faucet.control.paths import socket_path
from tests.support.load import fetch
from tests.support.running import Faucet

WORKERS = 8
REQUESTS = 80
KILLS = 3
MB = 1 << 20


class Model(NamedTuple):
    """A model, how it is made, and how it is used."""

    made: str
    """R code that makes it, once."""
    used: str
    """What a request does with it."""
    package: str = ""
    """The R package that both need."""


MODELS = {
    "a matrix": Model(
        "matrix(rnorm(12.5e6), ncol = 1000)",
        "mean(model[, sample(1000, 1)])",
    ),
    "a data.frame": Model(
        """{
          n <- 1e6
          numbers <- replicate(10, rnorm(n), simplify = FALSE)
          names(numbers) <- letters[1:10]
          data.frame(numbers, id = seq_len(n), word = sample(paste0("w", 1:1e4), n, TRUE))
        }""",
        "mean(model$a[model$word == 'w1'])",
    ),
    "a random forest of 500 trees": Model(
        """{
          x <- matrix(rnorm(1e5), ncol = 10, dimnames = list(NULL, letters[1:10]))
          randomForest::randomForest(x, x[, 1] * x[, 2] + rnorm(1e4), ntree = 500)
        }""",
        "predict(model, matrix(rnorm(10), ncol = 10, dimnames = list(NULL, letters[1:10])))",
        "randomForest",
    ),
    "300,000 small lists": Model(
        """lapply(1:3e5, function(i) list(id = i, name = paste0("k", i), value = c(i, 1, 2), tags = list("a", i)))""",
        "sum(vapply(model[sample(3e5, 1000)], function(one) one$value[[1]], 0))",
    ),
}


API = """
{package}
model <- readRDS("model.rds")
#* @get /
function() {{ {expression} }}
#* @get /gc
function() {{ gc(); TRUE }}
"""


class Figures(NamedTuple):
    """Of one service with all its workers."""

    start: float
    """Seconds to its first answer."""
    all_ready: float
    """Seconds until all workers are ready."""
    memory: float
    """PSS in MB of all R processes, after some requests."""
    collected: float
    """The same after each worker has collected garbage, which looks at every object."""
    back: float
    """Seconds from the SIGKILL of a worker until its slot is ready again."""
    rolled: float
    """Seconds that a rolling restart takes."""


async def measure(directory: Path, *options: str) -> Figures:
    """Start it, ask it, kill some of its workers, restart them all."""
    began = monotonic()
    service = Faucet(directory, "-w", str(WORKERS), "--startup-timeout", "10m", *options, checked=False)
    try:
        await asyncio.to_thread(service.wait_ready, 300)
        await fetch(service.port, "/")
        start = monotonic() - began
        while len(service.worker_pids) < WORKERS:
            await asyncio.to_thread(service.wait_line, "ready on port", 300)
        all_ready = monotonic() - began
        await asyncio.gather(*(fetch(service.port, "/") for _ in range(REQUESTS)))
        memory = pss(service)
        for _ in range(WORKERS):
            await fetch(service.port, "/gc")  # free workers are taken in turn
        collected = pss(service)
        back = statistics.median([await kill(service, number) for number in range(1, KILLS + 1)])
        client = await Client.connect(socket_path(service.port))
        before = monotonic()
        await client.ask("rolling-restart", wait=True, patience=None)
        rolled = monotonic() - before
        await client.close()
        return Figures(start, all_ready, memory, collected, back, rolled)
    finally:
        service.close()


async def kill(service: Faucet, number: int) -> float:
    """Kill a worker, for the first time: after another one it would not be started again at once."""
    before = monotonic()
    pid = service.worker_pids[number]
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(service.wait_line, rf"worker {number}: ready on port [0-9]+ \(pid (?!{pid}\))", 300)
    return monotonic() - before


def pss(service: Faucet) -> float:
    """MB of all its R processes, the template included."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    return sum(one.memory_full_info().pss for one in family if re.fullmatch("R|Rscript", one.name())) / MB


def has_package(name: str) -> bool:
    """Whether R has this package; True if none is named."""
    code = f"quit(status = !requireNamespace({name!r}, quietly = TRUE))"
    return not name or subprocess.run(["Rscript", "-e", code], capture_output=True, check=False).returncode == 0


def compare(model: Model) -> tuple[float, Figures, Figures]:
    """Return the size of its file in MB, and the figures without and with --preload."""
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        package = f"library({model.package})" if model.package else ""
        (directory / "plumber.R").write_text(API.format(package=package, expression=model.used))
        code = f'model <- {model.made}; saveRDS(model, "model.rds", compress = FALSE)'
        subprocess.run(["Rscript", "-e", code], cwd=directory, check=True)
        size = (directory / "model.rds").stat().st_size / MB
        return size, asyncio.run(measure(directory)), asyncio.run(measure(directory, "--preload"))


def report() -> None:
    """A table with a row for each model."""
    print(f"\n### --preload: {WORKERS} workers; each figure without and with it")
    print("\n| | PSS of all | after a gc() in each | first answer | all ready | back after a kill | rolling restart |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name, model in MODELS.items():
        if not has_package(model.package):
            print(f"| {name}: left out, since R has no package {model.package} |")
            continue
        size, alone, forked = compare(model)
        pairs = (alone.memory, forked.memory), (alone.collected, forked.collected)
        sizes = [f"{a:,.0f} / {f:,.0f} MB" for a, f in pairs]
        times = [f"{a:.2f} / {f:.2f} s" for a, f in zip(alone, forked, strict=True)]
        cells = " | ".join([*sizes, times[0], times[1], times[4], times[5]])
        print(f"| {name}, {size:,.0f} MB | {cells} |", flush=True)
