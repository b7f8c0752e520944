"""Torment the pods of a service, and then count what became of every request: the chaos run, for pods.

Names come and go, name servers fall silent, pods refuse, reset, hang, vanish and come back as other processes at the
same address; through a bastion, links are cut and sessions killed, too. All of it in network namespaces of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from faucet.control.client import Client, Refusal
from tests.corpora.rig import Missing, Row
from tests.support.bastion import ssh_options
from tests.support.cluster import SERVICE, Cluster, NoNamespaces, what_is_missing
from tests.support.cluster_net import HOLE
from tests.support.cluster_pods import ADDRESSES
from tests.support.load import hang_up, read_response
from tests.support.running import Faucet

PODS = ADDRESSES[:8]
CLIENTS = 12
REQUEST_TIMEOUT, LOCK_GRACE = 2.0, 4.0
HANGS = 60.0
"""Seconds after which a request has hung. All limits of the service together are shorter."""

NAMES = {"names": 8, "dns_stops": 0.5, "dns_freezes": 0.5}
PROCESSES = {"silent": 2, "refuse": 3, "reset": 3, "hold": 1, "drop": 2}
LINK = {"session": 2, "cut": 1, "sshd": 1}
"""What is done, and how often in relation; one thing of each kind at a time."""

BAD = ("cut", "closed", "500", "502", "503", "504")
"""What may become of a request of which its pod, or the way to it, was tormented."""


class PodChaos:
    """One run."""

    def __init__(self, cluster: Cluster, service: Faucet, client: Client, seed: int, through_ssh: bool) -> None:
        self.cluster, self.service, self.client = cluster, service, client
        self.source = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.deeds: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.good: Counter[str] = Counter()
        """POSTs that were answered with 200."""
        self.number = 0
        self._ends = False
        self._through_ssh = through_ssh

    # -- clients -----------------------------------------------------------------------------------------------

    async def customer(self) -> None:
        """Requests without a pause."""
        while not self._ends:
            self.number += 1
            post = self.source.random() < 0.4
            body = self.source.randbytes(self.source.randint(1, 3000)) if post else b""
            target = f"/{self.number}" if post else f"/sleep?{self.source.choice((0.0, 0.0, 0.01, 0.2))}"
            await self.one("POST" if post else "GET", target, body)

    async def one(self, method: str, target: str, body: bytes) -> None:
        """One request and its outcome."""
        head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        try:
            writer.write(head + body)
            if self.source.random() < 0.05:
                await asyncio.sleep(self.source.uniform(0, 0.05))
                self.outcomes[f"{method} left"] += 1
                return
            status, content = await asyncio.wait_for(read_response(reader), HANGS)
            self.judge(method, target, body, str(status), content)
        except TimeoutError:
            self.wrong.append(f"{method} {target} hangs")
        except asyncio.IncompleteReadError as error:
            self.judge(method, target, body, "cut" if error.partial else "closed", b"")
        except ConnectionError:
            self.judge(method, target, body, "cut", b"")
        finally:
            await hang_up(writer, reset=self.source.random() < 0.5)

    def judge(self, method: str, target: str, body: bytes, outcome: str, content: bytes) -> None:
        """The answer belongs to the request, or is one of those that may be."""
        self.outcomes[f"{method} {outcome}"] += 1
        if outcome == "200" and method == "POST":
            self.good[f"POST {target}"] += 1
            if content != f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode():
                self.wrong.append(f"{method} {target}: somebody else's answer {content[:90]!r}")
        elif outcome == "200" and content.decode() not in PODS:
            self.wrong.append(f"{method} {target}: somebody else's answer {content[:90]!r}")
        elif outcome not in ("200", *BAD) or (outcome == "500" and content == b"offence"):
            self.wrong.append(f"{method} {target}: {outcome} {content[:90]!r}")

    # -- deeds -------------------------------------------------------------------------------------------------

    async def torment(self, seconds: float) -> None:
        """Do bad things of all kinds."""
        kinds = [NAMES, PROCESSES, *([LINK] if self._through_ssh else [])]
        await asyncio.gather(*(self.do_some(kind, seconds) for kind in kinds))

    async def do_some(self, kind: dict[str, float], seconds: float) -> None:
        """Of one kind, at random moments."""
        ends = monotonic() + seconds
        while monotonic() < ends:
            await asyncio.sleep(self.source.expovariate(0.4 if kind is LINK else 4))
            deed = self.source.choices(list(kind), list(kind.values()))[0]
            self.deeds[deed] += 1
            with contextlib.suppress(Refusal):
                await getattr(self, f"do_{deed}")()

    async def mode(self, mode: Any, seconds: float) -> None:
        """One pod is so for a while, and then another process at the same address."""
        pod = self.source.choice(PODS)
        await self.set(pod, mode)
        await asyncio.sleep(seconds)
        await self.set(pod, "normal")

    async def set(self, pod: str, mode: Any) -> None:
        """Raises AssertionError with what the pods say, if they do not obey."""
        try:
            await asyncio.to_thread(self.cluster.pods.set, pod, mode)
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(f"{pod}={mode}: {error!r}; {self.cluster.pods.log[-2000:]}") from error

    async def do_silent(self) -> None:
        await self.mode("silent", self.source.uniform(0.1, 1))

    async def do_refuse(self) -> None:
        await self.mode("refuse", self.source.uniform(0, 0.5))

    async def do_reset(self) -> None:
        await self.mode("reset", self.source.uniform(0, 0.5))

    async def do_names(self) -> None:
        """Other pods, none, or one that is not there; and soon the next."""
        for _ in range(self.source.randint(1, 4)):
            names = self.source.sample(PODS, self.source.randint(0, len(PODS)))
            names += [HOLE] * (self.source.random() < 0.1)
            await asyncio.to_thread(self.cluster.dns.set, SERVICE, names)
            await asyncio.sleep(self.source.uniform(0, 0.5))

    async def do_dns_stops(self) -> None:
        await asyncio.to_thread(self.cluster.dns.stop)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(self.cluster.dns.start)

    async def do_dns_freezes(self) -> None:
        await asyncio.to_thread(self.cluster.dns.freeze)
        await asyncio.sleep(1)
        await asyncio.to_thread(self.cluster.dns.thaw)

    async def do_hold(self) -> None:
        pod = self.source.choice(PODS)
        await self.client.ask("hold", worker=pod, patience=30)
        await asyncio.sleep(0.2)
        await self.client.ask("resume", worker=pod, patience=30)

    async def do_drop(self) -> None:
        await self.client.ask("drop", worker=self.source.choice(PODS), patience=30)

    async def do_session(self) -> None:
        await asyncio.to_thread(self.cluster.ssh.main.kill_sessions)

    async def do_cut(self) -> None:
        self.cluster.cut()
        await asyncio.sleep(self.source.uniform(0.1, 2))
        self.cluster.heal()

    async def do_sshd(self) -> None:
        await asyncio.to_thread(self.cluster.ssh.main.restart)

    # -- the end -----------------------------------------------------------------------------------------------

    async def run(self, seconds: float) -> None:
        """From the first request to a service that is well again."""
        customers = [asyncio.ensure_future(self.customer()) for _ in range(CLIENTS)]
        try:
            await self.torment(seconds)
            await asyncio.to_thread(self.cluster.dns.set, SERVICE, PODS)
        finally:
            self._ends = True
            await asyncio.gather(*customers)
        await self.recovered()

    async def recovered(self, seconds: float = 60) -> None:
        """All pods serve, no lock is held, and nobody waits."""
        status: dict[str, Any] = {}
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            status = await self.client.ask("status", patience=30)
            totals, states = status["totals"], Counter(row["state"] for row in status["workers"])
            if totals["locked"] == totals["waiting"] == totals["buffered"] == 0 and states == {"ready": len(PODS)}:
                return
            held = [row["name"] for row in status["workers"] if row["state"] == "held"]
            for name in held:  # it was gone when it was to be resumed
                await self.client.ask("resume", worker=name)
            await asyncio.sleep(0.1)
        self.wrong.append(f"it has not recovered: {status['totals']}, {states}")

    def check_book(self, book: Path) -> None:
        """A POST is in one pod's hands once at most, and once if it was answered."""
        lines = Counter(book.read_text().splitlines())
        self.wrong += [f"{line}: {count} times" for line, count in lines.items() if count > 1 and line[:4] == "POST"]
        self.wrong += [f"{line} was answered, and no pod had it" for line in self.good if not lines[line]]
        if offences := self.cluster.pods.offences():
            self.wrong.append(f"{offences} times two requests in one pod: {self.cluster.pods.log[-500:]}")
        answered = sum(count for name, count in self.outcomes.items() if name.endswith(" 200"))
        if answered < self.number / 4:
            self.wrong.append(f"only {answered} of {self.number} requests were answered")


@contextlib.contextmanager
def noted(book: Path) -> Iterator[None]:
    """Pods that start now write down their requests."""
    os.environ["PODS_BOOK"] = str(book)
    try:
        yield
    finally:
        del os.environ["PODS_BOOK"]


async def chaos(cluster: Cluster, directory: Path, seconds: float, seed: int, through_ssh: bool) -> PodChaos:
    """A whole run with a cluster that is as it was at first, whose pods write into `directory`/book."""
    cluster.dns.set(SERVICE, PODS)
    where, control = "laptop" if through_ssh else "cluster", directory / "control"
    with cluster.inside(where):  # type: ignore[arg-type]
        service = Faucet(
            directory, "k8s", "--service-url", f"http://{SERVICE}:8000", "--control", str(control),
            "--request-timeout", f"{REQUEST_TIMEOUT}s", "--lock-grace", f"{LOCK_GRACE}s", "--queue-timeout", "20s",
            "--resolve-interval", "1s", *(ssh_options(cluster) if through_ssh else ()),
            wrapper=cluster.wrapper(where),  # type: ignore[arg-type]
        )  # fmt: skip
        try:
            service.wait_ready()
            client = await Client.connect(control)
            run = PodChaos(cluster, service, client, seed, through_ssh)
            await run.recovered()
            process = psutil.Process(service.process.pid)
            files = process.num_fds()
            await run.run(seconds)
            run.check_book(directory / "book")
            await asyncio.sleep(1.5)  # connections that linger are gone
            if (now := process.num_fds()) > files + 2 * len(PODS) + 8:
                run.wrong.append(f"descriptors: {files} before, {now} after")
            await client.close()
            if code := await asyncio.to_thread(service.stop):
                run.wrong.append(f"exit code {code}")
            return run
        finally:
            service.close()


def report(run: PodChaos) -> str:
    """All counts."""
    outcomes = ", ".join(f"{name} {count}" for name, count in sorted(run.outcomes.items()))
    deeds = ", ".join(f"{name} {count}" for name, count in sorted(run.deeds.items()))
    return f"{outcomes}; deeds: {deeds}"


def recipe(name: str, through_ssh: bool, seconds: float = 30) -> Row:
    """A run with a cluster of its own."""
    if reason := what_is_missing():
        raise Missing(reason)
    row, seed = Row(name), random.randrange(1 << 30)
    directory = Path(tempfile.mkdtemp(prefix="fct-"))
    try:
        with noted(directory / "book"):
            cluster = Cluster("c")
        try:
            run = asyncio.run(chaos(cluster, directory, seconds, seed, through_ssh))
        finally:
            cluster.close()
    except NoNamespaces as error:
        raise Missing(f"needs network namespaces: {error}") from error
    finally:
        shutil.rmtree(directory)
    row.said, row.wrong, row.handed = f"seed {seed}: {report(run)}", run.wrong[:10], run.number
    return row
