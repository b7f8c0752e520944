"""The keeper: a tiny process that outlives Faucet by a moment, and takes the workers with it.

However Faucet ends, SIGKILL included, its workers must end too. A parent that was killed can do nothing, so a
shell waits at the other end of a pipe that only Faucet (and, for an instant, each worker being started) holds
open. It is told `+ group` and `- group`; when the pipe ends it kills the groups that are left.

Each worker registers itself, before it becomes the program it runs: there is no moment in which a worker is
alive and unknown. Plain POSIX: PR_SET_PDEATHSIG would be Linux only, and would not reach a worker's children.
"""

from __future__ import annotations

import contextlib
import os
import subprocess

_REAPER = """\
trap '' HUP INT TERM QUIT
groups=' '
while read -r change group; do
    case $change in
        +) groups="$groups$group " ;;
        -) case $groups in
            *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;;
        esac ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
"""

LAUNCHER = 'echo "+ $$" >&0; exec "$@" </dev/null'
"""Run by sh with the keeper's pipe as standard input: register this process as a group, then become the worker."""


class Reaper:
    """The keeper process. `pipe` is the file descriptor that a launcher gets as standard input."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self.pipe = -1
        self._start()

    def _start(self) -> None:
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _REAPER, "faucet-keeper"],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        self.pipe = write_end
        for group in self._groups:
            self._tell("+", group)

    def check(self) -> None:
        """Start another keeper if somebody has killed this one. To be called before a worker is started.

        Raises OSError if there can be none.
        """
        if self.pipe < 0:
            raise OSError("the service is ending")
        if self._process.poll() is not None:
            old = self.pipe
            self._start()
            os.close(old)

    def remember(self, group: int) -> None:
        """The process group `group` was started; it has told the keeper so itself."""
        self._groups.add(group)

    def forget(self, group: int) -> None:
        """The process group `group` is gone; its number may be given to others."""
        self._groups.discard(group)
        self._tell("-", group)

    def _tell(self, change: str, group: int) -> None:
        if self.pipe >= 0:
            with contextlib.suppress(BrokenPipeError):  # see `check`
                os.write(self.pipe, f"{change} {group}\n".encode())

    def close(self) -> None:
        """End the keeper, which kills every group it still knows. Takes about a millisecond. Idempotent."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
            self._process.wait()
