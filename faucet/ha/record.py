"""The content of the Lease as a value: its holder, its epoch, and the data that a successor needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple


class Identity(NamedTuple):
    """One process: the pod it runs in, and which of the pod's processes it is."""

    name: str
    uid: str
    """The pod's UID; empty if it is unknown."""
    boot: str
    """A random value, unique to this process."""

    @property
    def key(self) -> str:
        """A key that stays the same when the container restarts, if the UID is known."""
        return self.uid or f"{self.name}/{self.boot}"

    def restarted(self, earlier: Identity) -> bool:
        """Return whether `earlier` was a process of the same pod. If so, it is dead: only one runs at a time."""
        return bool(self.uid) and self.uid == earlier.uid and self.boot != earlier.boot

    def __str__(self) -> str:
        return f"{self.name}/{self.uid}/{self.boot}"

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """Return the identity from its text form; None if the text is not an identity."""
        parts = text.split("/")
        return cls(*parts) if len(parts) == 3 and parts[0] and parts[2] else None


NOBODY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Record:
    """The content of the Lease."""

    holder: str
    """The identity of the active; empty for none."""
    epoch: int
    """How often the Lease has changed hands (`leaseTransitions`)."""
    lease_duration: float
    outage_limit: float = 0.0
    """Seconds for which promises may replace renewals: see Timing."""
    beat: int = 0
    """Increases with each write, because the API server gives no new version to an unchanged object."""
    members: Mapping[str, str] = field(default_factory=lambda: NOBODY)
    """The key and address of each member that the holder knows, itself included."""
    quarantine: float | None = None
    """Seconds for which a successor must not use a pod that the holder may have used; None if unknown."""
    released_by: str = ""
    """The last holder, if it released the Lease: it no longer grants."""
    busy: frozenset[str] = frozenset()
    """The pods that were busy for the last holder when it released the Lease."""
    unknown_for: float = 0.0
    """Seconds, from the release, for which any pod might still be busy for an earlier holder."""
    address: str = ""
    """Where the holder listens for its members."""
    token: str = ""
    """The token that a member presents there."""

    @property
    def holder_key(self) -> str:
        """The key of the holder, or its whole text if that is not an identity."""
        identity = Identity.parse(self.holder)
        return identity.key if identity is not None else self.holder


class Lease(NamedTuple):
    """A record as the API server stores it."""

    record: Record
    version: str
    """The `resourceVersion`, which differs after each change."""
