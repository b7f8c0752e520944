"""The output of starts that fail one after the other: what is the same is logged once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faucet.workers.repeats import LINES_LIMIT, StartOutput

Lines = list[tuple[str, str]]


def run(lines: Lines, before: StartOutput | None = None) -> tuple[Lines, list[str], StartOutput]:
    """What is logged of a start, what is reported, and the start for the next comparison."""
    reported: list[str] = []
    output = StartOutput(reported.append, before)
    shown = [(stream, line) for stream, line in lines if output.is_new(stream, line)]
    output.end()
    return shown, reported, output


ERROR: Lines = [("err", "Error in library(x) :"), ("err", "  no package x"), ("out", "bye")]


def test_the_same_again_is_one_line() -> None:
    shown, reported, first = run(ERROR)
    assert (shown, reported) == (ERROR, [])
    shown, reported, second = run(ERROR, first)
    assert (shown, reported) == ([], ["3 lines of output as in the start before"])
    assert run(ERROR, second)[0] == [], "and again"


def test_streams_may_come_in_any_order_and_numbers_differ() -> None:
    _, _, first = run([("err", "port 4711 at 12:01:02"), ("out", "bye")])
    shown, reported, _ = run([("out", "bye"), ("err", "port 99 at 13:59:59")], first)
    assert (shown, reported) == ([], ["2 lines of output as in the start before"])


def test_from_the_first_difference_on_everything_is_shown() -> None:
    _, _, first = run([("err", "a"), ("err", "b"), ("err", "c")])
    shown, reported, _ = run([("err", "a"), ("err", "x"), ("err", "c")], first)
    assert (shown, reported) == ([("err", "x"), ("err", "c")], ["1 line of output as in the start before"])


def test_once_it_has_started_everything_is_shown() -> None:
    _, _, first = run([("out", "listening"), ("out", "a request")])
    output = StartOutput(lambda _: None, first)
    assert not output.is_new("out", "listening")
    output.end()
    assert output.is_new("out", "a request")


def test_a_start_that_writes_without_end_is_not_kept() -> None:
    many: Lines = [("out", "x")] * (LINES_LIMIT + 50)
    _, _, first = run(many)
    assert len(first.lines["out"]) == LINES_LIMIT
    shown, _, _ = run(many, first)
    assert len(shown) == 50


lines = st.lists(st.tuples(st.sampled_from(["out", "err"]), st.sampled_from(["a", "b 1", "b 2", "c"])), max_size=12)


@given(lines, lines)
def test_nothing_that_is_new_is_left_out(before: Lines, after: Lines) -> None:
    """Of each stream a part is left out that is the beginning of both."""
    shown, _, _ = run(after, run(before)[2])
    for stream in ("out", "err"):
        old, new, seen = (
            [line.replace("1", "#").replace("2", "#") for name, line in some if name == stream]
            for some in (before, after, shown)
        )
        common = len(new) - len(seen)
        assert new[common:] == seen
        assert new[:common] == old[:common]
