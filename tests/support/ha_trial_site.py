"""What runs in a trial: Faucets on hosts of their own, a real API server, pods, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.support.checkout import ROOT
from tests.support.ha_trial_judge import Span, Trouble, Verdict, judge
from tests.support.ha_trial_net import API, HUB, build, host_address, pod_address
from tests.support.ha_trial_parts import Clients, Pod
from tests.support.realkube import RealKube

HOSTS, PODS, SPARE_ADDRESSES = 3, 5, 5
RATE = float(os.environ.get("HA_TRIAL_RATE", "200"))
"""Requests a second; a machine that has other things to do may need fewer."""
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
LEAVING = 0.5
"""Seconds between the removal of a Faucet from its Service and SIGTERM: some clients have chosen it just before."""
HOUR = 3600


class Trial:
    """Everything that runs."""

    def __init__(self, kube: RealKube, directory: Path) -> None:
        self.kube, self.directory = kube, directory
        self.pods: list[Pod] = []
        self.terminating: list[Pod] = []
        """Pods that are listed as such: they get nothing new."""
        self.clients = Clients(RATE, HUB)
        self.faucets: dict[int, subprocess.Popen[bytes]] = {}
        self.clocks = {number: 30 * HOUR * number for number in range(1, HOSTS + 1)}
        """By how many seconds the clock of each host is ahead of the machine's."""
        self.troubles: list[Trouble] = []
        self._past: list[Pod] = []
        self._leaving: set[int] = set()
        self._made = 0

    # -- pods --------------------------------------------------------------------------------------------------

    async def new_pod(self, address: str, name: str = "") -> Pod:
        """Start a pod at an address, under a name of its own or that of one before. `publish` makes it known."""
        self._made += 1
        pod = Pod(address, name or f"plumber-{self._made}")
        await pod.open()
        self.pods.append(pod)
        return pod

    def forget(self, pod: Pod) -> None:
        """A pod has ended; what it did is still judged."""
        for listed in (self.pods, self.terminating):
            if pod in listed:
                listed.remove(pod)
        self._past.append(pod)

    async def publish(self, method: str = "PUT") -> None:
        """Tell the API which pods there are."""
        path = SLICES if method == "POST" else f"{SLICES}/plumber-1"
        await self.kube.admin.send(method, path, json.dumps(self._slice()).encode())

    def _slice(self) -> dict[str, object]:
        return {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "plumber-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "plumber"},
            },
            "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
            "endpoints": [self._endpoint(pod) for pod in self.pods],
        }  # fmt: skip

    def _endpoint(self, pod: Pod) -> dict[str, object]:
        ends = pod in self.terminating
        return {
            "addresses": [pod.address], "conditions": {"ready": not ends, "serving": True, "terminating": ends},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": pod.name, "uid": f"uid of {pod.name}"},
        }  # fmt: skip

    def histories(self) -> dict[str, list[Span]]:
        """What each pod did, by its address and a number."""
        pods = (*self.pods, *self._past)
        return {f"{pod.address} {number}": pod.history for number, pod in enumerate(pods)}

    # -- Faucets -----------------------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Start the Faucet of that host, or its next container."""
        environment = {
            **os.environ, "POD_NAME": f"faucet-{number}", "POD_UID": f"uid-{number}", "POD_IP": host_address(number),
            "KUBERNETES_SERVICE_HOST": API, "KUBERNETES_SERVICE_PORT": str(self.kube.port),
        }  # fmt: skip
        words = ["ip", "netns", "exec", f"h{number}"]
        words += ["unshare", "--time", "--boottime", str(self.clocks[number]), "--monotonic", str(self.clocks[number])]
        words += ["--", sys.executable, "-m", "tests.support.in_cluster_program", str(self.kube.directory / "faucet")]
        words += ["k8s", "--headless", "--service-url", "http://plumber:8000", "--resolve", "kubernetes", "--ha"]
        words += ["--host", ":3838", "--admin", ":3839", "--control", "none", "--queue-timeout", "60s"]
        words += ["--queue-limit", "10000"]
        with (self.directory / f"faucet-{number}.log").open("ab") as log:
            self.faucets[number] = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
        self._leaving.discard(number)

    async def _role(self, number: int) -> str:
        """The role, if it is ready; else an empty text."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_connection(host_address(number), 3839)
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: {host_address(number)}\r\n\r\n".encode())
                answer = (await reader.read()).decode()
                writer.close()
            if answer.startswith("HTTP/1.1 200"):
                return answer.strip().rpartition(", ")[2]
        return ""

    async def _roles(self) -> list[str]:
        return list(await asyncio.gather(*(self._role(number) for number in range(1, HOSTS + 1))))

    async def probe(self) -> None:
        """Keep the endpoints of the Service, as kubelet and kube-proxy do."""
        while True:
            roles = await self._roles()
            ready = [number for number, role in enumerate(roles, 1) if role and number not in self._leaving]
            self.clients.targets[:] = map(host_address, ready)
            await asyncio.sleep(0.3)

    async def active(self, but: int = 0, seconds: float = 60.0) -> int:
        """The number of the active, when there is one, and another than that."""
        async with asyncio.timeout(seconds):
            while True:
                for number, role in enumerate(await self._roles(), 1):
                    if role == "active" and number != but:
                        return number
                await asyncio.sleep(0.05)

    async def all_ready(self) -> None:
        """Until all get requests, and none has been given up."""
        async with asyncio.timeout(90):
            while len(self.clients.targets) < HOSTS:
                await asyncio.sleep(0.1)

    async def end(self, number: int) -> None:
        """As Kubernetes ends a pod: no new connections soon, then SIGTERM."""
        self._leaving.add(number)
        async with asyncio.timeout(30):
            while host_address(number) in self.clients.targets:
                await asyncio.sleep(0.05)
        await asyncio.sleep(LEAVING)
        self.faucets[number].terminate()
        assert await asyncio.to_thread(self.faucets[number].wait, 60) == 0

    def kill(self, number: int, active: int) -> None:
        """A Faucet dies; its Service notices at once."""
        self._leaving.add(number)
        trouble = self.trouble("lost", host_address(number), was_active=number == active)
        self.faucets[number].kill()
        self.faucets[number].wait()
        with contextlib.suppress(ValueError):
            self.clients.targets.remove(host_address(number))
        trouble.ended = time.monotonic()

    def trouble(self, kind: str, who: str, *, was_active: bool = False) -> Trouble:
        """Note that something begins that may excuse failures."""
        made = Trouble(kind, who, time.monotonic(), was_active=was_active)
        self.troubles.append(made)
        return made

    @contextlib.contextmanager
    def lost(self, number: int, *, was_active: bool) -> Iterator[None]:
        """Meanwhile nothing comes from that Faucet, and its clients are excused."""
        trouble = self.trouble("lost", host_address(number), was_active=was_active)
        yield
        trouble.ended = time.monotonic()

    def close(self) -> None:
        """End all Faucets."""
        for process in self.faucets.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    # -- what came of it ---------------------------------------------------------------------------------------

    async def begin(self) -> float:
        """Count anew; return the moment."""
        await self.clients.begin()
        self.troubles.clear()
        self._past.clear()
        for pod in self.pods:
            pod.history.clear()
        return time.monotonic()

    async def verdict(self, since: float) -> Verdict:
        """What has happened since that moment."""
        await asyncio.sleep(1.0)
        until = time.monotonic()
        self.clients.resting = True  # at 200 requests/s there would be no moment in which no pod is busy
        await self.clients.settle()
        async with asyncio.timeout(60):
            while any(pod.is_busy for pod in self.pods):
                await asyncio.sleep(0.01)
        return judge(
            self.clients.served, self.clients.longest, self.clients.failures, self.troubles, self.histories(),
            self.clients.posts, since, until,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def trial(directory: Path) -> AsyncIterator[Trial]:
    """All of it, ready."""
    build(HOSTS, PODS + SPARE_ADDRESSES)
    async with RealKube(directory / "kube", API) as kube:
        await kube.allow(
            [
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
            ]
        )
        them = Trial(kube, directory)
        for number in range(1, PODS + 1):
            await them.new_pod(pod_address(number))
        await them.publish("POST")
        probing = asyncio.ensure_future(them.probe())
        loading = asyncio.ensure_future(them.clients.run())
        try:
            for number in range(1, HOSTS + 1):
                them.start(number)
            await them.all_ready()
            yield them
        finally:
            for task in (probing, loading):
                task.cancel()
            them.close()
