"""Who may see the monitor in a browser."""

from __future__ import annotations

import pytest

from faucet.web.gate import Decision, Gate, is_loopback

TOKEN = "a-token-of-24-characters"
OURS = "127.0.0.1:8081"


@pytest.mark.parametrize(
    ("host", "origin", "decision"),
    [
        (OURS, None, Decision.PASS),
        ("localhost:9000", None, Decision.PASS),  # through ssh -L
        (OURS, f"http://{OURS}", Decision.PASS),
        (None, None, Decision.PASS),  # no browser
        ("evil.example:8081", None, Decision.OTHER_NAME),  # DNS rebinding
        ("evil.example:8081", "http://evil.example:8081", Decision.OTHER_NAME),
        (OURS, "http://evil.example", Decision.OTHER_ORIGIN),
        (OURS, "http://127.0.0.1:8082", Decision.OTHER_ORIGIN),  # another program of this machine
        (OURS, "null", Decision.OTHER_ORIGIN),
        (OURS, "", Decision.OTHER_ORIGIN),
        (None, "http://evil.example", Decision.OTHER_ORIGIN),
    ],
)
def test_without_a_token(host: str | None, origin: str | None, decision: Decision) -> None:
    assert Gate("").decide(host, origin, None, None) is decision


def test_with_a_token() -> None:
    gate = Gate(TOKEN)
    assert gate.decide(OURS, None, None, None) is Decision.NO_TOKEN
    assert gate.decide(OURS, None, "another", None) is Decision.NO_TOKEN
    assert gate.decide(OURS, None, TOKEN, None) is Decision.WELCOME
    assert gate.decide(OURS, None, None, gate.cookie) is Decision.PASS
    assert gate.decide(OURS, None, TOKEN, gate.cookie) is Decision.PASS
    assert gate.decide(OURS, None, None, Gate("another token of 16").cookie) is Decision.NO_TOKEN
    assert gate.decide("monitor.example.com", None, None, gate.cookie) is Decision.PASS, "any name: the token decides"
    assert gate.decide(OURS, "http://evil.example", None, gate.cookie) is Decision.OTHER_ORIGIN
    assert gate.decide(OURS, None, "tökén", "ü") is Decision.NO_TOKEN
    assert TOKEN not in gate.cookie


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.7", "monitor.example.com", "localhost.example.com"])
def test_what_others_may_reach(host: str) -> None:
    assert not is_loopback(host)
