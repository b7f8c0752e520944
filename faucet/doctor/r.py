"""R and the API: whether R is there and answers, has what is needed, and can read the files that would be served."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from faucet.doctor.code import (
    COMES_WITH_FAUCET,
    Answers,
    bare_renv,
    install,
    of_the_code,
    renv_is_bare,
)
from faucet.doctor.findings import Finding, Level
from faucet.doctor.probe import Answer, ask_program
from faucet.machine import why_unreadable
from faucet.settings import LocalSettings
from faucet.workers.environment import most_workers
from faucet.workers.layouts import Kind, Layout, find_layout, text_of
from faucet.workers.ports import PLUMBER_PORTS, accepted_by_plumber, child_port_block
from faucet.workers.program import INSTALL_PLUMBER, INSTALL_R, ProgramError, find_program, uses_renv

PATIENCE = 10.0
"""Seconds for R to start, load two packages and read two files: that takes half a second; a cold disk, some more."""

OLDEST_PLUMBER = 1
"""pr() and pr_run() came with version 1.0.0."""

QUESTIONS = Path(__file__).with_name("questions.R")
"""All at once, since R's start takes longest."""


def api(settings: LocalSettings) -> list[Finding]:
    """What would be served."""
    # Whether R is there is told apart from whether there is something to serve.
    rscript = settings.rscript if shutil.which(settings.rscript) else sys.executable
    try:
        program = find_program(settings.dir, settings.command, rscript, settings.api)
    except ProgramError as error:
        return [_nothing_to_serve(settings, str(error))]
    except OSError as error:
        return [Finding("broken", "API", why_unreadable(settings.dir, error))]
    return [Finding("ok", "API", f"{program.description} in {program.directory}")]


def _nothing_to_serve(settings: LocalSettings, problem: str) -> Finding:
    what, _, advice = problem.splitlines()[0].partition("; ")
    if settings.command is None and settings.dir.is_dir():
        advice = (
            f"`faucet init {shlex.quote(str(settings.dir))}` writes one to start from; `faucet demo` brings its own"
        )
    return Finding("broken", "API", what, advice)


def served_layout(settings: LocalSettings) -> Layout | None:
    """Return what is served from the directory; None if that is nothing, --command or --api."""
    if settings.command is not None or settings.api:
        return None
    try:
        return find_layout(settings.dir)
    except OSError:
        return None


def files_to_read(settings: LocalSettings) -> list[str]:
    """The R files that a look begins with; those that they name are looked at, too."""
    if settings.command is not None:
        return _script_of(settings)
    layout = served_layout(settings)
    return [] if layout is None or layout.kind is Kind.SERVER else [layout.file]


def _script_of(settings: LocalSettings) -> list[str]:
    """The R file in --command, if that runs one with the R that is asked."""
    try:
        words = shlex.split(settings.command or "")
    except ValueError:
        return []
    if not words or Path(words[0]).name != "Rscript" or shutil.which(words[0]) != shutil.which(settings.rscript):
        return []
    script = next((word for word in words[1:] if not word.startswith("-")), "")
    return [script] if script.lower().endswith(".r") and (settings.dir / script).is_file() else []


def programs(settings: LocalSettings, variables: Mapping[str, str]) -> list[Finding]:
    """R, its packages, and what it makes of the files. One start of R, with `variables` in its environment."""
    level: Level = "broken" if settings.command is None else "unused"
    program = shutil.which(settings.rscript)
    if program is None:
        return [Finding(level, "R", f"{settings.rscript!r} was not found", INSTALL_R)]
    bare = renv_is_bare(settings.dir, dict(os.environ))
    layout = served_layout(settings)
    engine = layout.engine if layout is not None else ""
    argv = [program, str(QUESTIONS), engine or "-", *files_to_read(settings)]
    try:
        # In the directory, as the workers: its .Rprofile (renv, say) decides which packages there are.
        directory = settings.dir if settings.dir.is_dir() else None
        more = {"RENV_CONFIG_AUTOLOADER_ENABLED": "FALSE"} if bare else {}
        said = ask_program(argv, directory, PATIENCE, {**variables, **more})
    except OSError as error:
        return [Finding(level, "R", f"{program} cannot be started: {error.strerror}", INSTALL_R)]
    answers = Answers.read(said.text)
    version = answers.one("R")
    if version is None:
        return [Finding(level, "R", f"{program} {_why_no_answer(said)}", _look_yourself(settings))]
    findings = [Finding("ok", "R", f"{version}, {program}"), *_locale(answers, level)]
    findings += [bare_renv(settings)] if bare else []
    findings += [*_packages(answers, settings), *_engine(layout, answers, settings)]
    if not said.ended:
        findings.append(Finding("warning", "R", f"did not end within {PATIENCE:g} s", _look_yourself(settings)))
    return findings + of_the_code(answers, settings)


def _locale(answers: Answers, level: Level) -> list[Finding]:
    """Whether R can write every letter."""
    answer = answers.one("locale") or "UTF-8"
    if not answer.startswith("!"):
        return []
    decides = next((name for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "LANG")
    advice = f"export {decides}=C.UTF-8; systemd: Environment={decides}=C.UTF-8; docker: ENV {decides}=C.UTF-8"
    found = f"R's locale {answer[1:]!r} is not UTF-8: letters like é become <U+00E9> in answers and in the log"
    return [Finding("warning" if level == "broken" else "unused", "locale", found, advice)]


def _engine(layout: Layout | None, answers: Answers, settings: LocalSettings) -> list[Finding]:
    """The package that serves a _server.yml."""
    if layout is None or layout.kind is not Kind.SERVER:
        return []
    engine = layout.engine
    if not engine:
        advice = "name the R package that serves it, for example: engine: plumber2"
        return [Finding("broken", layout.file, "names no engine", advice)]
    answer = answers.one("engine") or "!R said nothing of it"
    if answer.startswith("!"):
        found = f"its engine {engine} cannot serve it: {answer[1:]}"
        lacks = "no function launch_server()" in answer
        other = f"name another package behind `engine:`, or update {engine}"
        return [Finding("broken", layout.file, found, other if lacks else install([engine], settings))]
    return [Finding("ok", layout.file, f"by {engine} {answer}")]


def _why_no_answer(said: Answer) -> str:
    if not said.ended:
        return f"did not end within {PATIENCE:g} s"
    lines = [line for line in said.text.splitlines() if line.strip()]
    words = f": {lines[-1]}" if lines else ""
    return f"failed with exit code {said.code}{words}" if said.code else f"does not answer as R does{words}"


def _look_yourself(settings: LocalSettings) -> str:
    run = f"cd {shlex.quote(str(settings.dir))} && {shlex.quote(settings.rscript)} -e 'R.version.string'"
    return f"see what this does: {run} (a slow .Rprofile? another program? --rscript names the right one)"


def _packages(answers: Answers, settings: LocalSettings) -> list[Finding]:
    """plumber; and httpuv, which comes with it."""
    level: Level = "broken" if _needs_plumber(answers, settings) else "unused"
    findings: list[Finding] = []
    for package in COMES_WITH_FAUCET:
        advice = _install(package, settings)
        answer = answers.one(package) or "!R said nothing of it"
        if answer.startswith("!"):
            return [*findings, Finding(level, package, f"cannot be loaded: {answer[1:]}", advice)]
        if package == "plumber" and int(answer.partition(".")[0]) < OLDEST_PLUMBER:
            return [Finding(level, package, f"{answer} is too old: pr_run() came with 1.0.0", advice)]
        findings.append(Finding("ok", package, answer))
        if package == "plumber" and level == "broken" and _version(answer) >= (1, 3):
            findings[-1] = _port_range(answer, settings)
    return findings


def _needs_plumber(answers: Answers, settings: LocalSettings) -> bool:
    """Whether the API cannot be served without it."""
    if any(values[0] == "plumber" and values[4] == "required" for values in answers.all("need", 8)):
        return True
    if settings.command is not None:
        return False
    layout = served_layout(settings)
    if layout is None or layout.kind is Kind.PLUMBER:
        return True
    names_plumber = re.search(r"\bplumber\b", _code(settings.dir / layout.file))
    return layout.kind is Kind.SCRIPT and names_plumber is not None


def _code(path: Path) -> str:
    """Without comments. Empty if it cannot be read: R will say so."""
    return "\n".join(line.partition("#")[0] for line in text_of(path).splitlines())


def _install(package: str, settings: LocalSettings) -> str:
    if package == "plumber" and not uses_renv(settings.dir):
        return INSTALL_PLUMBER.format(package=package, rscript=shlex.quote(settings.rscript))
    return install([package], settings)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def _port_range(version: str, settings: LocalSettings) -> Finding:
    """Since 1.3 plumber refuses ports; whether --child-port, if it is given, leads to such."""
    first = settings.child_port
    used = child_port_block(first, most_workers(settings.workers)) if first else range(0)
    refused = next((port for port in used if not accepted_by_plumber(port)), None)
    if refused is None:
        return Finding("ok", "plumber", f"{version}, which listens on ports {PLUMBER_PORTS[0]} to {PLUMBER_PORTS[-1]}")
    found = (
        f"{version} refuses port {refused} (it takes {PLUMBER_PORTS[0]} to {PLUMBER_PORTS[-1]}, without those that "
        f"browsers call unsafe), and --child-port {first} needs {used[0]} to {used[-1]}"
    )
    return Finding("broken", "plumber", found, "--child-port 20000, or leave it out for free ports")
