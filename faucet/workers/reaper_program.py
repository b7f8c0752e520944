"""The reaper's program. It runs in a Python of its own, from source that Faucet sends: see reaper.py.

It reads lines until the other end of the pipe is closed, which the death of Faucet does. Then it kills what is left of
the workers and removes their temporary directories.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable

from faucet.workers.kin import LOOKS, end_service
from faucet.workers.removal import remove_tree


def run(lines: Iterable[bytes]) -> None:
    """Obey `mark SERVICE SINCE`, `+ PID START`, `- PID`, `home HEX`, and `bye` at an orderly end.

    Without `bye`, Faucet may have been starting a worker: more looks have to find no process.
    """
    _take_name()
    service, since, homes, looks = "", 0, [], LOOKS
    leaders: dict[int, int] = {}
    for line in lines:
        word, *values = line.decode("ascii").split()
        if word == "+":
            leaders[int(values[0])] = int(values[1])
        elif word == "-":
            leaders.pop(int(values[0]), None)
        elif word == "mark":
            service, since = values[0], int(values[1])
        elif word == "home":
            homes.append(os.fsdecode(bytes.fromhex(values[0])))
            _share(homes[-1])
        elif word == "bye":
            looks = 1
    end_service(service, leaders, looks, since)
    for home in homes:
        remove_tree(home)


def _take_name() -> None:
    """Take the name that the command line begins with: `pkill -9 python` must not end this process. Linux only."""
    try:
        with open("/proc/self/cmdline", "rb") as line, open("/proc/self/comm", "wb") as name:
            name.write(line.read().partition(b"\0")[0])
    except OSError:
        pass


def _share(home: str) -> None:
    """Hold the lock that says whose the directory is, beside Faucet, and for as long as this process lives."""
    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pass
