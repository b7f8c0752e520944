"""Findings and their presentation: a table for people, JSON for programs, an exit code for scripts.

Each level has a glyph and a word, so that nothing depends on colour, or on UTF-8. Text that comes from elsewhere (R's
messages, names of files) cannot steer the terminal.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

from faucet.text import print_error, visible_lines
from faucet.units import counted

Level = Literal["ok", "warning", "broken", "unused"]

EXIT_BROKEN = 1


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    """`broken`: it will not serve so; `unused`: missing, but only some ways of serving would need it."""
    subject: str
    found: str
    advice: str = ""
    """What to do, as a command where there is one; empty if there is nothing to do."""


class _Look(NamedTuple):
    glyph: str
    plain: str
    style: str


_LOOKS: dict[Level, _Look] = {
    "ok": _Look("✓", "+", "green"),
    "warning": _Look("!", "!", "yellow"),
    "broken": _Look("✗", "x", "bold red"),
    "unused": _Look("·", "-", "dim"),
}

PIPE_WIDTH = 1000
"""Width of a line, in cells, where the output is not a terminal: nothing is cut."""


def report(findings: Sequence[Finding], as_json: bool = False) -> int:
    """Print them. The exit code: 1 if something is broken, else 0; warnings do not count."""
    if as_json:
        text = json.dumps([finding._asdict() for finding in findings], indent=2)
    else:
        text = f"{_table(findings)}\n\n{_summary(findings)}"
    try:
        print(text, flush=True)
    except OSError as error:
        # Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:  # who reads through `head` has heard enough
            print_error(f"cannot write to standard output: {error.strerror or error}")
            return EXIT_BROKEN
    return EXIT_BROKEN if any(finding.level == "broken" for finding in findings) else 0


def _summary(findings: Sequence[Finding]) -> str:
    levels = [finding.level for finding in findings]
    broken, warnings = levels.count("broken"), levels.count("warning")
    also = f", {counted(warnings, 'warning')}" if warnings else ""
    return (f"{counted(broken, 'thing is', 'things are')} broken" if broken else "Nothing is broken") + also + "."


def _table(findings: Sequence[Finding]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from faucet.tui.paint import ascii_only

    plain = ascii_only()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        look = _LOOKS[finding.level]
        mark = Text(f"{look.plain if plain else look.glyph} {finding.level}", look.style)
        table.add_row(mark, Text(finding.subject), Text(_harmless(finding.found, plain)))
        if finding.advice:
            arrow = "->" if plain else "→"
            table.add_row("", "", Text(f"{arrow} {_harmless(finding.advice, plain)}"))
    # Not straight to standard output: that may fail, and is `report`'s affair.
    console = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty() or None, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _harmless(text: str, plain: bool) -> str:
    """Without control characters, and with nothing that the terminal cannot show."""
    shown = visible_lines(text)
    encoding = "ascii" if plain else sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)
