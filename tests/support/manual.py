"""The manual page docs/faucet.1, in the macros of man(7), made from the settings by `just reference`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from faucet import __version__
from faucet.cli.help import EXAMPLES, EXIT_CODES
from faucet.cli.parser import whole_app
from faucet.cli.words import OWN
from tests.support.reference import Entry, groups, span, variable_line

_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
"""A link of Markdown, of which a manual page has the words only."""

SIGNALS = (
    ("SIGTERM, SIGINT", "Finish the requests in flight, then end. A second one: end now."),
    ("SIGHUP", "A rolling restart, if there is no terminal."),
    ("SIGUSR1", "Reopen the log file."),
)

VARIABLES = (
    ("FAUCET_ASCII", "1: the monitor draws in ASCII."),
    ("NO_COLOR", "Set to anything: no colours."),
    ("WATCHFILES_FORCE_POLLING", "true: --reload looks at the files instead of waiting for the system's reports."),
)

FILES = (
    ("faucet.toml", "Options, in the directory of the API or named by --config."),
    ("entrypoint.R, plumber.R, _server.yml", "The API. The first that exists is served."),
)


SHOWN = tuple(
    (line, f"{text[0].upper()}{text[1:]}.")
    for command in ("local", "k8s", "attach", "ctl status", "ctl logs", "doctor")
    for line, text in EXAMPLES[command]
)
"""The examples of the commands that people need most."""


def manual() -> str:
    """Return docs/faucet.1."""
    lines = [
        '.\\" Made from faucet/settings/ by `just reference`: change it there.',
        f'.TH FAUCET 1 "" "faucet {__version__}" "User Commands"',
        ".nh",
        ".ad l",
        *_heading(),
        *_commands(),
        *_options(),
        *_pairs("ENVIRONMENT", VARIABLES, "Every option has a variable; its example shows the name. Also:"),
        *_pairs("FILES", FILES),
        *_pairs("SIGNALS", SIGNALS),
        ".SH EXIT STATUS",
        *_exit_codes(),
        *_pairs("EXAMPLES", SHOWN),
    ]
    return "\n".join(lines) + "\n"


def _heading() -> Iterator[str]:
    yield ".SH NAME"
    yield "faucet \\- serve an R Plumber API with several workers, one request at a time each"
    yield ".SH SYNOPSIS"
    yield ".B faucet"
    yield "[\\fIDIR\\fR] [\\fIOPTION\\fR]..."
    yield ".br"
    yield ".B faucet"
    yield "\\fICOMMAND\\fR [\\fIARGUMENT\\fR]... [\\fIOPTION\\fR]..."
    yield ".SH DESCRIPTION"
    yield "Faucet starts several R processes for one Plumber API and puts one address in front of them."
    yield "Each process gets one request at a time; all others wait in one queue, first come, first served."
    yield ".PP"
    yield "An option is set by a flag, else by its variable, else in"
    yield ".IR faucet.toml ."
    yield "Durations are written 500ms, 30s, 5m or 1h; sizes 64KiB, 1MiB or 2GiB."


def _commands() -> Iterator[str]:
    yield ".SH COMMANDS"
    yield from _command("faucet [DIR]", whole_app()["local"].help)
    for name in OWN:
        yield from _command(f"faucet {name}", whole_app()[name].help)
    for name in (name for name in whole_app()["ctl"] if not name.startswith("-")):
        yield from _command(f"faucet ctl {name}", whole_app()["ctl"][name].help)


def _command(name: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f"\\fB{_escaped(name)}\\fR"
    yield _plain(" ".join(text.partition("\n\n")[0].split()))


def _options() -> Iterator[str]:
    yield ".SH OPTIONS"
    for title, members in groups().items():
        yield f".SS {title}"
        for entry in members:
            yield from _option(entry)


def _option(entry: Entry) -> Iterator[str]:
    names = [entry.flag] if entry.option.short is None else [entry.option.short, entry.flag]
    value = f" \\fI{_escaped(entry.metavar)}\\fR" if entry.metavar else ""
    yield ".TP"
    yield ", ".join(f"\\fB{_escaped(name)}\\fR" for name in names) + value
    yield _plain(_without_links(" ".join(part for part in (entry.option.help, entry.option.detail) if part)))
    yield ".br"
    facts = [f"Default: {entry.shown_default}"]
    if text := span(entry):
        facts.append(f"range: {text}")
    if entry.variable:
        facts.append(f"example: {variable_line(entry)}")
    if "local" not in entry.commands:
        facts.append(f"for faucet {' and '.join(entry.commands)} only")
    yield _plain("; ".join(facts) + ".")


def _exit_codes() -> Iterator[str]:
    for line in EXIT_CODES.splitlines()[1:]:
        code, _, text = line.strip().partition("  ")
        yield from (".TP", f"\\fB{code}\\fR", _plain(f"{text[0].upper()}{text[1:]}."))


def _pairs(title: str, pairs: tuple[tuple[str, str], ...], opening: str = "") -> Iterator[str]:
    yield f".SH {title}"
    if opening:
        yield _plain(opening)
    for name, text in pairs:
        yield ".TP"
        yield f"\\fB{_escaped(name)}\\fR"
        yield _plain(text)


def _without_links(text: str) -> str:
    """Leave out what refers to another page: `… : [workers.md](workers.md#reload).` ends before the colon."""
    return re.sub(r": \[[^\]]*\]\([^)]*\)", "", text)


def _plain(text: str) -> str:
    """Return `text` for a line of its own: a dot or an apostrophe at its start would be a request."""
    return ("\\&" if text.startswith((".", "'")) else "") + _escaped(_LINK.sub(r"\1", text.replace("`", "")))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("-", "\\-").replace("…", "...").replace("'", "\\(aq")
