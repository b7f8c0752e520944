"""The table of failures in docs/requests.md, printed from the rules."""

from __future__ import annotations

from typing import NamedTuple

from faucet.proxy.failures import MAX_CONNECTS, Event, Facts, Fate, Lock, Loss, Phase, Verdict, after

BEGIN, END = "<!-- failures:begin -->", "<!-- failures:end -->"

FATES = {
    Fate.GOES_ON: "its answer, when it comes",
    Fate.CUT: "a reset connection",
    Fate.RETRY: "the answer of another worker",
    Fate.RESEND: "the answer of the same worker, asked again",
    Fate.OVER: "nothing: it has left",
}
LOCKS = {
    Lock.AS_IT_IS: "—",
    Lock.RELEASE: "free at once",
    Lock.HEAR_OUT: "held until the worker has answered or closed",
    Lock.KEEP: "held for a while (1 s, or up to `--lock-grace`)",
    Lock.KEEP_BRIEFLY: "held for 20 times as long as the worker had it (at most that while)",
    Lock.GRACE: "held until it has answered or closed, at most for `--lock-grace`",
    Lock.REPLACE: "gone: the worker is ended and replaced",
}


class Row(NamedTuple):
    """One line: what happens, and what is known."""

    what: str
    event: Event
    facts: Facts


ACTIVE = Facts(Phase.ACTIVE)
GET = ACTIVE._replace(repeatable=True)
NEW = Loss(fresh=True, begun=False)
LOCAL = NEW._replace(supervised=True)
BEGUN = Loss(fresh=True, begun=True)

ROWS = (
    Row("The worker accepts no connection", Event.CONNECT_FAILED, ACTIVE._replace(connects=1)),
    Row(f"… and {MAX_CONNECTS - 1} others before it", Event.CONNECT_FAILED, ACTIVE._replace(connects=MAX_CONNECTS)),
    Row("The worker crashes at work on it", Event.EXIT_KNOWN, GET._replace(loss=LOCAL, exited=True)),
    Row("The worker dies before it has read it: GET, PUT, …", Event.EXIT_KNOWN,
        GET._replace(loss=LOCAL._replace(unread=True), exited=True)),
    Row("… POST, PATCH", Event.WORKER_ENDED, ACTIVE._replace(loss=LOCAL._replace(unread=True), exited=True)),
    Row("The worker ends the connection without an answer, and lives: GET, PUT, …", Event.WORKER_ENDED,
        GET._replace(loss=LOCAL)),
    Row("… POST, PATCH", Event.WORKER_ENDED, ACTIVE._replace(loss=NEW)),
    Row("A pod ends the connection without an answer", Event.WORKER_ENDED, GET._replace(loss=NEW)),
    Row("The worker had closed the connection before the request came: GET, PUT, …", Event.EXIT_KNOWN,
        GET._replace(loss=Loss(fresh=False, begun=False, unread=True))),
    Row("The worker ends in the middle of its answer, of which the client has seen nothing", Event.WORKER_ENDED,
        GET._replace(loss=BEGUN)),
    Row("… of which the client has seen a part", Event.WORKER_ENDED, GET._replace(loss=BEGUN, told=True, relayed=True)),
    Row("The way to a pod is lost: GET, PUT, …", Event.LINK_LOST, GET._replace(loss=NEW._replace(link=True))),
    Row("… POST, PATCH", Event.LINK_LOST, ACTIVE._replace(loss=NEW._replace(link=True))),
    Row("The worker's response is not valid HTTP", Event.BAD_RESPONSE, ACTIVE),
    Row("The worker does not answer within `--request-timeout`", Event.TIMED_OUT, ACTIVE),
    Row("… in the middle of its answer", Event.TIMED_OUT, ACTIVE._replace(told=True, relayed=True)),
    Row("A pod does not answer within `--request-timeout`", Event.TIMED_OUT, ACTIVE._replace(endable=False)),
    Row("The client does not send the rest of it, or does not read, for `--request-timeout`", Event.TIMED_OUT,
        ACTIVE._replace(client_late=True)),
    Row("The client leaves while it waits", Event.CLIENT_GONE, Facts(Phase.QUEUED, waiting=False)),
    Row("The client leaves while the worker is at work", Event.CLIENT_GONE, ACTIVE._replace(waiting=False)),
    Row("The client ends its sending side while it waits", Event.CLIENT_HALF_CLOSED, Facts(Phase.QUEUED)),
    Row("… while the worker is at work", Event.CLIENT_HALF_CLOSED, ACTIVE),
    Row("The service ends before the worker has answered", Event.SHUTDOWN, ACTIVE),
)  # fmt: skip


def table() -> str:
    """The table, as Markdown."""
    lines = ["| What happens | The client gets | The lock is |", "| --- | --- | --- |"]
    for row in ROWS:
        verdict = _settled(row)
        got = f"{verdict.status}" if verdict.fate is Fate.ANSWER else FATES[verdict.fate]
        lock = "gone with the worker" if row.facts.exited else LOCKS[verdict.lock]
        lines.append(f"| {row.what} | {got} | {lock} |")
    return "\n".join(lines)


def _settled(row: Row) -> Verdict:
    """What it comes to in the end; of the lock, once it is known whether the worker has exited."""
    verdict = after(row.event, row.facts)
    if verdict.fate is Fate.WAIT or verdict.lock is Lock.AWAIT_EXIT:
        later = after(Event.EXIT_KNOWN, row.facts)
        fate = later if verdict.fate is Fate.WAIT else verdict
        return Verdict(fate.fate, later.lock if verdict.lock is Lock.AWAIT_EXIT else verdict.lock, fate.status)
    return verdict


def printed(page: str) -> str:
    """`page` with the table of today."""
    before, _, rest = page.partition(BEGIN)
    _, _, behind = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{behind}"
