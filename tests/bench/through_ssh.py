"""Faucet through a bastion against `ssh -L` to the same pod: in network namespaces, so as root."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from tests.bench.load import wrk
from tests.bench.peers import scratch
from tests.support.bastion import ssh_options
from tests.support.cluster import PODS, SERVICE, Cluster, what_is_missing
from tests.support.running import Faucet

FORWARDED = 8100
SMALL, BIG = "/two?200", 100_000_000
"""Head and body of the small one come apart, as R's do."""


@contextmanager
def forwarded(cluster: Cluster) -> Iterator[None]:
    """`ssh -L` to the first pod, from the laptop. With a session beside it: without one, sshd takes 44 ms a request."""
    options = ("-L", f"127.0.0.1:{FORWARDED}:{PODS[0]}:8000", "-c", "aes128-gcm@openssh.com")
    words = cluster.ssh.command(*options, remote="cat")
    process = cluster.spawn("laptop", words, stdin=subprocess.PIPE)
    try:
        deadline = monotonic() + 10
        while not cluster.spaces.listens("laptop", FORWARDED):
            assert monotonic() < deadline, "ssh -L does not listen"
        yield
    finally:
        process.kill()
        process.wait()


def curl(cluster: Cluster, port: int, *options: str) -> float:
    """MB/s of a large body."""
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{speed_download} %{speed_upload}", *options]
    done = cluster.run("laptop", [*words, f"http://127.0.0.1:{port}/{'' if options else f'big?{BIG}'}"], 60)
    return max(float(word) for word in done.stdout.split()) / 1e6


def report(table: Callable[..., None], rounds: Callable[..., dict[str, list[float]]]) -> None:
    """Print the tables."""
    if problem := what_is_missing():
        print(f"\nssh: {problem}")
        return
    with scratch() as directory:
        _report(table, rounds, directory)


def _report(table: Callable[..., None], rounds: Callable[..., dict[str, list[float]]], directory: Path) -> None:
    cluster = Cluster("b")
    upload = directory / "upload"
    subprocess.run(["truncate", "-s", str(BIG), str(upload)], check=True)
    words = ["k8s", "--service-url", f"http://{SERVICE}:8000", *ssh_options(cluster), "--log-level", "error"]
    cluster.dns.set("plumber", PODS[:1])
    service = Faucet(directory, *words, "--host", "127.0.0.1:8101", wrapper=cluster.wrapper("laptop"), checked=False)
    try:
        with forwarded(cluster), cluster.inside("laptop"):
            deadline = monotonic() + 20
            while not cluster.spaces.listens("laptop", 8101):
                assert monotonic() < deadline, service.output
            ports = {"Faucet": 8101, "ssh -L": FORWARDED}
            table(
                "Through a bastion: small requests to one pod, one client", "requests/s",
                rounds({name: lambda port=port: wrk(port, 1, SMALL).requests for name, port in ports.items()}),
                {"ssh -L": 0.8},
            )  # fmt: skip
            down = {name: lambda port=port: curl(cluster, port) for name, port in ports.items()}
            table("Through a bastion: 100 MB down", "MB/s", rounds(down))
            sent = ("-T", str(upload))
            up = {name: lambda port=port: curl(cluster, port, *sent) for name, port in ports.items()}
            table("Through a bastion: 100 MB up", "MB/s", rounds(up))
    finally:
        service.close()
        cluster.close()
