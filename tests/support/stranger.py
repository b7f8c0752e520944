"""What somebody does who has just typed README's first command: looks whether all of it works. Standard library only.

Run from a checkout that `.ci/prepare run` has prepared. Raises AssertionError where something does not.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAUCET = str(Path(".venv/bin/faucet").absolute())

WORKERS = 4

ROLLS = 10

TROUBLE = re.compile(r"Error|Traceback|failed|could not|before it listened|not replaced", re.IGNORECASE)
"""In the log, where there is no reason for it."""


class Service:
    """`faucet demo --headless`, and what it said."""

    def __init__(self) -> None:
        words = [FAUCET, "demo", "--headless", "-w", str(WORKERS), "--host", "127.0.0.1:0"]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.url = ""
        until(self._serves, 60, "the demo serves")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def _serves(self) -> bool:
        found = re.search(r"serving .* on (http://127\.0\.0\.1:[0-9]+)", "\n".join(self.lines))
        self.url = found[1] if found else ""
        assert self.process.poll() is None, self.log
        return bool(found)

    @property
    def log(self) -> str:
        """All it said, but for the requests."""
        return "\n".join(line for line in self.lines if ' "GET /' not in line)

    def ctl(self, *words: str) -> str:
        """`faucet ctl …`: what it prints."""
        at = ("--at", self.url.rpartition(":")[2])
        result = subprocess.run([FAUCET, "ctl", *words, *at], capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, f"ctl {' '.join(words)}: {result.stdout}{result.stderr}\n{self.log}"
        return result.stdout

    def workers(self) -> dict[str, int]:
        """Pids of the workers that are ready."""
        rows = json.loads(self.ctl("workers", "--json"))
        return {row["name"]: row["pid"] for row in rows if row["state"] in ("ready", "busy")}


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until `condition()` is true; its value. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)
    return value


def fetch(url: str) -> Any:
    """The answer, as JSON."""
    with urllib.request.urlopen(f"{url}/hello", timeout=30) as response:
        return json.load(response)


class Load(threading.Thread):
    """A client that never stops asking, and remembers who answered."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.pids: set[int] = set()
        self.failures: list[str] = []
        self.count = 0
        self.ended = False

    def run(self) -> None:
        """Called by the thread."""
        while not self.ended:
            try:
                self.pids.add(fetch(self.url)["pid"])
            except OSError as error:
                self.failures.append(str(error))
            self.count += 1


def serves_from_all_workers_through_restarts() -> None:
    """Each worker answers, and is replaced; ten rolling restarts; nothing fails; nothing is left."""
    service = Service()
    load = [Load(service.url) for _ in range(WORKERS)]
    for client in load:
        client.start()
    first = until(lambda: all_ready(service), 60, "all workers are ready")
    answered = until(lambda: set(first.values()) <= set().union(*(client.pids for client in load)), 60, "all answered")
    assert answered
    for name, pid in first.items():
        service.ctl("restart", name)
        until(lambda name=name, pid=pid: service.workers().get(name, pid) != pid, 60, f"worker {name} is replaced")
    for _ in range(ROLLS):
        service.ctl("rolling-restart")
    for client in load:
        client.ended = True
    for client in load:
        client.join(30)
    failures = [text for client in load for text in client.failures]
    assert not failures, failures[:5]
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(60) == 0, service.log
    trouble = [line for line in service.lines if TROUBLE.search(line)]
    assert not trouble, "\n".join(trouble)
    count = sum(client.count for client in load)
    print(f"   {WORKERS} workers, {WORKERS} restarts, {ROLLS} rolling restarts: {count} requests, none failed")
    nothing_is_left()


def all_ready(service: Service) -> dict[str, int] | None:
    """Their pids, once all are ready."""
    ready = service.workers()
    return ready if len(ready) == WORKERS else None


def nothing_is_left() -> None:
    """No R, no temporary directory of R's."""
    running = [path for path in Path("/proc").glob("[0-9]*/comm") if text_of(path).strip() == "R"]
    assert not running, running
    left = [*Path("/tmp").glob("Rtmp*"), *Path("/tmp").glob("faucet*")]
    assert not left, left


def text_of(path: Path) -> str:
    """What is in it; nothing if it is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def shows_the_monitor() -> None:
    """In a terminal, the demo shows its workers, and serves; `ctl stop` ends both."""
    port = 43838
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"COLUMNS": "120", "LINES": "36"}
        os.execv(FAUCET, [FAUCET, "demo", "-w", "2", "--host", f"127.0.0.1:{port}"])
    seen = bytearray()

    def look() -> None:
        while select.select([terminal], [], [], 0.1)[0]:
            try:
                seen.extend(os.read(terminal, 65536))
            except OSError:  # it has ended
                return

    def serving() -> bool:
        look()
        return b"serving" in seen and b"ready" in seen

    until(serving, 60, "the monitor shows ready workers")
    assert fetch(f"http://127.0.0.1:{port}")["hello"] == "world"
    subprocess.run([FAUCET, "ctl", "stop", "--at", str(port)], check=True, timeout=60, stdout=subprocess.DEVNULL)

    def ended() -> bool:
        look()
        return os.waitpid(pid, os.WNOHANG)[0] == pid

    until(ended, 30, "the monitor ends with the service")
    nothing_is_left()
    print("   the monitor shows them in a terminal")


if __name__ == "__main__":
    serves_from_all_workers_through_restarts()
    shows_the_monitor()
