"""Run all benchmarks, or those named: `just bench`, `just bench plumber fast`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from timeit import timeit

import psutil

import faucet.templates.demo
from faucet.http1 import fields, parse_request
from tests.bench import (
    compiled,
    idle,
    limits,
    load,
    memory,
    monitor,
    peers,
    preload,
    pythons,
    r_servers,
    relay,
    telemetry,
    through_ssh,
    tls,
)
from tests.support.queue_cost import operations
from tests.support.running import python_worker

ROUNDS = 3
HAPROXY = "HAProxy, http-reuse always, maxconn 1"
HAPROXY_CLOSE = "HAProxy, option httpclose, maxconn 1"
NGINX_KEPT = "nginx, a kept connection per worker"
NGINX_MANY = "nginx, 32 kept connections"
NGINX = "nginx, default"
BARE = "a bare proxy: no checks, no figures, no log"
DEMO = str(Path(faucet.templates.demo.__file__).parent)

PLAIN = b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:3838\r\n\r\n"
BROWSER = (
    b"GET /hello?name=you HTTP/1.1\r\nHost: localhost:3838\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) "
    b"Gecko/20100101 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef\r\nUpgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n\r\n"
)


def table(title: str, unit: str, rows: dict[str, list[float]], needed: dict[str, float] | None = None) -> None:
    """Print medians, their range, and Faucet's ratio to each peer."""
    print(f"\n### {title}\n\n| | {unit}, median | range | Faucet / it | needed |\n| --- | --- | --- | --- | --- |")
    ours = statistics.median(rows["Faucet"])
    for name, values in rows.items():
        median = statistics.median(values)
        need = (needed or {}).get(name)
        ratio = "" if name == "Faucet" else f"{ours / median:.2f}"
        print(
            f"| {name} | {median:,.4g} | {min(values):,.4g} to {max(values):,.4g} | {ratio} | {need or ''} |",
            flush=True,
        )


def rounds(measure: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Three rounds, all in turn in each, so that a slow minute hits all of them."""
    results: dict[str, list[float]] = {name: [] for name in measure}
    for _ in range(ROUNDS):
        for name, one in measure.items():
            results[name].append(one())
    return results


@contextlib.contextmanager
def around(origins: list[int], *options: str) -> Iterator[dict[str, peers.Running]]:
    """Faucet with its workers on these ports, and the peers that are installed in front of the same workers."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        found = {"Faucet": enter(peers.faucet("Faucet", origins, *options))}
        if peers.have("haproxy"):
            found[HAPROXY] = enter(peers.haproxy(HAPROXY, origins, "http-reuse always"))
            found[HAPROXY_CLOSE] = enter(peers.haproxy(HAPROXY_CLOSE, origins, "option httpclose"))
        else:
            print("HAProxy is not installed: left out")
        if peers.have("nginx"):
            found[NGINX_KEPT] = enter(peers.nginx_proxy(NGINX_KEPT, origins, keepalive=len(origins)))
            found[NGINX] = enter(peers.nginx_proxy(NGINX, origins, keepalive=0))
        else:
            print("nginx is not installed: left out")
        yield found


def plumber() -> None:
    """Real Plumber, two workers."""
    if shutil.which("Rscript") is None:
        print("R is not installed: left out")
        return
    origins = peers.consecutive_ports(2)
    with around(origins, "--dir", DEMO) as found, peers.bare(BARE, origins) as bare:
        found[BARE] = bare
        measure: dict[str, Callable[[], float]] = {
            name: lambda port=running.port: load.wrk(port, 8, "/hello").requests for name, running in found.items()
        }
        measure["two direct clients, quick ACKs"] = lambda: load.direct(origins, "/hello", 4)
        needed = {
            HAPROXY: 10.0, HAPROXY_CLOSE: 1.05,
            NGINX_KEPT: 2.5, NGINX: 0.9, "two direct clients, quick ACKs": 0.85,
        }  # fmt: skip
        table("Plumber, 2 workers, 8 clients, small GET", "requests/s", rounds(measure), needed)
        port = found["Faucet"].port
        shares(port)
        alone = {
            "Faucet": lambda: 1000 * statistics.median(load.latencies(port, "/hello", 3)),
            BARE: lambda: 1000 * statistics.median(load.latencies(bare.port, "/hello", 3)),
            "direct, quick ACKs": lambda: 1000 * statistics.median(load.latencies(origins[0], "/hello", 3)),
            "direct, the two workers in turn": lambda: 1000 * statistics.median(load.alternating(origins, "/hello", 3)),
        }
        table("The same, one client", "median ms (at most 1.2)", rounds(alone), {"direct, quick ACKs": 1.2})


def shares(port: int) -> None:
    """Who needs how much CPU for a request: no proxy on the same cores can be faster than what is left to R."""
    runtime = peers.service_on(port)
    workers = runtime.children(recursive=True)

    def used(processes: list[psutil.Process]) -> float:
        return sum(times.user + times.system for times in (process.cpu_times() for process in processes))

    def loads() -> float:
        times = os.times()
        return times.children_user + times.children_system

    before, busy, idle = [used(workers), used([runtime]), loads()], psutil.cpu_times(), 0.0
    requests = load.wrk(port, 8, "/hello", seconds=6).requests * 6
    after, then = [used(workers), used([runtime]), loads()], psutil.cpu_times()
    idle = (then.idle - busy.idle) / 6 / (os.cpu_count() or 1)
    r, ours, client = ((now - was) / requests * 1000 for now, was in zip(after, before, strict=True))
    print(f"\nCPU for each request: R {r:.3f} ms, Faucet {ours:.3f} ms, wrk {client:.3f} ms; {100 * idle:.0f} % idle. "
          f"With none idle, at most {r / (r + ours + client):.2f} of what R could do alone.")  # fmt: skip


def fast() -> None:
    """The fastest origin: nginx on four ports, `wrk -t1 -c32`."""
    if not peers.have("nginx"):
        print("nginx is not installed: left out")
        return
    origins = peers.consecutive_ports(4)
    with peers.scratch() as directory, contextlib.ExitStack() as stack:
        os.environ["FAUCET_ORIGINS"] = str(directory)
        os.environ["PYTHONPATH"] = str(peers.ROOT)
        command = ("--command", python_worker("nginx_origin"), "--dir", str(directory))
        found = stack.enter_context(around(origins, *command))
        found.pop(HAPROXY_CLOSE, None)
        del found[NGINX]
        found[NGINX_MANY] = stack.enter_context(peers.nginx_proxy(NGINX_MANY, origins, keepalive=32))
        tails: dict[str, list[float]] = {name: [] for name in found}

        def one(name: str) -> float:
            result = load.wrk(found[name].port, 32)
            assert not result.failed
            tails[name].append(result.p99 * 1000)
            return result.requests

        results = rounds({name: lambda name=name: one(name) for name in found})
        table(
            "Fast origin on 4 ports, 32 clients", "requests/s", results,
            {NGINX_KEPT: 1.0, HAPROXY: 0.65},
        )  # fmt: skip
        table("The same", "p99 ms (at most)", tails, {HAPROXY: 1.6})
        speeds = rounds({name: lambda port=r.port: load.bulk(port, None) / 1e6 for name, r in found.items()})
        table("100 MB down, one client", "MB/s", speeds, {HAPROXY: 0.7})


def upload() -> None:
    """100 MB up, to a worker that reads all of it before it answers."""
    with peers.scratch() as directory, around(peers.consecutive_ports(1), "--command", python_worker("sink")) as found:
        big = directory / "upload"
        big.write_bytes(b"x" * (100 << 20))
        speeds = rounds({name: lambda port=r.port: load.bulk(port, str(big)) / 1e6 for name, r in found.items()})
        table("100 MB up, one client", "MB/s", speeds, {HAPROXY: 0.7})


def standard() -> None:
    """The fast origin again, without uvloop."""
    if not peers.have("nginx"):
        return
    origins = peers.consecutive_ports(4)
    with peers.scratch() as directory:
        os.environ["FAUCET_ORIGINS"] = str(directory)
        os.environ["PYTHONPATH"] = str(peers.ROOT)
        command = ("--command", python_worker("nginx_origin"), "--dir", str(directory))
        with (
            peers.faucet("Faucet", origins, *command, uvloop=False) as ours,
            peers.nginx_proxy("nginx", origins, keepalive=len(origins)) as nginx,
        ):
            measure: dict[str, Callable[[], float]] = {
                "Faucet": lambda: load.wrk(ours.port, 32).requests,
                NGINX_KEPT: lambda: load.wrk(nginx.port, 32).requests,
            }
            results = rounds(measure)
    table("Fast origin, without uvloop", "requests/s", results, {NGINX_KEPT: 0.7})


def mix() -> None:
    """9 of 10 requests take 5 ms, 1 of 10 takes 500 ms, at 70 % of what 4 workers can do."""
    source = random.Random(1)
    rate, when = 0.7 * 4 / (0.9 * 0.005 + 0.1 * 0.5), 0.0
    arrivals = []
    for _ in range(1200):
        when += source.expovariate(rate)
        arrivals.append((when, 0.5 if source.random() < 0.1 else 0.005))

    def p99(times: list[float]) -> list[float]:
        short = [1000 * taken for taken, (_, service) in zip(times, arrivals, strict=True) if service < 0.1]
        return [statistics.quantiles(short, n=100)[98]]

    origins = peers.consecutive_ports(4)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(peers.faucet("Faucet", origins, "--command", python_worker("blocking")))
        ideal = p99(load.ideal(arrivals, 4))
        rows = {
            "Faucet": p99(asyncio.run(load.arrive(ours.port, arrivals))),
            "ideal FIFO, simulated": ideal,
        }
        if peers.have("nginx"):
            robin = stack.enter_context(peers.nginx_proxy("nginx", origins, keepalive=0))
            rows["round robin without a lock (nginx)"] = p99(asyncio.run(load.arrive(robin.port, arrivals)))
    table(
        "Mix of 5 ms and 500 ms on 4 workers at 70 % load",
        "p99 ms of the short ones",
        rows,
        {"ideal FIFO, simulated": 1.1},
    )


def queue() -> None:
    """Adding, cancelling and serving, with few and many waiting."""
    few, many = operations(100), operations(10_000)
    print(f"\n### Queue\n\n{few / 3000 * 1e6:.2f} us for adding two, cancelling one and serving one with 100 waiting;"
          f" {many / few:.2f} times that with 10,000 (at most 1.5)")  # fmt: skip


def parser() -> None:
    """Heads per second."""
    print("\n### Parser\n\n| head | heads/s | ns per byte | heads/s, section never seen before |")
    print("| --- | --- | --- | --- |")
    for name, head in (("wrk's", PLAIN), ("a browser's", BROWSER)):
        known = min(timeit(lambda head=head: parse_request(head), number=50_000) for _ in range(3)) / 50_000

        def unknown(head: bytes = head) -> None:
            fields._cached_request.cache_clear()
            parse_request(head)

        fresh = min(timeit(unknown, number=20_000) for _ in range(3)) / 20_000
        print(f"| {name}, {len(head)} bytes | {1 / known:,.0f} | {known / len(head) * 1e9:.1f} | {1 / fresh:,.0f} |")


ALL = {
    "plumber": plumber,
    "fast": fast,
    "upload": upload,
    "standard": standard,
    "mix": mix,
    "compiled": lambda: compiled.report(table),
    "limits": lambda: limits.report(table),
    "queue": queue,
    "parser": parser,
    "preload": preload.report,
    "monitor": lambda: monitor.report(table, ROUNDS),
    "memory": memory.report,
    "idle": idle.report,
    "otel": lambda: telemetry.report(table),
    "pythons": lambda: pythons.report(table),
    "ssh": lambda: through_ssh.report(table, rounds),
    "peers": lambda: r_servers.report(table, rounds),
    "relay": lambda: relay.report(table, rounds),
    "tls": lambda: tls.report(table, rounds),
}


def versions() -> str:
    """What was measured on what."""
    cpu = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    found = [f"{os.cpu_count()} x {cpu}", f"Linux {platform.release()}", f"CPython {platform.python_version()}"]
    for words in (["nginx", "-v"], ["haproxy", "-v"], ["R", "--version"]):
        with contextlib.suppress(OSError):
            result = subprocess.run(words, capture_output=True, text=True, check=False)
            found.append((result.stdout + result.stderr).splitlines()[0])
    return "; ".join(found)


def main(names: list[str]) -> None:
    """Run the benchmarks named, or all."""
    print(versions())
    for name in names or ALL:
        ALL[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
