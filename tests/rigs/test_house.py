"""Rules of the house that a machine can check: which way imports point, what stays small, what is documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

SOURCES = sorted((ROOT / "faucet").rglob("*.py"))

FLOORS = (
    ("cli",),
    ("doctor", "web"),
    ("tui",),
    ("service",),
    ("admin", "templates", "otel"),
    ("control",),
    ("status",),
    ("ha",),
    ("workers", "pods"),
    ("fleet", "log"),
    ("proxy",),
    ("settings",),
    ("ssh",),
    ("net", "http1"),
    ("pauses",),
    ("tasks", "units", "text", "machine", "backoff"),
)
"""Packages and files of the root, from the top floor down. Imports point downwards, or stay within a package."""

ROOT_FILES = {"__init__", "__main__", "fleet", "pauses", "tasks", "units", "text", "machine", "backoff"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


@cache
def tree_of(path: Path) -> ast.Module:
    """Each file is parsed once, and by a test: to collect the tests must stay quick for all that run others."""
    return ast.parse(path.read_text())


def imported(path: Path) -> Iterator[str]:
    """The modules of the project that `path` imports anywhere, TYPE_CHECKING and functions included."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "faucet":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "faucet")


@cache
def imports() -> dict[str, list[str]]:
    return {module: sorted(set(imported(path)) - {module}) for module, path in MODULES.items()}


def part_of(module: str) -> str:
    return [*module.split("."), ""][1]


def test_no_circle_of_imports() -> None:
    """Not even one that only a type checker sees: files that need each other are one file."""
    reaches = {module: reachable(module) for module in MODULES}
    for module in MODULES:
        circle = {other for other in reaches[module] if module in reaches[other]} - {module}
        assert not circle, f"{module} is in a circle"


def reachable(module: str) -> set[str]:
    seen: set[str] = set()
    ahead = [module]
    while ahead:
        for other in imports().get(ahead.pop(), ()):
            if other not in seen:
                seen.add(other)
                ahead.append(other)
    return seen


def test_imports_point_downwards() -> None:
    floor = {part: number for number, parts in enumerate(FLOORS) for part in parts}
    for module, others in imports().items():
        here = part_of(module)
        for there in map(part_of, others):
            if here in ("", "__main__") or there in ("", here):
                continue
            assert floor[here] < floor[there], f"{module} imports from {there}, which is not below {here}"


WAITS = {
    "faucet.pauses": "it is what all others use",
    "faucet.pods.discovery.kubernetes": "how long to wait before the next try",
    "faucet.pods.discovery.polling": "how long to wait before the next look-up",
    "faucet.pods.pod": "how long to wait before the next try",
    "faucet.workers.slot": "how long to wait before the next start",
    "faucet.ssh.errors": "a look at the agent of this machine, for a message",
    "faucet.ha.elector": "a grant must not outlast the clock",
    "faucet.ha.replica": "others go on when its term is over, whether it runs or not",
    "faucet.ha.peers": "a grant must not outlast the clock",
    "faucet.service.certificate": "how long to wait before the next look at the files",
}
"""Modules of a service that may use asyncio's own timeouts, and why."""


def test_deadlines_of_a_service_do_not_count_pauses() -> None:
    """They use `faucet.pauses.timeout`. Programs that only talk to a service, and the monitor, notice no pauses; and in
    `ha` they must count: what one Faucet may grant ends by the clock, whether it runs or not."""
    for module, path in MODULES.items():
        waits = "asyncio.timeout" in path.read_text() or "asyncio.wait_for(" in path.read_text()
        if part_of(module) not in ("tui", "web", "cli", "doctor", "control"):
            assert waits == (module in WAITS), module


def test_few_files_lie_at_the_root() -> None:
    assert {path.stem for path in (ROOT / "faucet").glob("*.py")} == ROOT_FILES


@pytest.mark.parametrize(
    "part", ["faucet.http1", "faucet.proxy.locks", "faucet.proxy.stats", "faucet.log.recent", "faucet.proxy.server"]
)
def test_the_heart_needs_the_standard_library_only(part: str) -> None:
    """In an interpreter without site-packages."""
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {part}"], check=True
    )


def test_the_service_imports_nothing_heavy() -> None:
    heavy = {"textual", "asyncssh", "rich", "psutil", "opentelemetry"}
    assert not heavy & loaded_with("faucet.service.run")


def loaded_with(modules: str) -> set[str]:
    """Return all that is imported when these modules are, in a new interpreter."""
    code = f"import {modules}, sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("kind", "not_needed"),
    [
        ("local", {"pods", "ha", "tui", "admin"}),
        ("kubernetes", {"tui", "admin", "workers.supervisor", "workers.program"}),
    ],
)
def test_a_service_imports_nothing_of_other_kinds_of_services(kind: str, not_needed: set[str]) -> None:
    """A fifth of the time to start it went into modules that it never called."""
    modules = loaded_with(f"faucet.service.run, faucet.service.{kind}")
    assert not [module for module in modules if any(module.startswith(f"faucet.{name}") for name in not_needed)]


def test_no_group_of_a_regular_expression_is_possessive() -> None:
    """Before Python 3.11.5, thus on Debian 12, such a group keeps what it has read of a repetition that fails in its
    middle: `5;` was a chunk line with an extension. An atomic group, `(?>(?:…)*)`, says the same. See http1/grammar.py.
    """
    for path in SOURCES:
        assert not re.search(r"\)(?:[?*+]|\{[0-9,]+\})\+", path.read_text()), path


def test_no_test_file_imports_another() -> None:
    """What several need is in tests/support, and what they share is found there."""
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] in ("", "tests"):
                    wrong = [part for part in parts if part == "conftest" or part.startswith("test_")]
                    assert not wrong, f"{path.relative_to(ROOT)} imports {name}"


IDS = [str(path.relative_to(ROOT)) for path in SOURCES]


LONGER = {"faucet/proxy/exchange.py": 600}
"""What is one thing, and would be harder to follow in two: a request, from its head to its end."""


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_every_file_says_what_it_is_for_and_stays_small(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(tree_of(path)), "no paragraph at the top"
    assert len(text.splitlines()) <= LONGER.get(str(path.relative_to(ROOT)), 500)


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_functions_stay_small_and_public_ones_are_documented(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 45, node.name
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
            for member in node.body:
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                    assert ast.get_docstring(member), f"{node.name}.{member.name}"


SEEN_FROM_OUTSIDE = {"client", "find", "hosts", "protocol", "paths", "recording", "remote"}
"""What the monitor may know of the control socket: the other end of it, and what was recorded of it."""


def test_the_monitor_knows_nothing_of_the_service() -> None:
    for module in (module for module in MODULES if part_of(module) == "tui"):
        for other in imports()[module]:
            if part_of(other) == "control":
                assert other.split(".")[2] in SEEN_FROM_OUTSIDE, f"{module} imports {other}"


RIDDLES = re.compile(r"\b(whoever|nobody|somebody|anew|in hand|is no [a-z]+|is said by|as may be)\b", re.IGNORECASE)
"""Words that a reader of messages stumbles on. Say who or what, and turn the sentence: `invalid X; expected Y`."""

THERE_IS_NO = re.compile(r"\b(there|which there) is no |is no longer ", re.IGNORECASE)


def texts_of(tree: ast.Module) -> Iterator[ast.Constant]:
    """The texts of a file of more than a word, without docstrings, with the parts of f-strings."""
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and " " in str(node.value) and id(node) not in statements:
            yield node


def test_messages_are_no_riddles() -> None:
    for path in SOURCES:
        for node in texts_of(tree_of(path)):
            found = RIDDLES.search(THERE_IS_NO.sub("", str(node.value)))
            assert found is None, f"{path.relative_to(ROOT)}:{node.lineno}: {found and found[0]!r} in {node.value!r}"
