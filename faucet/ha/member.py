"""One member: the election, and its consequences for the pods.

The active asks `may_use` right before each grant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

from faucet.ha.decisions import Began, Decision, Ended
from faucet.ha.election import Election
from faucet.ha.messages import Freed, Stopped
from faucet.ha.quarantine import LEAST, Quarantine, quarantine_seconds
from faucet.ha.record import Record


class Member:
    """Combines an Election and a Quarantine. Pass each decision of the election to `follow`.

    `lock_grace`: seconds after which a pod counts as free in any case.
    """

    def __init__(self, election: Election, lock_grace: float) -> None:
        self.election = election
        self.quarantine = Quarantine()
        self._lock_grace = lock_grace
        self._granted: set[str] = set()
        self.in_use: Callable[[], Iterable[str]] = lambda: self._granted
        """Returns the pods that are locked. Unless it is replaced, `granted` and `released` tell."""
        self._stopped_in = 0  # the last epoch in which this member stopped being the active
        self._reported: set[str] = set()  # busy pods that were reported to others
        self._gone_since: dict[str, float] = {}  # keys of listed members that are not connected
        self._heard: dict[tuple[str, int], Stopped] = {}
        election.quarantine = quarantine_seconds(0.0, lock_grace)

    @property
    def identity(self) -> str:
        """The identity of this process in the Lease."""
        return str(self.election.me)

    # -- the pods ----------------------------------------------------------------------------------------------

    def may_use(self, pod: str, now: float) -> bool:
        """Whether a request may be sent to `pod` now: asked when it is granted, and again when a connection is open."""
        return self.election.may_grant(now) and self.quarantine.allows(pod, now)

    def granted(self, pod: str) -> None:
        """Record that `pod` is locked."""
        self._granted.add(pod)

    def released(self, pod: str, now: float) -> list[Freed]:
        """Record that `pod` is unlocked. Return reports for the active, if that is another member now."""
        self._granted.discard(pod)
        return self.freed_pods(now)

    def set_longest(self, seconds: float, now: float) -> None:
        """`seconds` is the longest service time of the last minute: see quarantine_seconds."""
        figure = quarantine_seconds(seconds, self._lock_grace)
        self.election.quarantine = max(figure, self.quarantine.carried(now))

    # -- the changes of the active -----------------------------------------------------------------------------

    def follow(self, decision: Decision, now: float) -> None:
        """Apply a decision to the pods."""
        if isinstance(decision, Began):
            self._begin(decision.previous, now)
        elif isinstance(decision, Ended):
            self._stopped_in = decision.epoch
            self.quarantine.hand_over(now)

    def _begin(self, previous: Record | None, now: float) -> None:
        self._reported.clear()
        self._list_again(now)
        if previous is None:
            # Whoever has never seen a Lease has waited for longer than a term, and there is nobody to ask.
            first = self.election.epoch == 1
            self.quarantine.begin_unknown(now, ("", 0), LEAST if first else self._lock_grace)
        else:
            self._take_over(previous, now)
        self.election.quarantine = max(self.election.quarantine, self.quarantine.carried(now))

    def _take_over(self, previous: Record, now: float) -> None:
        seconds = previous.quarantine if previous.quarantine is not None else self._lock_grace
        last = (previous.released_by or previous.holder, previous.epoch)
        told = self._heard.get(last)
        if last[0] == self.identity:
            self.quarantine.begin(now, last, seconds)  # its own locks are known
        elif previous.released_by:
            self.quarantine.begin(now, last, seconds, previous.busy, previous.unknown_for)
        elif told is not None:
            self.quarantine.begin(now, last, seconds, told.busy, told.unknown_for)
        else:
            self.quarantine.begin_unknown(now, last, seconds)

    def release(self, now: float, why: str) -> list[Decision]:
        """Release the Lease, so that another member can take it immediately."""
        return self.election.release(now, self._busy(now), self.quarantine.unknown_for(now), why)

    def _busy(self, now: float) -> frozenset[str]:
        """Return the pods that a successor must not use: this member's busy pods, and those in quarantine."""
        return frozenset(self.in_use()) | self.quarantine.pods(now)

    # -- the list of members, which the active keeps --------------------------------------------------------------

    def _list_again(self, now: float) -> None:
        """Start with the members that the Lease lists. None of them is connected yet."""
        seen, me = self.election.seen, self.election.me
        listed = dict(seen.record.members) if seen is not None and seen.record is not None else {}
        listed.pop(me.key, None)
        self.election.members = listed
        self._gone_since = dict.fromkeys(listed, now)
        self.election.unreachable = set(listed)

    def met(self, key: str, address: str, now: float) -> list[Decision]:
        """Add a connected member to the list in the Lease."""
        self._gone_since.pop(key, None)
        self.election.unreachable.discard(key)
        if self.election.members.get(key) == address:
            return []
        self.election.members = {**self.election.members, key: address}
        return self.election.renew_soon(now)

    def parted(self, key: str, now: float) -> None:
        """Record that a member has disconnected. It stays listed for a while, and may take the Lease until then."""
        self._gone_since.setdefault(key, now)
        self.election.unreachable.add(key)

    def forget_members(self, now: float) -> None:
        """Remove members from the list that have been disconnected for longer than Timing.forget_after."""
        for key, since in list(self._gone_since.items()):
            if now - since > self.election.timing.forget_after:
                del self._gone_since[key]
                self.election.unreachable.discard(key)
                self.election.members = {name: at for name, at in self.election.members.items() if name != key}

    # -- reports to the active, after this member has stopped being the active ---------------------------------

    def stopped(self, now: float) -> Stopped | None:
        """Return what others must know of this member's pods: told to all when it stops, and to each active it meets.

        None if it was never the active, or is.
        """
        if not self._stopped_in or self.election.is_active:
            return None
        self._reported = set(self._busy(now))
        return Stopped(self._stopped_in, self.identity, frozenset(self._reported), self.quarantine.unknown_for(now))

    def freed_pods(self, now: float) -> list[Freed]:
        """Return reports of pods that are no longer busy. Call it when a pod is unlocked, and at `wake_at`."""
        freed = sorted(self._reported - self._busy(now))
        self._reported.difference_update(freed)
        return [Freed(self._stopped_in, self.identity, pod) for pod in freed]

    def wake_at(self, now: float) -> float:
        """Return when the next pod leaves quarantine by timeout."""
        return self.quarantine.next_change(now) if self._reported or self.election.is_active else inf

    # -- messages from others ----------------------------------------------------------------------------------

    def heard_stopped(self, message: Stopped, now: float, *, reports: bool) -> list[Decision]:
        """Process a message of a member that has stopped granting, with the pods that are busy for it.

        `reports`: whether this is the first message of a connection on which it will tell when they are free.
        """
        self._heard = {key: heard for key, heard in self._heard.items() if key[0] != message.holder}
        self._heard[message.holder, message.epoch] = message
        if self.election.is_active:
            self.quarantine.stopped(now, message, reports=reports)
        return self.election.stopped(now, message)

    def heard_freed(self, message: Freed) -> None:
        """Process a report that a pod is no longer busy for its sender."""
        self.quarantine.freed(message)

    def lost(self, holder: str, now: float) -> None:
        """Record that the member with this identity can no longer be reached."""
        self.quarantine.lost(now, holder)
