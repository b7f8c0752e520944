"""What to do about a worker's last words, where they are well known."""

from __future__ import annotations

import re

from faucet.workers.entry import INSTALL_PACKAGE, INSTALL_PLUMBER, Entry

_NO_PACKAGE = re.compile(r"there is no package called [‘'\"]?(?P<package>[A-Za-z0-9.]+)")

_NO_TEMPORARY = re.compile(r"creating temporary file .*failed|cannot create 'R_TempDir'|R_TempDir")


def advice(last_lines: list[str], entry: Entry) -> str:
    """One sentence with the next step in it, or nothing."""
    for line in reversed(last_lines):
        if _NO_TEMPORARY.search(line):
            return "R has no directory for temporary files; name one that it may write to in TMPDIR"
        if match := _NO_PACKAGE.search(line):
            package, rscript = match["package"], entry.rscript or "Rscript"
            text = INSTALL_PLUMBER if package == "plumber" else INSTALL_PACKAGE
            return f"The R package {package} is missing; " + text.format(package=package, rscript=rscript)
    return ""
