"""What waits to be read by one client: written, counted, and no more of it than may be.

The other half of `downstream.ClientConnection`, which reads. A whole response may wait here for a slow reader: that is
what frees the worker from it. The loop tells when it is more than a little; only from then on is anything counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections.abc import Callable
from fcntl import ioctl
from termios import TIOCOUTQ

from faucet.proxy.clients import Clients
from faucet.proxy.exchange import Exchange
from faucet.proxy.spool import Spool


class Outflow(asyncio.Protocol):
    """The sending side of a client's connection."""

    __slots__ = (
        "_delivered",
        "_growing",
        "_linger_left",
        "_spool",
        "_tail",
        "_then",
        "clients",
        "exchange",
        "transport",
        "write_paused",
        "written",
    )

    transport: asyncio.Transport

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.exchange: Exchange | None = None
        self._linger_left = -1  # bytes still to be dropped before closing; negative: not lingering
        self._delivered = 0  # bytes the kernel had taken when progress was looked at last
        self._growing = False  # more of a response waits here than may in any case
        self._spool: Spool | None = None  # what the memory has no room for
        self._tail: list[bytes] = []  # and what the file has none for either
        self._then: Callable[[], None] | None = None  # what is to be done when all of that is written
        self.write_paused = False  # and as much as may at all
        self.written = 0

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is ending (uvloop raises then, where asyncio drops them)."""
        if self.transport.is_closing():
            return
        if self._spool is not None:
            self._write_to(self._spool, data)
            return
        self.written += len(data)
        self.transport.write(data)
        if self._growing:
            self._count_buffer()

    def _write_to(self, spool: Spool, data: bytes) -> None:
        if self._tail or not spool.append(data):
            self._tail.append(data)
            self._pause()

    def _pause(self) -> None:
        """There is no room for more of the response."""
        if not self.write_paused:
            self.write_paused = True
            if self.exchange is not None:
                self.exchange.client_paused()

    @property
    def backlog(self) -> int:
        """Bytes that wait to be written."""
        spooled = 0 if self._spool is None else self._spool.size + sum(map(len, self._tail))
        return self.transport.get_write_buffer_size() + spooled

    def _written_first(self, then: Callable[[], None]) -> bool:
        """Whether `then` has to wait until all is written; it is called then."""
        if self._spool is not None:
            self._then = then
        return self._spool is not None

    def pause_writing(self) -> None:
        """Called by the loop: from now on what waits here is counted, and there may be too much of it."""
        self._growing = True
        self._watch_reader()
        self._count_buffer()

    def resume_writing(self) -> None:
        """Called by the loop: there is less, but perhaps not little yet."""
        self._growing = False
        if self._linger_left >= 0 or self.transport.is_closing():
            self.write_paused = False
            self._watch_reader()  # there is less to read, but not yet nothing
            return
        if self._spool is not None and not self._write_spooled(self._spool):
            return
        self._set_marks(self.clients.free_buffer // 4)  # which calls pause_writing, if there is more than that
        if not self._growing:
            self._count_buffer()
            self.clients.readers.discard(self)
            self.clients.budget.slowed.pop(self, None)
        elif self.clients.budget.spent:
            self.clients.budget.slowed[self] = None
            return
        self.may_grow()

    def _write_spooled(self, spool: Spool) -> bool:
        """Write what is in the file, as far as the client reads it. Whether that was all, and nothing else is to do."""
        while not self._growing and not self.transport.is_closing():
            part = spool.read() or (self._tail.pop(0) if self._tail else b"")
            if not part:
                spool.close()
                self._spool = None
                then, self._then = self._then, None
                if then is not None:
                    then()
                return then is None
            self.written += len(part)
            self.transport.write(part)
        return False

    def may_grow(self) -> None:
        """There is room for more of the response. If there was none, it goes on."""
        paused, self.write_paused = self.write_paused, False
        if self.exchange is not None:
            if paused:
                self.exchange.client_resumed()
        elif paused and not self.transport.is_closing() and self._linger_left < 0:
            self._next_request()
        elif not paused and not self._growing:
            self._await_request()

    def _count_buffer(self) -> None:
        """Count what waits here. Too much is `buffer_response`; or any more, if all clients together have too much."""
        clients = self.clients
        size = self.transport.get_write_buffer_size()
        counted = size if size > clients.free_buffer else 0
        clients.budget.hold(self, counted)
        if self.write_paused or not counted or self._spool is not None:
            return
        full = size > clients.settings.buffer_response
        spent = clients.budget.spent
        if not (full or spent):
            return
        self._spool = clients.space.open()
        if self._spool is not None:
            self._set_marks(clients.free_buffer // 4)
            return
        if spent:
            clients.budget.on_strained()
        if full:
            self._set_marks(clients.settings.buffer_response // 4)
        else:
            clients.budget.slowed[self] = None
        self._pause()

    def _set_marks(self, low: int) -> None:
        """Be told again when so little waits to be read."""
        if not self.transport.is_closing():
            self.transport.set_write_buffer_limits(high=max(self.clients.free_buffer, low), low=low)

    def _watch_reader(self) -> None:
        self._delivered = self.taken()
        self.clients.readers.touch(self)

    def taken(self) -> int:
        """Bytes that have reached the client's machine. What waits in our kernel, which may be megabytes, has not: a
        steady but slow reader would else seem to stand still for a long time."""
        waiting = array("i", [0])
        with contextlib.suppress(OSError):  # where the system cannot tell, it counts as taken
            ioctl(self.transport.get_extra_info("socket").fileno(), TIOCOUTQ, waiting)
        return self.written - self.transport.get_write_buffer_size() - waiting[0]

    def _forget_buffer(self) -> None:
        """The connection is gone, and what waited with it."""
        if self._spool is not None:
            self._spool.close()
        self._spool = self._then = None
        self._tail.clear()
        self.clients.budget.slowed.pop(self, None)
        self.clients.budget.hold(self, 0)

    def cut(self) -> None:
        """Reset the connection."""
        raise NotImplementedError

    def _next_request(self) -> None:
        raise NotImplementedError

    def _await_request(self) -> None:
        raise NotImplementedError
