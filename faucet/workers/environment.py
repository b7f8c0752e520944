"""The environment variables of a worker: its port, its number, and the thread limits of numerical libraries."""

from __future__ import annotations

from collections.abc import Mapping

from faucet.settings import Span
from faucet.workers.cpus import available_cpus
from faucet.workers.ports import HOST

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""BLAS and OpenMP start a thread per core in each process, unless these say otherwise: N workers on N cores would run
N * N threads, and spend most of their time waiting for one another."""


def worker_environment(base: Mapping[str, str], port: int, worker: int, threads: int = 0) -> dict[str, str]:
    """Return the environment of worker number `worker` (from 1): `base`, with the worker's variables added.

    `pr_run()` of plumber 1.3 and later reads PLUMBER_PORT where no port is given; plumber2 reads its own two.
    """
    return {
        **base,
        **(thread_limits(base, threads) if threads else {}),
        "FAUCET_PORT": str(port),
        "FAUCET_WORKER_ID": str(worker),
        "PORT": str(port),
        "PLUMBER_PORT": str(port),
        "PLUMBER2_PORT": str(port),
        "PLUMBER2_HOST": HOST,
    }


def thread_limits(base: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return the variables that limit a worker to `threads` threads, without those that the user decides.

    OpenBLAS and MKL follow OMP_NUM_THREADS where their own variable is missing: who sets only that means all of them.
    """
    if base.get("OMP_NUM_THREADS"):
        return {}
    return {name: str(threads) for name in THREAD_VARIABLES if not base.get(name)}


def threads_per_worker(workers: Span | None, cpus: int | None = None) -> int:
    """Return the threads each worker may use once there are as many as `workers` allows, or one a CPU."""
    cpus = available_cpus() if cpus is None else cpus
    return max(1, cpus // most_workers(workers, cpus))


def most_workers(workers: Span | None, cpus: int | None = None) -> int:
    """Return the most workers that --workers allows: by default, one for each CPU."""
    if workers is not None:
        return workers.most
    return available_cpus() if cpus is None else cpus
