"""The short page of `faucet --help`, the long one of `--help-all`, and the examples of each command."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from faucet.cli.help import EXAMPLES, SHORT, is_short
from faucet.cli.main import main
from faucet.cli.parameters import show
from faucet.cli.parser import whole_app
from faucet.cli.words import OWN
from faucet.settings import LocalSettings

FIELDS = {f"--{field.name.replace('_', '-')}": field for field in dataclasses.fields(LocalSettings)}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", ["--help", "-h", "my-api --help", "-w 4 --help"])
def test_the_short_page_fits_the_smallest_terminal(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, *words.split()).splitlines()
    assert lines == SHORT.splitlines()
    assert len(lines) < 24, "one is the prompt's"
    assert max(map(len, lines)) <= 80


def test_the_short_page_names_every_command_and_ten_options() -> None:
    assert all(re.search(rf"^  (.*, )?{name}\b", SHORT, re.MULTILINE) for name in (*OWN, "ctl"))
    options = re.findall(r"^  (?:-w, )?(--\S+)", SHORT, re.MULTILINE)
    assert len(options) == 10
    assert set(options) <= set(FIELDS)
    for line in SHORT.splitlines():
        if given := re.search(r"(--\S+).*\[(.*)\]$", line):
            field = FIELDS[given[1]]
            assert given[2] in (show(field.metadata["option"], field.default), "CPUs"), line


def test_the_long_page_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, "--help-all")
    assert all(flag in page for flag in FIELDS)
    assert "Examples:" in page


@pytest.mark.parametrize("chain", EXAMPLES)
@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_each_command_shows_its_own_examples(chain: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, *chain.split(), flag)
    for lines, text in EXAMPLES[chain]:
        assert lines in page
        assert text in page
    assert max(map(len, page.splitlines())) <= 80
    assert page.count("faucet ") < 30, "not those of others"


def test_every_command_has_examples() -> None:
    commands = {name for name in whole_app() if not name.startswith("-") and name not in ("ctl", "start")}
    for group in ("ctl", "doctor"):
        commands |= {f"{group} {name}" for name in whole_app()[group] if not name.startswith("-")}
    assert set(EXAMPLES) == commands


@pytest.mark.parametrize("line", [line for pairs in EXAMPLES.values() for line, _ in pairs])
def test_the_examples_are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.cli.parameters.is_directory", lambda path: True)
    ours = re.search(r"faucet [^|>)]*|faucet", line)
    assert ours is not None
    whole_app().parse_args(shlex.split(ours[0].rstrip('"'))[1:], exit_on_error=False, print_error=False)


def test_a_command_behind_two_dashes_is_not_asked_for_help() -> None:
    assert not is_short(["--", "--help"])
    assert not is_short(["k8s", "--help"])
    assert is_short(["--help"])
