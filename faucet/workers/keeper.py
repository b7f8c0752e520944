"""The keeper: a tiny process that outlives Faucet by a moment, and takes the workers with it.

However Faucet ends, SIGKILL included, its workers must end too. A parent that was killed can do nothing, so a
shell waits at the other end of a pipe that only Faucet (and, for an instant, each worker being started) holds
open. It is told `+ group` and `- group`; when the pipe ends it kills the groups that are left.

Each worker registers itself, before it becomes the program it runs: there is no moment in which a worker is
alive and unknown. Plain POSIX: PR_SET_PDEATHSIG would be Linux only, and would not reach a worker's children.
"""

from __future__ import annotations

import os
import subprocess

_KEEPER = """\
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
for group in $groups; do kill -KILL -- "-$group" 2>/dev/null; done
"""

LAUNCHER = 'echo "+ $$" >&0; exec "$@" </dev/null'
"""Run by sh with the keeper's pipe as standard input: register this process as a group, then become the worker."""


class Keeper:
    """The keeper process. `pipe` is the file descriptor that a launcher gets as standard input."""

    def __init__(self) -> None:
        read_end, self.pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "faucet-keeper"],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(read_end)

    def forget(self, group: int) -> None:
        """The process group `group` is gone; its number may be given to others."""
        if self.pipe >= 0:
            os.write(self.pipe, b"- %d\n" % group)

    def close(self) -> None:
        """End the keeper, which kills every group it still knows. Takes about a millisecond. Idempotent."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
            self._process.wait()
