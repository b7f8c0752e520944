"""Writes docs/reference.md and docs/faucet.1 from the settings, two tables from the code: `just reference`.

Both files are in the repository, so that they can be read without running anything. A test compares them with what this
module makes of the settings; nobody edits them by hand.
"""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from faucet.cli.parameters import METAVARS, show
from faucet.settings import (
    AttachSettings,
    DemoSettings,
    K8sSettings,
    LocalSettings,
    Option,
    ReplaySettings,
    TopSettings,
)

DOCS = Path(__file__).parents[2] / "docs"

COMMANDS: dict[str, type[Any]] = {
    "local": LocalSettings,
    "demo": DemoSettings,
    "k8s": K8sSettings,
    "attach": AttachSettings,
    "top": TopSettings,
    "replay": ReplaySettings,
}
"""The commands that take options of the settings. `faucet` alone is short for `faucet local`."""

NUMERIC = ("duration", "size", "count")


@dataclass(frozen=True)
class Entry:
    """All that the reference says of one option."""

    name: str
    option: Option
    default: Any
    kind: Any
    """Its type."""
    commands: tuple[str, ...]

    @property
    def flag(self) -> str:
        """`--queue-limit`; `which`, a word without a flag, is `WHICH`."""
        return self.name.upper() if self.option.positional == "only" else f"--{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable; empty if it has none."""
        return "" if self.option.positional == "only" else f"FAUCET_{self.name.upper().replace('-', '_')}"

    @property
    def in_file(self) -> bool:
        """Whether `faucet.toml` may set it."""
        return self.name != "config" and bool({*self.commands} - {"attach", "top", "replay"})

    @property
    def switch(self) -> bool:
        """Whether it has no value."""
        return self.kind is bool

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it can have, if they can be listed."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def numeric(self) -> bool:
        """Whether it has a range."""
        return self.option.unit in NUMERIC or self.kind is float

    @property
    def several(self) -> bool:
        """Whether it can be given several times."""
        return get_origin(self.kind) is tuple

    @property
    def metavar(self) -> str:
        """`TIME`, `FILE`: what stands for the value in usage lines; empty for a switch."""
        if self.switch or self.option.positional == "only":
            return ""
        if self.choices:
            return "|".join(self.choices)
        is_path = Path in (self.kind, *get_args(self.kind))
        return METAVARS.get(self.option.unit) or ("FILE" if is_path else "N" if self.numeric else "TEXT")

    @property
    def shown_default(self) -> str:
        """The default in words."""
        if self.switch:
            return "on" if self.default else "off"
        return self.option.shown or show(self.option, self.default)


def entries() -> dict[str, Entry]:
    """Return every option by its name, in the order of the settings."""
    found: dict[str, Entry] = {}
    for kind in COMMANDS.values():
        hints = typing.get_type_hints(kind)
        for field in fields(kind):
            name = field.name.replace("_", "-")
            found.setdefault(name, _entry(name, field, hints[field.name]))
    return found


def _entry(name: str, field: Field[Any], kind: Any) -> Entry:
    having = tuple(command for command, each in COMMANDS.items() if field.name in {f.name for f in fields(each)})
    return Entry(name, field.metadata["option"], field.default, kind, having)


def groups() -> dict[str, list[Entry]]:
    """Return the options by group, in the order in which people need them."""
    order = ("Service", "Workers", "Queue and time limits", "Messages", "Log", "Monitor", "Pods", "Several Faucets",
             "Through SSH")  # fmt: skip
    every = entries().values()
    assert {entry.option.group for entry in every} == set(order)
    return {group: [entry for entry in every if entry.option.group == group] for group in order}


# -- words ------------------------------------------------------------------------------------------------------

UNITS = {
    "duration": "duration",
    "size": "size",
    "count": "whole number",
    "address": "addresses, separated by commas",
    "admin": "address",
    "keys": "list `ACTION=KEY`, separated by commas",
    "span": "number, or range `2..8`",
    "target": "path of a URL",
    "url": "URL",
    "dns": "address",
    "ssh": "`[user@]host[:port]`, separated by commas",
    "trust": "networks, separated by commas",
    "api": "`PACKAGE::NAME`",
    "directory": "directory",
    "globs": "patterns, separated by commas",
    "names": "names, separated by commas",
    "signal": "name of a signal",
    "screen": "columns x lines, such as `120x36`",
    "limit": "limit: a match and `key=value`",
    "otlp": "URL",
    "control": "path, or `none`",
    "which": "port or path",
    "warmup": "request: a path, or a method, a path and `@file`",
}


def unit(entry: Entry) -> str:
    """Return what its value is, in words."""
    if entry.switch:
        return "switch"
    if entry.choices:
        return "one of " + ", ".join(f"`{choice}`" for choice in entry.choices)
    if entry.option.unit != "plain":
        text = UNITS[entry.option.unit]
        counts = entry.option.counts if entry.option.unit in NUMERIC else ""
        return f"{text} ({counts})" if counts else text
    if entry.numeric:
        return f"number ({entry.option.counts})"
    return "file" if Path in (entry.kind, *get_args(entry.kind)) else "text"


def limits(entry: Entry) -> tuple[float, float | None]:
    """Return the smallest and the largest value of a numeric option; None: there is no largest one."""
    return entry.option.minimum or 0, entry.option.maximum


def span(entry: Entry) -> str:
    """Return the range in words; empty if it has none."""
    if entry.option.unit == "span":
        return "1 to 1000"
    if not entry.numeric:
        return ""
    least, most = limits(entry)
    low = f"{least:g}" if entry.option.unit not in ("duration", "size") or not least else show(entry.option, least)
    return f"{low} to {most:g}" if most is not None else f"{low} or more"


def command_line(entry: Entry) -> str:
    """Return a command that uses it."""
    command = "faucet" if "local" in entry.commands else f"faucet {entry.commands[0]}"
    if entry.option.group == "Through SSH" and entry.name != "ssh-wait":
        command = "faucet attach"
    if entry.name == "via-ssh":
        return f"{command} --via-ssh {entry.option.example}"
    if entry.option.positional == "only":
        return f"{command} {entry.option.example}"
    if entry.switch:
        return f"{command} {entry.option.negative or entry.flag}"
    needed = {"ip-from": " --trust 10.0.0.0/8"}.get(entry.name, "")
    return f"{command} {entry.flag} {_quoted(entry.option.example)}{needed}"


def _quoted(text: str) -> str:
    return f"'{text}'" if set(text) & set(" *{}") else text


def variable_line(entry: Entry) -> str:
    """Return the same as a variable; empty if it has none."""
    return f"{entry.variable}={_quoted(_switched(entry))}" if entry.variable else ""


def toml_line(entry: Entry) -> str:
    """Return the same as a line of `faucet.toml`; empty if it cannot be there."""
    if not entry.in_file:
        return ""
    text = _switched(entry)
    if entry.switch or (entry.numeric and text.isdecimal()):
        return f"{entry.name} = {text}"
    if entry.several and entry.option.unit != "address":
        words = ", ".join(f'"{word}"' for word in text.split(","))
        return f"{entry.name} = [{words}]"
    return f'{entry.name} = "{text}"'


def _switched(entry: Entry) -> str:
    return ("false" if entry.default else "true") if entry.switch else entry.option.example


# -- docs/reference.md ------------------------------------------------------------------------------------------


def markdown() -> str:
    """Return docs/reference.md."""
    return "\n".join([*_opening(), *_overview(), *(line for group in groups().items() for line in _group(*group))])


def _opening() -> Iterator[str]:
    yield "<!-- Made from faucet/settings/ by `just reference`: change it there. -->"
    yield "# Reference"
    yield ""
    yield "Every option, with its default, unit, range, variable and key in `faucet.toml`. How they are set, and which"
    yield "setting wins, is in [options.md](options.md); `faucet --help-all` prints the options in the terminal, and"
    yield "`man faucet` has them as a manual page. `faucet config` shows the values that are in effect."
    yield ""


def _overview() -> Iterator[str]:
    yield "| option | default | what it does |"
    yield "| --- | --- | --- |"
    for entry in (entry for group in groups().values() for entry in group):
        yield f"| [`{entry.flag}`](#{anchor(entry)}) | {entry.shown_default} | {_cell(_sentence(entry.option.help))} |"
    yield ""


def anchor(entry: Entry) -> str:
    """Return the anchor of its heading, as GitHub and MkDocs make it."""
    return entry.flag.lower().lstrip("-")


def _sentence(text: str) -> str:
    """Return the first sentence, without what follows a semicolon."""
    return re.split(r"(?<!e\.g)\. |; ", text)[0].rstrip(".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _group(title: str, members: list[Entry]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    for entry in members:
        yield from _section(entry)


def _section(entry: Entry) -> Iterator[str]:
    yield f'<a id="{anchor(entry)}"></a>'
    yield ""
    yield f"### `{entry.flag}`" + (f", `{entry.option.short}`" if entry.option.short else "")
    yield ""
    yield " ".join(part for part in (entry.option.help, entry.option.detail) if part)
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    for name, text in _rows(entry):
        yield f"| {name} | {_cell(text)} |"
    yield ""


def _rows(entry: Entry) -> Iterator[tuple[str, str]]:
    yield "Default", entry.shown_default
    yield "Unit", unit(entry)
    if text := span(entry):
        yield "Range", text
    yield "Example", f"`{command_line(entry)}`"
    yield "Variable", f"`{variable_line(entry)}`" if entry.variable else "none"
    yield "`faucet.toml`", f"`{toml_line(entry)}`" if entry.in_file else "none"
    yield "Commands", ", ".join(f"`{command}`" for command in entry.commands)


# -- the files --------------------------------------------------------------------------------------------------


FILES = ("reference.md", "faucet.1", "requests.md", "metrics.md")
"""The names of the files in docs/: to know them takes no second, as to make them does."""


def files() -> dict[Path, str]:
    """Return each file that is made from the settings, and what it should contain."""
    from tests.support import failure_table, metrics_table
    from tests.support.manual import manual

    page = DOCS / "requests.md"
    return {
        DOCS / "reference.md": markdown(),
        DOCS / "faucet.1": manual(),
        page: failure_table.printed(page.read_text("utf-8")),
        DOCS / "metrics.md": metrics_table.page(),
    }


def main() -> int:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text, "utf-8")
        print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
