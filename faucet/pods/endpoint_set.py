"""The endpoints that get requests, computed from the successive answers of a resolver.

Additions count at once. A failed resolution (Trouble) changes nothing: the last set is better than none. A missing name
may be a hiccup of the name server, so it counts only if it is missing twice in a row.
"""

from __future__ import annotations

from faucet.pods.discovery.endpoints import Answer, Endpoint, Found, Missing

MISSING_TWICE = 2

STRANGE_LIMIT = 3
"""How many answers in a row are ignored that have only addresses of another IP version."""


class EndpointSet:
    """The known endpoints. Times are readings of the caller's clock."""

    def __init__(self) -> None:
        self.endpoints: dict[tuple[str, int], Endpoint] = {}
        """All endpoints in the last good answer, ready or not."""
        self.known_since: float | None = None
        """When the last good answer arrived; None: never."""
        self.trouble = ""
        """Why the last answer was not good; empty if it was good."""
        self._missing = 0
        self._strange = 0

    def apply(self, answer: Answer, now: float) -> bool:
        """Apply one answer; return whether the set of endpoints has changed."""
        if not isinstance(answer, Found):
            self.trouble = answer.text
            self._missing = self._missing + 1 if isinstance(answer, Missing) else 0
            if self._missing < MISSING_TWICE:
                return False
            answer = Found(())
        elif self._is_other_family(answer) and self._strange < STRANGE_LIMIT:
            self._strange += 1
            self.trouble = "the answer has only addresses of another IP version; keeping the old ones unless this lasts"
            return False
        else:
            self._missing = self._strange = 0
            self.trouble = ""
        self.known_since = now
        before, self.endpoints = self.endpoints, {endpoint.key: endpoint for endpoint in answer.endpoints}
        return self.endpoints != before

    def _is_other_family(self, answer: Found) -> bool:
        """Whether the answer has only the other IP version: most likely the same pods, which would get second locks."""
        before, after = (
            {":" in host for host, _ in keys} for keys in (self.endpoints, [e.key for e in answer.endpoints])
        )
        return bool(before and after) and before != after

    @property
    def ready(self) -> list[Endpoint]:
        """The endpoints that are ready for requests."""
        return [endpoint for endpoint in self.endpoints.values() if endpoint.ready]
