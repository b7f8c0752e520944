"""What another user's directory would make `faucet doctor` run, which runs nothing of a stranger without being asked.

Two things in a directory start programs: `rscript` in `faucet.toml`, and the files that R reads when it starts.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping

from faucet.doctor.findings import Finding
from faucet.machine import stranger_at
from faucet.settings import LocalSettings

STARTUP = {".Rprofile": "R_PROFILE_USER", ".Renviron": "R_ENVIRON_USER"}
"""Files that R reads in its working directory when it starts, each with the variable that names another one."""

TRUST = "if you trust it: add --trust-config"


def without_strangers(
    settings: LocalSettings, sources: Mapping[str, str]
) -> tuple[LocalSettings, dict[str, str], list[Finding]]:
    """Return the settings without another user's program, variables for R against such a user's files, and warnings.

    `sources` has for each option the flag, variable or file that it comes from.
    """
    findings: list[Finding] = []
    source = sources.get("rscript", "")
    by_file = source not in ("", "--rscript") and not source.startswith("FAUCET_")
    if by_file and settings.rscript != LocalSettings.rscript and (owner := stranger_at(source)):
        found = f"{source} belongs to {owner} and names {settings.rscript} as R: it was not started"
        findings.append(Finding("warning", "rscript", found, f"{TRUST}, or --rscript {shlex.quote(settings.rscript)}"))
        settings = dataclasses.replace(settings, rscript=LocalSettings.rscript)
    variables: dict[str, str] = {}
    for name, variable in STARTUP.items():
        path = settings.dir / name
        owner = (stranger_at(path) or stranger_at(settings.dir)) if os.path.isfile(path) else ""  # noqa: PTH113 (Path's raises)
        if owner:
            variables[variable] = ""
            found = f"{path} belongs to {owner}: R did not read it, so packages may look missing (renv)"
            findings.append(Finding("warning", name, found, TRUST))
    return settings, variables, findings
