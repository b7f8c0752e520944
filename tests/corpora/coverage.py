"""atheris, guided by coverage, on the targets of `targets`: a process for each, which ends by itself.

    python -m tests.corpora.coverage TARGET SECONDS [CORPUS]

needs `atheris`, which `.ci/prepare corpora` installs into an environment of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.corpora.rig import TOOLS, Missing, Row
from tests.support.checkout import ROOT

SECONDS = 30
"""For each target."""


def recipe(name: str) -> Row:
    """Run one target; what atheris prints of a finding, input included, is in the row."""
    python = TOOLS / "bin" / "python"
    if not python.exists():
        raise Missing("needs atheris (.ci/prepare corpora)")
    row = Row(f"atheris-{name}")
    with tempfile.TemporaryDirectory(prefix="fct-") as corpus:
        done = subprocess.run(
            [str(python), "-m", "tests.corpora.coverage", name, str(SECONDS), corpus],
            capture_output=True, text=True, timeout=SECONDS + 120, check=False, cwd=corpus, errors="replace",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        if "No module named 'atheris'" in done.stderr:
            raise Missing("needs atheris (.ci/prepare corpora)")
        told = done.stderr.splitlines()
        row.said = next((line for line in reversed(told) if line.startswith("Done ")), "")
        if done.returncode or not row.said:
            row.wrong.append("\n".join(told[-40:]))
    return row


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Be the process that is fuzzed. Never returns."""
    import atheris

    watched = ["faucet.http1", "faucet.control", "faucet.net.proxy_header"]
    with atheris.instrument_imports(include=watched, enable_loader_override=False):
        from tests.corpora.targets import TARGETS
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    target.check(target.seeds[0])  # what is made once is made before the clock runs
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", str(corpus)]
    atheris.Setup([sys.argv[0], *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
