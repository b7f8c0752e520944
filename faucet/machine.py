"""What this process finds around it: memory and descriptors, packages that only some options need, users, a directory.

The command that installs packages must work for everybody who reads it, with Faucet from a checkout, from pipx, from uv
or from a virtual environment of a server. So it names the interpreter that runs, and the packages themselves: the
extras (`.[ssh]`, `.[reload]`) only mean something in a checkout.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import resource
import shlex
import sys
from pathlib import Path

MIB = 1 << 20

SHARE_FOR_BUFFERS = 16
"""One in so many bytes of memory is for buffers: the rest is for workers, which need it more."""

LEAST_FOR_BUFFERS, MOST_FOR_BUFFERS = 16 * MIB, 1024 * MIB

MOST_CLIENTS = 16_384
"""Connections of clients by default, however many descriptors there are."""

OTHER_FILES = 256
"""Descriptors that are not for clients: workers, the log, the control socket."""


def memory(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes of memory of this machine, or the limit of our cgroup, or of one above it, if that is less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):  # not to be had here
        total = 1024 * MIB
    for path in _limits(root, own):
        with contextlib.suppress(OSError, ValueError):  # no such cgroup, or `max`
            total = min(total, int(path.read_text()))
    return total


def own_cgroups(root: Path, own: Path) -> tuple[list[Path], list[Path]]:
    """Return the directories of our cgroup, whether they exist or not: of version 2, and of version 1 for memory.

    A container sees its own cgroup as the root, and may still be told its path on the host: so the root is one of them.
    """
    unified, memory = [root], [root / "memory"]
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                unified.insert(0, root / path.lstrip("/"))
            elif "memory" in controllers.split(","):
                memory.insert(0, root / "memory" / path.lstrip("/"))
    return unified, memory


def _limits(root: Path, own: Path) -> list[Path]:
    """Files with limits that count for us, whether they exist or not: of our cgroup, and of all above it."""
    unified, memory = own_cgroups(root, own)
    return [
        directory / name
        for path, name in ((unified[0], "memory.max"), (memory[0], "memory.limit_in_bytes"))
        for directory in (path, *path.parents)
        if directory.is_relative_to(root)
    ]


def buffer_total(available: int) -> int:
    """Return the bytes that all buffers together may take with so much memory."""
    return min(max(available // SHARE_FOR_BUFFERS, LEAST_FOR_BUFFERS), MOST_FOR_BUFFERS)


def max_clients() -> int:
    """Return the number of client connections that the limit of open files allows, within reason."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # the runtime raises its own limit up to that
    if hard == resource.RLIM_INFINITY:
        return MOST_CLIENTS
    return min(max(hard - OTHER_FILES, hard // 2), MOST_CLIENTS)


SSH = "asyncssh bcrypt"
"""For --via-ssh. Without bcrypt, encrypted keys are passed over in silence."""


WEB = "textual-serve"
"""What --web needs: the packages of the extra `web`, as pip is given them."""

RELOAD = "watchfiles"
"""For --reload."""

OTEL = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
"""For --otel-endpoint."""


def install_command(packages: str) -> str:
    """Return the command line that installs `packages` where this interpreter finds them.

    Environments that uv makes have no pip of their own; uv then installs into them from outside.
    """
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {python} {packages}"
    return f"{python} -m pip install {packages}"


NO_CWD = "the current directory does not exist any more; cd to another, or name a directory by its full path"


def has_cwd() -> bool:
    """Whether the current directory still exists."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def user_name(uid: int | None = None) -> str:
    """Return the name of user `uid` (None: this process's); `#1000` if it has none, as in many containers."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def why_unreadable(path: Path, error: OSError) -> str:
    """Return why a directory or a file cannot be read, and what to do."""
    if isinstance(error, PermissionError):
        where = shlex.quote(str(path.absolute() if has_cwd() else path))
        return (
            f"{path}: permission denied for user {user_name()}; give that user access "
            f"(namei -l {where} shows what is in the way), or run Faucet as its owner"
        )
    if not has_cwd() and not path.is_absolute():
        return NO_CWD
    return f"{path} cannot be read: {error.strerror or error}"


def stranger_at(path: Path | str) -> str:
    """Return the name of the user who owns `path`, if that is neither this process's nor root; else an empty text."""
    try:
        owner = Path(path).stat().st_uid
    except OSError:
        return ""
    return "" if owner in (0, os.geteuid()) else user_name(owner)
