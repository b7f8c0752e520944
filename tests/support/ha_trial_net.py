"""Hosts for a trial of several Faucets: a network namespace each, and a bridge between them in one of our own.

Nothing of it is left when the process ends, however it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys

HUB = "10.77.0.1"
"""Where whoever sends requests is."""

API = "10.77.0.2"
"""Where the API server is."""

NOBODY = "02:00:00:00:00:99"
"""The hardware address of no host."""


def pod_address(number: int) -> str:
    """Of a pod, which is at the hub."""
    return f"10.77.1.{number}"


def host_address(number: int) -> str:
    """Of a Faucet's host."""
    return f"10.77.2.{number}"


INSIDE = "HA_TRIAL_INSIDE"


def alone(module: str) -> None:
    """Go on as `module` in network and mount namespaces of our own, which end with this process."""
    if INSIDE not in os.environ:
        words = [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--mount-proc",
            "--fork",
            "--kill-child",
            sys.executable,
            "-m",
            module,
            *sys.argv[1:],
        ]
        os.execvpe(words[0], words, {**os.environ, INSIDE: "yes"})  # in our place: who kills us, ends all of it


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def build(hosts: int, pods: int) -> None:
    """The bridge with the addresses of hub and pods, and so many hosts, `h1` and so on."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    ip("link", "set", "lo", "up")
    ip("link", "add", "hub", "type", "bridge")
    ip("link", "set", "hub", "up")
    for address in (HUB, API, *(pod_address(number) for number in range(1, pods + 1))):
        ip("addr", "add", f"{address}/16", "dev", "hub")
    for number in range(1, hosts + 1):
        name = f"h{number}"
        ip("netns", "add", name)
        ip("link", "add", f"{name}-hub", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"{name}-hub", "master", "hub", "up")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "addr", "add", f"{host_address(number)}/16", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")


def cut(number: int, *addresses: str) -> None:
    """Nothing that goes from that host to `addresses` arrives any more, without a word; what comes from there does."""
    for address in addresses:
        ip("-n", f"h{number}", "neigh", "replace", address, "lladdr", NOBODY, "nud", "permanent", "dev", "eth0")


def heal(number: int, *addresses: str) -> None:
    """Undo `cut`."""
    for address in addresses:
        ip("-n", f"h{number}", "neigh", "del", address, "dev", "eth0")


def unplug(number: int) -> None:
    """Nothing comes to that host or leaves it any more."""
    ip("link", "set", f"h{number}-hub", "down")


def plug(number: int) -> None:
    """Undo `unplug`."""
    ip("link", "set", f"h{number}-hub", "up")
