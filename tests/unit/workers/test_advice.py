"""What is advised to the user by the last lines of a worker, and how its end is called."""

from __future__ import annotations

import signal
from pathlib import Path

from faucet.workers.advice import NONE, advice
from faucet.workers.endings import exit_text
from faucet.workers.program import Program


def test_advice() -> None:
    program = Program(("Rscript",), Path(), "plumber.R", "Rscript")
    said = ["Error in library(plumber) : there is no package called ‘plumber’", "Execution halted"]
    assert "apt-get install r-cran-plumber" in advice(said, program).text
    assert 'install.packages("jsonlite2")' in advice(["there is no package called 'jsonlite2'"], program).text
    assert advice(said, program).fact.startswith("plumber is missing")
    assert "TMPDIR" in advice(["Fatal error: creating temporary file for '-e' failed"], program).text
    said = ["localhost is not a valid IPv4 or IPv6 address.", "Error in initialize(...)", "Execution halted"]
    assert 'host = "127.0.0.1" in place of "localhost"' in advice(said, program).text
    assert advice(["segfault"], program) == NONE


def test_exit_texts() -> None:
    ours = {signal.SIGTERM, signal.SIGKILL}
    assert [exit_text(code, ours) for code in (0, 7, -9, -15, -11, -255)] == [
        "exited with code 0", "exited with code 7", "was killed", "stopped", "crashed (SIGSEGV)",
        "was ended by signal 255",
    ]  # fmt: skip
    assert [exit_text(code) for code in (-6, -9, -15)] == [
        "crashed (SIGABRT)", "was killed by SIGKILL",
        "was ended by SIGTERM, not by Faucet",
    ]  # fmt: skip
