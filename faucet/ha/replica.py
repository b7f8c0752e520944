"""One Faucet of several for a service: selects between the pods and the lanes to the active.

The proxy's queue is one and the same in each role. The active's requests go to pods; a relay's to the active; while
nobody is active they wait. A change of role only changes which backends may be used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic, time
from typing import Any

from faucet import tasks
from faucet.fleet import (
    Action,
    Command,
    Faults,
    Group,
    GroupMember,
    Origin,
    Refused,
    StartFailed,
    Way,
    WorkerDetails,
    WorkerStatus,
)
from faucet.ha import clock
from faucet.ha.decisions import Began, Ended
from faucet.ha.election import Election
from faucet.ha.identity import address_of
from faucet.ha.lanes import GREETING, Lanes
from faucet.ha.lease_client import LeaseClient
from faucet.ha.member import Member
from faucet.ha.peers import Peers
from faucet.ha.record import Identity, Record
from faucet.ha.relayed import RelayedConnection
from faucet.ha.remote_commands import GREETING as COMMAND
from faucet.ha.remote_commands import CommandConnection, Run, ask
from faucet.net.address import Address, AddressError, parse_address
from faucet.net.undelivered import discard_on_close, undelivered
from faucet.pods.fleet import Pods
from faucet.proxy.pool import RECENT_SECONDS
from faucet.proxy.server import Proxy
from faucet.units import counted

_log = logging.getLogger("faucet")

LOOK_EVERY = 1.0
"""Seconds between two checks of the service times and of the listed members."""

DELIVERED = 0.25
"""Share of the time between the end of a term and the earliest take-over in which sent data must be acknowledged."""

UNCONNECTED = 5.0
"""Seconds without an active after which a relay is not ready: a planned change takes less."""


def _no_commands(_: dict[str, Any]) -> str:
    raise Refused("this Faucet takes no commands from others")


class Replica:
    """The Fleet of one such Faucet: that of its pods, as far as the service is concerned. It is the pods' gate, too.

    `make_pods(gate)` makes them.
    """

    def __init__(
        self, proxy: Proxy, make_pods: Callable[[Replica], Pods], election: Election, lease: LeaseClient,
        listen: Address, environment: Mapping[str, str], lock_grace: float, connect_timeout: float,
        fencing: bool = False,
    ) -> None:  # fmt: skip
        self.proxy = proxy
        self.fencing = fencing
        """See Gate."""
        self.election = election
        self.member = Member(election, lock_grace)
        self.pods = make_pods(self)
        self.member.in_use = self._in_use
        self.peers = Peers(
            self.member, lease, self._changed, after=self._settle,
            kinds={GREETING: self._relayed_connection, COMMAND: lambda: CommandConnection(self.run_command)},
            waiting=lambda: proxy.pool.dispatcher.waiting,
        )  # fmt: skip
        self.first_ready = self.pods.first_ready
        self.actions: Mapping[str, Action] = {**self.pods.actions, "handover": self._hand_over_now}
        self.not_offered = self.pods.not_offered
        self.run_command: Run = _no_commands
        """Runs a command from another member's control socket. Must be set before `start`."""
        self.on_active_changed: Callable[[], None] = lambda: None
        """Called when another member has become the active, or this one is it no longer."""
        self.takeovers = 0
        self.since = time()
        """When the role or the active last changed, in seconds since the epoch."""
        self._lease = lease
        self._listen = listen
        self._environment = environment
        self._connect_timeout = connect_timeout
        self._lanes: Lanes | None = None
        self._former: list[Lanes] = []
        self._relayed_before = 0
        self._unusable = ""  # the address of an active that was logged as unusable
        self._busy: set[str] = set()
        self._shut = True  # the gate
        self._unconnected_since = clock.now()
        self._happened = asyncio.Event()  # something did, among members or at the API
        self._looking: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None
        proxy.pool.enforce_limits(False)  # until this member is the active

    # -- life cycle --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """See Fleet."""
        self._starting = tasks.start(self._start(), f"listener for members on {self._listen}")

    async def _start(self) -> None:
        try:
            port = await self.peers.start(self._listen, self._address)
        except AddressError as error:
            self.first_ready.set_exception(StartFailed(str(error)))
            return
        _log.info("this Faucet is %s; others reach it at %s (port %d); Lease %s",
                  self.election.me.name, self.election.address, port, self._lease)  # fmt: skip
        self._look()
        self.pods.start()

    def _address(self, port: int) -> None:
        self.election.address = address_of(self._environment, self._listen.host, port)

    def prepare_to_end(self) -> None:
        """See Fleet."""
        self.pods.prepare_to_end()

    async def stop(self) -> None:
        """See Fleet."""
        if self._starting is not None:
            await tasks.end(self._starting)
        if self._looking is not None:
            self._looking.cancel()
        await self.peers.stop()
        for lanes in (*self._former, *([self._lanes] if self._lanes is not None else [])):
            lanes.cut()
        await self.pods.stop()

    # -- the gate ----------------------------------------------------------------------------------------------

    def why_closed(self, pod: str) -> str:
        """See Gate."""
        if self._shut:
            return f"{self.active} is the active" if self.active else "there is no active Faucet"
        if not self.member.quarantine.allows(pod, clock.now()):
            return "in quarantine: it may be busy for the Faucet that was the active before"
        return ""

    @property
    def epoch(self) -> int:
        """See Gate."""
        return self.election.epoch

    def passes(self, pod: str) -> bool:
        """See Gate."""
        if not self._shut and self.member.may_use(pod, clock.now()):
            return True
        if not self.election.may_grant(clock.now()):
            self._shut = True
        self.pods.settle()
        # The election learns of it outside of what the pool is doing now.
        self.proxy.pool.loop.call_soon(self.peers.elector.event, self.election.tick)
        return False

    # -- roles -------------------------------------------------------------------------------------------------

    @property
    def role(self) -> str:
        """`active`; `relay` if requests can be relayed to an active; otherwise `waiting`."""
        if self.election.is_active:
            return "active"
        return "relay" if self.peers.is_welcome else "waiting"

    @property
    def active(self) -> str:
        """The name of the active; empty if there is none."""
        record = self.election.named
        identity = Identity.parse(record.holder) if record is not None else None
        return identity.name if identity is not None else ""

    def _relayed_connection(self) -> RelayedConnection:
        return RelayedConnection(self.proxy.pool, self.proxy.clients, self._open_epoch)

    def _open_epoch(self) -> int:
        """Return the epoch in which relays may send requests to this member; 0: in none."""
        return self.election.epoch if self.election.is_active else 0

    def _changed(self, decision: Began | Ended) -> None:
        self.since = time()
        if isinstance(decision, Began):
            self.takeovers += decision.previous is not None
            self._end_lanes()
            self.proxy.pool.enforce_limits(True)
            self.proxy.pool.reorder()
            self._shut = False
            if unknown := self.member.quarantine.unknown_for(clock.now()):
                _log.info("pods stay in quarantine for up to %.1f s: they may be busy for the last active", unknown)
        else:
            self._shut = True
            for pod, backend in self.pods.busy().items():
                tasks.start(self._report(pod, backend), f"report that pod {pod} is free")
            timing = self.election.timing
            if not self.election.is_releasing:
                self.proxy.pool.loop.call_later(
                    (timing.lease_duration - timing.renew_deadline) * DELIVERED, self._drop_undelivered
                )
            self._give_back()
        self.pods.settle()
        if not isinstance(decision, Began):
            self.proxy.pool.enforce_limits(False)  # the next active counts each request
        self.on_active_changed()

    def _drop_undelivered(self) -> None:
        """Drop connections on which a pod's machine has not acknowledged its request, since this member was cut off.

        The kernel would send the request once more when the network is back: late, to a pod that another has in use.
        """
        for pod, backend in self.pods.busy().items():
            if self._shut and backend.connection is not None and undelivered(backend.connection.transport):
                _log.warning("pod %s has not acknowledged its request, so its connection is dropped", pod)
                discard_on_close(backend.connection.transport)
                backend.drop()

    def _in_use(self) -> set[str]:
        """Return the busy pods. Pods whose locks are abandoned at shutdown stay busy, since their state is unknown."""
        if not self.proxy.pool.given_up:
            self._busy = set(self.pods.busy())
        return self._busy

    async def _report(self, pod: str, backend: Any) -> None:
        await self.proxy.pool.unlocked(backend)
        self.peers.released(pod)

    def _give_back(self) -> None:
        """Return queued requests of relays to their relays. The other requests stay queued for the next active."""
        for holder, _ in list(self.proxy.pool.dispatcher.queue()):
            client = getattr(holder, "client", None)
            if isinstance(client, RelayedConnection):
                client.give_back()

    def _settle(self) -> None:
        """Update the pods and the lanes after an event of the election or of the members."""
        if self._shut:
            self._give_back()  # what came back from a pod meanwhile, because it did not pass the gate
        self.pods.settle()
        self._settle_lanes()
        if self.election.is_active or self.peers.is_welcome:
            self._unconnected_since = clock.now()
        self._happened.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._happened.clear()
            await self._happened.wait()

    def _settle_lanes(self) -> None:
        record = self.election.named
        if self.election.is_active:
            return
        if not self.peers.is_welcome or record is None or not record.address:
            if self._lanes is not None:
                self._lanes.close()
                if record is not None and record.epoch > self._lanes.epoch:
                    self._end_lanes()
            return
        if self._lanes is not None and (self._lanes.epoch, self._lanes.token) != (self.election.epoch, record.token):
            self._end_lanes()
        if self._lanes is None:
            self._lanes = self._new_lanes(record)
            if self._lanes is None:
                return
            _log.info("%s is the active now (epoch %d); requests go there", self.active, record.epoch)
            self.on_active_changed()
            self.since = time()
        self._lanes.open()

    def _new_lanes(self, record: Record) -> Lanes | None:
        try:
            where = parse_address(record.address)
        except AddressError as error:
            if record.address != self._unusable:  # not at each event
                _log.error("%s, the active, names an unusable address: %s", self.active, error)
            self._unusable = record.address
            return None
        self._unusable = ""
        return Lanes(
            self.proxy.pool, self.active, where.host, where.port, record.token, record.epoch, self._connect_timeout
        )

    def _end_lanes(self) -> None:
        """End the lanes to the previous active. If it did not release the Lease, treat it as dead."""
        if self._lanes is None:
            return
        lanes, self._lanes = self._lanes, None
        self._relayed_before += lanes.relayed
        lanes.end()
        record = self.election.named
        if record is not None and not self.peers.has_stopped(lanes.epoch):
            lanes.give_up()
        self._former = [*(one for one in self._former if one.in_use), lanes]

    def _look(self) -> None:
        """Record the longest service time: if this member dies, a successor must not use its pods for twice as long."""
        self._looking = self.proxy.pool.loop.call_later(LOOK_EVERY, self._look)
        if not self.election.is_active:
            return
        pool, recent = self.proxy.pool, time() - RECENT_SECONDS
        served = (self.proxy.stats.workers.get(status.counted_as) for status in self.pods.statuses())
        took = [span for one in served if one is not None for when, span in one.recent if when > recent]
        leases = (pool.dispatcher.lease(backend) for backend in self.pods.busy().values())
        ages = [monotonic() - lease.since for lease in leases if lease is not None]
        self.member.set_longest(max([*took, *ages], default=0.0), clock.now())

    # -- a planned change --------------------------------------------------------------------------------------

    def _hand_over_now(self, command: Command) -> asyncio.Future[str]:
        if not self.election.is_active:
            raise Refused(f"this Faucet is not the active; {self.active or 'no other'} is. Add --active to go there")
        if not self.others_connected:
            raise Refused("no other Faucet is connected that could take over; start a second replica first")
        _log.info("handover requested by %s", command.who)
        task = asyncio.ensure_future(self._hand_over(f"handover requested by {command.who}"))
        task.set_name("handover")
        return task

    async def _hand_over(self, why: str) -> str:
        await self.peers.elector.release(why)
        try:
            async with asyncio.timeout(self.election.timing.renew_deadline):
                await self._until(lambda: self.role != "waiting")
        except TimeoutError:
            raise Refused("no other Faucet has taken over in time; see the log") from None
        return f"{self.active if self.role == 'relay' else self.election.me.name} is the active now"

    def ask_active(self, command: dict[str, Any]) -> Any:
        """Forward a command of the control socket to the active. Return its answer or a future. Raises Refused."""
        way = self.way_to_active()
        if way is None:
            return self.run_command({**command, "active": False})
        return asyncio.ensure_future(ask(way.host, way.port, way.token, command))

    def way_to_active(self) -> Way | None:
        """Return where the active takes commands; None if this is the active. Raises Refused."""
        record = self.election.named
        if self.election.is_active:
            return None
        if record is None or not record.address:
            raise Refused("there is no active Faucet at the moment; try again in a few seconds")
        try:
            where = parse_address(record.address)
        except AddressError as error:
            raise Refused(f"{self.active}, the active, names an unusable address: {error}") from error
        return Way(where.host, where.port, record.token)

    @property
    def others_connected(self) -> int:
        """The number of other members connected to this one."""
        return len(self.peers.relays)

    async def leave(self, seconds: float) -> bool:
        """See Fleet: release the Lease, and relay queued requests to the next active."""
        self.election.leave()
        if self.election.is_active:
            await self.peers.elector.release("it ends")
        if not self.others_expected:
            return False
        try:
            async with asyncio.timeout(min(seconds, self.election.timing.renew_deadline)):
                await self._until(lambda: self.peers.is_welcome)
        except TimeoutError:
            _log.warning("no other Faucet has taken over in time")
            return False
        return True

    @property
    def others_expected(self) -> bool:
        """Whether the Lease lists another member."""
        record = self.election.named
        return record is not None and any(key != self.election.me.key for key in record.members)

    # -- what can be seen --------------------------------------------------------------------------------------

    @property
    def relayed(self) -> int:
        """The number of requests handed to an active."""
        return self._relayed_before + (self._lanes.relayed if self._lanes is not None else 0)

    def why_not_ready(self) -> str:
        """Return why this member should get no requests; empty if it should."""
        record = self.election.named
        if record is None or self.election.me.key not in record.members:
            return f"not listed in Lease {self._lease}"
        if self.role == "waiting" and clock.now() - self._unconnected_since > UNCONNECTED:
            return "no active Faucet can be reached"
        return ""

    def group(self) -> Group:
        """Return the state of this member and its view of the others."""
        election, now = self.election, clock.now()
        last = election.last_answer
        return Group(
            role=self.role,
            active=election.me.name if election.is_active else self.active,
            since=self.since,
            epoch=election.epoch,
            term_until=time() + election.term.until - now if election.term is not None else 0.0,
            answered=time() + last - now if last is not None else 0.0,
            trouble=self.peers.elector.trouble,
            members=tuple(GroupMember(*one) for one in self._members()),
            renewals=self.peers.elector.renewals,
            takeovers=self.takeovers,
            relayed=self.relayed,
            quarantined=sum("quarantine" in status.reason for status in self.pods.statuses()),
            why_not_ready=self.why_not_ready(),
        )

    def _members(self) -> list[tuple[str, str, str, int]]:
        """Return the name, address, state and number of queued requests of each member, this one first."""
        mine = (self.election.me.name, self.election.address, self.role, self.proxy.pool.dispatcher.waiting)
        if not self.election.is_active:
            record = self.election.named
            there = [(self.active, record.address, "active", 0)] if record is not None and record.holder else []
            return [mine, *there]
        connected = {hello.key: (hello, waiting) for hello, waiting in self.peers.relays}
        rows = [mine]
        for key, address in sorted(self.election.members.items()):
            if key in connected:
                hello, waiting = connected[key]
                identity = Identity.parse(hello.identity)
                rows.append((identity.name if identity else key, address, "relay", waiting))
            else:
                rows.append((key, address, "unreachable", 0))
        return rows

    @property
    def failing(self) -> bool:
        """See Fleet."""
        return self.pods.failing

    @property
    def count(self) -> int:
        """See Fleet."""
        return self.pods.count

    def described(self) -> str:
        """See Fleet."""
        return f"{self.pods.described()}, as one of {counted(max(len(self._listed()), 1), 'Faucet')}"

    def _listed(self) -> Mapping[str, str]:
        record = self.election.named
        return record.members if record is not None else {}

    def origin(self) -> Origin:
        """See Fleet."""
        return self.pods.origin()._replace(group=self.group())

    def notice(self) -> str:
        """See Fleet."""
        if trouble := self.peers.elector.trouble:
            return f"Lease {self._lease}: {trouble.splitlines()[0]}"
        if self._unusable:
            return f"{self.active}, the active, names an unusable address: {self._unusable}"
        return self.pods.notice()

    def faults(self) -> Faults:
        """See Fleet."""
        return self.pods.faults()

    def statuses(self) -> list[WorkerStatus]:
        """See Fleet."""
        return self.pods.statuses()

    def details(self, worker: str) -> WorkerDetails:
        """See Fleet."""
        return self.pods.details(worker)

    def reload(self, why: str) -> None:
        """See Fleet."""
        self.pods.reload(why)
