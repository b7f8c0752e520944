"""The command line: parses, then calls the runtime, nothing else.

The options are made from the dataclasses in `settings.py`, each with its FAUCET_… variable. Precedence: flag,
variable, default.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import re
import shlex
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import App, CycloptsError, Group, Parameter, Token, UnusedCliTokensError

from faucet import __version__, units
from faucet.configfile import fill_from_file, sources
from faucet.ctl import app as ctl
from faucet.http1.forwarded import Trust
from faucet.log import print_error
from faucet.net.address import AddressError, parse_address, parse_listen
from faucet.net.ssh.target import parse_targets
from faucet.settings import (
    AttachSettings,
    DemoSettings,
    K8sSettings,
    LocalSettings,
    MonitorSettings,
    Option,
    ServeSettings,
    parse_span,
)

EXIT_USAGE = 2

if TYPE_CHECKING:
    from faucet.net.ssh.secrets import Secrets
    from faucet.sites import Site
    from faucet.workers.entry import Entry

OTHER_VARIABLES = {"FAUCET_PORT", "FAUCET_WORKER_ID", "FAUCET_OWNER", "FAUCET_ASCII"}
"""What workers are told (Faucet may be a worker's child), what a monitor tells its runtime, and what it heeds."""

EXIT_CODES = """\
Exit codes: 0 ended by SIGTERM or SIGINT with everything in hand finished; 1 could not start; 2 wrong usage;
3 ended, but requests in hand were cut (a second signal, or --shutdown-timeout)."""

Settings = TypeVar("Settings")


def _address(text: str) -> str:
    """`text`, if it can be listened on. Raises ValueError."""
    try:
        parse_listen(text)
    except AddressError as error:
        raise ValueError(str(error)) from error
    return text


def _keymap(text: str) -> str:
    """`text`, if it maps actions to keys. Raises ValueError."""
    MonitorSettings(keys=text).keymap()
    return text


def _span(text: str) -> str:
    """`text`, if it is a number of workers. Raises ValueError."""
    parse_span(text)
    return text


def _target(text: str) -> str:
    """`text`, if it can be asked for. Raises ValueError."""
    if text and not re.fullmatch(r"/[!-~]*", text):
        raise ValueError(f"{text!r} is no path: write /health")
    return text


def _service_url(text: str) -> str:
    """`text`, if it is the URL of a service. Raises ValueError."""
    from faucet.discovery.choose import parse_service_url

    if text:
        parse_service_url(text)
    return text


def _dns_server(text: str) -> str:
    """`text`, if it is a DNS server. Raises ValueError."""
    from faucet.discovery.choose import parse_dns_server

    parse_dns_server(text)
    return text


def _admin_address(text: str) -> str:
    """`text`, if it is an address. Raises ValueError."""
    try:
        parse_address(text)
    except AddressError as error:
        raise ValueError(str(error)) from error
    return text


def _trusted(text: str) -> str:
    """`text`, if it is a list of networks. Raises ValueError."""
    Trust(text)
    return text


def _bastion(text: str) -> str:
    """`text`, if it names hosts to log in to. Raises ValueError."""
    parse_targets([text])
    return text


_UNITS: dict[str, Callable[[str], Any]] = {
    "target": _target,
    "span": _span,
    "keys": _keymap,
    "duration": units.parse_duration,
    "size": units.parse_size,
    "address": _address,
    "url": _service_url,
    "dns": _dns_server,
    "ssh": _bastion,
    "admin": _admin_address,
    "trust": _trusted,
}
_METAVARS = {
    "duration": "TIME",
    "size": "SIZE",
    "address": "ADDRESS",
    "keys": "KEYS",
    "span": "N",
    "url": "URL",
    "dns": "ADDRESS",
    "ssh": "HOST",
    "admin": "ADDRESS",
    "trust": "NETWORKS",
}
_SHOWN: dict[str, Callable[[Any], str]] = {"duration": units.format_duration, "size": units.format_size}


def _convert(option: Option, _type: Any, tokens: Sequence[Token]) -> Any:
    if option.unit in ("ssh", "address"):
        words = [word.strip() for token in tokens for word in token.value.split(",") if word.strip()]
        return tuple(_UNITS[option.unit](word) for word in words)
    return _UNITS[option.unit](tokens[0].value)


def _check_range(option: Option, _type: Any, value: Any) -> None:
    if value is None:
        return
    if option.minimum is not None and not value >= option.minimum:  # a NaN is not, either
        raise ValueError(f"must be at least {_show(option, option.minimum)}")
    if option.maximum is not None and value > option.maximum:
        raise ValueError(f"must be at most {_show(option, option.maximum)}")


def _show(option: Option, value: Any) -> str:
    return _SHOWN.get(option.unit, str)(value)


def _parameter(field: dataclasses.Field[Any]) -> Parameter:
    option: Option = field.metadata["option"]
    flag = f"--{field.name.replace('_', '-')}"
    shown = option.shown or _show(option, field.default)
    return Parameter(
        name=(flag, option.short) if option.short else flag,
        env_var=f"FAUCET_{field.name.upper()}",
        help=option.help,
        group=Group(option.group),
        converter=partial(_convert, option) if option.unit in _UNITS else None,
        validator=partial(_check_range, option),
        negative=option.negative or (),
        show_default=lambda _value: shown,
        metavar=_METAVARS.get(option.unit),
    )


def _with_options(command: Callable[[Settings], int], settings: type[Settings]) -> Callable[..., int]:
    """`command` with a flag for each field of `settings` in place of its one argument."""
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    positional = [field.name for field in fields if field.metadata["option"].positional]

    @wraps(command)
    def with_flags(*words: Any, **values: Any) -> int:
        return command(settings(**dict(zip(positional, words, strict=False)), **values))

    hints = typing.get_type_hints(settings)
    with_flags.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        sorted((_signature_part(field, hints[field.name]) for field in fields), key=lambda part: part.kind)
    )
    return with_flags


def _signature_part(field: dataclasses.Field[Any], kind: Any) -> inspect.Parameter:
    option: Option = field.metadata["option"]
    return inspect.Parameter(
        field.name,
        inspect.Parameter.POSITIONAL_ONLY if option.positional else inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[kind, Parameter(help=option.help) if option.positional else _parameter(field)],
    )


app = App(
    name="faucet",
    help="One address in front of N R Plumber workers, each with one request at a time, and one fair queue.",
    version=__version__,
    help_epilogue=EXIT_CODES,
    help_format="plaintext",
    config=fill_from_file,
)


def local(settings: LocalSettings) -> int:
    """Serve the API in a directory: N workers behind one address, each with one request at a time.

    Served is what --command says; else entrypoint.R, run as it is; else plumber.R. Each worker finds its port in
    FAUCET_PORT (and PORT), its number in FAUCET_WORKER_ID.
    """
    from faucet.workers.entry import EntryError, find_entry

    try:
        entry = find_entry(settings.dir, settings.command, settings.rscript)
    except EntryError as error:
        print_error(str(error))
        return 1
    return _serve_directory(entry, settings)


def demo(settings: DemoSettings) -> int:
    """Serve a small API that comes with Faucet: by Plumber where R and plumber are installed, else by Python."""
    from faucet.demo import demo_entry, demo_hints

    entry = demo_entry(settings.rscript)
    return _serve_directory(entry, settings, demo_hints(entry, settings.host))


def k8s(settings: K8sSettings) -> int:
    """Serve the pods of a headless service: each with one request at a time, however many come and go.

    The name in --service-url is resolved to all pods behind it, again and again. Several Faucets in front of one
    service do not share their locks: run one.
    """
    from faucet.discovery.choose import parse_service_url
    from faucet.far import typed_secrets
    from faucet.workers.fleet import StartFailed

    if not (settings.service_url or settings.via_ssh):
        print_error("which service? faucet k8s --service-url http://plumber:8000\nTry `faucet k8s --help`.")
        return EXIT_USAGE
    more: list[str] = []
    try:
        secrets = typed_secrets(settings)
        if not settings.service_url:
            settings = dataclasses.replace(settings, service_url=_choose_service(settings, secrets))
            more = ["--service-url", settings.service_url]
    except StartFailed as error:
        print_error(str(error))
        return 1
    url = parse_service_url(settings.service_url)
    problem = _misplaced_tls(url.scheme, settings)
    if problem:
        print_error(problem)
        return EXIT_USAGE
    warning = "certificates of pods are not checked (--insecure-skip-verify)" if settings.insecure_skip_verify else ""

    def site() -> Site:
        from faucet.sites import pods_site

        return pods_site(url, settings, secrets)

    return _serve(site, settings, warning, secrets=secrets, more=more)


def _choose_service(settings: K8sSettings, secrets: Secrets) -> str:
    """One of the headless services that the bastion's kubectl knows. Raises StartFailed."""
    from faucet.services import NoChoice, choose_service
    from faucet.workers.fleet import StartFailed

    try:
        return choose_service(settings, secrets)
    except NoChoice as error:
        raise StartFailed(str(error)) from error


def _misplaced_tls(scheme: str, settings: K8sSettings) -> str:
    """What is wrong with the options for https; empty if nothing is."""
    if scheme == "http" and (settings.ca_file or settings.insecure_skip_verify):
        return "--ca-file and --insecure-skip-verify are for https: write --service-url https://…"
    if settings.ca_file and settings.insecure_skip_verify:
        return "--ca-file says whom to trust, --insecure-skip-verify to trust anybody: one of them is too much"
    return ""


def _serve_directory(entry: Entry, settings: DemoSettings, hints: str = "") -> int:
    def site() -> Site:
        from faucet.sites import local_site

        return local_site(entry, settings)

    return _serve(site, settings, hints=hints)


def _serve(
    find_site: Callable[[], Site], settings: ServeSettings, notice: str = "", hints: str = "",
    secrets: Secrets | None = None, more: Sequence[str] = (),
) -> int:  # fmt: skip
    """With the monitor, if there is a terminal for it; else the service alone. `more` options were chosen meanwhile."""
    from faucet.tui.start import no_monitor_because, owner_descriptor, run_with_monitor

    owner = owner_descriptor()
    if owner is None and not settings.headless:
        problem = no_monitor_because()
        if not problem:
            return run_with_monitor([*sys.argv[1:], *more], settings, secrets)
        notice = f"{notice}\nno monitor, since {problem}"
    from faucet.runtime import run
    from faucet.workers.fleet import StartFailed

    if hints and owner is None:
        print(hints, flush=True)
    elif hints:
        notice = f"{notice}\n{hints}"
    try:
        site = find_site()
    except StartFailed as error:
        print_error(str(error))
        return 1
    return run(site, settings, owner, notice.strip())


def config(settings: LocalSettings) -> int:
    """Show what is in force, and where each value comes from: a flag, a variable, the file, or the default."""
    for field in dataclasses.fields(settings):
        option, value = field.metadata["option"], getattr(settings, field.name)
        name = field.name.replace("_", "-")
        shown = option.shown or _show(option, field.default)
        text = shown if value == field.default else _show(option, value)
        print(f"{name:18} {text:24} {sources.get(name, 'default')}")
    return 0


def attach(settings: AttachSettings) -> int:
    """Open the monitor for a Faucet that is running already."""
    from faucet.far import place_of
    from faucet.tui.start import attach as attach_monitor
    from faucet.workers.fleet import StartFailed

    try:
        place = place_of(settings)
    except StartFailed as error:
        print_error(str(error))
        return 1
    return attach_monitor(settings.which, settings, settings.read_only, place)


EXAMPLES = {"kubernetes": "kubernetes.yaml", "containerfile": "Containerfile"}


def example(which: Literal["kubernetes", "containerfile"], /) -> int:
    """Print a file to start from: manifests for Kubernetes, or a Containerfile."""
    print(files("faucet.examples").joinpath(EXAMPLES[which]).read_text("utf-8"), end="")
    return 0


def doctor(
    *,
    dir: Annotated[
        Path, Parameter(("--dir", "-d"), env_var="FAUCET_DIR", help="Directory of the API.", show_default=lambda _: ".")
    ] = Path(),
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None,
    rscript: Annotated[str | None, Parameter(help="The Rscript to start R with.")] = None,
    command: Annotated[str | None, Parameter(help="The program to serve with, if not R.")] = None,
    as_json: Annotated[bool, Parameter(("--json", "-j"), help="JSON for programs.", negative=())] = False,
) -> int:
    """Look at all that serving a directory needs: what is there, what is missing, and what to do. 1: it will not serve.

    Looked at is what would be in force: flags, variables, faucet.toml. Nothing is changed or left running.
    """
    from faucet.doctor import examine, report

    return report(examine(dir, host, rscript, command), as_json)


def init(directory: Path = Path(), /) -> int:
    """Write a small API to start from, and a faucet.toml, into DIRECTORY. Never over a file."""
    from faucet.starter import StarterError, write_starter

    try:
        written = write_starter(directory)
    except StarterError as error:
        print_error(str(error))
        return 1
    where = "" if directory == Path() else f" --dir {shlex.quote(str(directory))}"
    print(*(f"wrote {path}" for path in written), f"Serve it: faucet{where}", sep="\n")
    return 0


app.default(_with_options(local, LocalSettings))
app.command(_with_options(local, LocalSettings), name=("local", "start"))
app.command(_with_options(demo, DemoSettings), name="demo")
app.command(_with_options(k8s, K8sSettings), name="k8s")
app.command(_with_options(attach, AttachSettings), name="attach")
app.command(_with_options(config, LocalSettings), name="config")
app.command(example)
app.command(doctor)
app.command(init)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A remark for each FAUCET_… variable that means nothing: most likely a slip that nobody would notice."""
    fields = (*dataclasses.fields(LocalSettings), *dataclasses.fields(K8sSettings))
    known = {f"FAUCET_{field.name.upper()}" for field in fields} | OTHER_VARIABLES
    remarks = []
    for name in sorted(environment):
        if name.startswith("FAUCET_") and name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            remarks.append(f"the variable {name} means nothing to Faucet{hint}")
    return remarks


app.command(ctl)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    for remark in unknown_variables(os.environ):
        print_error(remark)
    try:
        result = app(
            sys.argv[1:] if arguments is None else arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except UnusedCliTokensError as error:
        word = (error.unused_tokens or ["?"])[0]
        print_error(f"{word!r} is no command. To serve a directory: faucet --dir {word}\nTry `faucet --help`.")
        return EXIT_USAGE
    except CycloptsError as error:
        command = " ".join(["faucet", *(error.command_chain or ())])
        print_error(f"{str(error).strip()}\nTry `{command} --help`.")
        return EXIT_USAGE
    return result if isinstance(result, int) else 0
