"""The recipes of `just corpora` that are quick and need nothing but what the tests need."""

from __future__ import annotations

import pytest

from tests.corpora.__main__ import recipes
from tests.corpora.rig import Missing
from tests.support.needs import need


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ab", "hey", "python-client", "python-client-rolling", "websocket"])
def test_the_promises_are_kept(name: str) -> None:
    try:
        row = recipes()[name]()
    except Missing as error:
        need(False, str(error))
    assert row.wrong == [], row.said
