"""What the Lease says, as a value: who holds it, in which epoch, and what its successor must know."""

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
    """Random, of this process only."""

    @property
    def key(self) -> str:
        """What stays the same when the container restarts; without a UID, nothing does."""
        return self.uid or f"{self.name}/{self.boot}"

    def restarted(self, earlier: Identity) -> bool:
        """Whether `earlier` was a process of the same pod. It is dead: a pod's container runs once at a time."""
        return bool(self.uid) and self.uid == earlier.uid and self.boot != earlier.boot

    def __str__(self) -> str:
        return f"{self.name}/{self.uid}/{self.boot}"

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """Return the identity that `str` made; None if it is none of ours."""
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
    """For how long the holder may live on promises: see Timing."""
    beat: int = 0
    """Grows with each write: the API server does not store, and gives no new version to, what is unchanged."""
    members: Mapping[str, str] = field(default_factory=lambda: NOBODY)
    """The key and address of each member that the holder knows, itself included."""
    quarantine: float | None = None
    """Seconds for which a successor must not use a pod that the holder may have used; None if nobody said."""
    released_by: str = ""
    """The last holder, if it gave the Lease up: it grants no more."""
    busy: frozenset[str] = frozenset()
    """The pods that were busy for the last holder when it gave the Lease up."""
    unknown_for: float = 0.0
    """Seconds, when it was given up, for which any pod might still be busy for an earlier holder."""
    address: str = ""
    """Where the holder listens for its members."""
    token: str = ""
    """What a member presents there."""

    @property
    def holder_key(self) -> str:
        """The key of the holder; its whole text if that is no identity of ours."""
        identity = Identity.parse(self.holder)
        return identity.key if identity is not None else self.holder


class Lease(NamedTuple):
    """A record as the API server stores it."""

    record: Record
    version: str
    """The `resourceVersion`: another one after each change."""
