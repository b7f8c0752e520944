"""The table of metrics in docs/ has what the page can have, and what labels can be."""

from __future__ import annotations

import re

from tests.support.checkout import ROOT
from tests.support.metrics_table import REFUSALS, families, row, shown_name

QUOTED = re.compile(r"(?:refuse|_refuse_queued|count_refusal)\([^()]*?\"([a-z_]+)\"", re.DOTALL)


def test_each_metric_in_the_code_has_a_row() -> None:
    """Those that come with an option only are not left out."""
    source = (ROOT / "faucet/admin/metrics.py").read_text()
    named = set(re.findall(r"\"(faucet_\w+)\"", source)) - {"faucet_build"}
    assert named == {family.name for family in families()} - {"faucet_build"}


def test_each_row_says_what_it_means() -> None:
    for family in families():
        name, kind, _, _, text = [cell.strip() for cell in row(family).strip("|").split("|")]
        assert name == f"`{shown_name(family)}`"
        assert kind in ("counter", "gauge", "histogram", "info")
        assert text[:1].isupper(), name
        assert text.endswith("."), name


def test_all_reasons_of_refusals_are_listed() -> None:
    found = {reason for path in (ROOT / "faucet").rglob("*.py") for reason in QUOTED.findall(path.read_text())}
    assert found - {"queue_full"} <= set(REFUSALS)
    said_otherwise = {"limit_full", "queue_full", "buffers_full", "older_epoch"}
    assert set(REFUSALS) - found <= said_otherwise
