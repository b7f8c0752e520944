"""Find and end everything that descends from a worker, and nothing else.

A process belongs to a worker if one of these is true:

- it is in the worker's process group or session;
- its environment carries the worker's mark (`FAUCET_INSTANCE`), which children inherit through setsid, double forks and
  the death of their parents;
- it is a child of a process that belongs to the worker.

Limits: a process is not found if it has left the group and the session, if its parent has exited before the process
table was read, *and* if its environment has no mark. That is so if it was started with an empty environment (`env -i`),
has overwritten it (setproctitle), or runs as another user. Faucet reads the process table before it stops a worker, so
only daemons without a mark are missed; when a worker crashes, all its children without a mark are.

Signals are sent through a pidfd that is opened before the process is checked once more: a pid that has been reused is
never signalled. The reaper runs this file too, in a Python without Faucet: import only the standard library, and of
that only modules that load in a millisecond.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

VARIABLE = "FAUCET_INSTANCE"
"""Environment variable with the mark of a process: `service.number`. If Faucet itself is a worker's child, the mark of
the outer worker precedes it, with a comma between."""

KILL_SECONDS = 1.0
"""How long to wait after SIGKILL before the process table is read again."""

END_SECONDS = 5.0
"""Seconds after which Faucet gives up on processes that still exist, e.g. in an uninterruptible sleep."""

NONE_KNOWN: set[tuple[int, int]] = set()

QUIET_SECONDS = 0.03
"""Seconds between two scans that confirm that no process is left."""

LOOKS = 4
"""Scans in a row that must find no process while one may be about to execute its program (see Process.veiled)."""

_KERNEL = 2
"""Pid of kthreadd, the parent of kernel threads, which have no environment."""


class Process:
    """One entry of the process table."""

    __slots__ = ("group", "marks", "parent", "pid", "session", "start", "state", "veiled")

    def __init__(self, pid: int, state: str, parent: int, group: int, session: int, start: int) -> None:
        self.pid = pid
        self.state = state
        self.parent = parent
        self.group = group
        self.session = session
        self.start = start
        """Start time in clock ticks since boot; identifies the process together with the pid. 0 if unknown."""
        self.marks: tuple[str, ...] = ()
        self.veiled = False
        """Its environment is empty: it has none, or it executes its program, and the mark will appear in a moment."""


# -- the process table -----------------------------------------------------------------------------------------


def read_process(pid: int) -> Process | None:
    """Return the process `pid`; None if there is none, or no /proc. Raises OSError if there are no descriptors left."""
    text = _read(f"/proc/{pid}/stat") or b""
    fields = text.rpartition(b")")[2].split()  # the name in parentheses may contain anything
    if len(fields) < 20:
        return None
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def scan(since: int = 0) -> dict[int, Process]:
    """Return all processes by pid; the marks are read of those started at `since` or later. Raises OSError."""
    if sys.platform == "darwin":
        return _scan_by_ps()
    table: dict[int, Process] = {}
    try:
        names = os.listdir("/proc")
    except FileNotFoundError:
        return table
    for name in names:
        process = read_process(int(name)) if name.isdigit() else None
        if process is not None:
            table[process.pid] = process
            if process.start >= since and process.state != "Z":
                environment = _read(f"/proc/{name}/environ")
                process.marks = _marks_in(environment or b"")
                process.veiled = environment == b"" and _KERNEL not in (process.pid, process.parent)
    return table


def read_marks(pid: int) -> tuple[str, ...]:
    """Return the marks in the environment of a process. Raises OSError."""
    return _marks_in(_read(f"/proc/{pid}/environ") or b"")


def _marks_in(environment: bytes) -> tuple[str, ...]:
    prefix = f"{VARIABLE}=".encode()
    for program in environment.split(b"\0"):
        if program.startswith(prefix):
            return tuple(program[len(prefix) :].decode("utf-8", "replace").split(","))
    return ()


def _read(path: str) -> bytes | None:
    """Return the content of a file of /proc; None if the process is gone, or is not ours to look at. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    try:
        pieces = []
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    except (ProcessLookupError, PermissionError):
        return None
    finally:
        os.close(descriptor)


def _scan_by_ps() -> dict[int, Process]:
    """Return all processes by `ps`, for macOS: without start times and sessions, the environment after the command."""
    import subprocess

    words = ["ps", "-A", "-E", "-ww", "-o", "pid=,ppid=,pgid=,stat=,command="]
    done = subprocess.run(words, capture_output=True, check=False)
    return parse_ps(done.stdout.decode("utf-8", "replace"))


def parse_ps(text: str) -> dict[int, Process]:
    """Return the processes in what `ps -A -E -ww -o pid=,ppid=,pgid=,stat=,command=` has written."""
    table: dict[int, Process] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and words[0].isdigit() and words[1].isdigit() and words[2].isdigit():
            process = Process(int(words[0]), words[3][0], int(words[1]), int(words[2]), int(words[2]), 0)
            values = [word.partition("=")[2] for word in words[4:] if word.startswith(f"{VARIABLE}=")]
            process.marks = tuple(values[-1].split(",")) if values else ()
            table[process.pid] = process
    return table


# -- who belongs to whom ---------------------------------------------------------------------------------------


def family(
    table: dict[int, Process], mark: str, leaders: dict[int, int], known: set[tuple[int, int]] = NONE_KNOWN
) -> list[Process]:
    """Return the running processes of a family, without zombies.

    They are those with `mark` (of a service, or of one worker process), those in the groups and sessions of `leaders`
    (start times by pid), those in `known` (pids and start times from an earlier scan), and all their descendants. A pid
    with another start time has been reused and is not one of them.
    """
    spared = {0, 1, os.getpid()}
    true = {pid: start for pid, start in leaders.items() if pid not in table or table[pid].start == start}
    members = {
        process.pid: process
        for process in table.values()
        if process.pid not in spared
        and ((process.pid, process.start) in known or _led(process, true) or _carries(process, mark))
    }
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    heads = list(members)
    while heads:
        for child in children.get(heads.pop(), ()):
            if child.pid not in members and child.pid not in spared:
                members[child.pid] = child
                heads.append(child.pid)
    return [process for process in members.values() if process.state not in ("Z", "X")]


def veiled(table: dict[int, Process]) -> bool:
    """Return whether some process may have a mark that cannot be read yet."""
    return any(process.veiled for process in table.values())


def _led(process: Process, leaders: dict[int, int]) -> bool:
    return any(number in leaders and process.start >= leaders[number] for number in (process.session, process.group))


def _carries(process: Process, mark: str) -> bool:
    return any(carried == mark or carried.startswith(f"{mark}.") for carried in process.marks)


# -- their end -------------------------------------------------------------------------------------------------


class Targets:
    """Processes to signal, held by pidfd so that a reused pid is never hit. Use it as a context manager."""

    def __init__(self, found: list[Process]) -> None:
        self._pidfds: dict[int, int] = {}
        self._by_number: dict[int, int] = {}  # start times, where there is no pidfd
        self.untouchable: set[tuple[int, int]] = set()
        """Pid and start time of processes that we may not signal."""
        self._found = {process.pid: process for process in found}
        for process in found:
            self._hold(process)

    def _hold(self, process: Process) -> None:
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        except (AttributeError, OSError):  # macOS, an old kernel, no descriptors left
            self._by_number[process.pid] = process.start
            return
        if _still(process.pid, process.start):
            self._pidfds[process.pid] = descriptor
        else:
            os.close(descriptor)

    def __enter__(self) -> Targets:
        return self

    def __exit__(self, *_: object) -> None:
        while self._pidfds:
            os.close(self._pidfds.popitem()[1])

    def send(self, number: int) -> None:
        """Send a signal to those that are still running."""
        for pid in [*self._pidfds, *self._by_number]:
            try:
                if pid in self._pidfds:
                    signal.pidfd_send_signal(self._pidfds[pid], number)
                elif _still(pid, self._by_number[pid]):
                    os.kill(pid, number)
            except ProcessLookupError:
                pass
            except PermissionError:
                self.untouchable.add((pid, self._found[pid].start))

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` until all that we may signal have exited; return whether they have."""
        deadline = time.monotonic() + seconds
        poller = select.poll()
        left = {pid: fd for pid, fd in self._pidfds.items() if (pid, self._found[pid].start) not in self.untouchable}
        for descriptor in left.values():
            poller.register(descriptor, select.POLLIN)
        by_descriptor = {descriptor: pid for pid, descriptor in left.items()}
        while left and (rest := deadline - time.monotonic()) > 0:
            for descriptor, _ in poller.poll(rest * 1000):
                poller.unregister(descriptor)
                del left[by_descriptor[descriptor]]
        while self._alive_by_number() and time.monotonic() < deadline:
            time.sleep(QUIET_SECONDS)
        return not left and not self._alive_by_number()

    def _alive_by_number(self) -> bool:
        return any(_still(pid, start) for pid, start in self._by_number.items())


def _still(pid: int, start: int) -> bool:
    """Return whether `pid` is still the process with that start time, and has not exited."""
    if sys.platform == "darwin":
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    try:
        process = read_process(pid)
    except OSError:
        return False
    return process is not None and process.start == start and process.state not in ("Z", "X")


def end_service(mark: str, leaders: dict[int, int], looks: int, since: int = 0) -> None:
    """Kill all processes of a service that were started at `since` or later, until `looks` scans in a row find none.

    At least LOOKS scans if some process is veiled. Gives up after END_SECONDS.
    """
    deadline = time.monotonic() + END_SECONDS
    quiet = 0
    untouchable: set[tuple[int, int]] = set()
    while quiet < looks and time.monotonic() < deadline:
        table = scan(since)
        found = family(table, mark, leaders)
        found = [process for process in found if (process.pid, process.start) not in untouchable]
        if not found:
            quiet += 1
            looks = max(looks, LOOKS) if veiled(table) else looks
            if quiet < looks:
                time.sleep(QUIET_SECONDS)
            continue
        quiet = 0
        with Targets(found) as targets:
            targets.send(signal.SIGKILL)
            targets.wait(KILL_SECONDS)
            untouchable |= targets.untouchable
