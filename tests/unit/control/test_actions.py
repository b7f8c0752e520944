"""Commands on workers: a fleet takes those that it offers, and those of other fleets are refused with what to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from faucet.control.commands import Commands
from faucet.fleet import Command, Refused
from faucet.pods.fleet import NOT_OFFERED as NOT_BY_PODS
from faucet.workers.supervisor import NOT_OFFERED as NOT_BY_SUPERVISOR


@pytest.fixture
def given() -> list[Command]:
    return []


@pytest.fixture
def commands(given: list[Command]) -> Commands:
    def act(command: Command) -> str:
        given.append(command)
        return "done"

    names = ("restart", "scale", "rolling-restart")
    not_offered = {"kill": "use: restart {worker}", "drop": "not here"}
    fleet = SimpleNamespace(actions=dict.fromkeys(names, act), not_offered=not_offered, count=4)
    return Commands(cast("Any", SimpleNamespace(fleet=fleet)))


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"do": "restart", "worker": 3, "who": "ctl"}, Command("ctl", worker="3")),
        ({"do": "restart", "worker": "3+"}, Command("an unnamed client", worker="3+")),
        ({"do": "scale", "count": 6, "who": "ctl"}, Command("ctl", count=6)),
        ({"do": "scale", "count": "-1", "who": "ctl"}, Command("ctl", count=3)),
        ({"do": "rolling-restart", "who": "ctl"}, Command("ctl")),
        ({"do": "rolling-restart", "who": "ctl", "wait": True}, Command("ctl", wait=True)),
    ],
)
def test_an_action_gets_what_it_needs(
    commands: Commands, given: list[Command], message: dict[str, Any], command: Command
) -> None:
    assert commands.run(message) == "done"
    assert given == [command]


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
        ({"do": "cancel"}, "no request named"),
        ({"do": "cancel", "request": True}, "no request named"),
        (
            {"do": "dance"},
            "unknown command 'dance'; expected watch, .*health, history, logs, requests, restart, rolling-",
        ),
        ({"do": ["restart"]}, "unknown command"),
        ({}, "unknown command 'None'"),
    ],
)
def test_what_is_not_offered_is_refused(
    commands: Commands, given: list[Command], message: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        commands.run(message)
    assert not given


@pytest.mark.parametrize("texts", [NOT_BY_PODS, NOT_BY_SUPERVISOR], ids=["pods", "workers"])
def test_every_refusal_has_a_next_step(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        said = text.format(who="a test", worker="plumber-1", count=7, wait=False)
        assert "restart" in said or "kubectl" in said, name
        assert "{" not in said
