"""The compiled build: what must be compiled with what, and that neither the checkout nor a pure wheel has any of it.

`just test-compiled` builds it and runs the tests of the hot modules on it.
"""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.building import PIP_INSTALL
from tests.support.checkout import ROOT


def compiled_files() -> set[Path]:
    """The files that hatch_build.py has compiled."""
    tree = ast.parse((ROOT / "hatch_build.py").read_text())
    assigned = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    patterns = ast.literal_eval(assigned["COMPILED"])
    files = {path for pattern in patterns for path in ROOT.glob(pattern) if path.name != "__init__.py"}
    assert all(any(ROOT.glob(pattern)) for pattern in patterns)
    return files


def classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]


def test_a_subclass_of_a_compiled_class_is_compiled() -> None:
    """Python cannot make objects of a subclass that is not: `interpreted classes cannot inherit from compiled`."""
    compiled = compiled_files()
    ours = {node.name for path in compiled for node in classes(path)}
    for path in set((ROOT / "faucet").rglob("*.py")) - compiled:
        for node in classes(path):
            bases = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
            assert not bases & ours, f"{path}: add it to COMPILED in hatch_build.py, for its class {node.name}"


def test_nothing_compiled_lies_in_the_checkout() -> None:
    """It would hide what is changed in its source."""
    assert not list((ROOT / "faucet").rglob("*.so"))


@pytest.mark.slow
def test_an_editable_install_is_refused(tmp_path: Path) -> None:
    """With the way to go on."""
    words = [*PIP_INSTALL, "--no-deps", "--target", str(tmp_path), "--editable", str(ROOT)]
    environment = {**os.environ, "FAUCET_COMPILE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert "just test-compiled" in done.stdout + done.stderr
