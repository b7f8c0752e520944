"""Rules of the house that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "faucet").rglob("*.py"))


@pytest.mark.parametrize(
    "part",
    [
        "faucet.http1",
        "faucet.proxy.locks",
        "faucet.proxy.stats",
        "faucet.log.recent",
        "faucet.proxy.downstream",
        "faucet.proxy.upstream",
    ],
)
def test_the_heart_needs_the_standard_library_only(part: str) -> None:
    """In an interpreter without site-packages."""
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {part}"], check=True
    )


def test_the_runtime_imports_nothing_heavy() -> None:
    code = "import faucet.service.run, sys; print([m for m in ('textual', 'asyncssh', 'rich', 'psutil') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_every_file_says_what_it_is_for_and_stays_small(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no paragraph at the top"
    assert len(text.splitlines()) <= 500


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_functions_stay_small_and_public_ones_are_documented(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 45, node.name
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
            for member in node.body:
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                    assert ast.get_docstring(member), f"{node.name}.{member.name}"


IMPORTS = {
    "http1": {"http1"},
    "dispatch": set(),
    "stats": set(),
    "journal": set(),
    "units": set(),
    "settings": set(),
    "admin": {"admin", "control", "http1", "stats", "snapshot"},
    "proxy": {"proxy", "http1", "dispatch", "stats", "settings", "tasks", "net"},
    "net": {"net", "tasks", "units", "control"},
    "discovery": {"discovery", "net"},
    "workers": {"workers", "proxy", "http1", "net", "discovery", "settings", "units", "tasks", "snapshot", "stats"},
    "snapshot": set(),
    "control": {"control", "proxy", "workers", "stats", "journal", "snapshot", "units", "tasks", "log"},
    "tui": {"tui", "control", "snapshot", "stats", "units", "settings", "log", "net"},
    "log": {"journal", "settings", "sink", "stats", "units"},
    "sink": set(),
}
"""Who may import whom: what is not here may import anything."""


def test_which_way_the_imports_point() -> None:
    for path in SOURCES:
        part = path.relative_to(ROOT / "faucet").parts[0].removesuffix(".py")
        allowed = IMPORTS.get(part)
        if allowed is None:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("faucet."):
                assert node.module.split(".")[1] in allowed, f"{path.name} imports {node.module}"


SEEN_FROM_OUTSIDE = {"client", "columns", "find", "protocol", "text", "usage"}
"""What the monitor may know of the control socket: the other end of it, and how things are written."""


def test_the_monitor_knows_nothing_of_the_runtime() -> None:
    for path in (ROOT / "faucet" / "tui").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("faucet.control."):
                assert str(node.module).split(".")[2] in SEEN_FROM_OUTSIDE, f"{path.name} imports {node.module}"
