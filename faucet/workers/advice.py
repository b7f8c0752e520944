"""What to do about a worker's last words, where they are well known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from faucet.workers.program import INSTALL_PACKAGE, INSTALL_PLUMBER, Program

_NO_PACKAGE = re.compile(r"there is no package called [‘'\"]?(?P<package>[A-Za-z0-9.]+)")

_NO_TEMPORARY = re.compile(r"creating temporary file .*failed|cannot create 'R_TempDir'|R_TempDir")


class Advice(NamedTuple):
    """What is wrong, and what to do about it."""

    fact: str = ""
    """What is wrong, in the few characters of a table's cell, the telling word first."""
    text: str = ""
    """One sentence with the next step in it."""


NONE = Advice()


def advice(last_lines: Sequence[str], program: Program) -> Advice:
    """What is known about a process that said this last; NONE if nothing is."""
    for line in reversed(last_lines):
        if _NO_TEMPORARY.search(line):
            return Advice("no TMPDIR", "R has no directory for temporary files; name a writable one in TMPDIR")
        if match := _NO_PACKAGE.search(line):
            package, rscript = match["package"], program.rscript or "Rscript"
            text = INSTALL_PLUMBER if package == "plumber" else INSTALL_PACKAGE
            what = f"The R package {package} is missing; " + text.format(package=package, rscript=rscript)
            return Advice(f"{package} is missing (R package)", what)
    return NONE
