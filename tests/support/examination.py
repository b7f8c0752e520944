"""`faucet doctor` within this process: its findings for a command line, in place of what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

import faucet.doctor
from faucet.cli.main import main
from faucet.doctor import Finding


def findings_of(*words: str) -> list[Finding]:
    """What `faucet doctor` with these words finds. Fails if that is wrong usage."""
    seen: list[list[Finding]] = []

    def keep(findings: list[Finding], as_json: bool = False) -> int:
        seen.append(findings)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faucet.doctor, "report", keep)
        code = main(["doctor", *words])
    assert seen, f"exit code {code}"
    return seen[0]


def examine(
    directory: Path,
    host: str | None = None,
    rscript: str | None = None,
    command: str | None = None,
    trust_config: bool = False,
) -> list[Finding]:
    """What is found in a directory, with flags for those that are not None."""
    flags = {"--host": host, "--rscript": rscript, "--command": command}
    words = [f"{flag}={value}" for flag, value in flags.items() if value is not None]
    return findings_of(f"--dir={directory}", *words, *(["--trust-config"] if trust_config else []))
