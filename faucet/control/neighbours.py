"""Running services of other users on this machine, for messages: root, or the wrong user, asked for a service.

It changes nothing and sends nothing: any user may have made such a socket, so it gets one second to greet, and
its greeting is escaped before it is shown.
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
"""Sockets that are tried at most."""

PLACES = (
    "/run/user/*/faucet/*.sock",
    "/run/faucet*/*.sock",
    "/tmp/faucet-*/*.sock",
    "/var/tmp/faucet-*/*.sock",
    "/tmp/systemd-private-*/tmp/faucet-*/*.sock",
)
"""Where services put their sockets by default, and where a unit made from our example has it."""

LISTENING = Path("/proc/net/unix")
"""Linux: every Unix socket with its path, also those in directories that we may not read."""

_LISTENS = 0x10000
"""__SO_ACCEPTCON among the flags in LISTENING."""

_OURS = re.compile(r"/.*/faucet(-\d+)?/[^/]+\.sock|/.*faucet.*/control\.sock")


async def others(known: Sequence[Path]) -> str:
    """Return a line with a command for each service at none of the sockets `known`; an empty text if there is none."""
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
    """Return the paths in LISTENING on which a process listens."""
    paths = []
    for line in table.splitlines()[1:]:
        fields = line.split(maxsplit=7)  # a path may have blanks in it
        if len(fields) == 8 and int(fields[3], 16) & _LISTENS:
            paths.append(fields[7])
    return paths


async def _line(path: Path) -> str:
    """Return a line about the service at `path`; an empty text if there is none."""
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
    """Return a line about a socket that this user may not open; only its owner can see whether the service lives."""
    user = _owner(path)
    command = shlex.join(["sudo", "-u", user, "faucet", "ctl", "status", "--at", str(path)])
    return visible(f"  one of {user}: {command}")


def _owner(path: Path) -> str:
    """Return the owner of the socket, or of the closest directory above it that this user may look at."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            status = place.lstat()
            if stat.S_ISSOCK(status.st_mode) or stat.S_ISDIR(status.st_mode):
                return user_name(status.st_uid)
    return "?"
