"""The rig of `just corpora`: that it notices what it is there to notice, and tells."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.corpora.__main__ import line, main, recipes, run
from tests.corpora.rig import Missing, Rig, Row
from tests.corpora.websocket import END, TEXT, frame, mask, split
from tests.support.load import get


def past_faucet(port: int, target: str) -> None:
    """A request to a worker of which Faucet knows nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        while sock.recv(1000):
            pass


def test_all_is_well() -> None:
    with Rig("well") as rig:
        assert get(rig.port, "/") == (200, "hello")
        assert rig.run("true") == ""
    assert rig.row.wrong == []
    assert rig.row.handed > 0


def test_two_requests_in_a_worker_are_noticed_and_so_is_one_that_is_not_in_the_log() -> None:
    with Rig("offence", probed=False) as rig:
        port = rig.status()["workers"][0]["port"]
        both = [threading.Thread(target=past_faucet, args=(port, "/slow?0.5")) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(20)
    assert rig.row.wrong == ["1 times two requests in one worker", "workers got 2 requests, the log has 0"]


def test_a_lock_that_is_left_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Rig("lock", probed=False) as rig:
        settled = rig.settled
        monkeypatch.setattr(rig, "settled", lambda: settled(0))
        sock = socket.create_connection(("127.0.0.1", rig.port), timeout=10)
        sock.sendall(b"GET /slow?5 HTTP/1.1\r\nHost: a\r\n\r\n")
        while not rig.status()["totals"]["locked"]:
            pass
    sock.close()
    assert rig.row.wrong == ["at the end, 1 locked"]


def test_a_tool_that_fails_or_does_not_end_is_noticed() -> None:
    with Rig("tools", probed=False) as rig:
        rig.run("sh", "-c", "echo no; exit 3")
        rig.run("sleep", "20", seconds=0.1)
    assert rig.row.wrong == ["sh exits with 3: no\n", "sleep has not ended after 0 s"]


def test_the_table() -> None:
    def missing() -> Row:
        raise Missing("needs x")

    def breaks() -> Row:
        raise ValueError("x")

    assert "skipped: needs x" in line(run("a", missing))
    assert "BROKEN" in line(run("a", breaks))
    assert line(run("a", breaks)).endswith("! ValueError: x")
    assert "kept" in line(Row("a"))


def test_an_unknown_recipe_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in recipes())


def test_frames_are_those_of_the_rfc() -> None:
    """RFC 6455, 5.7."""
    assert frame(TEXT, b"Hello", masked=False) == bytes.fromhex("810548656c6c6f")
    assert mask(mask(b"Hello")) == b"Hello"
    assert frame(TEXT, b"x" * 126)[:4] == bytes.fromhex("81fe007e")
    assert split(b"Hello", 3) == frame(TEXT, b"Hel", final=False) + frame(0, b"lo")
    assert END[:2] == bytes.fromhex("8882")
