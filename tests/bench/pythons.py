"""The same Faucet under each Python of this machine, in turn: which one is faster, and what each needs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import in_turn, peers
from tests.support.checkout import ROOT

MINORS = range(11, 20)
"""Of Python 3."""

OWN = ".".join(map(str, sys.version_info[:2]))

VARIABLE = "FAUCET_BENCH_PYTHONS"
"""More interpreters to look at, as PATH has directories; for example one of another Debian."""


def interpreters() -> dict[str, Path]:
    """Return an interpreter of each version that this machine has: named, on PATH, or pyenv's; the first of each."""
    named = [Path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    on_path = [Path(found) for minor in MINORS if (found := shutil.which(f"python3.{minor}"))]
    pyenv = [*Path.home().glob(".pyenv/versions/3.*/bin/python3.??")]
    found: dict[str, Path] = {}
    for path in [Path(sys.executable), *named, *on_path, *sorted(pyenv)]:
        version = _version(path)
        if re.fullmatch(r"3\.\d\d\.\w+", version) and int(version.split(".")[1]) in MINORS:
            found.setdefault(version.rpartition(".")[0], path)
    return dict(sorted(found.items()))


def _version(path: Path) -> str:
    """Return `3.13.0`; empty if that is no interpreter that runs."""
    words = [str(path), "-c", "import platform; print(platform.python_version())"]
    with contextlib.suppress(OSError):
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def environment(version: str, python: Path, place: Path) -> Path | None:
    """Return a Python that has what Faucet depends on: this one, or one of an environment that is made for it."""
    if python == Path(sys.executable) or _can_serve(python):
        return python
    made = place / version
    result = subprocess.run([str(python), "-m", "venv", str(made)], capture_output=True, text=True, check=False)
    if result.returncode == 0:
        words = [str(made / "bin" / "python"), "-m", "pip", "install", "--quiet", str(ROOT)]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return made / "bin" / "python"
    print(f"Python {version} has no packages that Faucet needs, and is left out: {result.stderr.strip()[-200:]}")
    return None


def _can_serve(python: Path) -> bool:
    code = "import cyclopts, psutil, uvloop, prometheus_client"
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def report(table: Callable[..., None]) -> None:
    """nginx as origin on four ports of each, `wrk -t1 -c32`, in turn."""
    if not peers.have("nginx"):
        print("nginx is not installed: left out")
        return
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(peers.scratch())
        pythons = {version: environment(version, path, place) for version, path in interpreters().items()}
        found = {
            _title(version): stack.enter_context(in_turn.served(version, python=str(python)))
            for version, python in pythons.items()
            if python is not None
        }
        measured = in_turn.measure(found)
        sizes = {name: [peers.service_on(one.port).memory_info().rss / (1 << 20)] for name, one in found.items()}
    table(f"Python {OWN} and others, fast origin on 4 ports, 32 clients", "requests/s", measured.rates)
    table("The same", "µs of CPU for each request", measured.costs)
    table("The same", "MiB of resident memory at the end", sizes)


def _title(version: str) -> str:
    """`Faucet` is what the others are compared with: the Python that runs this."""
    return "Faucet" if version == OWN else f"Faucet under Python {version}"
