"""Each hint to install something names what can be installed: `faucet` on the package index is another program."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faucet import machine as packages
from faucet.doctor import machine, tools
from faucet.fleet import StartFailed
from faucet.otel.telemetry import destination
from faucet.service import ssh_login
from faucet.settings import LocalSettings
from faucet.workers import reload
from tests.support.checkout import ROOT

INSTALLS = re.compile(r"\b(?:pip3?|pipx|uv(?: tool)?) (?:pip )?install\b([^\n`|\"]*)")

CHECKOUT = re.compile(r"\.(\[(ssh|reload|web|otel|dev)(,(ssh|reload|web|otel))*\])?|PATH/TO/FAUCET")
WHEEL = re.compile(r"(\S*/)?faucet_r-\S*\.whl")
OTHERS = set(f"{packages.SSH} {packages.RELOAD} {packages.OTEL} uvloop".split())
"""What is on the package index under that name, and is what we mean."""

VALUED = {"--python", "--wheel-dir", "--outdir", "-r"}


def pages() -> Iterator[Path]:
    """Everything that people read or run."""
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml", "justfile"))
    yield from (ROOT / "docs").glob("*.md")
    yield from (path for path in (ROOT / ".ci").iterdir() if path.is_file())
    yield from (path for path in (ROOT / "faucet").rglob("*") if path.is_file() and path.suffix != ".pyc")


def installed(rest: str) -> list[str]:
    """What a command installs: its words that are no options, up to the end of the command."""
    command = re.split(r"\s+#|&&|;|\\$|\)|, ", rest)[0]
    words = iter(shlex.split(command))
    names = []
    for word in words:
        if word in VALUED:
            next(words)
        elif not word.startswith("-"):
            names.append(word)
    return names


def strays(text: str) -> list[str]:
    """What is installed in `text`, and should not be."""
    names = [name for match in INSTALLS.finditer(text) for name in installed(match[1])]
    return [n for n in names if not (CHECKOUT.fullmatch(n) or WHEEL.fullmatch(n) or n in OTHERS or n.startswith("{"))]


@pytest.mark.parametrize(
    "text", ["pip install faucet", "pip install 'faucet[ssh]'", "pipx install faucet-r  # x", "uv tool install faucet",
             "python3 -m pip install --quiet faucet-r", "uv pip install --python x 'faucet-r[reload]'"]
)  # fmt: skip
def test_the_search_finds_what_is_wrong(text: str) -> None:
    assert len(strays(f"a\n  `{text}` b")) == 1


def test_no_hint_installs_the_other_faucet() -> None:
    hints = 0
    for page in pages():
        text = page.read_text("utf-8", "replace")
        hints += len(INSTALLS.findall(text))
        assert strays(text) == [], page
        assert not re.search(r"faucet(-r)?\[", text), f"{page}: an extra of what is not on the package index"
    assert hints > 10, "they are found"


def test_one_function_makes_all_of_them() -> None:
    """In the program itself, no other place knows how something is installed."""
    found = {path for path in (ROOT / "faucet").rglob("*.py") if INSTALLS.search(path.read_text())}
    assert found == {ROOT / "faucet" / "machine.py"}


def test_the_command_names_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.install_command("watchfiles") == f"{shlex.quote(sys.executable)} -m pip install watchfiles"
    monkeypatch.setattr(sys, "executable", "/home/a b/bin/python")
    assert packages.install_command("uvloop") == "'/home/a b/bin/python' -m pip install uvloop"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert packages.install_command("uvloop") == "uv pip install --python '/home/a b/bin/python' uvloop"


def test_everything_that_misses_a_package_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = __import__("importlib.util").util.find_spec
    missing = {"asyncssh", "watchfiles", "uvloop", "opentelemetry.sdk.trace"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else find_spec(name))
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    settings = LocalSettings()
    assert tools.ssh(settings)[0].advice == packages.install_command(packages.SSH)
    for wanted in (settings, LocalSettings(reload=True)):
        assert tools.watchfiles(wanted)[0].advice == packages.install_command(packages.RELOAD)
    assert tools.otel(settings) == []
    assert tools.otel(LocalSettings(otel_endpoint="http://a"))[0].advice == packages.install_command(packages.OTEL)
    with pytest.raises(StartFailed, match=re.escape(packages.install_command(packages.OTEL)) + "$"):
        destination("http://a", {})
    assert machine.python(settings)[0].advice == packages.install_command("uvloop")
    with pytest.raises(StartFailed, match=re.escape(packages.install_command(packages.SSH)) + "$"):
        ssh_login.require_asyncssh()
    with pytest.raises(StartFailed, match=re.escape(packages.install_command(packages.RELOAD)) + "$"):
        reload.require()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_command_does_what_it_says(tmp_path: Path) -> None:
    """Word for word, in an environment of its own whose path has a blank in it."""
    venv.create(tmp_path / "an env", with_pip=True)
    python = tmp_path / "an env" / "bin" / "python"

    def run(*words: str, **options: Any) -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT, **options).stdout

    command = run(str(python), "-c", "from faucet.machine import *; print(install_command(RELOAD))").strip()
    run("sh", "-c", f"{command} --quiet --disable-pip-version-check")
    run(str(python), "-c", "import watchfiles")


def test_the_extras_install_the_same_packages() -> None:
    """Those of a checkout, and those of the hints."""
    from importlib import metadata

    wanted = [name for name in metadata.requires("faucet-r") or [] if re.search("extra == '(ssh|reload|otel)'", name)]
    assert sorted(re.split(r"[\[>]", name)[0] for name in wanted) == [
        "asyncssh",
        *sorted(packages.OTEL.split()),
        "watchfiles",
    ]
    assert any(name.startswith("asyncssh[bcrypt]") for name in wanted)
    assert (packages.SSH, packages.RELOAD) == ("asyncssh bcrypt", "watchfiles")
