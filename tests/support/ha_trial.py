"""Three real Faucets with `--ha` on hosts of their own, a real API server, five pods, a steady load, and trouble.

`just ha-trial [ROUNDS] [SCENARIO …]`, as root. Each scenario prints what became of the requests, and the longest
wait. It fails if a pod had two requests at once, by the pods' own notes, or if a request failed that must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.support.checkout import ROOT
from tests.support.ha_trial_net import HUB, alone, build, cut, heal, host_address, pod_address
from tests.support.ha_trial_parts import Clients, Pod, overlaps
from tests.support.realkube import RealKube

HOSTS, PODS = 3, 5
RATE = float(os.environ.get("HA_TRIAL_RATE", "200"))
"""Requests a second; a machine that has other things to do may need fewer."""
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/faucet-plumber"
BINDING = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
LEAVING = 0.5
"""Seconds for which a Faucet that ends still gets connections: so late the cluster's Service learns of it."""


class Trial:
    """Everything that runs."""

    def __init__(self, kube: RealKube, directory: Path) -> None:
        self.kube, self.directory = kube, directory
        self.pods = [Pod(pod_address(number)) for number in range(1, PODS + 1)]
        self.clients = Clients(RATE)
        self.them: dict[int, subprocess.Popen[bytes]] = {}
        self._gone: set[int] = set()

    # -- Faucets -----------------------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Start the Faucet of that host, or its next container."""
        environment = {
            **os.environ, "POD_NAME": f"faucet-{number}", "POD_UID": f"uid-{number}", "POD_IP": host_address(number),
            "KUBERNETES_SERVICE_HOST": HUB, "KUBERNETES_SERVICE_PORT": str(self.kube.port),
        }  # fmt: skip
        words = ["ip", "netns", "exec", f"h{number}"]
        words += ["unshare", "--time", "--boottime", str(100_000 * number), "--", sys.executable, "-m"]
        words += ["tests.support.in_cluster_program", str(self.kube.directory / "faucet"), "k8s", "--headless"]
        words += ["--service-url", "http://plumber:8000", "--resolve", "kubernetes", "--ha", "--host", ":3838"]
        words += ["--admin", ":3839", "--control", "none", "--queue-timeout", "60s", "--queue-limit", "10000"]
        with (self.directory / f"faucet-{number}.log").open("ab") as log:
            self.them[number] = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
        self._gone.discard(number)

    async def _ready(self, number: int) -> str:
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

    async def probe(self) -> None:
        """Keep the endpoints of the Service, as kubelet and kube-proxy do."""
        while True:
            roles = await asyncio.gather(*(self._ready(number) for number in range(1, HOSTS + 1)))
            ready = [number for number, role in enumerate(roles, 1) if role and number not in self._gone]
            self.clients.targets[:] = map(host_address, ready)
            await asyncio.sleep(0.3)

    async def active(self, but: int = 0, seconds: float = 40.0) -> int:
        """The number of the active, when there is one, and another than that."""
        async with asyncio.timeout(seconds):
            while True:
                roles = await asyncio.gather(*(self._ready(number) for number in range(1, HOSTS + 1)))
                if "active" in roles and roles.index("active") + 1 != but:
                    return roles.index("active") + 1
                await asyncio.sleep(0.1)

    async def all_ready(self, count: int = HOSTS) -> None:
        """Until so many get requests."""
        async with asyncio.timeout(90):
            while len(self.clients.targets) < count:
                await asyncio.sleep(0.1)

    async def end(self, number: int) -> None:
        """As Kubernetes ends a pod: no new connections soon, then SIGTERM."""
        self._gone.add(number)
        await asyncio.sleep(LEAVING)
        self.them[number].terminate()
        assert await asyncio.to_thread(self.them[number].wait, 60) == 0

    def close(self) -> None:
        """End all Faucets."""
        for process in self.them.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    # -- scenarios ---------------------------------------------------------------------------------------------

    async def rolling_update(self) -> None:
        """One after the other is replaced."""
        for number in range(1, HOSTS + 1):
            await self.end(number)
            self.start(number)
            await self.all_ready()

    async def kill_and_restart(self) -> None:
        """The active dies, and its container is started again."""
        number = await self.active()
        self._kill(number)
        self.start(number)
        await self.all_ready()

    async def kill(self) -> None:
        """The active dies, and its host with it."""
        number = await self.active()
        self._kill(number)
        await self.active(but=number)
        self.start(number)
        await self.all_ready()

    def _kill(self, number: int) -> None:
        self._gone.add(number)
        self.them[number].kill()
        self.them[number].wait()
        with contextlib.suppress(ValueError):
            self.clients.targets.remove(host_address(number))

    async def freeze(self) -> None:
        """The active does not run for half a minute."""
        number = await self.active()
        self.them[number].send_signal(signal.SIGSTOP)
        await asyncio.sleep(30)
        self.them[number].send_signal(signal.SIGCONT)
        await self.all_ready()

    async def api_gone(self) -> None:
        """The API server is gone for a minute, for all."""
        before = await self.active()
        self.kube.stop_server()
        await asyncio.sleep(60)
        self.kube.start_server()
        await self.kube.wait_ready()
        assert await self.active() == before, "it goes on"

    async def api_cut(self) -> None:
        """The active alone does not reach the API server."""
        number = await self.active()
        cut(number, HUB)  # where the clients are as well: nothing reaches them from there
        await self.active(but=number)
        heal(number, HUB)
        await self.all_ready()

    async def peers_cut(self) -> None:
        """A relay and the active do not reach each other, in one direction and in the other."""
        number = await self.active()
        other = number % HOSTS + 1
        for near, far in ((number, other), (other, number)):
            cut(near, host_address(far))
            await asyncio.sleep(8)
            heal(near, host_address(far))
            await self.all_ready()

    async def lease_deleted(self) -> None:
        """Somebody deletes the Lease."""
        await self.kube.admin.send("DELETE", LEASE)
        await asyncio.sleep(15)
        await self.all_ready()

    async def role_removed(self) -> None:
        """The Role is taken away for a while."""
        content = json.loads(await self.kube.admin.get(f"{BINDING}/faucet"))
        await self.kube.admin.send("DELETE", f"{BINDING}/faucet")
        await asyncio.sleep(20)
        del content["metadata"]["resourceVersion"], content["metadata"]["uid"]
        await self.kube.create(BINDING, content)
        await asyncio.sleep(5)
        await self.all_ready()

    # -- what came of it ---------------------------------------------------------------------------------------

    async def play(self, name: str, allowed: Callable[[str], bool], longest: float) -> bool:
        """Run a scenario under load; whether all was well."""
        await self.clients.settle()
        self.clients.begin()
        began = time.monotonic()
        await getattr(self, name)()
        await asyncio.sleep(1.0)
        took = time.monotonic() - began
        await self.clients.settle()
        twice = sum(len(overlaps(pod.history)) for pod in self.pods)
        failures = dict(self.clients.failures)
        good = not twice and all(map(allowed, failures)) and self.clients.worst[0] <= longest
        seconds, which = self.clients.worst
        print(
            f"{'ok  ' if good else 'FAIL'} {name:17} {took:5.1f} s: {self.clients.served} served, "
            f"failed {failures or 0}, longest {seconds:.2f} s ({which}), twice in one pod {twice}", flush=True,
        )  # fmt: skip
        return good


def never(_: str) -> bool:
    """No request may fail."""
    return False


def with_its_host(failure: str) -> bool:
    """Clients of one that died are reset; what a pod had in hand for others may fail, if it was a POST."""
    return "Connection" in failure or "closed" in failure or failure == "POST 502"


def cut_off(failure: str) -> bool:
    """Clients of one that is cut off hear nothing of it."""
    return with_its_host(failure) or "Timeout" in failure or "OSError" in failure or "503" in failure


SCENARIOS: dict[str, tuple[Callable[[str], bool], float]] = {
    "rolling_update": (never, 3.0),
    "kill_and_restart": (with_its_host, 20.0),
    "kill": (with_its_host, 20.0),
    "freeze": (with_its_host, 45.0),
    "api_gone": (never, 3.0),
    "api_cut": (cut_off, 70.0),
    "peers_cut": (cut_off, 30.0),
    "lease_deleted": (never, 5.0),
    "role_removed": (never, 5.0),
}
"""Which failures are allowed, and the longest wait of a request that was served."""


@contextlib.asynccontextmanager
async def trial(directory: Path) -> AsyncIterator[Trial]:
    """All of it, ready."""
    build(HOSTS, PODS)
    async with RealKube(directory / "kube", HUB) as kube:
        await kube.allow(
            [
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
            ]
        )
        await kube.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_of_pods())
        them = Trial(kube, directory)
        for pod in them.pods:
            await pod.open()
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


def slice_of_pods() -> dict[str, object]:
    """The EndpointSlice of the service."""
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "plumber-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "plumber"},
        },
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [pod_address(number)], "conditions": {"ready": True}} for number in range(1, PODS + 1)
        ],
    }  # fmt: skip


async def main(rounds: int, names: list[str]) -> int:
    """The exit code."""
    kept = os.environ.get("HA_TRIAL_LOGS")
    with tempfile.TemporaryDirectory(prefix="faucet-trial-") as temporary:
        directory = Path(kept or temporary)
        good = True
        async with trial(directory) as them:
            for _ in range(rounds):
                for name in names:
                    good = await them.play(name, *SCENARIOS[name]) and good
        return 0 if good else 1


if __name__ == "__main__":
    alone("tests.support.ha_trial")
    arguments = sys.argv[1:]
    times = int(arguments.pop(0)) if arguments and arguments[0].isdecimal() else 1
    sys.exit(asyncio.run(main(times, arguments or list(SCENARIOS))))
