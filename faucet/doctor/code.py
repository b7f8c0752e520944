"""What the files of an API need, as R's own parser sees them: packages, a port, and that they can be parsed.

Nothing of them is run. What only running would tell (a name that is computed, a file that is downloaded) is not seen.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from faucet.doctor.findings import Finding
from faucet.settings import LocalSettings
from faucet.workers.environment import most_workers
from faucet.workers.program import INSTALL_PACKAGE, uses_renv

USE_THE_PORT = 'write: pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))'

COMES_WITH_FAUCET = ("plumber", "httpuv")
"""Packages that are looked at by name."""

_NAMED = 6
"""Packages or files that one line names."""


class Answers(NamedTuple):
    """What R said: the fields of each answer, by its kind."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]

    @staticmethod
    def read(text: str) -> Answers:
        """Those in the output of questions.R; whatever else is printed there is left out."""
        found = re.findall(r"^faucet:(\w+)=(.*)$", text, re.MULTILINE)
        return Answers(tuple((kind, tuple(_restored(field) for field in rest.split("\x1e"))) for kind, rest in found))

    def all(self, kind: str, fields: int) -> Iterator[tuple[str, ...]]:
        """All answers of a kind that have so many fields."""
        return (values for name, values in self.rows if name == kind and len(values) == fields)

    def one(self, kind: str) -> str | None:
        """The latest answer of a kind that has one field; None without one."""
        return next((values[0] for name, values in reversed(self.rows) if name == kind and len(values) == 1), None)


def _restored(field: str) -> str:
    return field.replace("\x1f", "\n").strip()


class Need(NamedTuple):
    """A package that a file needs."""

    package: str
    file: str
    line: str
    how: str
    """`library()`, `dplyr::`."""
    kind: str
    """`required`; `optional`: the code tests whether it is there; `installs`: and installs it if not."""
    version: str
    """Empty: it is not installed."""
    built: str
    """The R that it was installed for."""
    lacks: str
    """What it needs itself, and does not find."""


def of_the_code(answers: Answers, settings: LocalSettings) -> list[Finding]:
    """What is to be said of the files."""
    files = _files(list(answers.all("file", 2)), settings)
    files += [Finding("warning", name, f"could not be examined: {why}") for name, why in answers.all("failed", 2)]
    needs = [Need(*values) for values in answers.all("need", 8)]
    others = [need for need in needs if need.package not in COMES_WITH_FAUCET]
    return [*files, *_ports(answers, settings), *_packages(others, answers.one("R") or "", settings)]


def _files(rows: Sequence[tuple[str, ...]], settings: LocalSettings) -> list[Finding]:
    """The file that is served, each that R cannot read, and the number of the others."""
    told = [_syntax(name, text, settings) for number, (name, text) in enumerate(rows) if not number or text]
    others = [name for name, text in rows[1:] if not text]
    if not others:
        return told
    return [*told, Finding("ok", "other files", f"R can read {_listed(others)}")]


def _syntax(name: str, answer: str, settings: LocalSettings) -> Finding:
    if not answer.startswith("!"):
        return Finding("ok", name, "R can read it")
    path = shlex.quote(str(settings.dir / name))
    check = f"""{shlex.quote(settings.rscript)} -e 'parse(commandArgs(TRUE))' {path}"""
    return Finding("broken", name, f"R cannot read it: {answer[1:]}", f"fix it, and check: {check}")


# -- ports ------------------------------------------------------------------------------------------------------


def _ports(answers: Answers, settings: LocalSettings) -> list[Finding]:
    """Ports that are written in the code. A file that reads its port as well uses either, and only it knows when."""
    reads = {values[0] for values in answers.all("reads", 1)}
    ports = dict.fromkeys(answers.all("port", 3))
    return [_port(name, line, port, settings) for name, line, port in ports if name not in reads]


def _port(name: str, line: str, port: str, settings: LocalSettings) -> Finding:
    most = most_workers(settings.workers)
    what = f"{name}, line {line}: listens on port {port}, whatever FAUCET_PORT says"
    if most > 1:
        return Finding("broken", "port", f"{what}: only one of {most} workers can have it", USE_THE_PORT)
    if str(settings.child_port) == port:
        what += ": that is --child-port, but a rolling restart needs a second port"
        return Finding("warning", "port", what, USE_THE_PORT)
    advice = f"{USE_THE_PORT}; or leave it, with --workers 1 --child-port {port}"
    return Finding("broken", "port", f"{what}: Faucet waits for it on another", advice)


# -- packages ---------------------------------------------------------------------------------------------------


def _packages(needs: Sequence[Need], running: str, settings: LocalSettings) -> list[Finding]:
    missing = [need for need in needs if not need.version]
    lacking = [need for need in needs if need.lacks]
    broken = [need for need in (*missing, *lacking) if need.kind == "required"]
    advice = install([need.package for need in broken], settings)  # once, for all of them
    findings = [_missing(need, advice if need is broken[0] else "", settings) for need in missing if need in broken]
    findings += [Finding("broken", need.package, need.lacks, advice if need is broken[0] else "")
                 for need in lacking if need in broken]  # fmt: skip
    findings += [_missing(need, "", settings) for need in missing if need not in broken]
    findings += [Finding("warning", need.package, need.lacks) for need in lacking if need not in broken]
    there = [need for need in needs if need.version and not need.lacks]
    if there:
        findings.append(Finding("ok", "packages", _listed([f"{need.package} {need.version}" for need in there])))
    return [*findings, *_of_another_r(needs, running, settings)]


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more


def _missing(need: Need, advice: str, settings: LocalSettings) -> Finding:
    place = f"{need.file}, line {need.line}"
    if need.kind == "optional":
        return Finding("unused", need.package, f"is not installed; {place} does without it, it seems")
    if need.kind == "installs":
        found = f"is not installed; {place} installs it, in each worker that starts"
        return Finding("warning", need.package, found, install([need.package], settings))
    how = f" ({need.how})" if need.how.endswith("()") or need.how.startswith("@") else ""
    return Finding("broken", need.package, f"is not installed; {place} needs it{how}", advice)


def install(packages: Sequence[str], settings: LocalSettings) -> str:
    """How to install packages: by renv, where that manages those of the API."""
    rscript = shlex.quote(settings.rscript)
    if not uses_renv(settings.dir):
        if len(packages) == 1:
            return INSTALL_PACKAGE.format(package=packages[0], rscript=rscript)
        return f"install them with: {rscript} -e {shlex.quote(f'install.packages({_vector(packages)})')}"
    there = f"cd {shlex.quote(str(settings.dir))} && {rscript} -e"
    unlocked = sorted(set(packages) - _locked(settings.dir))
    if not unlocked:
        return f"renv manages the packages here: {there} 'renv::restore()'"
    add = shlex.quote(f"renv::restore(); renv::install({_vector(unlocked)}); renv::snapshot()")
    are = "is" if len(unlocked) == 1 else "are"
    return f"renv manages the packages here, and {', '.join(unlocked)} {are} not in renv.lock: {there} {add}"


def _vector(words: Sequence[str]) -> str:
    """As R writes it."""
    quoted = ", ".join(f'"{word}"' for word in words)
    return quoted if len(words) == 1 else f"c({quoted})"


def _locked(directory: Path) -> set[str]:
    """The packages in renv.lock."""
    try:
        packages = json.loads((directory / "renv.lock").read_text("utf-8", "replace")).get("Packages")
    except (OSError, ValueError, AttributeError):
        return set()
    return set(packages) if isinstance(packages, dict) else set()


def _of_another_r(needs: Sequence[Need], running: str, settings: LocalSettings) -> list[Finding]:
    """Packages of another minor version of R: they may work, or crash R."""
    series = running.split(".")[:2]
    old = [need for need in needs if need.built and need.built.split(".")[:2] != series]
    if not old:
        return []
    code = f"install.packages({_vector([need.package for need in old])})"
    where = ""
    if uses_renv(settings.dir):
        code = f"renv::rebuild({_vector([need.package for need in old])})"
        where = f"cd {shlex.quote(str(settings.dir))} && "
    advice = f"if R warns or crashes: {where}{shlex.quote(settings.rscript)} -e {shlex.quote(code)}"
    listed = _listed([f"{need.package} (R {need.built})" for need in old])
    return [Finding("warning", "packages' R", f"installed for another R than {running}: {listed}", advice)]


# -- renv -------------------------------------------------------------------------------------------------------


def renv_is_bare(directory: Path, environment: dict[str, str]) -> bool:
    """Whether R would begin by downloading renv itself: a look at it must not install anything."""
    try:
        profile = (directory / ".Rprofile").read_text("utf-8", "replace")
    except OSError:
        return False
    if "renv/activate.R" not in profile or any(name.startswith("RENV_PATHS_") for name in environment):
        return False
    return not any((directory / "renv/library").glob("**/renv/DESCRIPTION"))


def bare_renv(settings: LocalSettings) -> Finding:
    """What is to be said then."""
    advice = f"cd {shlex.quote(str(settings.dir))} && {shlex.quote(settings.rscript)} -e 'renv::restore()'"
    return Finding("broken", "renv", "its library is empty: the packages in renv.lock are not installed yet", advice)
