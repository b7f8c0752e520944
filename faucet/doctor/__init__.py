"""`faucet doctor`: checks this machine and directory for everything that a service needs, before anything is served.

It changes nothing, leaves nothing running, and can neither hang nor crash: R has ten seconds, resolving a name five,
and a check that fails unexpectedly is reported as a warning. It examines the options that would be in force: flags,
then variables, then `faucet.toml`. Imported by `cli` only.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from faucet.cli.toml import sources
from faucet.doctor import machine, r, tools
from faucet.doctor.findings import Finding as Finding
from faucet.doctor.findings import report as report
from faucet.doctor.strangers import without_strangers
from faucet.settings import LocalSettings

RESOLVE_PATIENCE = 5.0
"""Seconds to resolve the name in --host, if it has one, and to bind to it."""

Check = Callable[[LocalSettings], list[Finding]]


def _checks(variables: dict[str, str]) -> tuple[tuple[str, Check], ...]:
    """Return all checks with their subjects. R is asked with `variables` in its environment."""
    return (
        ("Python", machine.python),
        ("API", r.api),
        ("R", lambda settings: r.programs(settings, variables)),
        ("address", lambda settings: _in_time("address", lambda: machine.address(settings), RESOLVE_PATIENCE)),
        ("open files", machine.open_files),
        ("CPUs", machine.cpus),
        ("memory", machine.memory),
        ("terminal", machine.terminal),
        ("control", machine.control),
        ("watchfiles", tools.watchfiles),
        ("ssh", tools.ssh),
        ("kubectl", tools.kubectl),
    )


def examine(
    directory: Path,
    host: str | None = None,
    rscript: str | None = None,
    command: str | None = None,
    trust_config: bool = False,
) -> list[Finding]:
    """Return all findings, in the order of importance. Flags that are None were not given. Raises nothing.

    Without `trust_config` no program is started that another user's files name (`strangers`).
    """
    try:
        settings, options = _in_force(directory)
    except Exception as error:
        settings, options = LocalSettings(dir=directory), _broken_options(directory, error)
        sources.clear()
    findings = [options]
    variables: dict[str, str] = {}
    if not trust_config:
        settings, variables, warnings = without_strangers(settings, sources if rscript is None else {})
        findings += warnings
    settings = dataclasses.replace(
        settings,
        host=settings.host if host is None else (host,),
        rscript=settings.rscript if rscript is None else rscript,
        command=settings.command if command is None else command,
    )
    for subject, check in _checks(variables):
        findings += _safely(subject, check, settings)
    return findings


def _in_force(directory: Path) -> tuple[LocalSettings, Finding]:
    """The options that `faucet --dir DIRECTORY` would have. Raises CycloptsError if they are wrong."""
    from faucet.cli.main import app
    from faucet.cli.toml import NAME

    _, bound, _ = app.parse_args(["local", f"--dir={directory}"], exit_on_error=False, print_error=False)
    by_variable = sorted(source for source in sources.values() if source.startswith("FAUCET_"))
    files = {source for source in sources.values() if not source.startswith(("FAUCET_", "--"))}
    by_file = sorted(name for name, source in sources.items() if source in files)
    said = [f"{files.pop()}: {', '.join(by_file)}"] if by_file else []
    said += [f"variables: {', '.join(by_variable)}"] if by_variable else []
    if not said:
        is_there = (directory / NAME).is_file()
        said = [f"{directory / NAME} sets none" if is_there else f"no {NAME}, no variables: the defaults"]
    return LocalSettings(**bound.arguments), Finding("ok", "options", "; ".join(said))


def _broken_options(directory: Path, error: Exception) -> Finding:
    from faucet.cli.exit_codes import EXIT_FAILED
    from faucet.cli.toml import NAME

    if getattr(error, "code", 0) == EXIT_FAILED:  # the machine is in the way; the text says what to do
        return Finding("broken", "options", str(error))
    advice = f"fix {directory / NAME}, or the variable; `faucet --help` has all options"
    return Finding("broken", "options", str(error).strip() or type(error).__name__, advice)


def _safely(subject: str, check: Check, settings: LocalSettings) -> list[Finding]:
    """What `check` finds; if it fails, that is a finding."""
    try:
        return check(settings)
    except Exception as error:
        return [Finding("warning", subject, f"could not be examined: {type(error).__name__}: {error}")]


def _in_time(subject: str, work: Callable[[], list[Finding]], seconds: float) -> list[Finding]:
    """What `work` finds, in a thread: the system's resolver cannot be interrupted. Raises what it raises."""
    answers: queue.SimpleQueue[list[Finding] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(work())
        except Exception as error:
            answers.put(error)

    threading.Thread(target=run, name=f"examine-{subject}", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        return [Finding("warning", subject, f"was not known within {seconds:g} s", "is the name resolved too slowly?")]
    if isinstance(answer, Exception):
        raise answer
    return answer
