"""The demo API: `plumber.R`, and the same endpoints in Python for machines without R."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from faucet.net.address import Address, UnixAddress
from faucet.workers.launcher import find_rscript, layout_arguments
from faucet.workers.layouts import Kind, Layout
from faucet.workers.program import Program

HERE = Path(__file__).parent

_HAS_PLUMBER = 'quit(status = !requireNamespace("plumber", quietly = TRUE))'


def demo_program(rscript: str) -> Program:
    """The Plumber demo if R and plumber are here, else the Python one."""
    found = find_rscript(rscript)
    if found and _has_plumber(found):
        arguments = layout_arguments(found, Layout(Kind.PLUMBER, "plumber.R"))
        return Program(arguments, HERE, "the demo, by Plumber", found)
    missing = "the plumber package" if found else "R"
    return Program((sys.executable, "app.py"), HERE, f"the demo, by Python since {missing} is not installed")


def _has_plumber(rscript: str) -> bool:
    # Asked where it will run: another directory's .Rprofile may have another library (renv).
    return subprocess.run([rscript, "-e", _HAS_PLUMBER], capture_output=True, check=False, cwd=HERE).returncode == 0


def demo_hints(address: Address | UnixAddress) -> str:
    """What to try, now that the demo is served on `address`."""
    if isinstance(address, UnixAddress):
        return f"\nIn another terminal: curl --unix-socket {shlex.quote(address.path)} http://localhost/hello\n"
    url = address.url
    return (
        f"\nIn a browser: {url}/\n\n"
        "In another terminal:\n\n"
        f"  curl '{url}/hello?name=you'\n"
        f"  time (for i in 1 2 3 4; do curl -s '{url}/sleep?t=1' & done; wait)\n"
        f"  curl -d 'x=1,2,3' {url}/mean\n"
    )
