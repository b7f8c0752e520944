"""The connections between members: each relay is connected to the active, for promises, stops and freed pods.

Requests use separate connections: see `lanes` and `relayed`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

from faucet import tasks
from faucet.ha import clock
from faucet.ha.connection import PeerConnection
from faucet.ha.decisions import AskAll, Began, Decision, Ended, Reply
from faucet.ha.door import Door, Factory
from faucet.ha.elector import Elector
from faucet.ha.lease_client import LeaseClient
from faucet.ha.member import Member
from faucet.ha.messages import Ask, Freed, Promise, Refusal, Stopped
from faucet.ha.wire import Hello, Message, NotActive, Welcome
from faucet.net.address import Address, AddressError, parse_address
from faucet.net.listener import Listener

_log = logging.getLogger("faucet")

DIAL_AGAIN = 0.5
"""Seconds between two attempts to reach the active."""

DIAL_TIMEOUT = 2.0

UNKNOWN_LIMIT = 64
"""Most connections whose first line has not come. More wait in the kernel's queue: whoever can reach the port must not
take the descriptors that requests need."""


class Peers:
    """One member and its connections. `on_change(decision)` is called with Began and Ended, after the others are told.

    `kinds`: see Door, of connections that carry something else than messages. `after()` is called when something
    has happened; `waiting` returns how many requests are queued here, for the active to show.
    """

    def __init__(
        self, member: Member, lease: LeaseClient, on_change: Callable[[Began | Ended], None],
        now: Callable[[], float] = clock.now, kinds: Mapping[bytes, Factory] = MappingProxyType({}),
        after: Callable[[], None] = lambda: None, waiting: Callable[[], int] = lambda: 0,
    ) -> None:  # fmt: skip
        self.member = member
        self.elector = Elector(member, lease, self._decided, self._after_event, now)
        self._on_change = on_change
        self.kinds = dict(kinds)
        """See Door. More can be added before `start`."""
        self._after = after
        self._stopped: set[int] = set()  # epochs of actives that have said so
        self._waiting = waiting
        self._now = now
        self._listener: Listener | None = None
        self._unknown: set[Door] = set()  # connections whose first line has not come yet
        self._relays: dict[PeerConnection, Hello | None] = {}  # connections that others have opened
        self._active: PeerConnection | None = None  # the one that this member has opened
        self._active_holder = ""
        self.is_welcome = False
        """Whether the active takes requests from this member."""
        self._dialling: asyncio.Task[None] | None = None
        self._dialled = ""  # the holder that was dialled last
        self._dial_at = 0.0
        self._redial: asyncio.TimerHandle | None = None

    # -- life cycle --------------------------------------------------------------------------------------------

    async def start(self, address: Address, listening: Callable[[int], None] = lambda _: None) -> int:
        """Listen for members and take part in the election; return the port. Raises AddressError.

        `listening` is told the port before the election begins.
        """
        self._listener = Listener(address, option="--peer-host")
        await self._listener.open(self._door, self._has_room)
        port = self._listener.address.port
        listening(port)
        self.elector.start()
        return port

    def _has_room(self, opening: int) -> bool:
        return len(self._unknown) + opening < UNKNOWN_LIMIT

    async def stop(self) -> None:
        """Stop taking part, and close all connections. In a planned stop, call `elector.release` first."""
        await self.elector.stop()
        if self._dialling is not None:
            await tasks.end(self._dialling)
        if self._redial is not None:
            self._redial.cancel()
        if self._listener is not None:
            await self._listener.close()  # each connection that was accepted is in one of these collections then
        for door in [*self._unknown]:
            door.abort()
        for connection in [*self._relays, *([self._active] if self._active is not None else [])]:
            connection.close()

    def released(self, pod: str) -> None:
        """Report that a granted pod is unlocked."""
        self.elector.event(lambda now: self._tell(self.member.released(pod, now)))

    def _tell(self, freed: list[Freed]) -> list[Decision]:
        """Send reports to the active. They follow the Hello message, which contains the busy pods."""
        for message in freed:
            if self._active is not None:
                self._active.send(message)
        return []

    # -- decisions of the election -----------------------------------------------------------------------------

    def _decided(self, decision: Decision) -> None:
        if isinstance(decision, AskAll):
            self._send_relays(decision.ask)
        elif isinstance(decision, Reply):
            if self._active is not None:
                self._active.send(decision.message)
        elif isinstance(decision, Began | Ended):
            if isinstance(decision, Ended) and (stopped := self.member.stopped(self._now())) is not None:
                self._send_relays(stopped)
            self._on_change(decision)

    def _send_relays(self, message: Message) -> None:
        for connection, hello in self._relays.items():
            if hello is not None:
                connection.send(message)

    def _after_event(self) -> None:
        now = self._now()
        self.member.forget_members(now)
        self._tell(self.member.freed_pods(now))
        self._find_active()
        self._after()

    @property
    def relays(self) -> list[tuple[Hello, int]]:
        """Return the members connected to this one, and the number of requests queued at each."""
        return [(hello, connection.waiting) for connection, hello in self._relays.items() if hello is not None]

    def has_stopped(self, epoch: int) -> bool:
        """Return whether the active of this epoch stopped in an orderly way: it said so, or released the Lease."""
        return epoch in self._stopped

    # -- to the active -----------------------------------------------------------------------------------------

    def _find_active(self) -> None:
        """Keep one connection to the member that the Lease names."""
        holder, address, token = self._wanted()
        if self._active is not None and self._active_holder != holder:
            self._active.close()
        if self._dialling is not None and self._dialled != holder:
            self._dialling.cancel()  # a host that is gone answers nothing, and that takes long
            self._dialling = None
        if not holder or self._active is not None or self._dialling is not None:
            return
        now = self._now()
        if holder == self._dialled and now < self._dial_at:
            self._find_active_in(self._dial_at - now)
            return
        self._dialled, self._dial_at = holder, now + DIAL_AGAIN
        self._dialling = tasks.start(self._dial(holder, address, token), f"connection to the active at {address}")

    def _find_active_in(self, seconds: float) -> None:
        if self._redial is not None:
            self._redial.cancel()
        self._redial = asyncio.get_running_loop().call_later(seconds, self._find_active)

    def _wanted(self) -> tuple[str, str, str]:
        election = self.member.election
        record = election.named
        if record is None or election.is_active or not record.address or record.holder == self.member.identity:
            return "", "", ""
        return record.holder, record.address, record.token

    @property
    def _is_listed(self) -> bool:
        """Whether the Lease, as far as this member has read it, lists this member."""
        seen = self.member.election.seen
        return seen is not None and seen.record is not None and self.member.election.me.key in seen.record.members

    async def _dial(self, holder: str, address: str, token: str) -> None:
        connection = self._connection(token, presents=True)
        try:
            where = parse_address(address)
            async with asyncio.timeout(DIAL_TIMEOUT):
                await asyncio.get_running_loop().create_connection(lambda: connection, where.host, where.port)
        except (OSError, TimeoutError, AddressError) as error:
            _log.debug("the active at %s cannot be reached: %s", address, error)
            self._find_active_in(DIAL_AGAIN)
            return
        finally:
            if self._dialling is asyncio.current_task():
                self._dialling = None
        if not connection.is_open:
            return
        self._active, self._active_holder, self.is_welcome = connection, holder, False
        self.elector.event(lambda now: self._greet(connection, now))

    def _greet(self, connection: PeerConnection, now: float) -> list[Decision]:
        election = self.member.election
        stopped = self.member.stopped(now)
        connection.send(
            Hello(election.epoch, election.me.key, self.member.identity, election.address, stopped)
        )  # fmt: skip
        return []

    def _connection(self, token: str, *, presents: bool) -> PeerConnection:
        return PeerConnection(
            token, presents=presents, epoch=lambda: self.member.election.epoch, on_message=self._received,
            on_lost=self._lost, waiting=self._waiting,
        )  # fmt: skip

    # -- to the relays -----------------------------------------------------------------------------------------

    def _door(self) -> Door:
        return Door(self.member.election.token, self._new_relay, self.kinds, self._unknown)

    def _new_relay(self) -> PeerConnection:
        connection = self._connection(self.member.election.token, presents=False)
        self._relays[connection] = None
        return connection

    def _welcome(self, connection: PeerConnection, hello: Hello, now: float) -> list[Decision]:
        election = self.member.election
        decisions = election.heard(now, hello.epoch)
        if not election.is_active:
            connection.send(NotActive(election.epoch))
            return decisions
        self._relays[connection] = hello
        if hello.stopped is not None:
            decisions += self.member.heard_stopped(hello.stopped, now, reports=True)
        connection.send(Welcome(election.epoch))
        return decisions + self.member.met(hello.key, hello.address, now)

    # -- messages ----------------------------------------------------------------------------------------------

    def _received(self, connection: PeerConnection, message: Message) -> None:
        self.elector.event(lambda now: self._heard(connection, message, now))

    def _heard(self, connection: PeerConnection, message: Message, now: float) -> list[Decision]:
        if isinstance(message, Hello):
            return self._welcome(connection, message, now)
        if connection is self._active:
            return self._heard_active(connection, message, now)
        return self._heard_relay(message, now)

    def _heard_active(self, connection: PeerConnection, message: Message, now: float) -> list[Decision]:
        election = self.member.election
        if isinstance(message, Ask):
            return election.asked(now, message)
        if isinstance(message, Stopped):
            self.is_welcome = False
            self._stopped.add(message.epoch)
            return self.member.heard_stopped(message, now, reports=False)
        if isinstance(message, Welcome):
            decisions = election.heard(now, message.epoch)
            self.is_welcome = message.epoch == election.epoch
            return decisions if self._is_listed else decisions + election.look_soon(now)
        if isinstance(message, NotActive):
            connection.close()
            return election.heard(now, message.epoch)
        return []

    def _heard_relay(self, message: Message, now: float) -> list[Decision]:
        election = self.member.election
        if isinstance(message, Promise):
            return election.promised(now, message)
        if isinstance(message, Refusal):
            return election.refused(now, message)
        if isinstance(message, Freed):
            self.member.heard_freed(message)
        return []

    def _lost(self, connection: PeerConnection) -> None:
        hello = self._relays.pop(connection, None)
        if connection is self._active:
            holder, self._active, self._active_holder, self.is_welcome = self._active_holder, None, "", False
            if holder == self._wanted()[0]:  # the Lease will name another one: its next process, or its successor
                self.elector.event(self.member.election.look_soon)
                return
        self.elector.event(lambda now: self._relay_lost(hello, now))

    def _relay_lost(self, hello: Hello | None, now: float) -> list[Decision]:
        if hello is None:
            return []
        others = [other for other in self._relays.values() if other is not None]
        if hello.identity not in {other.identity for other in others}:
            self.member.lost(hello.identity, now)
        if hello.key not in {other.key for other in others}:
            self.member.parted(hello.key, now)
        return []
