"""A part of `just ha-trial`: real Faucets on hosts of their own, updated, killed and cut off; and its judge."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.checkout import ROOT
from tests.support.ha_trial_judge import CUT_SHORT, WRONG, Failure, Span, Trouble, judge, longest_pause, overlaps
from tests.support.ha_trial_parts import is_whole, outcome
from tests.support.realkube import need

PLAYED = ("all_at_once", "kill_and_restart", "api_cut")
"""An update of Faucets and pods, a crash, and an active that is cut off: a minute with all that has to start first."""


@pytest.mark.slow
@pytest.mark.quiet
@pytest.mark.xdist_group("realkube")
def test_an_update_fails_no_request_and_a_crash_only_what_it_must() -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip")
    need()
    words = [sys.executable, "-m", "tests.support.ha_trial", *PLAYED]
    environment = {**os.environ, "HA_TRIAL_RATE": "40", "HA_TRIAL_SLACK": "4"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert re.findall(r"^ok +(\w+)", done.stdout, re.MULTILINE) == list(PLAYED)
    assert done.stdout.count("twice at once in one pod 0, POSTs repeated 0") == len(PLAYED)


def test_the_judge_finds_two_requests_in_one_pod() -> None:
    apart = [Span(3.0, 4.0, "/c"), Span(1.0, 2.0, "/a"), Span(2.0, 3.0, "/b")]
    assert overlaps(apart) == []
    late = Span(3.9, 4.2, "/d")
    assert overlaps([*apart, late]) == [(apart[0], late)]
    assert overlaps([Span(1.0, 9.0, "/long"), Span(2.0, 2.1, "/a"), Span(5.0, 6.0, "/b")]) != []


def test_the_judge_finds_a_post_that_was_sent_twice_and_a_pause() -> None:
    histories = {"p1 1": [Span(1.0, 1.1, "/1"), Span(9.0, 9.1, "/2")], "p2 2": [Span(2.5, 2.6, "/1")]}
    assert judge(2, (1.0, "/1"), [], [], histories, {"/2"}, 0.0, 10.0).good(longest=1.0, pause=6.5)
    verdict = judge(2, (1.0, "/1"), [], [], histories, {"/1", "/2"}, 0.0, 10.0)
    assert verdict.repeated == ["/1"]
    assert not verdict.good(longest=1.0, pause=6.5)
    assert longest_pause(histories.values(), 0.0, 10.0) == 6.5
    assert longest_pause([], 2.0, 5.0) == 3.0
    assert not judge(2, (1.1, "/1"), [], [], histories, (), 0.0, 10.0).good(longest=1.0, pause=6.5)
    assert not judge(2, (1.0, "/1"), [], [], histories, (), 0.0, 10.0).good(longest=1.0, pause=6.4)


DEAD = Trouble("lost", "a", 10.0, 11.0, was_active=True)
RELAY = Trouble("lost", "b", 10.0, 11.0)
PARTED = Trouble("parted", "b", 10.0, 18.0)
POD = Trouble("pod", "p1", 10.0, 10.0)
HISTORY = {"p1 1": [Span(1.0, 1.1, "/early"), Span(9.9, 10.0, "/1")]}


@pytest.mark.parametrize(
    ("trouble", "method", "outcome", "target", "began", "ended", "permitted"),
    [
        (DEAD, "GET", "ConnectionResetError", "a", 9.0, 10.1, True),
        (DEAD, "GET", "ConnectionResetError", "a", 12.0, 12.1, False),
        (DEAD, "GET", "ConnectionResetError", "a", 8.0, 9.9, False),
        (DEAD, "GET", "ConnectionResetError", "b", 9.0, 10.1, False),
        (DEAD, "GET", WRONG, "a", 9.0, 10.1, False),
        (DEAD, "POST", "502", "b", 9.0, 10.1, True),
        (DEAD, "GET", "502", "b", 9.0, 10.1, False),
        (DEAD, "GET", CUT_SHORT, "b", 9.0, 10.1, True),
        (DEAD, "POST", "503", "b", 9.0, 10.1, False),
        (RELAY, "POST", "502", "a", 9.0, 10.1, False),
        (PARTED, "POST", "502", "b", 12.0, 14.1, True),
        (PARTED, "POST", "503", "b", 12.0, 14.1, False),
        (PARTED, "POST", "502", "c", 12.0, 14.1, False),
        (POD, "POST", "502", "c", 9.8, 10.1, True),
        (POD, "GET", "502", "c", 9.8, 10.1, False),
    ],
)
def test_the_judge_excuses_what_had_to_fail_and_nothing_else(
    trouble: Trouble, method: str, outcome: str, target: str, began: float, ended: float, permitted: bool
) -> None:
    failure = Failure("/1", method, outcome, target, began, ended)
    verdict = judge(0, (0.0, ""), [failure], [trouble], HISTORY, (), 9.0, 10.0)
    assert verdict.faults == ([] if permitted else [failure])
    assert verdict.good(longest=1.0, pause=1.0) is permitted


def test_only_what_a_dead_pod_had_in_hand_is_excused() -> None:
    elsewhere = Failure("/2", "POST", "502", "c", 9.8, 10.1)
    assert judge(0, (0.0, ""), [elsewhere], [POD], HISTORY, (), 9.0, 10.0).faults == [elsewhere]


@pytest.mark.parametrize(
    ("got", "found"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/1", "200"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/", CUT_SHORT),
        (b"HTTP/1.1 200 OK\r\nContent-Le", CUT_SHORT),
        (b"HTTP", CUT_SHORT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/2", WRONG),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        (b"", "closed"),
    ],
)
def test_an_answer_counts_if_it_is_whole_and_its_own(got: bytes, found: str) -> None:
    assert outcome(got, "/1", "closed") == found
    assert is_whole(got) is (b"200 OK\r\nContent-Length: 2\r\n\r\n/" in got and len(got) > 39)
