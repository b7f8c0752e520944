"""The tests of the hot modules on the compiled build: http1, proxy and conversations, or what pytest's options select.

The wheel is built, and laid out beside a copy of the tests in a directory of its own, where no source can be taken for
what was compiled of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.support.checkout import ROOT

SELECTED = ("tests/unit/http1", "tests/unit/proxy", "tests/conversations")

PROCESSES = 3


def build(place: Path) -> Path:
    """Build the compiled wheel into `place`: its path."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(place), str(ROOT)],
        check=True,
        env={**os.environ, "FAUCET_COMPILE": "1"},
    )
    return next(place.glob("*.whl"))


def lay_out(wheel: Path, place: Path) -> None:
    """Unpack it into `place`, and the tests with it. Raises CalledProcessError if what runs there is not compiled."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, place / name)
    shutil.copy(ROOT / "pyproject.toml", place)
    check = "import faucet.proxy.build as build; assert build.COMPILED"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=place)


def main(options: list[str]) -> int:
    """The exit code of pytest."""
    with tempfile.TemporaryDirectory(prefix="faucet-compiled-") as directory:
        place = Path(directory)
        lay_out(build(place / "dist"), place)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        selected = options or [*SELECTED, "-q", "-n", str(PROCESSES)]
        return subprocess.run([*command, *selected], check=False, cwd=place).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
