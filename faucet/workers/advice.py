"""What to do about a worker's last words, where they are well known."""

from __future__ import annotations

import re

from faucet.workers.program import INSTALL_PACKAGE, INSTALL_PLUMBER, Program

_NO_PACKAGE = re.compile(r"there is no package called [‘'\"]?(?P<package>[A-Za-z0-9.]+)")

_NO_ADDRESS = re.compile(r"(?P<host>\S+) is not a valid IPv4 or IPv6 address")
"""httpuv, of `host = "localhost"`."""


def advice(last_lines: list[str], program: Program) -> str:
    """One sentence with the next step in it, or nothing."""
    for line in reversed(last_lines):
        if match := _NO_PACKAGE.search(line):
            package, rscript = match["package"], program.rscript or "Rscript"
            text = INSTALL_PLUMBER if package == "plumber" else INSTALL_PACKAGE
            return f"The R package {package} is missing; " + text.format(package=package, rscript=rscript)
        if match := _NO_ADDRESS.search(line):
            return f'httpuv takes numeric addresses only: write host = "127.0.0.1" in place of "{match["host"]}".'
    return ""
