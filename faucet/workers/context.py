"""What all slots of one service share, and hand on to their instances: settings, ports, log, reaper."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from faucet.proxy.server import Proxy
from faucet.settings import WorkerSettings
from faucet.workers.kernel_kills import KernelKills
from faucet.workers.preload import Preload
from faucet.workers.program import Program
from faucet.workers.reaper import Reaper

_log = logging.getLogger("faucet")


@dataclass
class Context:
    """The part of a supervisor that its slots can use."""

    program: Program
    settings: WorkerSettings
    proxy: Proxy
    reaper: Reaper
    on_line: Callable[[int, str, str], None]
    """Called with a worker's number, `out` or `err`, and each line of output."""
    choose_port: Callable[[int], int]
    """Returns a port for a process in the slot with this number. Raises OSError."""
    preload: Preload | None = None
    """The template from which workers are forked; None: each worker starts the program."""
    ports_taken: set[int] = field(default_factory=set)
    """Ports that other programs took before a worker could."""
    kernel_kills: KernelKills = field(default_factory=KernelKills)
    exposed: bool = False
    """Whether the log has warned that workers can be reached from other machines."""

    def served(self, number: int) -> int:
        """Return the requests that a slot has served, through all its processes."""
        stats = self.proxy.stats.workers.get(str(number))
        return stats.requests if stats is not None else 0


class SlotLog(logging.LoggerAdapter[logging.Logger]):
    """Names the worker at the start of the text, for people, and apart, for programs."""

    def __init__(self, number: int) -> None:
        super().__init__(_log, {"worker": str(number)})

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        """Called by logging."""
        assert self.extra is not None
        return f"worker {self.extra['worker']}: {msg}", {**kwargs, "extra": self.extra}

    def tell(self, level: int, sentence: str) -> None:
        """Log what happened to a worker, which is the subject of the sentence: `worker 1 crashed (SIGSEGV)`."""
        assert self.extra is not None
        _log.log(level, "worker %s %s", self.extra["worker"], sentence, extra=self.extra)
