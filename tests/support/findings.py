"""Findings of `faucet doctor` by their subjects, and programs in the place of Rscript."""

from __future__ import annotations

from pathlib import Path

from faucet.doctor import Finding

ANY_PORT = "127.0.0.1:0"


def fake_rscript(where: Path, script: str) -> str:
    """A program in the place of Rscript."""
    path = where / "Rscript"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def answering(where: Path, *answers: str) -> str:
    """An Rscript that gives these answers."""
    lines = "\n".join(("Loading …", *(f"faucet:{answer}" for answer in answers)))
    return fake_rscript(where, f"cat <<'END'\n{lines}\nEND")


def of(findings: list[Finding], subject: str) -> Finding:
    """The one of that subject."""
    found = [finding for finding in findings if finding.subject == subject]
    assert len(found) == 1, findings
    return found[0]


def levels(findings: list[Finding]) -> dict[str, str]:
    """The level of each finding, by its subject."""
    return {finding.subject: finding.level for finding in findings}


GOOD = '#* @get /\nfunction() "hello"\n'
