"""The recent log: what is kept for those who look later."""

from __future__ import annotations

from faucet.log.recent import RecentLog


def test_each_line_of_a_message_is_an_entry() -> None:
    """A table or a list of lines would show the end of a line as a code."""
    log = RecentLog()
    log.add(1.0, "error", "2", "exited with code 1\n  | no model")
    assert [entry.text for entry in log.entries] == ["exited with code 1", "  | no model"]
    assert log.total == 2
