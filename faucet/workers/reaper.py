"""The reaper: a small process that outlives Faucet by a moment, and ends the workers if Faucet could not.

However Faucet ends, SIGKILL included, its workers must end too. A killed parent can do nothing, so the reaper waits at
one end of a pipe, and only Faucet holds the other end open. When the pipe closes, the reaper kills what is left.

No worker is ever alive and unknown to it: a worker's environment has the mark by which the reaper finds it (`kin.py`)
before its program is executed, and until then the new process holds the pipe open. The reaper is also sent the pid of
each worker, which is its process group and session, right after its start. Where the environment of other processes
cannot be read, those pids are all it has.

The reaper is a Python with nothing of Faucet on its command line, and with another process name, so that neither
`pkill -9 -f faucet` nor `pkill -9 python` ends it together with Faucet. It starts in 11 ms and has 5 MB of memory of
its own. Its source comes through the pipe. It blocks signals that end processes from its first instant, as Faucet does
while it starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import subprocess
import sys

from faucet.workers import orphans
from faucet.workers.family import Watch
from faucet.workers.kin import VARIABLE, read_process
from faucet.workers.scratch import Scratch

_log = logging.getLogger("faucet")

NAME = "workers-reaper"
"""The name of the process in `ps`."""

_BOOT = """\
import sys, types
pipe = sys.stdin.buffer
while words := pipe.readline().split():
    module = sys.modules[words[0].decode()] = types.ModuleType(words[0].decode())
    exec(pipe.read(int(words[1])), module.__dict__)
module.run(pipe)
"""

_PROGRAM = ("faucet.workers.kin", "faucet.workers.removal", "faucet.workers.reaper_program")
"""Modules of the reaper's program, each after the modules that it needs."""

_DEAF_TO = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT}


class Reaper:
    """The reaper process of one service, with the mark of the service and its temporary directory."""

    def __init__(self) -> None:
        """Start the reaper process. Raises OSError."""
        self.service = os.urandom(16).hex()
        own = read_process(os.getpid())
        self.since = own.start if own is not None else 0
        """The start time of this process: nothing that belongs to the service is older."""
        self.scratch = Scratch(self.service, self._tell_home)
        self.watch = Watch()
        self._leaders: dict[int, int] = {}
        self._started = 0
        self._pipe = -1
        self._guard = -1
        self._start()

    @property
    def pid(self) -> int:
        """The pid of the reaper process."""
        return self._process.pid

    def _start(self) -> None:
        read_end, write_end = os.pipe()
        try:
            self._process = _launch(read_end)
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        orphans.ours.add(self._process.pid)
        self._pipe = write_end
        self._write(_source())
        self._tell("mark", self.service, self.since)
        for pid, start in self._leaders.items():
            self._tell("+", pid, start)
        if self.scratch.root:
            self._tell_home(self.scratch.root)

    def check(self) -> None:
        """Start another reaper if this one was killed. To be called before a worker is started.

        Raises OSError if there can be none.
        """
        if self._pipe < 0:
            raise OSError("the service is ending")
        code = self._process.poll()
        if code is not None:
            _log.warning("the process that ends the workers if Faucet is killed has ended (%d); starting another", code)
            old, pid = self._pipe, self._process.pid
            self._start()
            orphans.reaped(pid)
            os.close(old)

    def guard(self) -> None:
        """Start another reaper as soon as this one is killed, where there are pidfds. Needs a running loop."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            return
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._guard = -1
            if self._pipe >= 0:
                with contextlib.suppress(OSError):  # then with the next worker
                    self.check()
                    self.guard()

        self._guard = descriptor
        loop.add_reader(descriptor, ended)

    def new_mark(self) -> str:
        """Return a mark for one process, unlike any other."""
        self._started += 1
        return f"{self.service}.{self._started}"

    def remember(self, pid: int) -> int:
        """Register the new process `pid`, which leads a group and a session. Return its start time.

        That is 0 if there are no descriptors left to read it with: then what belongs to it is found by its mark only.
        """
        process = None
        with contextlib.suppress(OSError):
            process = read_process(pid)
        start = self._leaders[pid] = process.start if process is not None else 0
        self._tell("+", pid, start)
        return start

    def forget(self, pid: int) -> None:
        """Forget the process `pid`, which is gone with its descendants. Its pid may be reused."""
        self._leaders.pop(pid, None)
        self._tell("-", pid)

    def _tell_home(self, path: str) -> None:
        self._tell("home", os.fsencode(path).hex())

    def _tell(self, *words: object) -> None:
        self._write((" ".join(map(str, words)) + "\n").encode())

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with contextlib.suppress(BrokenPipeError):  # see `check`
            while view and self._pipe >= 0:
                view = view[os.write(self._pipe, view) :]

    def close(self) -> None:
        """End the reaper, which kills all it still finds, and removes the temporary directories. Idempotent."""
        if self._pipe >= 0:
            if self._guard >= 0:
                asyncio.get_running_loop().remove_reader(self._guard)
                os.close(self._guard)
                self._guard = -1
            self._tell("bye")
            os.close(self._pipe)
            self._pipe = -1
            self._process.wait()
            orphans.reaped(self._process.pid)
            self.scratch.close()


def marked(mark: str) -> dict[str, str]:
    """What the environment of the process with this mark has to have. If Faucet is itself a worker's child, so is what
    it starts."""
    outer = os.environ.get(VARIABLE, "")
    return {VARIABLE: f"{outer},{mark}" if outer else mark}


def _launch(pipe: int) -> subprocess.Popen[bytes]:
    """Start the process with a clean environment: it must not be taken for a worker of a Faucet around this one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEAF_TO)
    try:
        return subprocess.Popen(
            [NAME, "-P", "-s", "-S", "-c", _BOOT],
            executable=sys.executable,
            env={"PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}"},
            stdin=pipe,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _source() -> bytes:
    """Return the modules of the reaper, each after its name and length."""
    pieces = []
    for name in _PROGRAM:
        spec = importlib.util.find_spec(name)
        source = spec.loader.get_source(name).encode() if spec and spec.loader else b""  # type: ignore[attr-defined]
        pieces.append(b"%s %d\n%s" % (name.encode(), len(source), source))
    return b"".join(pieces) + b"\n"
