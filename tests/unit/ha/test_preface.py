"""The lines before requests and answers between members, in any pieces; nothing else is taken for one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.ha.preface import (
    PREFACE_LIMIT,
    AnswerLine,
    AnswerLineReader,
    PrefaceError,
    RequestLine,
    RequestLineReader,
)

epochs = st.integers(0, 2**31 - 1)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
waits = st.integers(0, 10**8).map(lambda milliseconds: milliseconds / 1000)
request_lines = st.builds(RequestLine, epochs, words, waits, words)
answer_lines = st.builds(AnswerLine, epochs, st.booleans())
Reader = RequestLineReader | AnswerLineReader


def read(reader: Reader, data: bytes, cuts: list[int]) -> tuple[object, bytes]:
    """Feed `data` in pieces; return the line and all that is behind it."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(edges)]
    for number, piece in enumerate(pieces):
        if (taken := reader.feed(piece)) is not None:
            return taken[0], taken[1] + b"".join(pieces[number + 1 :])
    raise AssertionError("the line did not end")


@given(request_lines, st.binary(max_size=40), st.lists(st.integers(0, 400), max_size=6))
def test_a_line_before_a_request_comes_back_in_any_pieces(line: RequestLine, rest: bytes, cuts: list[int]) -> None:
    assert read(RequestLineReader(), line.encode() + rest, cuts) == (line, rest)


@given(answer_lines, st.binary(max_size=40), st.lists(st.integers(0, 400), max_size=6))
def test_a_line_before_an_answer_comes_back_in_any_pieces(line: AnswerLine, rest: bytes, cuts: list[int]) -> None:
    assert read(AnswerLineReader(), line.encode() + rest, cuts) == (line, rest)


@given(st.binary(max_size=600))
def test_anything_else_is_refused_or_incomplete(data: bytes) -> None:
    for reader in (RequestLineReader(), AnswerLineReader()):
        try:
            taken = reader.feed(data)
        except PrefaceError:
            continue
        assert taken is None
        assert b"\n" not in data[:PREFACE_LIMIT]
        assert len(data) < PREFACE_LIMIT


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"faucet-request/1 7 id 0.250 10.0.0.1\r\n",
        b"faucet-request/1  7 id 0.250 10.0.0.1\n",
        b"faucet-request/1 07 id 0.250 10.0.0.1\n",
        b"faucet-request/1 -7 id 0.250 10.0.0.1\n",
        b"faucet-request/1 7 id 0.25 10.0.0.1\n",
        b"faucet-request/1 7 id nan 10.0.0.1\n",
        b"faucet-request/1 7 i d 0.250 10.0.0.1\n",
        b"faucet-request/1 7 id 0.250 \n",
        b"faucet-request/2 7 id 0.250 10.0.0.1\n",
    ],
)
def test_near_misses_before_a_request(line: bytes) -> None:
    with pytest.raises(PrefaceError):
        RequestLineReader().feed(line)


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK\r\n", b"faucet-answer/1 7 Begun\n", b"faucet-answer/1 7 begun \n"])
def test_near_misses_before_an_answer(line: bytes) -> None:
    with pytest.raises(PrefaceError):
        AnswerLineReader().feed(line)


@pytest.mark.parametrize("request_id", ["", "a b", "a\nb", "x" * 201, "ä"])
def test_an_id_that_would_break_the_line_is_not_written(request_id: str) -> None:
    with pytest.raises(ValueError, match="invalid line before a request"):
        RequestLine(7, request_id, 0.0, "10.0.0.1").encode()
