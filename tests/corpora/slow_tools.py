"""slowhttptest in its four modes: what a few hundred slow clients do to everybody else. The probe is everybody else.

The limits of the service are short, so that the run shows that slow clients are ended.
"""

from __future__ import annotations

import re

from tests.corpora.rig import Rig, need

CLIENTS = 200
SECONDS = 12

LIMITS = ("--client-timeout", "4s", "--keep-alive", "4s", "--request-timeout", "20s")

MODES = {
    "H": ("-H", "-i", "2", "-x", "24"),
    "B": ("-B", "-i", "2", "-x", "10", "-s", "65536", "-t", "POST"),
    "B-long": ("-B", "-i", "2", "-x", "10", "-s", str(3 << 20), "-t", "POST"),
    "R": ("-R", "-a", "5", "-b", "3000", "-t", "HEAD"),
    "X": ("-X", "-w", "10", "-y", "20", "-n", "2", "-z", "16", "-k", "3"),
    "X-large": ("-X", "-w", "512", "-y", "1024", "-n", "2", "-z", "32", "-k", "1"),
}
"""`B-long` sends bodies that are larger than --buffer-request, `X-large` reads answers of a megabyte."""

SLOWEST = 3.0
"""Seconds that a probe may take meanwhile."""


def slow(rig: Rig, mode: str) -> None:
    """One mode."""
    target = "/big?1000000" if mode == "X-large" else "/big?60000" if mode == "X" else "/slowly"
    said = rig.run(
        need("slowhttptest"), *MODES[mode], "-c", str(CLIENTS), "-r", "100", "-l", str(SECONDS), "-p", "5",
        "-u", rig.url(target), seconds=SECONDS + 60,
    )  # fmt: skip
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    ended = re.findall(r"Exit status: (.*)", plain)
    available = re.findall(r"service available: +(\w+)", plain)
    rig.row.said = f"{CLIENTS} clients: {ended[-1].strip() if ended else 'no exit status'}"
    if not available or available[-1] != "YES":
        rig.wrong(f"service available: {available[-1:]}")
    if rig.probe.times and max(rig.probe.times) > SLOWEST:
        rig.wrong(f"the probe waited for {max(rig.probe.times):.1f} s")
