"""Reap orphaned processes: they become children of this process when their parents exit.

In a container Faucet is often process 1, which inherits all orphans. Elsewhere it asks the kernel for those of its own
workers (PR_SET_CHILD_SUBREAPER), so that they can be ended together with the workers. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from pathlib import Path
from time import monotonic

_SET_CHILD_SUBREAPER = 36  # prctl(2)

GRACE = 2.0
"""Seconds for which a dead process that leads a session is left alone: it may be one of ours that is not entered in
`ours` yet."""

OWN_SESSION_GRACE = 30.0
"""The same for one of this process's own session: programs that a library starts and waits for are among those."""

ours: set[int] = set()
"""Pids of children that other parts of this program have started and will reap."""

_reaped = threading.Event()


def reaped(pid: int) -> None:
    """Record that a child in `ours` was reaped."""
    ours.discard(pid)
    _reaped.set()


def become_subreaper() -> bool:
    """Have orphans among our descendants become children of this process; return whether that works here."""
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


class OrphanReaper:
    """Reaps dead children that no other part of this program waits for.

    A thread waits in the kernel for a child to die (`waitid`, without reaping it). That disturbs neither asyncio's nor
    uvloop's way of watching children, which a handler of SIGCHLD would: libuv installs one of its own, and removes it
    when its last child has ended.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], float] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the thread. It ends with the process."""
        if sys.platform == "linux":
            threading.Thread(target=self._run, name="faucet-reaper", daemon=True).start()

    def stop(self) -> None:
        """Reap what is dead by now, and nothing more afterwards."""
        self._stopping.set()
        _reaped.set()
        if sys.platform == "linux":
            self._reap_dead()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                # No child at all, not even the reaper: there is nothing in the kernel to wait for.
                self._stopping.wait(1)
                continue
            while not self._stopping.is_set():
                _reaped.clear()
                if not self._reap_dead():
                    break
                _reaped.wait(GRACE / 4)
        self._seen.clear()

    def _reap_dead(self) -> bool:
        """Reap dead children that are not in `ours`. Return whether dead children are left."""
        try:
            dead = _dead_children()
        except OSError:  # no descriptors left: again in a moment
            return True
        now, seen = monotonic(), self._seen
        self._seen = {key: seen.get(key, now) for key in dead}
        left = False
        for (pid, start), grace in dead.items():
            if pid in ours or now - self._seen[pid, start] < grace:
                left = True
                continue
            with contextlib.suppress(ChildProcessError):  # the part that started it has reaped it meanwhile
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        return left


def _dead_children() -> dict[tuple[int, int], float]:
    """Return our dead children, by pid and start time, and how long to leave each alone. Raises OSError."""
    from faucet.workers.kin import read_process

    own, session = os.getpid(), os.getsid(0)
    dead = {}
    for pid in _children(own):
        process = read_process(pid)
        if process is not None and process.state == "Z" and process.parent == own:
            # What we start stays in our session, or leads one: a child in another session was started by a descendant.
            grace = OWN_SESSION_GRACE if process.session == session else GRACE if process.session == pid else 0.0
            dead[pid, process.start] = grace
    return dead


def _children(own: int) -> list[int]:
    """Return all children of `own`, perhaps with others. A thread has those that it has started; orphans go to any."""
    pids: list[int] = []
    try:
        for thread in Path(f"/proc/{own}/task").iterdir():
            pids.extend(map(int, (thread / "children").read_text(encoding="ascii").split()))
    except FileNotFoundError:  # a kernel without these files, or a thread that has just ended
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return pids
