"""What each command may import: what takes long is imported by those commands that use it. Not by the clock."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from faucet.cli.commands import ALIASES, COMMANDS, CTL
from faucet.cli.parser import app_for, whole_app
from faucet.cli.synonyms import is_foreign
from tests.support.checkout import ROOT

CODE = """
import json, sys
from faucet.cli.main import main
try:
    main({words!r})
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""

PARSER = {"cyclopts", "faucet.cli.parser", "faucet.settings"}
HEART = {"faucet.http1", "faucet.proxy.stats", "faucet.workers"}
SERVING = {"faucet.settings.workers", "faucet.settings.pods", "faucet.settings.proxy", "faucet.proxy.locks"}
LOOP = {"asyncio", "faucet.control.client"}
MONITOR = {"textual", "faucet.tui", "rich"}
SSH = {"asyncssh", "cryptography"}
ERRORS = {"faucet.cli.misuse", "faucet.cli.words", "faucet.cli.variables"}
ALL = {
    "parser": PARSER,
    "heart": HEART,
    "serving": SERVING,
    "loop": LOOP,
    "monitor": MONITOR,
    "ssh": SSH,
    "errors": ERRORS,
}

MAY = [
    (["--version"], set[str]()),
    (["--help"], set()),
    (["my-api", "-w", "2", "--help"], set()),
    (["example"], {"parser"}),
    (["example", "nginx"], {"parser"}),
    (["ctl", "status", "--at", "1"], {"parser", "loop"}),
    (["ctl", "health", "--at", "1", "--json"], {"parser", "loop"}),
    (["ctl", "--help"], {"parser", "loop", "monitor"}),  # cyclopts uses rich for its pages
    (["config"], {"parser", "serving", "heart"}),
]


def imported(words: list[str], tmp_path: object) -> set[str]:
    """The modules that are loaded when a command line has been carried out, without variables of Faucet."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(words=words)], capture_output=True, text=True, check=True, cwd=ROOT,
        env=environment, timeout=60,
    )  # fmt: skip
    return set(json.loads(result.stderr.splitlines()[-1]))


@pytest.mark.parametrize(("words", "may"), MAY, ids=[" ".join(words) for words, _ in MAY])
def test_a_command_imports_what_it_uses(words: list[str], may: set[str], tmp_path: object) -> None:
    loaded = imported(words, tmp_path)
    needless = {name: loaded & modules for name, modules in ALL.items() if name not in may}
    assert not any(needless.values()), needless


def test_the_monitor_and_ssh_are_only_for_those_who_use_them(tmp_path: object) -> None:
    """That is what a service without them has in memory; `tests/rigs/test_house.py` has the rest."""
    loaded = imported(["--headless", "--dir", str(tmp_path)], tmp_path)
    assert loaded >= {"faucet.settings.workers"}
    assert not loaded & {"textual", "asyncssh", "faucet.control.client"}


def test_what_is_said_to_be_imported_is_found() -> None:
    """So that no name above is one that can never be imported."""
    for name in set().union(*ALL.values()):
        subprocess.run([sys.executable, "-c", f"import importlib.util as u; assert u.find_spec({name!r})"], check=True)


def test_the_table_has_all_commands() -> None:
    names = [name for name in whole_app() if not name.startswith("-")]
    assert set(names) == {*COMMANDS, *ALIASES}
    assert tuple(name for name in whole_app()["ctl"] if not name.startswith("-")) == CTL


@pytest.mark.parametrize("name", [*COMMANDS, *ALIASES])
def test_a_command_line_of_one_command_is_that_of_all(name: str) -> None:
    one, whole = app_for([name])[name], whole_app()[name]
    assert (one.help, one.help_epilogue, one.help_flags) == (whole.help, whole.help_epilogue, whole.help_flags)
    assert list(one) == list(whole)


def test_without_a_command_a_directory_is_served() -> None:
    assert "k8s" not in app_for(["my-api"])
    assert "k8s" not in app_for(["--workers", "2"])
    assert app_for(["--workers", "2", "--help-all"]) is whole_app()


@pytest.mark.parametrize(("word", "foreign"), [("status", True), ("serve", True), ("ctl", False), ("start", False),
                                               ("my-api", False), ("--help", False)])  # fmt: skip
def test_words_of_other_programs(word: str, foreign: bool) -> None:
    assert is_foreign(word) == foreign
