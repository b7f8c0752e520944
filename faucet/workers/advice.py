"""What to do about a worker's last words, where they are well known."""

from __future__ import annotations

import re

from faucet.workers.program import INSTALL_PACKAGE, INSTALL_PLUMBER, Program

_NO_PACKAGE = re.compile(r"there is no package called [‘'\"]?(?P<package>[A-Za-z0-9.]+)")


def advice(last_lines: list[str], program: Program) -> str:
    """One sentence with the next step in it, or nothing."""
    for line in reversed(last_lines):
        if match := _NO_PACKAGE.search(line):
            package, rscript = match["package"], program.rscript or "Rscript"
            text = INSTALL_PLUMBER if package == "plumber" else INSTALL_PACKAGE
            return f"The R package {package} is missing; " + text.format(package=package, rscript=rscript)
    return ""
