"""The pictures of pods: the real monitor on the rig's cluster, with a fake of the Kubernetes API. As root."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from pathlib import Path

from faucet.control.find import find
from faucet.settings import MonitorSettings
from faucet.tui.app import Monitor
from tests.support.bastion import ssh_options
from tests.support.cluster import PODS, SERVICE, Cluster, what_is_missing
from tests.support.cluster_pods import ADDRESSES
from tests.support.load import fetch
from tests.support.running import Faucet
from tests.support.screenshots import PLACE

NAMES = ("plumber-7d9c5b6f8-2xk8q", "plumber-7d9c5b6f8-9qkzp", "plumber-7d9c5b6f8-lm4vd", "plumber-7d9c5b6f8-wz7rt")


async def client(port: int, source: random.Random) -> None:
    """Asks now and then, and for something slow."""
    while True:
        await asyncio.sleep(source.expovariate(3))
        seconds = source.choice((0.05, 0.1, 0.2, 0.3, 3.0))
        await fetch(port, f"/sleep?{source.uniform(0.5, 1) * seconds:.2f}")


async def shoot(name: str, port: int) -> None:
    """One picture, after a while of load."""
    source = random.Random(5)
    load = [asyncio.ensure_future(client(port, source)) for _ in range(7)]
    app = Monitor(lambda: find(port), MonitorSettings(confirm=False), owner=False)
    async with app.run_test(size=(120, 30)) as pilot:
        app.theme = "textual-dark"
        await pilot.pause(12)
        app._drawn = -1
        app._refresh()
        await pilot.pause(0.2)
        app.save_screenshot(f"{name}.svg", str(PLACE))
    for task in load:
        task.cancel()
    await asyncio.gather(*load, return_exceptions=True)


async def through_a_bastion(cluster: Cluster, directory: Path) -> None:
    """By DNS on the far side."""
    cluster.reset()
    cluster.dns.set("plumber", (*PODS, ADDRESSES[3]))
    words = ["k8s", "--service-url", f"http://{SERVICE}:8000", *ssh_options(cluster), "--host", "127.0.0.1:3838"]
    service = Faucet(directory, *words, wrapper=cluster.wrapper("laptop"))
    try:
        await asyncio.to_thread(service.wait_ready)
        await shoot("ssh", service.port)
    finally:
        await asyncio.to_thread(service.close)


def main() -> None:
    """The picture."""
    if problem := what_is_missing():
        print(f"no pictures of pods: {problem}")
        return
    cluster = Cluster("p")
    try:
        with tempfile.TemporaryDirectory(prefix="fct-") as runtime:
            os.environ["XDG_RUNTIME_DIR"] = runtime
            print("ssh", flush=True)
            with cluster.inside("laptop"):
                asyncio.run(through_a_bastion(cluster, Path(runtime)))
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
