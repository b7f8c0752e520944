"""A service under attack, a client that measures meanwhile, and the bookkeeping afterwards.

Four promises are checked behind every tool: a worker never had two requests; nobody hung; each request that a worker
got is in the log, and the other way round; no lock is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from tests.support.checkout import ROOT
from tests.support.running import Faucet, python_worker

TOOLS = ROOT / ".venv" / "corpora"
"""The virtual environment of tools that are Python packages: `.ci/prepare corpora` makes it."""

BOOKED = python_worker("booked")
"""The worker whose requests are counted."""

HANGS = 10.0
"""Seconds without an answer after which the probe says that it hangs. What it asks for takes a millisecond."""

PROBE_INTERVAL = 0.1


class Missing(Exception):
    """What a recipe needs is not on this machine; the text says what."""


def need(name: str) -> str:
    """The path of a program. Raises Missing."""
    found = shutil.which(name) or shutil.which(name, path=str(TOOLS / "bin"))
    if found is None:
        raise Missing(f"needs {name} (.ci/prepare corpora)")
    return found


class Probe(threading.Thread):
    """A client that asks every tenth of a second, on a new connection, and measures."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.times: list[float] = []
        self.wrong: Counter[str] = Counter()
        self._ended = threading.Event()

    def run(self) -> None:
        """Ask until `end`."""
        while not self._ended.wait(PROBE_INTERVAL):
            began = monotonic()
            try:
                status = self._ask()
            except TimeoutError:
                self.wrong[f"the probe waited for {HANGS:.0f} s in vain"] += 1
            except OSError as error:
                self.wrong[f"the probe: {error!r}"] += 1
            else:
                self.times.append(monotonic() - began)
                if status != b"200":
                    self.wrong[f"the probe was answered {status!r}"] += 1

    def _ask(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=HANGS) as sock:
            sock.sendall(b"GET /quick HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := sock.recv(1 << 16):
                answer += data
        return answer[9:12]

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join(HANGS + 5)

    def told(self) -> str:
        """`12/340 ms`: the median and the longest."""
        ordered = sorted(self.times)
        return f"{ordered[len(ordered) // 2] * 1e3:.0f}/{ordered[-1] * 1e3:.0f} ms" if ordered else "none"


@dataclass
class Row:
    """What a recipe has found."""

    name: str
    said: str = ""
    """What the tool reports, in short."""
    handed: int = 0
    """Requests that workers got."""
    probe: str = ""
    wrong: list[str] = field(default_factory=list)
    """Promises that were broken."""
    skipped: str = ""


class Rig:
    """A service with workers of a kind, and its books; use it as a context manager, then read `row`."""

    def __init__(
        self, name: str, *options: str, command: str = BOOKED, workers: int = 2, probed: bool = True, pods: bool = False
    ) -> None:
        """`pods`: there is no `command`; they are none of Faucet's, and what is sent to them may be lost."""
        self.row = Row(name)
        self._pods = pods
        self._options = ("k8s", *options) if pods else (*options, "--command", command, "-w", str(workers))
        self._probed = probed
        self.directory = Path()
        self.service: Faucet
        self.probe: Probe

    @contextlib.contextmanager
    def prepared(self) -> Iterator[Path]:
        """Its directory, for what has to be there before it starts."""
        self.directory = Path(tempfile.mkdtemp(prefix="fct-"))
        try:
            yield self.directory
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        if not self._pods:
            self.directory = Path(tempfile.mkdtemp(prefix="fct-"))
        self._control = str(self.directory / "control")
        self.service = Faucet(
            self.directory, *self._options, "--control", self._control, "--log-file", "log", "--log-format", "json",
            env={"CORPORA_BOOK": str(self.directory / "book")}, checked=False,
        )  # fmt: skip
        try:
            self.service.wait_ready()
        except BaseException:
            self._close()
            raise
        self.probe = Probe(self.service.port)
        if self._probed:
            self.probe.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self._probed:
                self.probe.end()
            if kind is None:
                self._check()
        finally:
            self._close()

    def _close(self) -> None:
        self.service.close()
        shutil.rmtree(self.directory)

    @property
    def port(self) -> int:
        """Where it serves."""
        return self.service.port

    def url(self, target: str) -> str:
        """Of something that it serves."""
        return self.service.url(target)

    def run(self, *argv: str, seconds: float = 120, env: dict[str, str] | None = None) -> str:
        """Run a tool to its end; all that it writes. One that does not end hangs, and is ended."""
        variables = {**os.environ, "HOME": str(self.directory), **(env or {})}
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=seconds, check=False, cwd=self.directory,
                stdin=subprocess.DEVNULL, errors="replace", env=variables,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            self.wrong(f"{Path(argv[0]).name} has not ended after {seconds:.0f} s")
            return ""
        if done.returncode:
            self.wrong(f"{Path(argv[0]).name} exits with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
        return done.stdout + done.stderr

    def wrong(self, text: str) -> None:
        """Remember a broken promise."""
        self.row.wrong.append(text)

    def ctl(self, *command: str) -> str:
        """What `faucet ctl` prints. Raises CalledProcessError, if the command is refused, too."""
        return subprocess.run(
            [sys.executable, "-m", "faucet", "ctl", *command, "--at", self._control],
            capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
        ).stdout  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What `faucet ctl status --json` prints."""
        status: dict[str, Any] = json.loads(self.ctl("status", "--json"))
        return status

    def settled(self, seconds: float = 30) -> dict[str, Any]:
        """The status, once no lock is held and nobody waits; or as it is after so long."""
        deadline = monotonic() + seconds
        while True:
            status = self.status()
            totals = status["totals"]
            if totals["locked"] == totals["waiting"] == 0 or monotonic() > deadline:
                return status
            sleep(0.3)

    def spool_files(self) -> int:
        """Files without a name that Faucet has open."""
        names = []
        for descriptor in Path(f"/proc/{self.service.process.pid}/fd").glob("*"):
            with contextlib.suppress(OSError):  # closed meanwhile
                names.append(str(descriptor.readlink()))
        return sum(name.endswith(" (deleted)") for name in names)

    def book(self) -> Counter[str]:
        """What workers have written down."""
        path = self.directory / "book"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def records(self) -> list[dict[str, Any]]:
        """The requests in the log."""
        lines = (self.directory / "log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == "request"]

    def messages(self) -> list[str]:
        """What Faucet has said in the log."""
        lines = (self.directory / "log").read_text().splitlines()
        return [entry["text"] for entry in map(json.loads, lines) if entry["event"] == "message"]

    def _check(self) -> None:
        """The four promises."""
        totals = self.settled()["totals"]
        for what in ("locked", "waiting", "buffered"):
            if totals[what]:
                self.wrong(f"at the end, {totals[what]} {what}")
        if files := self.spool_files():
            self.wrong(f"at the end, {files} spool files are open")
        self.row.probe = self.probe.told() if self._probed else ""
        self.row.wrong += [f"{count} times: {text}" for text, count in self.probe.wrong.items()]
        book = self.book()
        self.row.handed = book["request"] + book["offence"]
        if book["offence"]:
            self.wrong(f"{book['offence']} times two requests in one worker")
        if code := self.service.stop():
            self.wrong(f"exit code {code}")
        self._check_log()

    def _check_log(self) -> None:
        """Each request that a worker got has one record with its name, and each such record is of one that got it."""
        if dropped := [text for text in self.messages() if "dropped" in text]:
            self.row.said += f"; {dropped[0]}"
            return
        with_worker = sum(1 for entry in self.records() if entry["worker"])
        if self.row.handed and not self._pods and with_worker != self.row.handed:
            self.wrong(f"workers got {self.row.handed} requests, the log has {with_worker}")
