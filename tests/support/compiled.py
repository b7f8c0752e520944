"""The tests of the hot modules on the compiled build: http1, proxy and conversations, or what pytest's options select.

With `quick`, as in CI: a build without the C compiler's optimizations, which do not change what the modules do, and the
tests of them that are not slow, and some of the whole program. Both take two minutes.

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

from tests.support.building import BUILD
from tests.support.checkout import ROOT

SELECTED = ("tests/unit/http1", "tests/unit/proxy", "tests/conversations")

QUICK = (
    *SELECTED,
    "tests/unit/workers/test_health_loop.py",
    "tests/program/test_end_to_end.py::test_never_two_requests_in_a_worker[1]",
    "tests/program/test_end_to_end.py::test_sigterm_under_load_loses_no_request",
    # Not what is slow by nature, measures time or needs R.
    *("-m", "not slow and not quiet and not r"),
)


def build(place: Path, how: str = "1") -> Path:
    """Build the compiled wheel into `place`: its path. `how` is the value of FAUCET_COMPILE."""
    subprocess.run(
        [*BUILD, "--wheel", "--outdir", str(place), str(ROOT)],
        check=True,
        env={**os.environ, "FAUCET_COMPILE": how},
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
    quick = options == ["quick"]
    with tempfile.TemporaryDirectory(prefix="faucet-compiled-") as directory:
        place = Path(directory)
        lay_out(build(place / "dist", "quick" if quick else "1"), place)
        side_by_side = ["tests.support.side_by_side", "-q", *(QUICK if quick else SELECTED)]
        command = ["pytest", *options] if options and not quick else side_by_side
        return subprocess.run([sys.executable, "-m", *command], check=False, cwd=place).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
