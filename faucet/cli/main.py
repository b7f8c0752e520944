"""The command line: parses, then calls the runtime, nothing else.

The options are made from the dataclasses in `faucet/settings` (by `parameters.py`), each with its FAUCET_… variable.
Precedence: flag, variable, file, default.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from faucet import machine
from faucet.cli import doctor
from faucet.cli.attach import attach
from faucet.cli.ctl import app as ctl
from faucet.cli.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from faucet.cli.help import SHORT, add_help, is_short
from faucet.cli.misuse import explain
from faucet.cli.parameters import show, with_options
from faucet.cli.stdio import OutputError, finish, occupy
from faucet.cli.toml import fill_from_file, is_directory, sources
from faucet.cli.tools import add_to, versions
from faucet.cli.top import top
from faucet.cli.variables import drop_service_links, unknown_variables
from faucet.cli.words import early
from faucet.log.handler import print_error
from faucet.machine import stranger_at, user_name, why_unreadable
from faucet.net.address import twice
from faucet.settings import (
    CONFIG_NAME,
    AttachSettings,
    DemoSettings,
    K8sSettings,
    LocalSettings,
    ReplaySettings,
    ServeSettings,
    TopSettings,
)

if TYPE_CHECKING:
    from faucet.service.modes import Site
    from faucet.service.run import Hints
    from faucet.ssh.secrets import Secrets
    from faucet.workers.program import Program

RESOLVED: dict[str, Callable[[], int]] = {
    "buffer-total": lambda: machine.buffer_total(machine.memory()),
    "max-clients": machine.max_clients,
}
"""What follows from the machine where nothing is set."""

app = App(
    name="faucet",
    help="One address in front of N R Plumber workers, each with one request at a time, and one fair queue.",
    version=versions,
    help_format="plaintext",
    config=fill_from_file,
)


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
        from faucet.service.modes import pods_site

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
        from faucet.service.modes import local_site

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
    if problem := twice(() if inherited else settings.host, settings.admin):
        print_error(problem)
        return EXIT_USAGE
    from faucet.tui.start import no_monitor_because, owner_descriptor, run_with_monitor

    owner = owner_descriptor()
    if owner is None and not settings.headless:
        problem = no_monitor_because()
        if not problem:
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


def config(settings: LocalSettings) -> int:
    """Show the value of every option, and where it comes from: a flag, a variable, the file, or the default."""
    for field in dataclasses.fields(settings):
        option, value = field.metadata["option"], getattr(settings, field.name)
        name = field.name.replace("_", "-")
        shown = option.shown or show(option, field.default)
        text = shown if value == field.default else show(option, value)
        if value is None and name in RESOLVED:
            text = show(option, RESOLVED[name]())
        print(f"{name:20} {text:24} {sources.get(name, 'default')}")
    for name, text, source in _threads(settings):
        print(f"{name:20} {text:24} {source}")
    return 0


def _threads(settings: LocalSettings) -> list[tuple[str, str, str]]:
    """How many threads the numerical libraries of a worker use, and who says so."""
    from faucet.units import counted
    from faucet.workers.cpus import available_cpus
    from faucet.workers.environment import THREAD_VARIABLES, most_workers, thread_limits, threads_per_worker

    limits = thread_limits(os.environ, threads_per_worker(settings.workers))
    ours = f"{counted(available_cpus(), 'CPU')} for {counted(most_workers(settings.workers), 'worker')}"
    lines = []
    for name in THREAD_VARIABLES:
        text = limits.get(name) or os.environ.get(name) or "as OMP_NUM_THREADS"
        lines.append((name, text, ours if name in limits else "environment"))
    return lines


def replay(settings: ReplaySettings) -> int:
    """Show a recording in the monitor: of `attach --record`, or what `--black-box` has kept."""
    from faucet.tui.start import replay as replay_recording

    if settings.file is None:
        print_error("which recording? For example: faucet replay incident.jsonl")
        return EXIT_USAGE
    return replay_recording(settings.file, settings, settings.begin)


app.default(with_options(local, LocalSettings))
app.command(with_options(local, LocalSettings), name=("local", "start"))
app.command(with_options(demo, DemoSettings), name="demo")
app.command(with_options(k8s, K8sSettings), name="k8s")
app.command(with_options(attach, AttachSettings), name="attach")
app.command(with_options(top, TopSettings), name="top")
app.command(with_options(replay, ReplaySettings), name="replay")
app.command(with_options(config, LocalSettings), name="config")


add_to(app)
app.command(doctor.app)
app.command(ctl)
add_help(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    occupy()
    if os.getpid() == 1:
        # The kernel keeps signals from the first process of a container that it has no handler for.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return finish(_main(list(sys.argv[1:] if arguments is None else arguments)))
    except OutputError as error:
        return finish(0, error)


def _main(words: list[str]) -> int:
    drop_service_links(os.environ)
    for remark in unknown_variables(os.environ):
        print_error(remark)
    if problem := early(words, app):
        print_error(problem)
        return EXIT_USAGE
    if is_short(words, app):
        print(SHORT)
        return 0
    try:
        return _carry_out(words)
    except CycloptsError as error:
        problem, code = explain(error, words, app)
        print_error(problem)
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # e.g. at the question for a passphrase


def _carry_out(words: list[str]) -> int:
    """The exit code. Raises CycloptsError if the command line is wrong."""
    try:
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        if words[:1] != ["doctor"]:
            raise
        result = doctor.despite(error, words)
    return result if isinstance(result, int) else 0
