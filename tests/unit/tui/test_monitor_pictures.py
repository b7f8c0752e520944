"""Pictures of the monitor, compared as text."""

from __future__ import annotations

import pytest

from faucet.tui.screens import WorkerScreen
from tests.support.goldens import compare
from tests.support.screen import Open, drawn, keys, redrawn, screen_text
from tests.support.stage_picture import NOTICES, NOW, SERVICE, snapshot, worker


@pytest.mark.parametrize(("name", "size"), [("120x36", (120, 36)), ("80x24", (80, 24)), ("50x12", (50, 12))])
async def test_pictures(opened: Open, name: str, size: tuple[int, int]) -> None:
    async with opened(size) as (app, _, _):
        compare(name, screen_text(app))


@pytest.mark.parametrize("tab", ["requests", "queue", "events"])
async def test_pictures_of_the_tabs(opened: Open, tab: str) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, {"requests": "2", "queue": "3", "events": "4"}[tab])
        compare(tab, screen_text(app))


async def test_picture_in_ascii(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ASCII", "1")
    async with opened((80, 24)) as (app, _, _):
        text = screen_text(app)
        table = text.split("Log")[0]
        assert table.isascii(), table
        compare("ascii", text)


async def test_a_picture_of_workers_that_cannot_be_started(opened: Open) -> None:
    """The banner says what is wrong, and the table names it first."""
    service = SERVICE._replace(state="failing", notice=NOTICES[0].text)
    reason = "forecast is missing (R package); next try at 08:00:04"
    rows = [worker(name, "failed", reason=reason, pid=0, port=0, since=0.0, restarts=5) for name in ("1", "2")]
    async with opened((80, 24)) as (app, pilot, runtime):
        runtime.tell(snapshot(service=service, workers={row.key: row for row in rows}, notices=NOTICES[:1]))
        await drawn(app, pilot)
        compare("failing-80x24", screen_text(app))
        runtime.tell(
            snapshot(service=SERVICE._replace(notice="rolling restart: 0 of 2, worker 1"), notices=NOTICES[:1])
        )
        await drawn(app, pilot)
        assert "rolling restart: 0" in screen_text(app)
        assert "1 of 8 workers cannot start" in screen_text(app), "until the next success"
        runtime.tell(snapshot(notices=[]))
        await drawn(app, pilot)
        assert "forecast" not in screen_text(app)


PODS = {
    name: worker("1", state)._replace(key=name, name=name, pid=0, port=8000, address=f"10.244.1.{number}:8000", **more)
    for number, (name, state, more) in enumerate(
        [("plumber-7d9c5b6f8-2xk8q", "busy", {"locked": NOW - 2, "request": "GET /sleep", "client": "10.0.0.7"}),
         ("plumber-7d9c5b6f8-9qkzp", "ready", {}),
         ("plumber-7d9c5b6f8-lm4vd", "backoff", {"reason": "Connection refused; next try at 08:00:04"})], 11,
    )
}  # fmt: skip

FAR = SERVICE._replace(
    title="http://plumber:8000", detail="its pods", mode="k8s", owned=False, link="ops@bastion", link_state="up",
    resolved_by="DNS at 10.96.0.10, from ops@bastion", resolved=NOW - 2, link_since=NOW - 11000,
    link_detail="aes128-gcm, 12ms", actions=("restart", "hold", "resume", "drop", "retry"),
)  # fmt: skip


@pytest.mark.parametrize("size", [(120, 36), (80, 24)])
async def test_pods_through_a_bastion(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        runtime.tell(snapshot(service=FAR, workers=PODS))
        await drawn(app, pilot)  # the footer is made anew for what pods can be told
        compare(f"pods-{size[0]}x{size[1]}", await redrawn(app, pilot))
        await keys(app, pilot, "d", "y", "t")
        assert [asked for asked, _ in runtime.asked] == ["drop", "retry"]
        await keys(app, pilot, "K", "R", "+")
        assert len(runtime.asked) == 2, "pods are the cluster's to kill, roll and scale"
        await keys(app, pilot, "r")
        assert "Delete pod plumber-7d9c5b6f8-2xk8q" in screen_text(app)
        await keys(app, pilot, "tab", "enter")
        await pilot.pause()
        runtime.tell(
            snapshot(
                service=FAR._replace(link_state="down", notice="ssh link to ops@bastion: reconnecting in 4s: lost")
            )
        )
        assert "down 3h03m" in await redrawn(app, pilot)


async def test_details_of_a_worker(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "enter")
        assert isinstance(app.screen, WorkerScreen)
        compare("details", screen_text(app))
        assert runtime.asked[0] == ("details", {"worker": "1"})
        await keys(app, pilot, "r", "y")
        assert not isinstance(app.screen, WorkerScreen)
        assert runtime.asked[-1] == ("restart", {"worker": "1", "who": "the monitor"})
