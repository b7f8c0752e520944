"""`faucet doctor`: checks this machine and directory for everything that a service needs, before anything is served.

It changes nothing, leaves nothing running, and can neither hang nor crash: R has ten seconds, resolving a name five,
and a check that fails unexpectedly is reported as a warning. It examines settings that it is given. Imported by `cli`
only.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from faucet.doctor import machine, pods, r, tools
from faucet.doctor.certificate import certificate
from faucet.doctor.findings import Finding as Finding
from faucet.doctor.findings import report as report
from faucet.doctor.strangers import without_strangers
from faucet.settings import K8sSettings, LocalSettings

RESOLVE_PATIENCE = 5.0
"""Seconds to resolve a name: that in --host, before it is bound to, or that of a service."""

Check = Callable[[Any], list[Finding]]
"""Takes LocalSettings or K8sSettings, as the list that it is in."""


def _local_checks(variables: dict[str, str]) -> tuple[tuple[str, Check], ...]:
    """Return all checks for a directory. R is asked with `variables` in its environment."""
    return (
        ("Python", machine.python),
        ("API", r.api),
        ("R", lambda settings: r.programs(settings, variables)),
        ("address", lambda settings: _in_time("address", lambda: machine.address(settings), RESOLVE_PATIENCE)),
        ("certificate", certificate),
        ("open files", machine.open_files),
        ("CPUs", machine.cpus),
        ("memory", machine.memory),
        ("terminal", machine.terminal),
        ("control", machine.control),
        ("watchfiles", tools.watchfiles),
        ("OpenTelemetry", tools.otel),
        ("ssh", tools.ssh),
        ("kubectl", tools.kubectl),
    )


POD_CHECKS: tuple[tuple[str, Check], ...] = (
    ("Python", machine.python),
    ("service", lambda settings: _in_time("service", lambda: pods.service(settings), RESOLVE_PATIENCE)),
    ("TLS", pods.tls),
    ("OpenTelemetry", tools.otel),
    ("ssh", tools.ssh),
    ("kubectl", tools.kubectl),
    ("address", lambda settings: _in_time("address", lambda: machine.address(settings), RESOLVE_PATIENCE)),
    ("certificate", certificate),
    ("open files", machine.open_files),
    ("terminal", machine.terminal),
    ("control", machine.control),
)


def examine(
    settings: LocalSettings | K8sSettings, options: Finding, sources: Mapping[str, str], trust_config: bool = False
) -> list[Finding]:
    """Return all findings, in the order of importance: first `options`, what there is to say of those. Raises nothing.

    `sources` has the flag, variable or file of each option that is set. Without `trust_config` no program is started
    that another user's files name (`strangers`).
    """
    findings = [options]
    if isinstance(settings, K8sSettings):
        return [*findings, *_all(POD_CHECKS, settings)]
    variables: dict[str, str] = {}
    if not trust_config:
        settings, variables, warnings = without_strangers(settings, sources)
        findings += warnings
    return [*findings, *_all(_local_checks(variables), settings)]


def _all(checks: Iterable[tuple[str, Check]], settings: Any) -> list[Finding]:
    return [finding for subject, check in checks for finding in _safely(subject, check, settings)]


def _safely(subject: str, check: Check, settings: Any) -> list[Finding]:
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
