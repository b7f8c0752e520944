"""What the connections share: the dispatcher, the deadlines, the numbers, and who is connected.

Here a request meets the queue and a lock meets its next holder. Nothing in this file touches bytes of a message.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from itertools import islice
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from faucet import machine
from faucet.net.descriptors import Descriptors
from faucet.proxy.budget import FREE, Budget
from faucet.proxy.client_identity import ClientIdentity
from faucet.proxy.deadlines import DRAIN_SECONDS, EARLIEST, RATE_SECONDS, Timeouts
from faucet.proxy.locks import Dispatcher, Grant, QueueFull
from faucet.proxy.occupant import Occupant, cut_off
from faucet.proxy.phases import SHUTTING_DOWN
from faucet.proxy.pressure import Pressure
from faucet.proxy.stats import Record, Stats
from faucet.proxy.trim import Trimmer, system_trim
from faucet.settings import ProxySettings

if TYPE_CHECKING:
    from faucet.proxy.downstream import ClientConnection
    from faucet.proxy.ending import Ending
    from faucet.proxy.exchange import Exchange
    from faucet.proxy.tunnel import Tunnel
    from faucet.proxy.upstream import Backend

_log = logging.getLogger("faucet")

LINGER_SECONDS = 1.0
"""How long a refused client may go on sending before its connection is closed (RFC 9112, 9.6)."""


PARTING_SECONDS = 0.25
"""How long a connection without a request is kept when the service ends. A busy client's next request may be on its
way already, and nothing in our last answer told it not to send one."""


LEAST_GRACE = 1.0
"""Seconds that a worker which is cut off stays locked at least."""

CANDIDATES = 200
"""Connections that are looked at to find an idle one."""

RECENT_SECONDS = 60.0
"""How long ago a service time tells what to expect."""


class Interruption(NamedTuple):
    """There is no way to any backend for now."""

    began: float
    patience: float
    """Seconds that anybody waits for its end."""
    why: Callable[[], str]


class Proxy:
    """One proxy in front of any number of backends. All methods must be called from the loop's thread.

    `record` is called with a Record for each exchange that has ended.
    """

    def __init__(self, settings: ProxySettings, record: Callable[[Record], None]) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.settings = settings
        self._stats = Stats()
        self.descriptors = Descriptors()
        self.dispatcher: Dispatcher[Exchange, Backend] = Dispatcher(
            settings.queue_limit, settings.queue_timeout or None
        )
        self.clients: set[ClientConnection] = set()
        self.tunnels: set[Tunnel] = set()
        introduction = ClientIdentity(settings)
        self.introduce = introduction if introduction.needed else None
        self.repeats = settings.retry != "none"
        """A request that HTTP allows to repeat may be, so a stale connection does it no harm."""
        self.draining = False
        self.outage = ""
        """Why there are no workers and will not be for a while; requests are refused with it meanwhile."""
        self._drained = asyncio.Event()
        self._record = record
        self._grants: deque[tuple[Exchange, Backend]] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._retiring: dict[Backend, asyncio.Future[None]] = {}
        self._interruption: Interruption | None = None
        self._occupants: dict[Occupant, Backend] = {}
        self._set_limits(loop, settings)

    def _set_limits(self, loop: asyncio.AbstractEventLoop, settings: ProxySettings) -> None:
        """What clients may take, and how long they may take for it."""
        self.trimmer = Trimmer(loop, system_trim(), lambda: bool(self.dispatcher.locked))
        total = settings.buffer_total or machine.buffer_total(machine.memory())
        self.budget = Budget(total, self.trimmer.note)
        self.pressure = Pressure(loop, self.budget)
        self.free_buffer = min(FREE, settings.buffer_response)
        self.max_clients = settings.max_clients or machine.max_clients()
        self.turned_away = 0
        """Clients beyond that, which are being told so."""
        rated = (settings.client_timeout or RATE_SECONDS) if settings.min_rate else 0.0
        self.least_moved = max(int(settings.min_rate * rated), 1)
        """Bytes that a client must have moved when one of its deadlines comes."""
        patience = settings.client_timeout or rated
        # Each of these lists is for one kind of silence.
        self.idle: Timeouts[ClientConnection] = Timeouts(loop, settings.keep_alive, _idle_too_long)
        self.heads: Timeouts[ClientConnection] = Timeouts(loop, patience, _check_head)
        self.bodies: Timeouts[ClientConnection] = Timeouts(loop, settings.client_timeout, _client_too_slow)
        self.senders: Timeouts[ClientConnection] = Timeouts(loop, rated, _check_sender)
        self.memory: Timeouts[ClientConnection] = Timeouts(loop, settings.queue_timeout, _no_memory)
        self.readers: Timeouts[Any] = Timeouts(loop, patience, _check_reader)
        self.lingering: Timeouts[ClientConnection] = Timeouts(loop, LINGER_SECONDS, _stop_lingering)
        self.parting: Timeouts[ClientConnection] = Timeouts(loop, PARTING_SECONDS, _part)
        self.hurried: Timeouts[ClientConnection] = Timeouts(loop, DRAIN_SECONDS, _check_hurried)
        self.least_while_draining = max(int(settings.min_rate * DRAIN_SECONDS), 1)
        self.cut_while_draining = 0
        """Clients whose request in hand was given up, since they did not send or read."""
        self.timeouts = (
            self.idle, self.heads, self.bodies, self.senders, self.memory, self.readers, self.lingering, self.parting,
            self.hurried,
        )  # fmt: skip
        self.requests: Timeouts[Ending] = Timeouts(loop, settings.request_timeout, _request_timed_out)

    @property
    def stats(self) -> Stats:
        """The numbers, up to date."""
        self._stats.settle()
        return self._stats

    # -- backends ----------------------------------------------------------------------------------------------

    def add(self, backend: Backend, held: bool = False) -> None:
        """Put a backend to use; if `held`, not before it is resumed."""
        self._pass_on(self.dispatcher.add(backend, held))

    def remove(self, backend: Backend) -> Record | None:
        """Forget a backend that is gone. What it still has to say on its connection is listened to.

        Returns the account of the request that it was at work on, if it was.
        """
        backend.gone = True
        exchange = self.dispatcher.remove(backend)
        at_work = exchange is not None and exchange.at_work
        if exchange is not None:
            exchange.lock_gone()
            self._occupants.pop(cast("Occupant", exchange), None)
        self._check_retired(backend)
        self.check_drained()
        return exchange.account if exchange is not None and at_work else None

    def worker_exited(self, backend: Backend) -> None:
        """Its process is gone: end the WebSockets that it had."""
        for tunnel in [tunnel for tunnel in self.tunnels if tunnel.backend is backend]:
            tunnel.worker_gone()

    async def retire(self, backend: Backend) -> None:
        """Give a backend no new requests, wait for the one in hand, and forget it."""
        self.dispatcher.hold(backend)
        if self.dispatcher.holder(backend) is not None:
            if backend not in self._retiring:
                self._retiring[backend] = self.loop.create_future()
            await asyncio.shield(self._retiring[backend])
        self.remove(backend)

    def _check_retired(self, backend: Backend) -> None:
        waiting = self._retiring.pop(backend, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def fail(self, reason: str) -> None:
        """There is no worker, and will be none for a while: nobody is to wait in vain."""
        self.outage = reason
        for exchange in self.dispatcher.clear():
            self.refuse(exchange, "no_worker", reason)

    def refuse(self, exchange: Exchange, reason: str, detail: str) -> None:
        """Answer 503 with `detail`, and count it under `reason`."""
        self.stats.count_refusal(reason)
        exchange.refuse(503, detail, self.retry_after())

    def has_room(self, opening: int) -> bool:
        """Whether another client may be accepted. `opening` ones are not among `clients` yet."""
        if self.descriptors.has_room(self._connections + opening):
            return True
        self.descriptors.note("client")
        return False

    def make_room(self, newcomer: ClientConnection) -> None:
        """If few descriptors are left, close the client that has been idle for the longest time."""
        if self.descriptors.too_many(self._connections):
            self.descriptors.note("client")
            self.close_idlest(newcomer)

    def close_idlest(self, newcomer: ClientConnection) -> bool:
        """Close the client that has been idle for the longest time, for `newcomer`. False if none is idle."""
        candidates = islice(self.idle.oldest(), CANDIDATES)
        idle = next((client for client in candidates if client is not newcomer and client.vacant), None)
        if idle is not None:
            idle.transport.abort()
        return idle is not None

    @property
    def _connections(self) -> int:
        """Descriptors that clients take."""
        return len(self.clients) + 2 * len(self.tunnels)

    def hold(self, backend: Backend) -> None:
        """Give a backend no new requests; the one in hand goes on."""
        self.dispatcher.hold(backend)

    def resume(self, backend: Backend) -> None:
        """Undo hold."""
        self._pass_on(self.dispatcher.resume(backend))

    def unreachable(self, backend: Backend, error: Exception) -> None:
        """`backend` accepts no connection: hold it, and tell whoever looks after it."""
        if not backend.gone:
            self.dispatcher.hold(backend)
            backend.on_unreachable(error)

    # -- exchanges ---------------------------------------------------------------------------------------------

    def submit(self, exchange: Exchange) -> None:
        """A request is in hand: lock a worker for it, or let it wait, or refuse it."""
        if self._refused_for_all(exchange):
            return
        try:
            backend = self.dispatcher.acquire(exchange, exchange.account.ready_at)
        except QueueFull:
            self.refuse(exchange, "queue_full", "All workers are busy and the queue is full.")
            return
        if backend is not None:
            self._deliver(exchange, backend)
        else:
            self._let_wait(exchange)

    def _refused_for_all(self, exchange: Exchange) -> bool:
        """Refuse a request, new or sent back by its worker, while nobody could serve it: it would wait in vain."""
        if self.outage:
            self.refuse(exchange, "no_worker", self.outage)
        return bool(self.outage)

    def take(self, backend: Backend, exchange: Exchange) -> bool:
        """Lock that backend, if it is idle; to be given back by `release`."""
        return self.dispatcher.take(backend, exchange)

    def resubmit(self, exchange: Exchange) -> None:
        """A request whose worker failed it before it was answered: it is next in the queue."""
        if self.draining:
            self.refuse(exchange, "shutdown", SHUTTING_DOWN)
            return
        if self._refused_for_all(exchange):
            return
        backend = self.dispatcher.reacquire(exchange, monotonic())
        if backend is not None:
            self._deliver(exchange, backend)
        else:
            self._let_wait(exchange)

    def release(self, backend: Backend, exchange: Ending | Occupant, held: float | None = None) -> None:
        """The lock of `backend` is free for the next. It was `held` for so many seconds, if that is to be counted."""
        if held is not None:
            self._stats.hold(held)
        grant = self.dispatcher.release(backend, exchange)
        if grant is not None:
            self._deliver(*grant)
        if self._retiring:
            self._check_retired(backend)
        if self.draining:
            self.check_drained()

    def keep_locked(self, backend: Backend, exchange: Ending) -> None:
        """The way to `backend` was lost, not the backend: it may be at work on `exchange` for a while.

        How long is a guess, from what requests took lately: twice the longest, but not longer than its lock grace.
        """
        if self.draining:
            self.release(backend, exchange)  # it is not ours to end, and nobody else will use it
            return
        grace = backend.lock_grace or LEAST_GRACE
        recent = time() - RECENT_SECONDS
        took = [span for worker in self.stats.workers.values() for when, span in worker.recent if when > recent]
        if took:
            elapsed = monotonic() - exchange.account.granted_at
            grace = min(max(2 * max(took) - elapsed, LEAST_GRACE), grace)
        occupant = cut_off(exchange)
        self.dispatcher.transfer(backend, exchange, cast("Exchange", occupant))
        self._occupants[occupant] = backend
        occupant.timer = self.loop.call_later(grace, self._vacate, backend, occupant)

    def _vacate(self, backend: Backend, occupant: Occupant) -> None:
        self._occupants.pop(occupant, None)
        if occupant.timer is not None:
            occupant.timer.cancel()
        if not occupant.gone:
            self.release(backend, occupant)

    def record(self, record: Record) -> None:
        """An exchange has ended."""
        self._stats.add(record)
        self._record(record)

    def retry_after(self) -> int:
        """Whole seconds until a client may expect to be served (RFC 9110, 10.2.3), at least 1."""
        expected = self.stats.expected_wait(self.dispatcher.waiting, self.dispatcher.size)
        return max(1, math.ceil(expected))

    def _let_wait(self, exchange: Exchange) -> None:
        exchange.has_to_wait()
        if self._expiry is None:
            self._arm_expiry()

    def _pass_on(self, grant: Grant[Exchange, Backend] | None) -> None:
        if grant is not None:
            self._deliver(*grant)

    def _deliver(self, exchange: Exchange, backend: Backend) -> None:
        """Carry out a grant. One that leads to another is carried out after it, not inside it: a thousand clients
        that have left the queue unseen must not become a thousand nested calls."""
        grants = self._grants
        grants.append((exchange, backend))
        if len(grants) > 1:
            return
        while grants:
            exchange, backend = grants[0]
            try:
                exchange.granted(backend)
            except Exception:
                _log.exception("a request could not be handed to worker %s", backend.name)
                exchange.internal_error()
            finally:
                grants.popleft()

    # -- waiting too long --------------------------------------------------------------------------------------

    def interrupt(self, patience: float, why: Callable[[], str]) -> None:
        """There is no way to any backend for now: nobody waits for its end longer than `patience` seconds."""
        began = self._interruption.began if self._interruption is not None else monotonic()
        self._interruption = Interruption(began, patience, why)
        self._rearm_expiry()

    def resume_after_interruption(self) -> None:
        """There is a way again."""
        self._interruption = None
        self._rearm_expiry()

    def _rearm_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._arm_expiry()

    def _next_expiry(self) -> float | None:
        """When the next waiting request has to be answered, whatever the answer is."""
        expiry = self.dispatcher.next_expiry()
        oldest = next(self.dispatcher.queue(), None)
        if self._interruption is None or oldest is None:
            return expiry
        due = max(oldest[1], self._interruption.began) + self._interruption.patience
        return due if expiry is None else min(due, expiry)

    def _arm_expiry(self) -> None:
        expiry = self._next_expiry()
        if expiry is not None:
            self._expiry = self.loop.call_later(max(expiry - monotonic(), EARLIEST), self._expire_waiting)

    def _expire_waiting(self) -> None:
        self._expiry = None
        interruption, now = self._interruption, monotonic()
        if interruption is not None and now >= interruption.began + interruption.patience:
            for exchange in self.dispatcher.expire_since(now - interruption.patience):
                self.refuse(exchange, "link_down", interruption.why())
        for exchange in self.dispatcher.expire(monotonic()):
            seconds = f"{self.settings.queue_timeout:g} s"
            self.refuse(exchange, "queue_timeout", f"No worker became free within {seconds}.")
        self._arm_expiry()

    # -- the end -----------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> bool:
        """Finish what is in hand and answer all else with 503; whether `seconds` were enough for that."""
        self.draining = True
        for exchange in self.dispatcher.clear():
            self.refuse(exchange, "shutdown", SHUTTING_DOWN)
        for occupant, backend in list(self._occupants.items()):
            self._vacate(backend, occupant)  # nobody waits for it, and it is not ours to end
        for exchange in self.dispatcher.holders():
            exchange.give_up_waiting()
        for client in list(self.clients):
            self.idle.discard(client)
            client.hurry()
        self.check_drained()
        try:
            await asyncio.wait_for(self._drained.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def check_drained(self) -> None:
        """Whoever waits for the last exchange is woken after it."""
        if self.draining and not self.dispatcher.locked and not self.clients:
            self._drained.set()

    def abandon(self, detail: str) -> int:
        """End what is in hand now. Returns how many clients had not got, or not read, their answer."""
        waiting = [client for client in self.clients if client.waits]
        for exchange in self.dispatcher.holders():
            exchange.abandon(detail)
        for client in waiting:
            if client.exchange is not None:  # its request was still arriving
                client.exchange.refuse(503, detail)
        return len(waiting)

    def close(self) -> None:
        """Cut what is still connected, and set no more timers."""
        for client in list(self.clients):
            client.cut()
        for tunnel in list(self.tunnels):
            tunnel.abort()
        for timeouts in self.timeouts:
            timeouts.close()
        self.requests.close()
        self.descriptors.close()
        self.pressure.close()
        self.trimmer.close()
        for occupant in self._occupants:
            occupant.abandon("")
        if self._expiry is not None:
            self._expiry.cancel()


def _idle_too_long(client: ClientConnection) -> None:
    client.idle_too_long()


def _check_reader(client: ClientConnection) -> None:
    client.check_reader()


def _check_head(client: ClientConnection) -> None:
    client.check_head()


def _check_sender(client: ClientConnection) -> None:
    client.check_sender()


def _no_memory(client: ClientConnection) -> None:
    if client.exchange is not None:
        detail = f"No memory for the request's body became free within {client.proxy.settings.queue_timeout:g} s."
        client.proxy.refuse(client.exchange, "buffers_full", detail)


def _client_too_slow(client: ClientConnection) -> None:
    client.too_slow()


def _stop_lingering(client: ClientConnection) -> None:
    client.stop_lingering()


def _part(client: ClientConnection) -> None:
    client.close_if_idle()


def _check_hurried(client: ClientConnection) -> None:
    client.check_hurried()


def _request_timed_out(exchange: Ending) -> None:
    exchange.timed_out()
