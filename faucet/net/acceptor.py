"""Accepts connections from one listening socket: a few per turn of the loop, and none while there is no room for them.

The servers of asyncio and uvloop accept all waiting connections, up to the last file descriptor, before any protocol is
called. A burst of clients would take the descriptors that the service reserves for its workers. Connections that are
not accepted wait in the kernel's queue.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from faucet import tasks
from faucet.net.descriptors import is_shortage

_log = logging.getLogger("faucet")

ACCEPTED_PER_TURN = 64
"""The most connections accepted in one turn of the loop: a millisecond or two of work."""

PAUSE = 0.01
"""Seconds between two checks for room, which cost 0.2 % of a CPU. Descriptors become free in many places, and none of
them notifies the acceptor."""

Factory = Callable[[], asyncio.Protocol]


def always_room(opening: int) -> bool:
    """Return True: there is room for any number of connections."""
    return True


class Acceptor:
    """Accepts from `sock`, which must be listening; `close` leaves it open.

    `room(n)` is asked before each connection, with the number of those that were accepted but have no protocol yet.
    `short()` is called when the process has no descriptor left to accept with.
    """

    def __init__(
        self, sock: socket.socket, factory: Factory, room: Callable[[int], bool], short: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._factory = factory
        self._room = room
        self._short = short
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._descriptor = sock.fileno()
        self._loop.add_reader(self._descriptor, self._accept)

    async def close(self) -> None:
        """Accept no more connections, and wait until each accepted one has its protocol."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._descriptor)
        if self._opening:
            await asyncio.wait(self._opening)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_PER_TURN):
            if not self._room(len(self._opening)):
                self._pause()
                return
            try:
                sock = self._sock.accept()[0]
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # that client has left already
            except OSError as error:
                self._cannot(error)
                return
            task = tasks.start(self._open(sock), "an accepted connection")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _cannot(self, error: OSError) -> None:
        """Report that accepting failed, and pause: the waiting connections would trigger the reader again at once."""
        if is_shortage(error):
            self._short()
        else:
            _log.warning("cannot accept connections: %s", error.strerror or error)
        self._pause()

    def _pause(self) -> None:
        self._loop.remove_reader(self._descriptor)
        self._timer = self._loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self._loop.add_reader(self._descriptor, self._accept)

    async def _open(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            await self._loop.connect_accepted_socket(self._factory, sock)
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):  # else the client has disconnected already
                raise
