"""A real terminal: tmux, with a shell in it, as a user has."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from time import monotonic
from uuid import uuid4

from tests.support.checkout import ROOT

STRANGE = ("CI", "TMUX", "NO_COLOR")
"""Variables that a user's shell does not export."""


class Terminal:
    """One window, with `shell` in it."""

    def __init__(
        self, directory: Path, width: int = 120, height: int = 36, shell: Sequence[str] = ("/bin/sh",)
    ) -> None:
        self._server = f"fct-{uuid4().hex[:8]}"
        # A directory of its own for tmux's socket: nothing of it is left behind.
        environment = {key: value for key, value in os.environ.items() if key not in STRANGE}
        environment |= {
            "PYTHONPATH": str(ROOT),
            "TMUX_TMPDIR": os.environ["XDG_RUNTIME_DIR"],
            "PS1": "$ ",
            "LANG": "C.UTF-8",
            "COLUMNS": "70",  # some shells export them, and they are not the terminal's size
            "LINES": "20",
        }
        self._environment = environment
        self._tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", str(width), "-y", str(height),
                   "-c", str(directory), *shell)  # fmt: skip

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-u", "-L", self._server, *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True).stdout

    def run(self, *words: str) -> None:
        """Type `faucet …`, with the interpreter of these tests."""
        self.type(shlex.join([sys.executable, "-m", "faucet", *words]) + "; echo ended with $?")
        self.keys("Enter")

    def type(self, text: str) -> None:
        """Type letters."""
        self._tmux("send-keys", "-t", "t", "-l", text)

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names."""
        for name in names:
            self._tmux("send-keys", "-t", "t", name)

    def resize(self, width: int, height: int) -> None:
        """Another size."""
        self._tmux("resize-window", "-t", "t", "-x", str(width), "-y", str(height))

    @property
    def screen(self) -> str:
        """What is to be seen."""
        return self._tmux("capture-pane", "-t", "t", "-p")

    @property
    def full_screen(self) -> bool:
        """Whether a program has the whole screen, as the monitor has."""
        return self._tmux("display-message", "-t", "t", "-p", "#{alternate_on}").strip() == "1"

    @property
    def shell(self) -> int:
        """The pid of the shell."""
        return int(self._tmux("display-message", "-t", "t", "-p", "#{pane_pid}"))

    def wait(self, *texts: str, seconds: float = 60) -> str:
        """Wait until all of `texts` are to be seen; the screen then."""
        deadline = monotonic() + seconds
        while True:
            screen = self.screen
            if all(text in screen for text in texts):
                return screen
            if monotonic() > deadline:
                raise AssertionError(f"{texts} did not come:\n{screen}")
            Event().wait(0.05)

    def wait_without(self, text: str, seconds: float = 60) -> str:
        """Wait until `text` is gone; the screen then."""
        deadline = monotonic() + seconds
        while text in (screen := self.screen):
            if monotonic() > deadline:
                raise AssertionError(f"{text!r} did not go:\n{screen}")
            Event().wait(0.05)
        return screen

    def close(self) -> None:
        """Close the window, and all of tmux."""
        subprocess.run(
            ["tmux", "-L", self._server, "kill-server"], env=self._environment, capture_output=True, check=False
        )
