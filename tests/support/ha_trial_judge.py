"""What judges a trial: which failures had to be, whether a pod ever had two requests, and for how long no pod got any.

All of it looks at what clients and pods have noted, and at nothing that a Faucet says.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

BAD_GATEWAY, CUT_SHORT, WRONG = "502", "an answer cut short", "another's answer"

NOTICING = 0.5
"""Seconds after the end of a trouble in which a request may still have been sent into it."""


class Span(NamedTuple):
    """A pod was at work on one request, by the clock of the hub."""

    began: float
    ended: float
    request: str


class Failure(NamedTuple):
    """A request that was not answered with 200 and its own content. Moments are of the clock of the hub."""

    request: str
    method: str
    outcome: str
    target: str
    """The address of the Faucet that the client was connected to."""
    began: float
    ended: float


@dataclass
class Trouble:
    """Something that was done to a Faucet or to a pod, and excuses failures of requests that were under way then."""

    kind: str
    """`lost`: a Faucet that is dead, frozen or cut off from its clients. `parted`: a relay that does not reach the
    active, or the other way round. `pod`: a pod that died."""
    who: str
    """Its address."""
    began: float
    ended: float = inf
    was_active: bool = False

    def excuses(self, failure: Failure, history: Iterable[Span]) -> bool:
        """Whether a failure had to be. `history`: what the pod did that died."""
        if failure.ended < self.began or failure.began > self.ended + NOTICING or failure.outcome == WRONG:
            return False
        in_hand = (failure.method, failure.outcome) == ("POST", BAD_GATEWAY) or failure.outcome == CUT_SHORT
        if self.kind == "lost":
            return failure.target == self.who or (self.was_active and in_hand)
        if self.kind == "parted":
            return failure.target == self.who and in_hand
        return in_hand and any(span.request == failure.request and span.ended >= self.began for span in history)


@dataclass
class Verdict:
    """What came of a scenario."""

    served: int
    permitted: Counter[str] = field(default_factory=Counter)
    faults: list[Failure] = field(default_factory=list)
    twice_at_once: list[tuple[Span, Span]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """Requests that must not be sent twice, and were."""
    longest: tuple[float, str] = (0.0, "")
    """The longest wait of a request that was served, in seconds, and which it was."""
    pause: float = 0.0
    """The longest time in which no pod was given a request, in seconds."""

    def good(self, longest: float, pause: float) -> bool:
        """Whether nothing was wrong, no request waited for longer than that, and the pods were idle for no longer."""
        wrong = self.faults or self.twice_at_once or self.repeated
        return not wrong and self.longest[0] <= longest and self.pause <= pause

    def __str__(self) -> str:
        seconds, which = self.longest
        wrong = Counter(f"{one.method} {one.outcome}" for one in self.faults)
        told = [
            f"{self.served} served", f"longest {seconds:.2f} s ({which})", f"pods without a request {self.pause:.2f} s",
            f"permitted failures {dict(self.permitted) or 0}", f"others {dict(wrong) or 0}",
            f"twice at once in one pod {len(self.twice_at_once)}", f"POSTs repeated {len(self.repeated)}",
        ]  # fmt: skip
        return ", ".join(told)


def overlaps(history: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pairs of which the second had begun before the first, of all before it the last to end, had ended."""
    found, last = [], Span(0.0, 0.0, "")
    for span in sorted(history):
        if span.began < last.ended:
            found.append((last, span))
        last = max(last, span, key=lambda one: one.ended)
    return found


def judge(
    served: int, longest: tuple[float, str], failures: Iterable[Failure], troubles: Sequence[Trouble],
    histories: Mapping[str, Collection[Span]], posts: Collection[str], since: float, until: float,
) -> Verdict:  # fmt: skip
    """Return the verdict on what happened between two moments. `histories`: what each pod did, by a name of its own
    that begins with the pod's address; `posts`: the requests that may be sent once only."""
    verdict = Verdict(served, longest=longest, pause=longest_pause(histories.values(), since, until))
    for failure in failures:
        if any(one.excuses(failure, _of(one.who, histories)) for one in troubles):
            verdict.permitted[f"{failure.method} {failure.outcome}"] += 1
        else:
            verdict.faults.append(failure)
    for history in histories.values():
        verdict.twice_at_once += overlaps(sorted(history))
    times = Counter(span.request for history in histories.values() for span in history)
    verdict.repeated = [request for request in posts if times[request] > 1]
    return verdict


def _of(address: str, histories: Mapping[str, Collection[Span]]) -> list[Span]:
    return [span for name, history in histories.items() if name.split(" ")[0] == address for span in history]


def longest_pause(histories: Iterable[Iterable[Span]], since: float, until: float) -> float:
    """Return for how many seconds, at most, no pod was given a request between two moments."""
    begun = sorted(span.began for history in histories for span in history if since <= span.began <= until)
    return max((after - before for before, after in itertools.pairwise([since, *begun, until])), default=0.0)
