"""Commands on workers: a fleet takes those that it offers, and those of other fleets are refused with what to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from faucet.control.commands import Commands
from faucet.fleet import Ask, Refused
from faucet.pods.fleet import NOT_OFFERED as NOT_BY_PODS
from faucet.workers.supervisor import NOT_OFFERED as NOT_BY_SUPERVISOR


@pytest.fixture
def asked() -> list[Ask]:
    return []


@pytest.fixture
def commands(asked: list[Ask]) -> Commands:
    def act(ask: Ask) -> str:
        asked.append(ask)
        return "done"

    names = ("restart", "scale", "rolling-restart")
    not_offered = {"kill": "use: restart {worker}", "drop": "not here"}
    fleet = SimpleNamespace(actions=dict.fromkeys(names, act), not_offered=not_offered, count=4)
    return Commands(cast("Any", SimpleNamespace(fleet=fleet)))


@pytest.mark.parametrize(
    ("message", "ask"),
    [
        ({"do": "restart", "worker": 3, "who": "ctl"}, Ask("ctl", worker="3")),
        ({"do": "restart", "worker": "3+"}, Ask("an unnamed client", worker="3+")),
        ({"do": "scale", "count": 6, "who": "ctl"}, Ask("ctl", count=6)),
        ({"do": "scale", "count": "-1", "who": "ctl"}, Ask("ctl", count=3)),
        ({"do": "rolling-restart", "who": "ctl"}, Ask("ctl")),
        ({"do": "rolling-restart", "who": "ctl", "wait": True}, Ask("ctl", wait=True)),
    ],
)
def test_an_action_gets_what_it_needs(commands: Commands, asked: list[Ask], message: dict[str, Any], ask: Ask) -> None:
    assert commands.run(message) == "done"
    assert asked == [ask]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"do": "kill", "worker": "a{pod}"}, r"^use: restart a\{pod\}$"),
        ({"do": "kill"}, "no worker named"),
        ({"do": "drop", "worker": "1"}, "^not here$"),
        ({"do": "restart"}, "no worker named"),
        ({"do": "restart", "worker": True}, "no worker named"),
        ({"do": "scale", "count": "4"}, "invalid `count`"),
        ({"do": "scale", "count": True}, "invalid `count`"),
        ({"do": "dance"}, "unknown command 'dance'; expected watch, .*health, logs, requests, restart, rolling-"),
        ({"do": ["restart"]}, "unknown command"),
        ({}, "unknown command 'None'"),
    ],
)
def test_what_is_not_offered_is_refused(
    commands: Commands, asked: list[Ask], message: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        commands.run(message)
    assert not asked


@pytest.mark.parametrize("texts", [NOT_BY_PODS, NOT_BY_SUPERVISOR], ids=["pods", "workers"])
def test_every_refusal_has_a_next_step(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        said = text.format(who="a test", worker="plumber-1", count=7, wait=False)
        assert "restart" in said or "kubectl" in said, name
        assert "{" not in said
