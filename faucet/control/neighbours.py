"""Find running services of other users on this machine, for the message when a user's own service is not found.

The search changes nothing and sends nothing. Any user may have created such a socket, so a service has one second to
send its greeting, which is escaped before it is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import stat
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from faucet.control.client import Client, NoRuntime
from faucet.control.paths import temporary_directory
from faucet.control.protocol import MESSAGE_LIMIT
from faucet.machine import user_name
from faucet.text import visible

PATIENCE = 1.0
"""Seconds for one service to answer."""

MOST = 50
"""Most sockets that are tried."""

PLACES = (
    "/run/user/*/faucet/*.sock",
    "/run/faucet*/*.sock",
    "/tmp/faucet-*/*.sock",
    "/var/tmp/faucet-*/*.sock",
    "/tmp/systemd-private-*/tmp/faucet-*/*.sock",
)
"""Default locations of control sockets, and their location under a systemd unit made from the example."""

LISTENING = Path("/proc/net/unix")
"""Linux only: lists the paths of all Unix sockets, including those in directories that this user may not read."""

_LISTENS = 0x10000
"""The flag __SO_ACCEPTCON in LISTENING: the socket is listening."""

_OURS = re.compile(r"/.*/faucet(-\d+)?/[^/]+\.sock|/.*faucet.*/control\.sock")


async def others(known: Sequence[Path]) -> str:
    """Return a line with a command for each service at a socket not in `known`; empty if there is none."""
    paths = [path for path in _candidates() if path not in known][:MOST]
    lines = [line for line in await asyncio.gather(*map(_line, paths)) if line]
    return "\n".join(["", "Others on this machine:", *lines]) if lines else ""


def _candidates() -> list[Path]:
    places = (*PLACES, f"{temporary_directory()}/faucet-*/*.sock")
    found = {path for pattern in places for path in glob(pattern)}  # noqa: PTH207 (absolute)
    with contextlib.suppress(OSError):
        found.update(filter(_OURS.fullmatch, _listening(LISTENING.read_text("utf-8", "replace"))))
    return sorted(Path(path) for path in found)


def _listening(table: str) -> list[str]:
    """Return the paths of the listening sockets in `table`, the content of LISTENING."""
    paths = []
    for line in table.splitlines()[1:]:
        fields = line.split(maxsplit=7)  # a path may have blanks in it
        if len(fields) == 8 and int(fields[3], 16) & _LISTENS:
            paths.append(fields[7])
    return paths


async def _line(path: Path) -> str:
    """Return a line about the service at `path`; empty if there is none."""
    try:
        async with asyncio.timeout(PATIENCE):
            streams = await asyncio.open_unix_connection(path, limit=MESSAGE_LIMIT)
        client = await Client.greet(*streams, patience=PATIENCE)
    except PermissionError:
        return _of_another_user(path)
    except (OSError, TimeoutError, NoRuntime):
        return ""
    title, pid, user = client.greeting.title, client.greeting.pid, _owner(path)
    await client.close()
    command = shlex.join(["faucet", "ctl", "status", "--at", str(path)])
    return visible(f"  {title} of {user}, pid {pid}: {command}")


def _of_another_user(path: Path) -> str:
    """Return a line about a socket that this user may not open. Only its owner can check whether the service runs."""
    user = _owner(path)
    command = shlex.join(["sudo", "-u", user, "faucet", "ctl", "status", "--at", str(path)])
    return visible(f"  one of {user}: {command}")


def _owner(path: Path) -> str:
    """Return the owner of the socket, or of its closest parent directory that this user may stat."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            status = place.lstat()
            if stat.S_ISSOCK(status.st_mode) or stat.S_ISDIR(status.st_mode):
                return user_name(status.st_uid)
    return "?"
