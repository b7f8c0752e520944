"""The real program as a child process, and what a test wants to know of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from tests.support.checkout import ROOT

WORKERS = Path(__file__).parent / "workers"
"""Worker programs for tests, one file each."""

READY = re.compile(r"serving .* on https?://(?P<host>.*):(?P<port>[0-9]+) with")
WORKER_READY = re.compile(r"worker (?P<number>[0-9]+): ready on port (?P<port>[0-9]+) \(pid (?P<pid>[0-9]+)\)")


SLOW_CALLBACK = re.compile(r"warning: Executing <.* took [0-9.]+ seconds")
"""What `-X dev` logs of asyncio on a machine that is busy with other tests. It is nothing that Faucet says."""


def python_worker(name: str, *arguments: str) -> str:
    """The --command that runs one of the worker programs."""
    return " ".join([sys.executable, str(WORKERS / f"{name}.py"), *arguments])


class Faucet:
    """`faucet …`, started; use `wait_ready` before talking to it."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        env: dict[str, str] | None = None,
        host: str = "127.0.0.1:0",
        wrapper: Sequence[str] = (),
        checked: bool = True,
    ) -> None:
        self.lines: list[str] = []
        self._news: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.port = 0
        self.control = ""
        """Path of its control socket, where a test has chosen it."""
        words = [*arguments] if "--host" in arguments else [*arguments, "--host", host]
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, *(("-X", "dev", "-W", "error") if checked else ()), "-m", "faucet", *words],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if SLOW_CALLBACK.search(line):
                continue
            self.lines.append(line.rstrip("\n"))
            self._news.put(self.lines[-1])
        self._news.put(None)

    @property
    def output(self) -> str:
        """All it has written so far."""
        return "\n".join(self.lines)

    def wait_line(self, pattern: str | re.Pattern[str], seconds: float = 30) -> re.Match[str]:
        """The first line, of those not waited for yet, in which `pattern` is found."""
        deadline = monotonic() + seconds
        while True:
            try:
                line = self._news.get(timeout=max(deadline - monotonic(), 0))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"{pattern!r} did not come:\n{self.output}")
            if match := re.search(pattern, line):
                return match

    def wait_ready(self, seconds: float = 30) -> Faucet:
        """Wait until it serves."""
        self.port = int(self.wait_line(READY, seconds)["port"])
        return self

    def url(self, target: str) -> str:
        """Of something that it serves."""
        return f"http://127.0.0.1:{self.port}{target}"

    async def listening_port(self) -> int:
        """The port of a service whose log is too terse to tell."""
        import psutil

        process = psutil.Process(self.process.pid)
        for _ in range(300):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    return int(connection.laddr[1])
            await asyncio.sleep(0.05)
        raise AssertionError(self.output)

    def wait_workers(self, count: int, seconds: float = 30) -> dict[int, int]:
        """Wait until `count` workers are ready; the pid of each by its number. Also waits for the service."""
        deadline = monotonic() + seconds
        while len(self.worker_pids) < count or not self.port:
            line = self.wait_line(r"ready on port|serving", deadline - monotonic())
            if match := READY.search(line.string):
                self.port = int(match["port"])
        return self.worker_pids

    @property
    def worker_pids(self) -> dict[int, int]:
        """The newest pid of each worker, by its number."""
        matches = [WORKER_READY.search(line) for line in list(self.lines)]
        return {int(match["number"]): int(match["pid"]) for match in matches if match}

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to Faucet, and to nobody else."""
        self.process.send_signal(number)

    def wait_exit(self, seconds: float = 20) -> int:
        """Its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def stop(self, seconds: float = 20) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(seconds)

    def close(self) -> None:
        """End it and everything that was its."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        for pid in self.worker_pids.values():
            wait_gone(pid)
        own = [
            line.partition(' error="')[0] for line in self.lines if " | " not in line
        ]  # what workers write is theirs
        assert not [line for line in own if "Traceback" in line or "Warning" in line], self.output


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    if sys.platform == "linux":
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_gone(pid: int, seconds: float = 10) -> float:
    """Wait until a process has ended; how long that took."""
    began = monotonic()
    while is_alive(pid):
        if monotonic() - began > seconds:
            raise AssertionError(f"process {pid} is still alive after {seconds} s")
        threading.Event().wait(0.01)
    return monotonic() - began


def resident_memory(pid: int) -> int:
    """Bytes of resident memory."""
    import psutil

    size: int = psutil.Process(pid).memory_info().rss
    return size
