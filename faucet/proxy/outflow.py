"""The sending side of a client's connection: writes responses, counts what is buffered, and limits it.

The other half of `downstream.ClientConnection`, which reads. A whole response may be buffered here for a slow reader,
which frees the worker early. The loop calls `pause_writing` when more than FREE bytes are buffered; only then are
buffered bytes counted.
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
from faucet.proxy.sides import Downstream
from faucet.proxy.spool import Spool


class Outflow(Downstream):
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
        "written",
    )

    transport: asyncio.Transport

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.exchange: Exchange | None = None
        self._linger_left = -1  # bytes still to be discarded while lingering; negative: not lingering
        self._delivered = 0  # bytes that had reached the client at the last check of its rate
        self._growing = False  # more than the free bytes of a response are buffered
        self._spool: Spool | None = None  # bytes that the memory has no room for
        self._tail: list[bytes] = []  # bytes that the file has no room for
        self._then: Callable[[], None] | None = None  # called when all spooled bytes are written
        self.write_paused = False  # no more of a response can be buffered
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
        """Stop reading the response from the worker: no more of it can be buffered."""
        if not self.write_paused:
            self.write_paused = True
            if self.exchange is not None:
                self.exchange.client_paused()

    @property
    def backlog(self) -> int:
        """The number of buffered bytes, in memory and in the file."""
        spooled = 0 if self._spool is None else self._spool.size + sum(map(len, self._tail))
        return self.transport.get_write_buffer_size() + spooled

    def _written_first(self, then: Callable[[], None]) -> bool:
        """If spooled bytes have to be written first, call `then` after them and return True; else return False."""
        if self._spool is not None:
            self._then = then
        return self._spool is not None

    def pause_writing(self) -> None:
        """Called by the loop when more than the free bytes are buffered: count buffered bytes from now on."""
        self._growing = True
        self._watch_reader()
        self._count_buffer()

    def resume_writing(self) -> None:
        """Called by the loop when the client has read enough: write spooled bytes, or let the response go on."""
        self._growing = False
        if self._linger_left >= 0 or self.transport.is_closing():
            self.write_paused = False
            self._watch_reader()  # some bytes are still buffered
            return
        if self._spool is not None and not self._write_spooled(self._spool):
            return
        self._set_marks(self.clients.free_buffer // 4)  # calls pause_writing if more is buffered
        if not self._growing:
            self._count_buffer()
            self.clients.readers.discard(self)
            self.clients.budget.slowed.pop(self, None)
        elif self.clients.budget.spent:
            self.clients.budget.slowed[self] = None
            return
        self.may_grow()

    def _write_spooled(self, spool: Spool) -> bool:
        """Write spooled bytes as far as the client reads. Return whether all are written and no `_then` was called."""
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
        """More of the response can be buffered: resume it if it was paused."""
        paused, self.write_paused = self.write_paused, False
        if self.exchange is not None:
            if paused:
                self.exchange.client_resumed()
        elif paused and not self.transport.is_closing() and self._linger_left < 0:
            self._next_request()
        elif not paused and not self._growing:
            self._await_request()

    def _count_buffer(self) -> None:
        """Count the buffered bytes. Spool or pause beyond `buffer_response`, or at once if the budget is spent."""
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
        """Have the loop call `resume_writing` when `low` bytes are buffered."""
        if not self.transport.is_closing():
            self.transport.set_write_buffer_limits(high=max(self.clients.free_buffer, low), low=low)

    def _watch_reader(self) -> None:
        self._delivered = self.taken()
        self.clients.readers.touch(self)

    def taken(self) -> int:
        """Return the number of bytes that have reached the client's machine.

        Bytes in this machine's kernel, which may be megabytes, do not count: otherwise a steady but slow reader would
        seem to make no progress for a long time."""
        waiting = array("i", [0])
        with contextlib.suppress(OSError):  # unknown on this system: bytes in the kernel count as taken
            ioctl(self.transport.get_extra_info("socket").fileno(), TIOCOUTQ, waiting)
        return self.written - self.transport.get_write_buffer_size() - waiting[0]

    def _forget_buffer(self) -> None:
        """Discard the buffered bytes after the connection is lost."""
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
