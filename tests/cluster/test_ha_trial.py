"""A part of `just ha-trial`: real Faucets on hosts of their own, updated and killed under load; and what judges it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.checkout import ROOT
from tests.support.ha_trial_parts import Span, overlaps
from tests.support.realkube import is_here


@pytest.mark.slow
@pytest.mark.quiet
@pytest.mark.xdist_group("realkube")
def test_an_update_fails_no_request_and_a_crash_only_what_it_must() -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None or not is_here():
        pytest.skip("needs root, ip, a Kubernetes API server (`just kube`) and etcd")
    words = [sys.executable, "-m", "tests.support.ha_trial", "1", "rolling_update", "kill_and_restart"]
    environment = {**os.environ, "HA_TRIAL_RATE": "20"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("twice in one pod 0") == 2


def test_the_judge_finds_two_requests_in_one_pod() -> None:
    apart = [Span(3.0, 4.0, "/c"), Span(1.0, 2.0, "/a"), Span(2.0, 3.0, "/b")]
    assert overlaps(apart) == []
    late = Span(3.9, 4.2, "/d")
    assert overlaps([*apart, late]) == [(apart[0], late)]
    assert overlaps([Span(1.0, 9.0, "/long"), Span(2.0, 2.1, "/a"), Span(5.0, 6.0, "/b")]) != []
