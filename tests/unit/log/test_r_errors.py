"""How errors of R begin, and what of them is worth a place in a line."""

from __future__ import annotations

import pytest

from faucet.log.r_errors import gist, is_error, why_failed


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


def test_why_a_program_in_python_failed() -> None:
    lines = ["Traceback (most recent call last):", '  File "app.py", line 3, in <module>', "    import model",
             "ModuleNotFoundError: No module named 'model'"]  # fmt: skip
    assert why_failed(lines) == "ModuleNotFoundError: No module named 'model'"
    assert why_failed(lines[:2]) == "Traceback (most recent call last):"


def test_why_a_start_failed() -> None:
    syntax = ["Error in parse(file) : ", "  plumber.R:19:16: unexpected '{'", "19: x <- function( {",
              "Error in parseUTF8(file) : Error sourcing plumber.R", "Execution halted"]  # fmt: skip
    assert why_failed(syntax) == "plumber.R:19:16: unexpected '{'"
    assert why_failed(["Error in library(readr) : ", "  there is no package called ‘readr’", "Execution halted"]) == (
        "Error: there is no package called ‘readr’"
    )
    assert why_failed(["Error: the first", "Error: the last"]) == "Error: the last"
    assert why_failed(["hello", "Execution halted"]) == ""


def test_the_file_that_could_not_be_opened_is_named() -> None:
    """R's error says nothing of it; the warning behind does, on a line of its own or not."""
    lines = [
        "Error in stopOnLine(lineNum, file[lineNum], e) : ",
        "  Error on line #2: '' - Error in file(con, \"r\"): cannot open the connection",
        "Calls: <Anonymous> ... tryCatchList -> tryCatchOne -> <Anonymous> -> stopOnLine",
        "In addition: Warning message:",
        'In file(con, "r") :',
        "  cannot open file 'model.rds': No such file or directory",
        "Execution halted",
    ]
    assert why_failed(lines).endswith("cannot open file 'model.rds': No such file or directory")
    assert "the connection" not in why_failed(lines)
    short = [
        "Error in readRDS(path) : cannot open the connection",
        "In addition: Warning message:",
        "In gzfile(path) : cannot open compressed file 'm', probable reason 'No such file or directory'",
    ]
    assert why_failed(short) == "Error: cannot open compressed file 'm', probable reason 'No such file or directory'"
    assert why_failed(short[:1]) == "Error: cannot open the connection"
