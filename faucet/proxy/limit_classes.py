"""The classes of requests that the options `--limit` define, and the limits of each class."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic
from urllib.parse import unquote_to_bytes

from faucet.proxy.deadlines import Item, Timeouts
from faucet.proxy.error_responses import QUEUE_FULL
from faucet.proxy.limits import LimitedDispatcher, RequestClass
from faucet.proxy.locks import Dispatcher, Ticket
from faucet.settings import ProxySettings
from faucet.units import counted


class LimitClasses(Generic[Ticket]):
    """The classes of requests: one for each limit, and one for all requests that no limit matches."""

    def __init__(self, settings: ProxySettings, class_of: Callable[[Ticket], RequestClass[Ticket]]) -> None:
        """`class_of` returns the class of a request, which `of` has determined before."""
        timeout = settings.queue_timeout
        self.any = bool(settings.limit)
        """Whether there are limits. If not, requests are not classified, which would cost time."""
        self.others: RequestClass[Ticket] = RequestClass("", settings.queue_limit, timeout or None)
        self.limited: list[RequestClass[Ticket]] = [
            RequestClass(
                limit.match,
                settings.queue_limit if limit.queue is None else limit.queue,
                (timeout if limit.queue_timeout is None else limit.queue_timeout) or None,
                limit.at_once,
                limit.priority,
            )
            for limit in settings.limit
        ]
        self._class_of = class_of
        self._settings = settings
        # The number of the matching group is the number of the limit, counted from 1.
        self._pattern = re.compile(b"|".join(b"(%s)" % limit.pattern for limit in settings.limit))

    def dispatcher(self) -> Dispatcher[Ticket, Any]:
        """Return the locks and the queue for these classes."""
        if self.any:
            return LimitedDispatcher([*self.limited, self.others], self._class_of)
        return Dispatcher(self.others.places, self.others.queue_timeout)

    def timeouts(
        self, loop: asyncio.AbstractEventLoop, expired: Callable[[Ticket], None], paused: Callable[[float], float]
    ) -> Timeouts[Ticket]:
        """Return the request timeouts of these classes; the arguments are as for Timeouts."""
        pairs = zip(self.limited, self._settings.limit, strict=True)
        own = {kind: limit.timeout for kind, limit in pairs if limit.timeout is not None}
        if own:
            return ClassTimeouts(loop, self._settings.request_timeout, expired, paused, own, self._class_of)
        return Timeouts(loop, self._settings.request_timeout, expired, paused)

    def of(self, method: bytes, target: bytes) -> RequestClass[Ticket]:
        """Return the class of a request: the class of the first limit that matches it.

        The path is matched as it was sent and, if it has percent-escapes, also decoded: workers differ in this.
        """
        path = target.partition(b"?")[0]
        if not path.startswith(b"/"):  # http://host/path, as for a proxy (RFC 9112, 3.2.2)
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        match = self._pattern.fullmatch(b"%s %s" % (method, path))
        if match is None and b"%" in path:
            match = self._pattern.fullmatch(b"%s %s" % (method, unquote_to_bytes(path)))
        return self.others if match is None else self.limited[(match.lastindex or 1) - 1]


def why_full(kind: RequestClass[Any]) -> str:
    """Return why a request of this class cannot be queued, as a sentence for its client."""
    if not kind.name:
        return QUEUE_FULL
    if kind.has_room:
        most = counted(kind.places, "request")
        return f"All workers are busy, and at most {most} for {kind.name} may wait (--limit)."
    served = f"At most {counted(int(kind.at_once), 'request')} for {kind.name} may be served at once"
    return f"{served}, and at most {kind.places} may wait (--limit)."


def why_expired(kind: RequestClass[Any]) -> str:
    """Return why a request of this class has exceeded its queue timeout, as a sentence for its client."""
    seconds = f"{kind.queue_timeout or 0:g} s"
    if kind.has_room:
        return f"No worker became free within {seconds}."
    most = f"at most {kind.at_once:g} may be served at once (--limit)"
    return f"No other request for {kind.name} ended within {seconds}; {most}."


class ClassTimeouts(Timeouts[Item]):
    """Timeouts in which the items of some classes have a timeout of their own."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        expired: Callable[[Item], None],
        paused: Callable[[float], float],
        own: Mapping[RequestClass[Any], float],
        class_of: Callable[[Item], RequestClass[Any]],
    ) -> None:
        """Items of a class in `own` have the timeout given there, all others `seconds`."""
        super().__init__(loop, seconds, expired, paused)
        self._class_of = class_of
        self._own = {kind: Timeouts(loop, time, expired, paused) for kind, time in own.items()}

    def patience(self, item: Item) -> float:
        """See Timeouts."""
        own = self._own.get(self._class_of(item))
        return super().patience(item) if own is None else own.patience(item)

    def __contains__(self, item: object) -> bool:
        return super().__contains__(item) or any(item in own for own in self._own.values())

    def touch_at(self, item: Item, now: float) -> None:
        """See Timeouts."""
        own = self._own.get(self._class_of(item))
        if own is None:
            super().touch_at(item, now)
        else:
            own.touch_at(item, now)

    def discard(self, item: Item) -> None:
        """See Timeouts. The class of `item` need not be known yet."""
        super().discard(item)
        for own in self._own.values():
            own.discard(item)

    def close(self) -> None:
        """See Timeouts."""
        super().close()
        for own in self._own.values():
            own.close()
