"""How errors of R begin, and what of them is worth a place in a line."""

from __future__ import annotations

import pytest

from faucet.log.r_errors import gist, is_error


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<simpleError in g(y): database is locked>", True),
        ("Error in g(y) : database is locked", True),
        ("Error: object 'x' not found", True),
        ("Error : database is locked", True),
        ("Error in `g()`:", True),
        ("Caused by error in `h()`:", True),
        ("Execution halted", True),
        ("<error/rlang_error>", True),
        ("Errors so far: 0", False),
        ("no Error in here", False),
        ("Warning message:", False),
    ],
)
def test_errors_are_recognised(text: str, found: bool) -> None:
    assert is_error(text) is found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<simpleError in (function (id) {    cat("a: b")})(id = "7"): database is locked>',
         "simpleError: database is locked"),
        ("Error in g(y) : database is locked", "Error: database is locked"),
        ("Error: object 'x' not found", "Error: object 'x' not found"),
        ("Error in `g()`: ! database is locked", "Error: database is locked"),
        ("<simpleError: no connection>", "simpleError: no connection"),
        ("  Execution halted", "Execution halted"),
    ],
)  # fmt: skip
def test_the_gist_of_an_error(text: str, message: str) -> None:
    assert gist(text) == message
