"""How to stop a worker: with which signal, and how to recognize that it is shutting down."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

from faucet.net.connect import connect_tcp

CONNECT_SECONDS = 0.5

_WAKING = b"POST / HTTP/1.1\r\nHost: faucet\r\nContent-Length: 1\r\n\r\n"
"""A request whose content never comes, so that no code of the API sees it."""

_R = {"R", "Rscript", "Rterm"}
"""What R's processes are called."""

_DEPTH = 3
"""Generations in which R is looked for: a shell that starts a wrapper that starts R."""


class Manner:
    """How to stop one worker, whose process is `pid` and which is reached at `host` and `port`.

    `wanted` is the name of a signal, or `auto`: R dies of SIGTERM at once, without `on.exit`, `pr_hook("exit", …)` and
    finalizers; SIGINT lets all of them run.
    """

    def __init__(self, wanted: str, pid: int, host: str, port: int) -> None:
        self._is_r = _runs_r(pid, _DEPTH)
        self._host = host
        self._port = port
        self._waking: asyncio.BaseTransport | None = None
        usual = signal.SIGINT if self._is_r else signal.SIGTERM
        self.first = usual if wanted == "auto" else signal.Signals[f"SIG{wanted}"]

    async def wake(self) -> None:
        """Make R see that it was interrupted: httpuv sleeps for up to two seconds, unless a request comes."""
        if self._is_r and self.first is signal.SIGINT:
            self.close()
            transport = self._waking = await self._connect()
            if transport is not None:
                transport.write(_WAKING)

    async def serves(self) -> bool:
        """Return whether its port accepts connections. A program that is about to exit has closed it before."""
        transport = await self._connect()
        if transport is None:
            return False
        transport.abort()
        return True

    async def _connect(self) -> asyncio.WriteTransport | None:
        with contextlib.suppress(OSError, TimeoutError):
            transport, _ = await connect_tcp(asyncio.Protocol, self._host, self._port, CONNECT_SECONDS)
            return transport  # type: ignore[return-value]
        return None

    def close(self) -> None:
        """Close the connection that woke it: it has exited."""
        if self._waking is not None:
            self._waking.close()


def is_farewell(stream: str, line: str) -> bool:
    """Return whether a line is what R prints when it is interrupted, which looks like an error."""
    return stream == "err" and line.strip() in ("", "Execution halted")


def _runs_r(pid: int, depth: int) -> bool:
    if _name(pid) in _R:
        return True
    return depth > 1 and any(_runs_r(child, depth - 1) for child in _children(pid))


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return str(_ask_psutil(pid, "name", ""))


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return [child.pid for child in _ask_psutil(pid, "children", [])]


def _ask_psutil(pid: int, what: str, otherwise: Any) -> Any:
    """Ask psutil, where there is no /proc."""
    if Path("/proc/self/stat").exists():
        return otherwise  # it is gone
    import psutil

    with contextlib.suppress(psutil.Error):
        return getattr(psutil.Process(pid), what)()
    return otherwise
