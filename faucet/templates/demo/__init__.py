"""A small API to try Faucet on: `plumber.R`, and the same endpoints in Python for machines without R."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from faucet.net.address import Address, UnixAddress, parse_listen
from faucet.workers.program import SERVE_PLUMBER_R, Program

HERE = Path(__file__).parent

_HAS_PLUMBER = 'quit(status = !requireNamespace("plumber", quietly = TRUE))'


def demo_program(rscript: str) -> Program:
    """The Plumber demo if R and plumber are here, else the Python one."""
    found = shutil.which(rscript)
    if found and subprocess.run([found, "-e", _HAS_PLUMBER], capture_output=True, check=False).returncode == 0:
        return Program((found, "-e", SERVE_PLUMBER_R), HERE, "the demo, by Plumber", rscript)
    missing = "the plumber package" if found else "R"
    return Program((sys.executable, "app.py"), HERE, f"the demo, by Python since {missing} is not installed")


def demo_hints(program: Program, hosts: Sequence[str]) -> str:
    """What to try."""
    address = parse_listen(hosts[0])
    if isinstance(address, UnixAddress):
        return f"Serving {program.description}. Try: curl --unix-socket {address.path} http://localhost/hello\n"
    url = Address(address.host or "localhost", address.port).url if address.port else "http://localhost:PORT"
    return (
        f"Serving {program.description}. Try, in another terminal:\n\n"
        f"  curl '{url}/hello?name=you'\n"
        f"  time (for i in 1 2 3 4; do curl -s '{url}/sleep?t=1' & done; wait)\n"
        f"  curl -d 'x=1,2,3' {url}/mean\n"
    )
