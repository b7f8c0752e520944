"""The commands that serve: `faucet`, `faucet demo`, `faucet k8s`. Each finds out what to serve, and who looks at it."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from faucet.cli.exit_codes import EXIT_FAILED, EXIT_USAGE
from faucet.cli.toml import is_directory, sources
from faucet.machine import stranger_at, user_name, why_unreadable
from faucet.net.address import twice
from faucet.settings import CONFIG_NAME, DemoSettings, K8sSettings, LocalSettings, ServeSettings
from faucet.text import print_error

if TYPE_CHECKING:
    from faucet.service.run import Hints
    from faucet.service.site import Site
    from faucet.ssh.secrets import Secrets
    from faucet.workers.program import Program


def local(settings: LocalSettings) -> int:
    """Serve the API in a directory: N workers behind one address, one request at a time each.

    What is served: --command or --api, if given; else entrypoint.R, which runs a server or returns a router; else
    plumber.R; else _server.yml. Each worker finds its port in FAUCET_PORT (and PORT, PLUMBER_PORT), and its number in
    FAUCET_WORKER_ID.
    """
    from faucet.workers.program import ProgramError, find_program

    if problem := _misnamed(settings.dir):
        print_error(problem)
        return EXIT_USAGE
    try:
        program = find_program(settings.dir, settings.command, settings.rscript, settings.api)
    except ProgramError as error:
        print_error(str(error))
        return EXIT_FAILED
    except OSError as error:
        print_error(why_unreadable(settings.dir, error))
        return EXIT_FAILED
    return _serve_directory(program, settings)


def _misnamed(directory: Path) -> str:
    """Return what is wrong with a directory that a variable or a file names; empty if it is one, or named otherwise."""
    named_by = sources.get("dir", "")
    if named_by in ("", "--dir", "argument") or is_directory(directory):
        return ""
    from faucet.cli.words import explain_path

    return f"{'the variable ' if named_by.isupper() else ''}{named_by}: {explain_path(str(directory), ())}"


def demo(settings: DemoSettings) -> int:
    """Serve a small API that comes with Faucet: by Plumber where R and plumber are installed, else by Python."""
    from faucet.templates.demo import demo_hints, demo_program

    return _serve_directory(demo_program(settings.rscript), settings, demo_hints)


def k8s(settings: K8sSettings) -> int:
    """Serve the pods of a headless service, one request at a time each, while the set of pods changes.

    The name in --service-url is resolved to all pods behind it, again and again. Several Faucets in front of one
    service do not share their locks: run one, or all of them with --ha.
    """
    from faucet.cli.ssh_login import typed_secrets
    from faucet.fleet import StartFailed
    from faucet.net.service_url import parse_service_url
    from faucet.net.tls import misplaced

    if not (settings.service_url or settings.via_ssh):
        print_error("which service? faucet k8s --service-url http://plumber:8000\nTry `faucet k8s --help`.")
        return EXIT_USAGE
    more: list[str] = []
    try:
        secrets = typed_secrets(settings)
        if not settings.service_url:
            from faucet.cli.pick_service import choose_service

            more = ["--service-url", choose_service(settings, secrets)]
            settings = dataclasses.replace(settings, service_url=parse_service_url(more[1]))
    except StartFailed as error:
        print_error(str(error))
        return EXIT_FAILED
    url = settings.service_url
    assert url is not None
    problem = misplaced(url.scheme, settings.ca_file, settings.insecure_skip_verify)
    if problem:
        print_error(problem)
        return EXIT_USAGE
    if settings.ha and settings.via_ssh:
        print_error("--ha works in the cluster, and --via-ssh from outside: leave one of them out")
        return EXIT_USAGE
    warning = "certificates of pods are not checked (--insecure-skip-verify)" if settings.insecure_skip_verify else ""

    def site(_: bool) -> Site:
        from faucet.service.kubernetes import pods_site

        return pods_site(url, settings, secrets)

    return _serve(site, settings, warning, secrets=secrets, more=more)


def _serve_directory(program: Program, settings: DemoSettings, hints: Hints | None = None) -> int:
    from faucet.workers.environment import most_workers
    from faucet.workers.ports import child_port_problem

    if program.rscript is not None:
        problem = child_port_problem(settings.child_port, most_workers(settings.workers))
        if problem:
            print_error(problem)
            return EXIT_USAGE

    def site(watched: bool) -> Site:
        from faucet.service.local import local_site

        # Whoever looks at it sees what is wrong.
        return local_site(program, dataclasses.replace(settings, keep_trying=True) if watched else settings)

    return _serve(site, settings, _of_a_stranger(settings), hints=hints)


def _of_a_stranger(settings: DemoSettings) -> str:
    """Return a notice if another user decides what this one runs: the owner of the directory, or of its faucet.toml."""
    for path in (settings.dir, settings.dir / CONFIG_NAME) if isinstance(settings, LocalSettings) else ():
        if owner := stranger_at(path):
            return f"{path.absolute()} belongs to {owner}: what is in it runs as {user_name()}"
    return ""


def _serve(
    find_site: Callable[[bool], Site], settings: ServeSettings, notice: str = "", hints: Hints | None = None,
    secrets: Secrets | None = None, more: Sequence[str] = (),
) -> int:  # fmt: skip
    """With the monitor, if there is a terminal for it; else the service alone. `more` options were chosen meanwhile."""
    inherited = os.environ.get("LISTEN_PID") == str(os.getpid())  # then --host does not count
    if problem := twice(() if inherited else settings.host, settings.admin) or settings.tls_problem:
        print_error(problem)
        return EXIT_USAGE
    from faucet.tui.owner import owner_descriptor
    from faucet.tui.terminal import no_monitor_because

    owner = owner_descriptor()
    if owner is None and not settings.headless:
        problem = no_monitor_because()
        if not problem:
            from faucet.tui.start import run_with_monitor

            return run_with_monitor([*sys.argv[1:], *more], settings, secrets)
        notice = f"{notice}\nno monitor, since {problem}"
    from faucet.fleet import StartFailed
    from faucet.service.run import run

    try:
        site = find_site(owner is not None)
    except StartFailed as error:
        print_error(str(error))
        return EXIT_FAILED
    return run(site, settings, owner, notice.strip(), hints)
