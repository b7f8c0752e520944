"""Accepts connections from one listening socket: a few per turn of the loop, and none while there is no room for them.

The servers of asyncio and uvloop accept whatever waits, up to the last file descriptor, before any protocol hears of
it. A burst of clients would take the descriptors that the service keeps for its workers. What is not accepted waits in
the kernel's queue, which is what that queue is for.
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
"""Connections accepted before others have their turn: a millisecond or two of work."""

PAUSE = 0.01
"""Seconds until it looks again for room, which costs 0.2 % of a CPU. Descriptors become free in many places, and none
of them tells."""

Factory = Callable[[], asyncio.Protocol]


def always_room(opening: int) -> bool:
    """Room for any number of connections."""
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
        """Accept no more, and wait until what was accepted has its protocol."""
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
        """Accepting failed; what waits is still there, and would wake us at once again."""
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
            if not isinstance(error, OSError):  # else it is gone already
                raise
