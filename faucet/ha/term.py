"""A term: until when the active may grant pods. Check the term right before each grant."""

from __future__ import annotations

from faucet.ha.timing import Timing


class Term:
    """The right to grant in one epoch. `sent_at`: when the write that took the Lease was *sent*.

    A term counts from the sending of a write, not from its answer: the others count from when they have seen the
    write, which is later, and wait longer. So it has ended before another can begin.
    """

    def __init__(self, epoch: int, timing: Timing, sent_at: float) -> None:
        self.epoch = epoch
        self.renewed_at = sent_at
        """When the last acknowledged renewal was sent."""
        self.until = sent_at + timing.renew_deadline
        self._timing = timing

    def allows(self, now: float) -> bool:
        """Return whether a pod may be granted now."""
        return now < self.until

    def acknowledged(self, sent_at: float) -> None:
        """Extend the term after a renewal, sent at `sent_at`, was stored."""
        self.renewed_at = max(self.renewed_at, sent_at)
        self.until = max(self.until, sent_at + self._timing.renew_deadline)

    def promised(self, asked_at: float) -> None:
        """Extend the term after all members, asked at `asked_at`, promised not to stand for the Lease."""
        limit = self.renewed_at + self._timing.outage_limit
        self.until = max(self.until, min(asked_at + self._timing.renew_deadline, limit))

    def __repr__(self) -> str:
        return f"<Term {self.epoch} until {self.until:g}>"
