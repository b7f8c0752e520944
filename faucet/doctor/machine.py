"""The machine: Python, the address, limits, CPUs and memory, the terminal, the place of the control socket."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

from faucet.control.paths import PATH_LIMIT, directory, is_private, socket_path
from faucet.doctor.findings import Finding, Level
from faucet.machine import install_command
from faucet.net.address import Address, AddressError, UnixAddress, twice
from faucet.net.binding import bind, bound_address
from faucet.proxy.build import BUILD
from faucet.settings import LocalSettings, ServeSettings
from faucet.units import counted, format_size
from faucet.workers.cpus import available_cpus
from faucet.workers.environment import most_workers

CLIENTS = 1024
"""Clients at the same time that the limit of open files should allow: as many as may wait by default."""

FILES_PER_WORKER = 6
"""Its connections for requests and health checks, two pipes for its output, and the descriptor that tells its end."""

FILES_OF_OUR_OWN = 64
"""Log, sockets, pipes, and what Python has open."""

MEMORY_PER_WORKER = 200 << 20
"""Bytes. R with plumber has 120 MB before it has loaded anything of the API's."""

WIDTH, HEIGHT = 80, 24
"""Of the smallest terminal that the monitor is made for."""


def python(_: ServeSettings) -> list[Finding]:
    """Its version, uvloop's, and whether the proxy is compiled."""
    text = f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))} (proxy: {BUILD})"
    if importlib.util.find_spec("uvloop") is not None:
        return [Finding("ok", "Python", f"{text}, uvloop {version('uvloop')}")]
    if sys.implementation.name != "cpython":
        return [Finding("ok", "Python", f"{text}, for which there is no uvloop")]
    return [Finding("warning", "Python", f"{text} without uvloop: slower by a fifth", install_command("uvloop"))]


def address(settings: ServeSettings) -> list[Finding]:
    """Check that each address can be bound, --admin's too, without listening on it."""
    if problem := twice(settings.host, settings.admin):
        what, _, advice = problem.partition("; ")
        return [Finding("broken", "address", what, advice)]
    found = [_address(asked) for asked in settings.host]
    return [*found, _address(settings.admin)._replace(subject="admin")] if settings.admin else found


def _address(asked: Address | UnixAddress) -> Finding:
    try:
        sockets = bind(asked)
        found = bound_address(sockets, asked)
        for sock in sockets:
            sock.close()
    except AddressError as error:
        what, _, advice = str(error).partition("; ")
        port = asked.port if "in use" in what else 0
        if port and (control := socket_path(port)).is_socket():
            advice = f"if that is a Faucet: faucet ctl status --at {control.stem}; else {advice}"
        return Finding("broken", "address", what, advice or "name another with --host")
    if isinstance(asked, UnixAddress):
        Path(asked.path).unlink()
        return Finding("ok", "address", f"{asked} is free")
    return Finding("ok", "address", f"{found.described} is free" if asked.port else "any free port")


def open_files(settings: ServeSettings) -> list[Finding]:
    """The hard limit: the soft one is raised to it when Faucet starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return [Finding("ok", "open files", "no limit")]
    workers = most_workers(settings.workers) if isinstance(settings, LocalSettings) else 0
    own = FILES_OF_OUR_OWN + FILES_PER_WORKER * workers
    if hard >= own + CLIENTS:
        return [Finding("ok", "open files", f"up to {hard}")]
    advice = f"ulimit -Hn {own + CLIENTS} as root; systemd: LimitNOFILE=; docker: --ulimit nofile="
    return [Finding("warning", "open files", f"up to {hard}: for {max(hard - own, 0)} clients", advice)]


def cpus(settings: LocalSettings) -> list[Finding]:
    """What this process may use, and what for."""
    count = available_cpus()
    there = os.cpu_count() or count
    of = f" of {there}" if there > count else ""
    span = str(settings.workers or count)
    return [Finding("ok", "CPUs", f"{count}{of}, for {span} {'worker' if span == '1' else 'workers'}")]


def memory(settings: LocalSettings) -> list[Finding]:
    """A guess: how much each worker needs, only the API knows."""
    available, workers = available_memory(), most_workers(settings.workers)
    text = f"{format_size(available)} available, for {counted(workers, 'worker')}"
    if available >= workers * MEMORY_PER_WORKER:
        return [Finding("ok", "memory", text)]
    fitting = max(available // MEMORY_PER_WORKER, 1)
    text += f": less than {format_size(MEMORY_PER_WORKER)} each"
    return [Finding("warning", "memory", text, f"fewer of them: -w {fitting}" if fitting < workers else "")]


def available_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can be had without swapping: of the machine, or of the cgroup if that has less."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used, cache in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no such cgroup, or `max`
            left = int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
            return max(min(free, left + _idle_cache(cgroup / cache)), 0)
    return free


def _idle_cache(path: Path) -> int:
    """Bytes of files that the kernel would give up at once."""
    for line in path.read_text().splitlines():
        name, _, size = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(size)
    return 0


def terminal(settings: ServeSettings) -> list[Finding]:
    """Whether there can be a monitor, and what it would look like."""
    if settings.headless:
        return [Finding("unused", "terminal", "no monitor is wanted (headless)")]
    from faucet.tui.terminal import no_monitor_because

    problem = no_monitor_because()
    if problem:
        return [Finding("unused", "terminal", f"no monitor here: {problem}", "--headless, if that is meant")]
    from rich.console import Console

    from faucet.tui.paint import ascii_only

    width, height = os.get_terminal_size(sys.stdout.fileno())
    console = Console()
    colours = "no colours" if console.no_color or not console.color_system else f"colours: {console.color_system}"
    text = f"{os.environ['TERM']}, {width} by {height}, {'ASCII' if ascii_only() else 'UTF-8'}, {colours}"
    if width >= WIDTH and height >= HEIGHT:
        return [Finding("ok", "terminal", text)]
    return [Finding("warning", "terminal", f"{text}: small", f"make it {WIDTH} by {HEIGHT}, at least")]


def control(settings: ServeSettings) -> list[Finding]:
    """The place of the control socket. The usual one can be done without; one that was named cannot."""
    if settings.control == "none":
        return [Finding("unused", "control", "no socket is wanted: no `faucet ctl`, no `faucet attach`")]
    level: Level = "warning"
    path = directory() / "65535.sock"
    if settings.control:
        level, path = "broken", settings.control
    problem, advice = _misplaced(path, usual=not settings.control)
    if problem:
        return [Finding(level, "control", problem, advice)]
    return [Finding("ok", "control", f"sockets in {path.parent}" if not settings.control else str(path))]


def _misplaced(path: Path, usual: bool) -> tuple[str, str]:
    """Why there cannot be a socket at `path`, and what to do; both empty if there can."""
    where, elsewhere = path.parent, "name another place with --control PATH, or do without: --control none"
    if len(os.fsencode(path)) > PATH_LIMIT:
        return f"{path} is longer than the {PATH_LIMIT} bytes that a socket's path may have", elsewhere
    if usual and not is_private(where):
        if where.is_dir() and not where.is_symlink() and where.stat().st_uid == os.getuid():
            return f"{where} is open to others", f"chmod 700 {shlex.quote(str(where))}"
        return f"{where} is not yours", f"set XDG_RUNTIME_DIR to a directory of your own; or {elsewhere}"
    there = next(parent for parent in path.parents if os.path.lexists(parent))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return f"{there} is not a directory that you may write to", elsewhere
    return "", ""
