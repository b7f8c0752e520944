"""docs/reference.md and the manual page: every option is complete, and its three spellings mean the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from faucet.cli.parser import whole_app
from faucet.settings import K8sSettings, LocalSettings
from tests.support.reference import (
    COMMANDS,
    DOCS,
    FILES,
    Entry,
    command_line,
    entries,
    files,
    limits,
    span,
    toml_line,
    unit,
    variable_line,
)

ENTRIES = list(entries().values())
NAMES = [entry.name for entry in ENTRIES]


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == files()[DOCS / name], "run `just reference`"


def test_no_file_is_left_out() -> None:
    assert sorted(path.name for path in files()) == sorted(FILES)


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_every_option_is_complete(entry: Entry) -> None:
    option = entry.option
    assert option.help.endswith((".", "?"))
    assert entry.shown_default not in ("", "None")
    assert unit(entry)
    assert bool(option.example) != entry.switch, "an example, unless it is a switch"
    if entry.numeric:
        assert span(entry)
        assert option.counts or option.unit in ("duration", "size"), "what the number counts"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables of ours, a directory without faucet.toml, and every directory exists."""
    for entry in ENTRIES:
        monkeypatch.delenv(entry.variable or "FAUCET_X", raising=False)
    monkeypatch.setattr("faucet.cli.parameters.is_directory", lambda path: True)
    monkeypatch.chdir(tmp_path)


def value_of(entry: Entry, words: list[str]) -> Any:
    """Return what the command gets for the option."""
    _, bound, _ = whole_app().parse_args(words, exit_on_error=False, print_error=False)
    names = [name.replace("_", "-") for name in bound.arguments]
    return list(bound.arguments.values())[names.index(entry.name)] if entry.name in names else entry.default


def command_of(entry: Entry) -> list[str]:
    return [entry.commands[0]]


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_flag_the_variable_and_the_key_mean_the_same(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    if entry.name == "config":
        Path("named.toml").write_text("workers = 3\n")
        assert value_of(entry, ["local", "--config", "named.toml"]) == Path("named.toml")
        return
    given = value_of(entry, shlex.split(command_line(entry))[1:])
    assert given != entry.default
    if entry.variable:
        name, _, value = shlex.split(variable_line(entry))[0].partition("=")
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert value_of(entry, command_of(entry)) == given
    if entry.in_file and entry.name != "dir":
        Path("options.toml").write_text(toml_line(entry) + "\n")
        assert value_of(entry, [*command_of(entry), "--config", "options.toml"]) == given


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.numeric], ids=lambda entry: entry.name)
def test_ranges_are_enforced(entry: Entry) -> None:
    least, most = limits(entry)
    outside = [least / 2 if least and entry.option.unit != "count" else least - 1, *([most + 1] if most else [])]
    for value in outside:
        with pytest.raises(CycloptsError):
            value_of(entry, [*command_of(entry), f"{entry.flag}={value:f}".removesuffix(".000000")])
    assert value_of(entry, [*command_of(entry), f"{entry.flag}={least:f}".removesuffix(".000000")]) == least


def test_nothing_is_left_out() -> None:
    page = (DOCS / "reference.md").read_text("utf-8")
    manual = (DOCS / "faucet.1").read_text("utf-8").replace("\\-", "-")
    for kind in (LocalSettings, K8sSettings):
        for name in kind.__dataclass_fields__:
            assert f"### `--{name.replace('_', '-')}`" in page
            assert f"\\fB--{name.replace('_', '-')}\\fR" in manual
    assert set(COMMANDS) <= {name for name in whole_app() if not name.startswith("-")}


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_has_nothing_to_complain_about() -> None:
    shown = subprocess.run(
        ["man", "--warnings", "-l", str(DOCS / "faucet.1")],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
    )
    assert shown.stderr == ""
    assert "--queue-limit N" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
