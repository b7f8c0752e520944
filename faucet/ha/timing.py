"""The durations of the election, in seconds of a clock that also runs while the machine is suspended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations in seconds. Raises ValueError if they cannot keep two terms apart."""

    lease_duration: float = 10.0
    """How long a member must have seen the Lease unchanged before it may take it."""
    renew_deadline: float = 6.0
    """How long the active may grant after it sent a renewal that was acknowledged."""
    outage_limit: float = 300.0
    """How long promises of the members may stand in for renewals. A cluster moves pods off a node that it cannot reach
    after as long, so that there may then be members that the active does not know."""

    def __post_init__(self) -> None:
        if not 0 < self.renew_deadline < self.lease_duration:
            raise ValueError(
                f"the renew deadline ({self.renew_deadline:g} s) must be shorter than the lease duration "
                f"({self.lease_duration:g} s)"
            )

    @property
    def drift(self) -> float:
        """The ratio of two clocks' rates below which terms do not overlap."""
        return self.lease_duration / self.renew_deadline

    @property
    def renew_every(self) -> float:
        """Seconds between two renewals, and between two reads of the Lease."""
        return self.renew_deadline / 3

    @property
    def silent_after(self) -> float:
        """Seconds after which an unanswered request means that the API is silent."""
        return self.renew_deadline / 6

    @property
    def call_timeout(self) -> float:
        """Timeout of a request to the API, in seconds."""
        return self.renew_deadline / 3

    @property
    def forget_after(self) -> float:
        """Seconds after which the active removes an unreachable member from the list."""
        return 3 * self.lease_duration
