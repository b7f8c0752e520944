"""Torment a service for a while, and then count what became of every request. `just chaos 600` for ten minutes.

Six workers under constant GETs and POSTs from sixteen clients, while workers are killed, stopped, crash, exit in the
middle of an answer, hang, leak, answer garbage and refuse their port; while it rolls, scales, reloads, and the disk of
its log is full. POSTs are under a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from faucet.control.client import Client, NoRuntime, Refusal
from tests.support.load import hang_up, read_response
from tests.support.running import Faucet, is_alive, python_worker

CLIENTS = 16
WORKERS = 6
REQUEST_TIMEOUT = 3.0
PATIENCE = 50.0
"""Seconds after which a client has waited too long: less than --queue-timeout, which would answer it."""
POSTS_AT_ONCE = 2
"""The limit that POSTs are under."""

MISDEEDS = ("exit", "crash", "hang", "garbage", "leak")


@dataclass
class Tally:
    """What became of the requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What must not be."""
    deeds: Counter[str] = field(default_factory=Counter)


class Chaos:
    """One run."""

    def __init__(self, service: Faucet, client: Client, directory: Path, seed: int) -> None:
        self.service = service
        self.client = client
        self.directory = directory
        self.book = directory / "book"
        self.tally = Tally()
        self.source = random.Random(seed)
        self._ends = False
        self._number = 0

    # -- clients -----------------------------------------------------------------------------------------------

    async def customer(self) -> None:
        """Requests without a pause. Most are good; a few make their worker misbehave, and are not counted for it."""
        while not self._ends:
            self._number += 1
            method = "POST" if self.source.random() < 0.4 else "GET"
            misdeed = self.source.choice(MISDEEDS) if self.source.random() < 0.004 else ""
            await self.one(f"/{self._number}", method, misdeed)

    async def one(self, path: str, method: str, misdeed: str) -> None:
        """One request and its outcome."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        body = b"x" * 100 if method == "POST" else b""
        target = f"{path}?{misdeed}" if misdeed else path
        head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        if misdeed:
            self.tally.deeds[misdeed] += 1
        try:
            writer.write(head.encode() + body)
            status, content = await asyncio.wait_for(read_response(reader), PATIENCE)
        except TimeoutError:
            status = await self.client.ask("status", patience=30)
            self.tally.wrong.append(f"{method} {target}: no answer for {PATIENCE:.0f} s; {status}")
        except asyncio.IncompleteReadError as error:
            self.judge(path, method, misdeed, "cut" if error.partial else "closed", b"")
        except ConnectionError:
            self.judge(path, method, misdeed, "cut", b"")
        else:
            self.judge(path, method, misdeed, str(status), content)
        finally:
            await hang_up(writer)

    def judge(self, path: str, method: str, misdeed: str, outcome: str, content: bytes) -> None:
        """A good request may fail only for what was done to its worker."""
        self.tally.outcomes[f"{'bad' if misdeed else method} {outcome}"] += 1
        if outcome == "200" and not content.endswith(f" {path}".encode()):
            self.tally.wrong.append(f"{method} {path}: somebody else's answer {content!r}")
        if not misdeed and outcome not in ("200", "cut", "502", "504"):
            self.tally.wrong.append(f"{method} {path}: {outcome}")

    def check_failures(self) -> None:
        """A good request may fail only for what was done to its worker, and each deed hits one request at most.

        It is the one that its worker was at work on, or that was in the way of the deed: one of either method.
        """
        deeds, outcomes = self.tally.deeds, self.tally.outcomes
        deadly = sum(deeds[name] for name in ("kill", "segv", "crash", "exit", "garbage"))
        still = deeds["stop"] + deeds["hang"]
        broken = sum(outcomes[f"{method} {outcome}"] for method in ("GET", "POST") for outcome in ("cut", "502"))
        if broken > deadly:
            self.tally.wrong.append(f"{broken} broken requests after {deadly} deadly deeds")
        for method in ("GET", "POST"):
            if outcomes[f"{method} 504"] > still:
                self.tally.wrong.append(f"{method} 504 {outcomes[f'{method} 504']} times after {still} standstills")

    # -- the script --------------------------------------------------------------------------------------------

    async def torment(self, seconds: float) -> None:
        """Do bad things at random moments."""
        ends = monotonic() + seconds
        rolls = 0
        while monotonic() < ends:
            await asyncio.sleep(self.source.expovariate(2.5))
            deed = self.source.choices(
                ["kill", "stop", "segv", "restart", "scale", "hold", "refuse", "roll", "disk", "reload", "watch"],
                [5, 1, 3, 3, 2, 1, 0.5, 0.5, 0.5, 0.3, 1],
            )[0]
            rolls += deed == "roll"
            self.tally.deeds[deed] += 1
            with contextlib.suppress(Refusal, psutil.Error):
                await getattr(self, f"do_{deed}")()
            await self.check_limit()
        for _ in range(max(2 - rolls, 0)):
            with contextlib.suppress(Refusal):  # one is under way, since a file has changed
                await self.client.ask("rolling-restart", wait=True, patience=60)

    async def workers(self) -> list[dict[str, Any]]:
        """The rows of all workers that have a process."""
        status = await self.client.ask("status", patience=30)
        return [row for row in status["workers"] if row["pid"]]

    async def signal(self, number: signal.Signals) -> None:
        """To one of the workers."""
        rows = await self.workers()
        if rows:
            psutil.Process(self.source.choice(rows)["pid"]).send_signal(number)

    async def do_kill(self) -> None:
        await self.signal(signal.SIGKILL)

    async def do_segv(self) -> None:
        await self.signal(signal.SIGSEGV)

    async def do_stop(self) -> None:
        await self.signal(signal.SIGSTOP)

    async def do_restart(self) -> None:
        await self.client.ask("restart", worker=str(self.source.randint(1, WORKERS)), patience=30)

    async def do_scale(self) -> None:
        await self.client.ask("scale", count=self.source.randint(WORKERS - 2, WORKERS + 2), patience=30)

    async def do_hold(self) -> None:
        name = str(self.source.randint(1, WORKERS))
        await self.client.ask("hold", worker=name, patience=30)
        await asyncio.sleep(0.3)
        await self.client.ask("resume", worker=name, patience=30)

    async def do_refuse(self) -> None:
        """For a moment, new workers start and never listen."""
        flag = self.directory / "book.refuse"
        flag.touch()
        await asyncio.sleep(1)
        flag.unlink()

    async def do_roll(self) -> None:
        await self.client.ask("rolling-restart", patience=30)

    async def do_reload(self) -> None:
        (self.directory / "api" / "code.txt").write_text(str(self.source.random()))

    async def do_watch(self) -> None:
        """Somebody looks, and leaves without a word."""
        viewer = await Client.connect(Path(self.service.control))
        await viewer.ask("watch", hz=10, patience=30)
        await asyncio.sleep(0.3)
        await viewer.close()

    async def do_disk(self) -> None:
        """The disk of the log is full for a moment, where there is one."""
        filler = self.directory / "disk" / "filler"
        if not os.path.ismount(filler.parent):
            return
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        await asyncio.sleep(0.5)
        filler.unlink()

    async def check_limit(self) -> None:
        """No more POSTs hold locks than may, and no worker stays free while a request may run.

        A worker that was killed a moment ago is called ready until its exit is known: so it is looked at twice.
        """
        status = await self.client.ask("status", patience=30)
        limit = status["limits"][0]
        posts = sum(row["request"].startswith("POST") for row in status["workers"])
        if posts > POSTS_AT_ONCE or posts != limit["locked"]:
            self.tally.wrong.append(f"{posts} POSTs held locks, and {limit}")
        if wrong := free_and_waiting(status):
            await asyncio.sleep(1.0)
            still = free_and_waiting(await self.client.ask("status", patience=30))
            self.tally.wrong += [f"a worker was free, and a request waited: {pair}" for pair in wrong & still]

    # -- the end -----------------------------------------------------------------------------------------------

    async def run(self, seconds: float) -> None:
        """Torment, then let it recover."""
        customers = [asyncio.ensure_future(self.customer()) for _ in range(CLIENTS)]
        try:
            await self.torment(seconds)
        finally:
            self._ends = True
            await asyncio.gather(*customers)
        await self.client.ask("scale", count=WORKERS, patience=30)

    async def recovered(self) -> dict[str, Any]:
        """Wait until all is quiet, and every worker serves."""
        status: dict[str, Any] = {}
        for _ in range(600):
            status = await self.client.ask("status", patience=30)
            totals = status["totals"]
            rows = status["workers"]
            quiet = totals["locked"] == totals["waiting"] == status["limits"][0]["locked"] == 0
            quiet = quiet and not status["service"]["notice"].startswith("rolling restart: ")
            if quiet and len(rows) == WORKERS and {row["state"] for row in rows} == {"ready"}:
                return status
            if any(row["state"] in ("backoff", "failed") for row in rows):
                for row in rows:
                    if row["state"] in ("backoff", "failed"):
                        with contextlib.suppress(Refusal):
                            await self.client.ask("restart", worker=row["name"])
            await asyncio.sleep(0.1)
        raise AssertionError(f"it has not recovered: {status}")

    def check_book(self) -> None:
        """Each POST was handed to one worker at most, and none had two requests at once."""
        lines = Counter(self.book.read_text().splitlines())
        self.tally.outcomes["POSTs handed to a worker"] = sum(line.startswith("POST") for line in lines)
        self.tally.wrong += [f"{line} {count} times" for line, count in lines.items() if count > 1]
        if "offence" in lines:
            self.tally.wrong.append("two requests in one worker")


def free_and_waiting(status: Any) -> set[tuple[Any, ...]]:
    """Each free worker with each request that only waits for a worker."""
    free = [(row["key"], row["pid"], row["requests"]) for row in status["workers"] if row["state"] == "ready"]
    waiting = [(row["since"], row["request"]) for row in status["queue"] if not row["limit"]]
    return {(*worker, *request) for worker in free for request in waiting}


def descriptors(pid: int) -> int:
    """Open files, sockets included."""
    return psutil.Process(pid).num_fds()


async def chaos(directory: Path, seconds: float, seed: int) -> Tally:
    """A whole run, from start to end. Raises AssertionError if the service does not recover, or leaves anything."""
    (directory / "api").mkdir()
    (directory / "disk").mkdir()
    mounted = _mount(directory / "disk")
    control = directory / "control"
    service = Faucet(
        directory, "--command", python_worker("chaotic"), "-w", str(WORKERS), "--dir", "api", "--reload",
        "--request-timeout", f"{REQUEST_TIMEOUT}s", "--max-rss", "120MiB", "--max-requests", "2000",
        "--startup-timeout", "5s", "--limit", f"POST /* at-once={POSTS_AT_ONCE}", "--control", str(control),
        "--log-file", "disk/log", "--log-max-size", "100KiB", "--log-keep", "2",
        env={"CHAOS_BOOK": str(directory / "book")},
    )  # fmt: skip
    service.control = str(control)
    try:
        service.port = await service.listening_port()
        client = await Client.connect(control)
        run = Chaos(service, client, directory, seed)
        await run.recovered()
        process = psutil.Process(service.process.pid)
        files, memory = descriptors(process.pid), process.memory_info().rss
        children = len(process.children(recursive=True))
        await run.run(seconds)
        status = await run.recovered()
        run.check_book()
        run.check_failures()
        await asyncio.sleep(1.5)  # connections that linger are gone
        run.tally.outcomes["restarts"] = sum(row["restarts"] for row in status["workers"])
        # At first no worker had been asked anything; now each has a kept connection, of two descriptors.
        _compare(run.tally, "descriptors", files, descriptors(process.pid), 2 * WORKERS + 2)
        _compare(run.tally, "children", children, len(process.children(recursive=True)), 0)
        _compare(run.tally, "MiB of memory", memory >> 20, process.memory_info().rss >> 20, 64)
        workers = [row["pid"] for row in status["workers"]]
        await client.close()
        code = await asyncio.to_thread(service.stop)
        if code:
            run.tally.wrong.append(f"exit code {code}")
        run.tally.wrong += [f"worker {pid} is alive" for pid in workers if is_alive(pid)]
        log = "".join(path.read_text(errors="replace") for path in (directory / "disk").glob("log*"))
        run.tally.wrong += [line for line in log.splitlines() if "Traceback" in line]
        run.tally.deeds["log lines dropped, told"] = log.count("lines were dropped")
        return run.tally
    except NoRuntime as error:
        raise AssertionError(f"the runtime is gone: {error}\n{service.output}") from error
    finally:
        service.close()
        if mounted:
            subprocess.run(["umount", str(directory / "disk")], check=True)


def _compare(tally: Tally, what: str, before: int, after: int, room: int) -> None:
    tally.outcomes[f"{what}: {before} before, after"] = after
    if after > before + room:
        tally.wrong.append(f"{what}: {before} before, {after} after")


def _mount(path: Path) -> bool:
    """A disk of 1 MB; only root can have one."""
    if os.getuid() != 0 or sys.platform != "linux":
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True, check=False
    )
    return done.returncode == 0


def report(tally: Tally) -> str:
    """All counts."""
    outcomes = "\n".join(f"  {name:40} {count}" for name, count in sorted(tally.outcomes.items()))
    deeds = ", ".join(f"{name} {count}" for name, count in sorted(tally.deeds.items()))
    wrong = "\n".join(tally.wrong[:20]) or "nothing"
    return f"deeds: {deeds}\n{outcomes}\nwrong: {wrong}"


def main() -> None:
    """As long as asked for, with a seed of its own."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fct-") as directory:
        os.environ["XDG_RUNTIME_DIR"] = directory
        tally = asyncio.run(chaos(Path(directory), seconds, seed))
    print(report(tally))
    sys.exit(bool(tally.wrong))


if __name__ == "__main__":
    main()
