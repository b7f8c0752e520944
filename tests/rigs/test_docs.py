"""What the README and docs/ say is true: commands are understood, files are there, options exist."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from faucet.cli.parser import whole_app
from faucet.settings import K8sSettings, LocalSettings
from tests.corpora.__main__ import recipes as corpora_recipes
from tests.support.checkout import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTIONS = {
    f"--{field.name.replace('_', '-')}" for kind in (LocalSettings, K8sSettings) for field in dataclasses.fields(kind)
}
OTHERS = {
    "--active",
    "--at",
    "--json",
    "--now",
    "--follow",
    "--last",
    "--once",
    "--svg",
    "--view",
    "--size",
    "--web",
    "--web-write",
    "--web-token",
    "--trust-config",
    "--help",
    "--help-all",
    "--version",
    "--output",
    "--replicas",
    "--no-confirm",
    "--no-endpoint-metrics",
    "--record",
    "--begin",
}
NEIGHBOURS = {"--strategy"}
"""Options of the programs that docs/coming-from.md speaks of."""
PROGRAMS = {
    "--no-",
    "--no-install-recommends",
    "--system",
    "--home-dir",
    "--shell",
    "--reuid",
    "--regid",
    "--clear-groups",
    "--editable",
    "--install-recommends",
    "--no-deps",
    "--wheel-dir",
    "--wheel",
    "--out-dir",
}
CONTAINERS = {"--format", "--build-arg", "--rm", "--init", "--time", "--read-only", "--tmpfs", "--build", "--wait"}
"""Options of pip, uv, podman and the like."""


def code(page: Path) -> list[str]:
    """The lines of a page's blocks of code, which are fenced."""
    fenced, lines = False, []
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            lines.append(re.sub(r"^[$#] (?=faucet )", "", line.strip()))
        else:
            assert not line.startswith(("    ", " ```", "  ```")), f"{page.name}: code that is not fenced: {line}"
    assert not fenced, f"{page.name}: a fence is open at the end"
    return lines


def commands() -> list[str]:
    """Each command of ours in a block of code, without its remark; alternatives in it are told elsewhere."""
    lines = (line for page in PAGES for line in code(page) if "▶" not in line)
    ours = (line for line in lines if re.match(r"(\S+ run && )?(\.venv/bin/)?faucet( |$)", line))
    found = [re.split(r"\s+#| > ", line)[0].strip() for line in ours]
    return sorted({command.rpartition("&& ")[2].removeprefix(".venv/bin/") for command in found})


def test_there_are_commands() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.cli.parameters.is_directory", lambda path: True)
    words = shlex.split(command)
    assert words[0] == "faucet"
    whole_app().parse_args(words[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_options(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists() or target.startswith("https://"), target
    for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text):
        known = option in OPTIONS | OTHERS or option.startswith("--roll")
        assert known or option in PROGRAMS | CONTAINERS | NEIGHBOURS, option


def test_what_shows_an_attack_is_there() -> None:
    """The tests and recipes that docs/attacks.md names."""
    directory, text = "", (ROOT / "docs" / "attacks.md").read_text()
    recipes = [*corpora_recipes(), *re.findall(r"^([a-z]+)", (ROOT / "justfile").read_text(), re.MULTILINE)]
    for name in re.findall(r"`(tests/[^`]+|test_[^`]+)`", text):
        directory = name.rpartition("/")[0] or directory
        assert (ROOT / directory / name.rpartition("/")[2]).exists(), name
    for recipe in re.findall(r"`just (?:corpora )?([^`]+)`", text):
        assert any(each.startswith(recipe) for each in recipes), recipe


MESSAGES = (
    "All workers are busy and the queue is full.",
    "No worker became free within",
    "the connection without an answer",
    "The service is shutting down.",
    "clients are connected, which is the limit (--max-clients).",
    "not by Faucet: out of memory? see dmesg",
    "it is killed and replaced",
    "its request took too long",
    "no worker could be started",
    "before it listened on port",
    "Its last lines:",
    "install it with: ",
    "where other machines can reach it",
    "permission denied for user",
    "failed to start",
    "unhealthy,",
    "rolling restart stopped at worker",
    "; the old workers stay",
    "cannot listen on",
    "; choose another with ",
    "no running Faucet found",
    "needs the package",
    "HAS CHANGED",
)
"""Parts of messages by which people find their case in docs/troubleshooting.md."""


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_that_people_look_for_are_those_of_the_program(message: str) -> None:
    assert message in (ROOT / "docs" / "troubleshooting.md").read_text()
    sources = (path.read_text() for path in (ROOT / "faucet").rglob("*.py"))
    assert any(message in re.sub(r'"\n\s*f?"', "", source) for source in sources)


def test_the_map_is_true() -> None:
    """Every path in CONTRIBUTING exists, and its tree leaves no package out."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = text.partition("```text\nfaucet/")[2].partition("```")[0]
    for path in re.findall(r"`((?:faucet|tests)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path
    for top, names in zip(("faucet", "tests"), tree.split("\ntests/"), strict=True):
        found = {path.name for path in (ROOT / top).iterdir() if (path / "__init__.py").exists()}
        assert set(re.findall(r"^  (\w+)/ ", names, re.MULTILINE)) == found
        for name in re.findall(r"\b\w+\.py\b", names):
            assert (ROOT / top / name).exists(), name


def test_the_toml_in_the_docs_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "options.md").read_text()
    toml = text.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(toml)["workers"] == "2..8"
    (tmp_path / "faucet.toml").write_text(toml)
    whole_app()(["config", "--dir", str(tmp_path)], exit_on_error=False, result_action="return_value")
    assert "faucet.toml" in capsys.readouterr().out


def test_limits_that_follow_from_the_machine_are_shown_resolved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole_app()(
        ["config", "--dir", str(tmp_path), "--max-clients", "7"], exit_on_error=False, result_action="return_value"
    )
    said = capsys.readouterr().out
    assert re.search(r"^buffer-total +[0-9.]+[MG]iB +default$", said, re.MULTILINE)
    assert re.search(r"^max-clients +7 +--max-clients$", said, re.MULTILINE)


def test_several_values_are_shown_as_they_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["config", "--dir", str(tmp_path), "--host", ":8080", "--host", "unix:/x"]
    whole_app()(words, exit_on_error=False, result_action="return_value")
    assert re.search(r"^host +:8080, unix:/x +--host$", capsys.readouterr().out, re.MULTILINE)


def test_a_person_on_a_new_directory(tmp_path: Path, plumber: str, faucet: Callable[..., object]) -> None:
    """init, doctor, serve with --reload, edit, ask again."""

    def run(*words: str) -> str:
        argv = [sys.executable, "-m", "faucet", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
        return done.stdout

    assert "wrote" in run("init", str(tmp_path / "api"))
    assert "plumber" in run("doctor", "--dir", str(tmp_path / "api"), "--host", "127.0.0.1:0")
    service = faucet("--dir", str(tmp_path / "api"), "-w", "1", "--reload", "--rscript", plumber)
    service.wait_workers(1, 60)  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{service.port}/health"  # type: ignore[attr-defined]
    before = subprocess.run(["curl", "-s", url], capture_output=True, text=True, check=True).stdout
    code = tmp_path / "api" / "plumber.R"
    code.write_text(code.read_text() + '\n#* @get /edited\nfunction() "yes"\n')
    service.wait_line("rolling restart: the worker is replaced", 60)  # type: ignore[attr-defined]
    after = subprocess.run(
        ["curl", "-s", url.replace("health", "edited")], capture_output=True, text=True, check=True
    ).stdout
    assert before
    assert "yes" in after


def test_each_picture_is_shown_somewhere() -> None:
    """What no page shows only makes the checkout and the sdist larger."""
    shown = {name for page in PAGES for name in re.findall(r"screenshots/([\w.-]+)", page.read_text())}
    assert {path.name for path in (ROOT / "screenshots").iterdir()} == shown
