"""R and the API: whether R is there and answers, has the packages, and can read the files that would be served."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from faucet.doctor.findings import Finding, Level
from faucet.doctor.probe import Answer, ask_program
from faucet.settings import LocalSettings
from faucet.workers.program import INSTALL_PACKAGE, INSTALL_PLUMBER, INSTALL_R, ProgramError, find_program

PATIENCE = 10.0
"""Seconds for R to start, load two packages and read two files: that takes half a second; a cold disk, some more."""

OLDEST_PLUMBER = 1
"""pr() and pr_run() came with version 1.0.0."""

QUESTIONS = r"""
tell <- function(what, text) cat("\nfaucet:", what, "=", gsub("\n", "\037", text, fixed = TRUE), "\n", sep = "")
ask <- function(what, answer) tell(what, tryCatch(answer, error = function(e) paste0("!", conditionMessage(e))))
tell("R", as.character(getRversion()))
for (package in c("plumber", "httpuv")) ask(package, { loadNamespace(package); as.character(packageVersion(package)) })
for (file in commandArgs(TRUE)) ask(file, { parse(file); "" })
"""
"""All at once, since R's start takes longest. Each answer has a line of its own, whatever .Rprofile prints before."""

_ANSWER = re.compile(r"^faucet:([\w.]+)=(.*)$", re.MULTILINE)

USE_THE_PORT = 'write: pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))'

_RUNS = re.compile(r"\bpr_run\s*\(|\$run\s*\(")
_READS_ITS_PORT = re.compile(r"""FAUCET_PORT|["']PORT["']""")
_NAMES_A_PORT = re.compile(r"\bport\s*(?:=|<-)\s*([0-9]{2,5})L?\b")


def api(settings: LocalSettings) -> list[Finding]:
    """What would be served."""
    # Whether R is there is told apart from whether there is something to serve.
    rscript = settings.rscript if shutil.which(settings.rscript) else sys.executable
    try:
        entry = find_program(settings.dir, settings.command, rscript)
    except ProgramError as error:
        return [_nothing_to_serve(settings, str(error))]
    findings = [Finding("ok", "API", f"{entry.description} in {entry.directory}")]
    return findings + [finding for name in served_files(settings) for finding in _port(settings.dir / name)]


def _nothing_to_serve(settings: LocalSettings, problem: str) -> Finding:
    what, _, advice = problem.splitlines()[0].partition("; ")
    if settings.command is None and settings.dir.is_dir():
        advice = (
            f"`faucet init {shlex.quote(str(settings.dir))}` writes one to start from; `faucet demo` brings its own"
        )
    return Finding("broken", "API", what, advice)


def served_files(settings: LocalSettings) -> list[str]:
    """The R files that matter: what is run, and plumber.R if that runs it."""
    entrypoint = settings.dir / "entrypoint.R"
    if settings.command is not None:
        return []
    if not entrypoint.is_file():
        return ["plumber.R"] if (settings.dir / "plumber.R").is_file() else []
    also = "plumber.R" in _code(entrypoint) and (settings.dir / "plumber.R").is_file()
    return ["entrypoint.R", "plumber.R"] if also else ["entrypoint.R"]


def _code(path: Path) -> str:
    """Without comments. Empty if it cannot be read: R will say so."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(line.partition("#")[0] for line in lines)


def _port(path: Path) -> list[Finding]:
    """A warning if the file starts a server, but not on the port that Faucet chose."""
    code = _code(path)
    if not _RUNS.search(code) or _READS_ITS_PORT.search(code):
        return []
    named = _NAMES_A_PORT.search(code)
    seems = f"listens on port {named[1]}, it seems, and" if named else "starts a server, but"
    return [Finding("warning", path.name, f"{seems} does not read FAUCET_PORT: each worker has its own", USE_THE_PORT)]


def programs(settings: LocalSettings) -> list[Finding]:
    """R, its packages, and what it makes of the files. One start of R."""
    level: Level = "broken" if settings.command is None else "unused"
    program = shutil.which(settings.rscript)
    if program is None:
        return [Finding(level, "R", f"{settings.rscript!r} was not found", INSTALL_R)]
    directory = settings.dir if settings.dir.is_dir() else None
    files = served_files(settings)
    try:
        # In the directory, as the workers: its .Rprofile (renv, say) decides which packages there are.
        said = ask_program([program, "-e", QUESTIONS, *files], directory, PATIENCE)
    except OSError as error:
        return [Finding(level, "R", f"{program} cannot be started: {error.strerror}", INSTALL_R)]
    answers = {what: text.replace("\x1f", "\n").strip() for what, text in _ANSWER.findall(said.text)}
    if "R" not in answers:
        return [Finding(level, "R", f"{program} {_why_no_answer(said)}", _look_yourself(settings))]
    findings = [Finding("ok", "R", f"{answers['R']}, {program}"), *_packages(answers, settings)]
    if not said.ended:
        findings.append(Finding("warning", "R", f"did not end within {PATIENCE:g} s", _look_yourself(settings)))
    return findings + [_syntax(name, answers[name], settings) for name in files if name in answers]


def _why_no_answer(said: Answer) -> str:
    if not said.ended:
        return f"did not end within {PATIENCE:g} s"
    lines = [line for line in said.text.splitlines() if line.strip()]
    words = f": {lines[-1]}" if lines else ""
    return f"failed with exit code {said.code}{words}" if said.code else f"does not answer as R does{words}"


def _look_yourself(settings: LocalSettings) -> str:
    run = f"cd {shlex.quote(str(settings.dir))} && {shlex.quote(settings.rscript)} -e 'R.version.string'"
    return f"see what this does: {run} (a slow .Rprofile? another program? --rscript names the right one)"


def _packages(answers: dict[str, str], settings: LocalSettings) -> list[Finding]:
    """plumber; and httpuv, which comes with it."""
    entrypoint = settings.dir / "entrypoint.R"
    by_itself = settings.command is not None or (
        entrypoint.is_file() and not re.search(r"\bplumber\b", _code(entrypoint))
    )
    level: Level = "unused" if by_itself else "broken"
    findings: list[Finding] = []
    for package, install in (("plumber", INSTALL_PLUMBER), ("httpuv", INSTALL_PACKAGE)):
        advice = install.format(package=package, rscript=shlex.quote(settings.rscript))
        answer = answers.get(package, "!R said nothing of it")
        if answer.startswith("!"):
            return [*findings, Finding(level, package, f"cannot be loaded: {answer[1:]}", advice)]
        if package == "plumber" and int(answer.partition(".")[0]) < OLDEST_PLUMBER:
            return [Finding(level, package, f"{answer} is too old: pr_run() came with 1.0.0", advice)]
        findings.append(Finding("ok", package, answer))
    return findings


def _syntax(name: str, answer: str, settings: LocalSettings) -> Finding:
    if not answer.startswith("!"):
        return Finding("ok", name, "R can read it")
    path = shlex.quote(str(settings.dir / name))
    check = f"""{shlex.quote(settings.rscript)} -e 'parse(commandArgs(TRUE))' {path}"""
    return Finding("broken", name, f"R cannot read it: {answer[1:]}", f"mend it, and check: {check}")
