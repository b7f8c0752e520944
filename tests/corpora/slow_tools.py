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
    "X-many": ("-X", "-w", "512", "-y", "1024", "-n", "2", "-z", "32", "-k", "1", "-c", "1000", "-r", "200"),
}
"""`B-long` sends bodies that are larger than --buffer-request, `X-large` reads answers of a megabyte, and `X-many` a
thousand answers of two megabytes at once."""

TARGETS = {"X": "/big?60000", "X-large": "/big?1000000", "X-many": "/big?2000000"}
"""What is asked for, where it matters."""

SLOWEST = 3.0
"""Seconds that a probe may take meanwhile."""


def slow(rig: Rig, mode: str) -> None:
    """One mode."""
    said = rig.run(
        need("slowhttptest"), "-c", str(CLIENTS), "-r", "100", *MODES[mode], "-l", str(SECONDS), "-p", "5",
        "-u", rig.url(TARGETS.get(mode, "/slowly")), seconds=SECONDS + 60,
    )  # fmt: skip
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    ended = re.findall(r"Exit status: (.*)", plain)
    available = re.findall(r"service available: +(\w+)", plain)
    rig.row.said = ended[-1].strip() if ended else "no exit status"
    if not available or available[-1] != "YES":
        rig.wrong(f"service available: {available[-1:]}")
    if rig.probe.times and max(rig.probe.times) > SLOWEST:
        rig.wrong(f"the probe waited for {max(rig.probe.times):.1f} s")
