"""Text from outside, in the log and in answers: it steers no terminal, and no secret of a target is written."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.log.formats import JsonFormat, TextFormat
from faucet.log.handler import Log
from faucet.log.redact import redactor
from faucet.log.writer import FileOutput
from faucet.proxy.stats import Record
from faucet.settings import LogSettings
from faucet.text import escaped, print_error, to_json, visible

DANGEROUS = "\x00\x07\x1b[2J\x7f\x80\x9b31m\u061c\u200b\u200e\u202e\u2028\u2066\ufeff\U000e0001"
"""C0, DEL, C1, marks and overrides of direction, zero width, line separator, tags."""

SHAPELESS = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def shapeless(text: str, but: str = "") -> list[str]:
    return [letter for letter in text if unicodedata.category(letter) in SHAPELESS and letter not in but]


@given(st.text())
def test_no_character_without_a_shape_gets_through(text: str) -> None:
    assert not shapeless(visible(text))
    assert not shapeless(escaped(text), but="\t")
    document = to_json({"text": text})
    assert not shapeless(document)
    assert json.loads(document) == {"text": text}


def test_each_dangerous_character_becomes_its_code() -> None:
    assert escaped("a\u202eb\x9bc\U000e0001") == "a\\u202eb\\x9bc\\U000e0001"
    assert escaped("ünï 你好 🦆") == "ünï 你好 🦆"


def test_log_lines_of_both_formats() -> None:
    for line in (
        TextFormat(colour=False).output(1, "out", DANGEROUS),
        TextFormat(colour=False).message(logging.ERROR, DANGEROUS, "1"),
        JsonFormat().output(1, "out", DANGEROUS),
        JsonFormat().message(logging.ERROR, DANGEROUS, "1"),
    ):
        assert not shapeless(line)
    assert json.loads(JsonFormat().output(1, "out", DANGEROUS))["text"] == DANGEROUS
    assert "a\n  b" in TextFormat(colour=False).message(logging.ERROR, "a\n  b", None), "a traceback keeps its lines"


def test_last_words_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(f"worker 1 failed:\n{DANGEROUS}")
    printed = capsys.readouterr().err
    assert printed.count("\n") == 2
    assert not shapeless(printed, but="\n")


def test_a_log_file_is_not_for_all_users(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        FileOutput(tmp_path / "log").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ('"GET /x?token=abc&a=1 HTTP/1.1"', '"GET /x?token=***&a=1 HTTP/1.1"'),
        ('"GET /x?a=1&TOKEN=abc HTTP/1.1"', '"GET /x?a=1&TOKEN=*** HTTP/1.1"'),
        ("while serving GET /x?key=a%20b from 10.0.0.1", "while serving GET /x?key=*** from 10.0.0.1"),
        ('{"target": "/x?token=a"}', '{"target": "/x?token=***"}'),
        ("/x?token=", "/x?token="),
        ("/x?mytoken=abc", "/x?mytoken=abc"),
        ("token=abc", "token=abc"),
    ],
)
def test_values_of_secret_parameters_are_hidden(line: str, hidden: str) -> None:
    redact = redactor(("token", "key"))
    assert redact is not None
    assert redact(line) == hidden


def test_without_names_nothing_is_looked_for() -> None:
    assert redactor(()) is None


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_is_written_holds_the_secret(tmp_path: Path, form: str) -> None:
    log = Log(LogSettings(log_file=tmp_path / "log", log_format=form, log_redact=("token",)), quiet=True)  # type: ignore[arg-type]
    log.request(Record(1.0, "10.0.0.1", b"GET", b"/a?token=secret", 1, 200, 1, 0, 0.0, 0.0, "1", ""))
    log.output(1, "out", "served /a?token=secret")
    logging.getLogger("faucet").warning("worker 1 crashed while serving %s", "GET /a?token=secret")
    log.close()
    written = (tmp_path / "log").read_text()
    assert "secret" not in written
    assert written.count("token=***") == 3


def test_print_error_survives_a_closed_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as unwritable:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", unwritable)
        print_error("x")
