"""README's first command on a machine that has never seen Faucet: a clean Debian.

    just fresh trixie               the demo in a terminal and without, all its workers, restarts; the tests with R
    just fresh bookworm -k layouts  only those tests; all further words are pytest's
    just fresh --clean              delete the cache: base systems and pip's downloads

What is checked is the checkout as a fresh clone has it, and what is not committed yet on top of that: one wants to know
before the commit. It needs root, takes two or three minutes, and leaves nothing but the cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence

from tests.support.checkout import ROOT
from tests.support.clean_debian import CACHE, Debian, Failed, archive, as_first_process, is_recent, isolated, run
from tests.support.stranger import until
from tests.support.terminal import Terminal

SUITES = ("trixie", "bookworm")

THERE = "/root/faucet"
"""Where the checkout is in the clean system."""

USAGE = f"usage: just fresh {'|'.join(SUITES)} [options of pytest]; just fresh --clean"


@contextlib.contextmanager
def phase(name: str, failures: list[str] | None = None) -> Iterator[None]:
    """Print what is being done and, at the end, how long it took. If the rest can do without it, keep its failure."""
    began = time.monotonic()
    print(f"-- {name}", flush=True)
    try:
        yield
    except Failed as error:
        if failures is None:
            raise
        print(f"   FAILED: {error}", flush=True)
        failures.append(str(error).partition("\n")[0])
    finally:
        print(f"   {time.monotonic() - began:.0f} s", flush=True)


def clone(debian: Debian) -> None:
    """Clone the checkout, and copy what is not committed."""
    there = debian.root / THERE.lstrip("/")
    settings = debian.memory / "gitconfig"  # the checkout may belong to another user than root
    settings.write_text("[safe]\n\tdirectory = *\n")
    os.environ["GIT_CONFIG_GLOBAL"] = str(settings)
    run("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(there))
    words = ["git", "-C", str(ROOT), "ls-files", "--modified", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(words, capture_output=True, check=True).stdout
    names = [os.fsdecode(name) for name in listed.split(b"\0") if name]
    if names:
        print(f"   plus {len(names)} files that are not committed: {', '.join(names[:5])} …", flush=True)
    for name in names:
        (there / name).unlink(missing_ok=True)
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, there / name, follow_symlinks=False)


def first_command() -> str:
    """Return the command that README gives to a stranger. Raises Failed if it has none."""
    found = re.search(r"^ *(\.ci/prepare run && \S.*?) *$", (ROOT / "README.md").read_text(), re.MULTILINE)
    if found is None:
        raise Failed("README.md has no line `.ci/prepare run && …`.")
    return found[1]


def free_port() -> int:
    """Return a port that is free. The network is the machine's, so the usual one may be in use."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# -- in a terminal ------------------------------------------------------------------------------------------------


class Stranger:
    """Somebody at a terminal of the clean system, who types README's command."""

    def __init__(self, debian: Debian) -> None:
        self.debian = debian
        self.port = free_port()
        os.environ["XDG_RUNTIME_DIR"] = str(debian.memory)  # tmux has its socket there
        settings = {"TERM": "tmux-256color", "FAUCET_HOST": f"127.0.0.1:{self.port}"}
        self.window = Terminal(debian.memory, shell=debian.command("/bin/sh", at=THERE, env=settings))

    def type(self, command: str) -> None:
        """Type a command and Enter; the shell then prints its exit code."""
        self.window.type(f"{command}; echo ended with $?")
        self.window.keys("Enter")

    def wait(self, condition: Callable[[str], object], seconds: float, what: str) -> str:
        """Wait until `condition` is true of the screen, and return that. Raises Failed if the command ends before."""

        def holds() -> str:
            screen = self.window.screen
            if condition(screen):
                return screen
            if re.search(r"^ended with \d", screen, re.MULTILINE):
                raise Failed(f"The command ended, and {what} did not appear:\n{screen.rstrip()}")
            return ""

        try:
            return until(holds, seconds, f"{what} appears")
        except AssertionError as error:
            raise Failed(f"{error}\n{self.window.screen.rstrip()}") from None

    def who_answers(self) -> int:
        """Send a request and return the pid of the worker that answers. Raises Failed."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/hello", timeout=30) as response:
                return int(json.load(response)["pid"])
        except OSError as error:
            raise Failed(f"a request failed: {error}\n{self.window.screen.rstrip()}") from None

    def close(self) -> None:
        """Close the terminal."""
        self.window.close()


def install_in_a_terminal(stranger: Stranger) -> None:
    """Type README's command, and wait until the monitor has the screen."""
    stranger.type(first_command())
    stranger.wait(lambda _: stranger.window.full_screen, 900, "the monitor")


def use_the_monitor(stranger: Stranger) -> None:
    """Look at the monitor, roll by its key, and stop the service."""
    screen = stranger.wait(lambda screen: "serving" in screen and "ready" in screen, 60, "a ready worker")
    print("\n".join(f"   | {line}" for line in screen.splitlines()[:7]), flush=True)
    first = {stranger.who_answers() for _ in range(20)}
    stranger.window.keys("R")
    stranger.wait(lambda screen: "Restart all" in screen, 10, "a question")
    stranger.window.keys("y")
    stranger.wait(lambda _: stranger.who_answers() not in first, 30, "a worker that the key R has replaced")
    stranger.debian.run(".venv/bin/faucet", "ctl", "stop", "--at", str(stranger.port), at=THERE)
    stranger.wait(lambda screen: re.search(r"^ended with 0", screen, re.MULTILINE), 30, "the end of the monitor")


# -- the command --------------------------------------------------------------------------------------------------


def story(suite: str, options: Sequence[str]) -> None:
    """Do it all. Raises Failed."""
    debian = Debian(suite)
    with phase(f"a clean Debian {suite}, {'unpacked' if is_recent(archive(suite)) else 'by debootstrap'}"):
        debian.open()
    with phase("a clone of the checkout"):
        clone(debian)
    failures: list[str] = []
    with contextlib.closing(Stranger(debian)) as stranger:
        with phase(f"{first_command()}, in a terminal"):
            install_in_a_terminal(stranger)
        print(f"   {debian.versions()}", flush=True)
        with phase("the monitor", failures):
            use_the_monitor(stranger)
    with phase("the demo without a terminal: every worker, restarts, what is left", failures):
        debian.run(".venv/bin/python", "-m", "tests.support.stranger", at=THERE)
    with phase(".ci/prepare r"):
        debian.run(".ci/prepare", "r", at=THERE)
    with phase("the tests with R", failures):
        pytest = [".venv/bin/python", "-m", "tests.support.side_by_side", "-q", "-m", "r and not cluster", *options]
        debian.run(*pytest, at=THERE, env={"CI": "true"})
    if failures:
        raise Failed("\n       ".join((f"{len(failures)} of the steps failed on {suite}:", *failures)))
    used = shutil.disk_usage(debian.memory).used
    print(f"-- all of it works on {suite} ({used >> 20} MiB of memory for its files)", flush=True)


def told(work: Callable[[], None]) -> int:
    """Do `work`, print why it failed if it did, and return the exit code."""
    try:
        work()
    except Failed as error:
        print(f"fresh: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def main(words: Sequence[str]) -> int:
    """Return the exit code."""
    if words[:1] == ["--isolated"]:
        return as_first_process(lambda: told(lambda: story(words[1], words[2:])))
    if words[:1] == ["--clean"]:
        shutil.rmtree(CACHE, ignore_errors=True)
        return 0
    if not words or words[0] not in SUITES:
        print(USAGE, file=sys.stderr)
        return 2
    if os.getuid() != 0:
        print("fresh: a clean Debian needs root. Run it as root: sudo .venv/bin/just fresh …", file=sys.stderr)
        return 1
    try:
        return isolated("tests.support.fresh", ["--isolated", *words])
    except KeyboardInterrupt:
        print("fresh: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
