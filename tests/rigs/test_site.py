"""The documentation as a site: it builds without a warning, so no link and no anchor in it leads nowhere."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.needs import need
from tests.support.site import PAGES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(importlib.util.find_spec("mkdocs") is not None, "mkdocs")
    target = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return target


def test_every_page_is_there(site: Path) -> None:
    names = {path.stem for path in (ROOT / "docs").glob("*.md")} | {Path(page).stem for page in PAGES.values()}
    assert {path.parent.name for path in site.glob("*/index.html")} == names - {"index"}
    assert (site / "index.html").exists()


def test_the_search_knows_options_and_symptoms(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    titles = {entry["title"] for entry in index["docs"]}
    assert {"--queue-limit", "502: the worker failed"} <= titles


def test_code_and_tables_are_shown_as_such(site: Path) -> None:
    for page in site.rglob("index.html"):
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)
        assert "```" not in text, page
        assert "| ---" not in text, page


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for address in re.findall(
            r"<(?:script|link|img)\b[^>]*(?:src|href)=\"(https?:[^\"]*)", page.read_text("utf-8")
        ):
            pytest.fail(f"{page.relative_to(site)} loads {address}")
