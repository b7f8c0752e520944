"""`faucet config`: the value of every option, and where it comes from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from faucet import machine
from faucet.cli.parameters import show
from faucet.cli.toml import sources
from faucet.settings import LocalSettings

RESOLVED: dict[str, Callable[[], int]] = {
    "buffer-total": lambda: machine.buffer_total(machine.memory()),
    "max-clients": machine.max_clients,
}
"""What follows from the machine where nothing is set."""


def config(settings: LocalSettings) -> int:
    """Show the value of every option, and where it comes from: a flag, a variable, the file, or the default."""
    for field in dataclasses.fields(settings):
        option, value = field.metadata["option"], getattr(settings, field.name)
        name = field.name.replace("_", "-")
        shown = option.shown or show(option, field.default)
        text = shown if value == field.default else show(option, value)
        if value is None and name in RESOLVED:
            text = show(option, RESOLVED[name]())
        print(f"{name:20} {text:24} {sources.get(name, 'default')}")
    for name, text, source in _threads(settings):
        print(f"{name:20} {text:24} {source}")
    return 0


def _threads(settings: LocalSettings) -> list[tuple[str, str, str]]:
    """How many threads the numerical libraries of a worker use, and who says so."""
    from faucet.units import counted
    from faucet.workers.cpus import available_cpus
    from faucet.workers.environment import THREAD_VARIABLES, most_workers, thread_limits, threads_per_worker

    limits = thread_limits(os.environ, threads_per_worker(settings.workers))
    ours = f"{counted(available_cpus(), 'CPU')} for {counted(most_workers(settings.workers), 'worker')}"
    lines = []
    for name in THREAD_VARIABLES:
        text = limits.get(name) or os.environ.get(name) or "as OMP_NUM_THREADS"
        lines.append((name, text, ours if name in limits else "environment"))
    return lines
