"""Check the demo as somebody who has just installed it: all its workers, restarts, and what is left at the end.

Run it from a checkout that `.ci/prepare run` has prepared. Standard library only. Raises AssertionError.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support.running import READY, WORKER_READY

T = TypeVar("T")

FAUCET = str(Path(".venv/bin/faucet").absolute())

WORKERS = 4

ROLLS = 3
"""Rolling restarts. With the starts before them, 20: if one start in five fails, 99 of 100 runs show it."""

TROUBLE = re.compile(r"error|traceback|fail|could not|before it listened|stopped at|unable|must be", re.IGNORECASE)
"""Words that no line of the log has while everything works."""


class Service:
    """`faucet demo --headless`, started, and its log."""

    def __init__(self) -> None:
        words = [FAUCET, "demo", "--headless", "-w", str(WORKERS), "--host", "127.0.0.1:0"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = until(self._address, 60, "the demo serves", self)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def _address(self) -> str:
        assert self.process.poll() is None, f"the demo ended:\n{self.log}"
        found = READY.search(self.log)
        return f"http://127.0.0.1:{found['port']}" if found else ""

    @property
    def log(self) -> str:
        """The log without the requests."""
        return "\n".join(line for line in self.lines if ' "GET /' not in line)

    def check_log(self) -> None:
        """Fail if a worker did not start, or anything else went wrong."""
        bad = [line for line in self.log.splitlines() if TROUBLE.search(line)]
        assert not bad, "the log reports a failure:\n" + "\n".join(bad[:20])

    def ctl(self, *words: str) -> str:
        """Run `faucet ctl …` and return its output."""
        argv = [FAUCET, "ctl", *words, "--at", self.url.rpartition(":")[2]]
        result = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        said = result.stdout + result.stderr
        assert result.returncode == 0, f"`faucet ctl {' '.join(words)}` failed: {said}\n{self.log}"
        return result.stdout

    def pids(self) -> dict[str, int]:
        """Return the latest pid that was ready of each worker, by number."""
        found = (WORKER_READY.search(line) for line in list(self.lines))
        return {match["number"]: int(match["pid"]) for match in found if match}

    def all_ready(self) -> dict[str, int]:
        """Return the pids once all workers are ready; until then, nothing."""
        pids = self.pids()
        return pids if len(pids) == WORKERS else {}

    def stop(self) -> None:
        """End it by SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log
        self._reader.join(10)


class Client(threading.Thread):
    """Sends requests, with short pauses, and keeps the pids of the workers that answered."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.pids: set[int] = set()
        self.failures: list[str] = []
        self.count = 0
        self.ended = False

    def run(self) -> None:
        """Runs in the thread."""
        while not self.ended:
            try:
                with urllib.request.urlopen(f"{self.url}/hello", timeout=30) as response:
                    self.pids.add(json.load(response)["pid"])
            except OSError as error:
                self.failures.append(str(error))
            self.count += 1
            time.sleep(0.02)  # both cores would be busy with requests otherwise, instead of with starting R


def until(condition: Callable[[], T], seconds: float, what: str, service: Service | None = None) -> T:
    """Wait until `condition()` is true and return its value. Raises AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        log = f"\n{service.log}" if service else ""
        assert time.monotonic() < deadline, f"within {seconds:.0f} s it did not happen that {what}{log}"
        time.sleep(0.05)
    return value


def answered(clients: list[Client]) -> set[int]:
    """Return the pids of all workers that have answered."""
    return set().union(*(client.pids.copy() for client in clients))


def restart_each(service: Service) -> None:
    """Restart one worker after another, and wait for each replacement."""
    for name, before in service.all_ready().items():
        service.ctl("restart", name)

        def replaced(name: str = name, before: int = before) -> bool:
            return service.pids()[name] != before

        until(replaced, 60, f"worker {name} is replaced", service)
        service.check_log()


def end_all(clients: list[Client]) -> int:
    """End the clients and return how many requests they sent. Fails if one request failed."""
    for client in clients:
        client.ended = True
    for client in clients:
        client.join(30)
    failures = [text for client in clients for text in client.failures]
    assert not failures, f"{len(failures)} requests failed: {failures[:5]}"
    return sum(client.count for client in clients)


def exercise(service: Service) -> None:
    """Let every worker serve; restart each; roll; no request fails, and no start."""
    first = until(service.all_ready, 60, "all workers are ready", service)
    service.check_log()
    clients = [Client(service.url) for _ in range(WORKERS)]
    for client in clients:
        client.start()
    until(lambda: set(first.values()) <= answered(clients), 60, "every worker has answered", service)
    restart_each(service)
    for _ in range(ROLLS):
        service.ctl("rolling-restart")
        service.check_log()
    last = until(service.all_ready, 60, "all workers are ready", service)
    assert not set(last.values()) & set(first.values()), "a worker was not replaced"
    until(lambda: set(last.values()) <= answered(clients), 60, "every new worker has answered", service)
    count = end_all(clients)
    print(f"   {WORKERS} workers, {WORKERS} restarts, {ROLLS} rolling restarts, {count} requests: all succeeded")


def check_nothing_is_left() -> None:
    """Fail if R or Faucet still runs, or a temporary directory of theirs exists."""

    def running() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            words = command_line(path)
            if words[:1] and (words[0].endswith("/R") or str(Path(".venv").absolute()) in " ".join(words)):
                found.append(f"{path.name}: {' '.join(words)}")
        return found

    until(lambda: not running(), 5, f"nothing runs any more: {running()}")
    sockets = Path(f"/tmp/faucet-{os.getuid()}")  # a directory that the next service uses again, if it is empty
    left = [str(path) for path in (*Path("/tmp").glob("*"), *sockets.glob("*")) if path != sockets]
    assert not left, f"left in /tmp: {left}"


def command_line(process: Path) -> list[str]:
    """Return the words with which a process was started; nothing if it has ended."""
    try:
        return (process / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def main() -> int:
    """Return the exit code."""
    service = Service()
    try:
        exercise(service)
        service.stop()
        service.check_log()
        check_nothing_is_left()
    except AssertionError as error:
        print(error, flush=True)
        return 1
    finally:
        service.process.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
