"""One request and its response, from the complete request head to the release of the lock.

The exchange asks for a lock when the request is ready to be sent (`intake` decides when its body is), and releases the
lock when the whole response has been read or the worker is gone. Either of the two connections may fail at any point.
`failures` decides what follows from that; the exchange carries it out. In particular, a client that disconnects in
ACTIVE does not end the exchange, because the worker goes on computing: `client` is then None and the response is
discarded, but the lock is kept until the worker has finished.
"""

from __future__ import annotations

import asyncio
import math
from time import monotonic
from typing import Final

from faucet.http1 import IDEMPOTENT, INTERIM_LIMIT, BadResponse, Body, RequestHead, ResponseHead
from faucet.net.connect import NotBegun
from faucet.pauses import Later
from faucet.proxy.budget import Budget
from faucet.proxy.error_responses import answer
from faucet.proxy.failures import MAX_SENDS, RETRY_GRACE, Event, Facts, Fate, Lock, Loss, Phase, Verdict, after
from faucet.proxy.holders import Holder, PoolLease, Upstream
from faucet.proxy.intake import Intake
from faucet.proxy.pool import NO_DESCRIPTORS, Pool
from faucet.proxy.record import CLIENT_CLOSED_REQUEST, Account
from faucet.proxy.sides import Downstream, UpstreamConnection
from faucet.proxy.spool import SpoolSpace

# A global is found faster than a member of an Enum, and when compiled, a Final one faster than any other.
_READING: Final = Phase.READING
_QUEUED: Final = Phase.QUEUED
_CONNECTING: Final = Phase.CONNECTING
_ACTIVE: Final = Phase.ACTIVE
_DONE: Final = Phase.DONE

HALF_CLOSED: Final = "the client had ended its sending side, and may not have read this"
"""A note beside the status in the log: a client that half-closed cannot be told from one that disconnected."""

TOO_MANY_WEBSOCKETS = "This worker has as many open WebSockets as --max-websockets allows."

_NO_LOSS: Final = Loss(fresh=True, begun=False)


class Exchange(Holder):
    """One request, from its complete head to its end."""

    __slots__ = (
        "_client_blamed",
        "_connection",
        "_connects",
        "_grace",
        "_interims",
        "_loss",
        "_queued",
        "_relayed",
        "_response",
        "_retry",
        "_sends",
        "client",
        "head",
        "intake",
        "phase",
        "pool",
    )

    def __init__(
        self, pool: Pool, budget: Budget, space: SpoolSpace, client: Downstream, head: RequestHead, body: Body | None
    ) -> None:
        self.pool = pool
        self.client: Downstream | None = client
        self.account = Account(client.peer, head.method, head.target, head.stated_minor, len(head.raw))
        self.head = head
        self.phase = _READING
        self.intake = None if body is None else Intake(body, budget, space, pool.settings.buffer_request, client)
        """The body of the request; None if the request has none."""
        # The lock.
        self.lease: PoolLease | None = None
        self._queued = False  # whether no worker was free at once
        self._sends = 0
        self._connects = 0  # failed connects in a row
        self._retry: asyncio.Handle | Later | None = None  # pending call that learns whether the worker has exited
        self._grace: Later | None = None  # the lock grace, after a timeout at a worker that cannot be ended
        self._loss = _NO_LOSS  # how the worker's connection ended, while `_retry` is pending
        # The response.
        self._connection: UpstreamConnection | None = None
        self._response: ResponseHead | None = None
        self._relayed = False  # the client has been sent some of the final response
        self._interims = 0
        self._client_blamed = False

    def __repr__(self) -> str:
        return f"<{self.head.method.decode()} {self.head.target.decode()} {self.phase.value}>"

    # -- the request arrives -----------------------------------------------------------------------------------

    def take_body(self, data: bytes) -> int:
        """Take body bytes. Return the index behind the last byte of this request. Raises FramingError."""
        assert self.intake is not None
        end = self.intake.take(data)
        self.account.received += end
        return end

    def body_arrived(self) -> None:
        """After take_body: ask for a worker if the request is ready to be sent."""
        if self.intake is not None and self.intake.arrived(self.head.fields.length):
            self.submit()

    @property
    def body_done(self) -> bool:
        """Whether the whole request has arrived."""
        return self.intake is None or self.intake.done

    @property
    def all_sent(self) -> bool:
        """Whether the whole request has been sent to the worker."""
        return self.intake is None or (self.intake.done and not self.intake.pending)

    def submit(self) -> None:
        """The request is ready to be sent: ask for a worker."""
        self.phase = _QUEUED
        self.account.ready()
        self.pool.submit(self)

    # -- the lock ----------------------------------------------------------------------------------------------

    def holds(self, worker: Upstream) -> bool:
        """Whether this request holds the lock of `worker`."""
        return self.lease is not None and self.lease.worker is worker

    @property
    def at_work(self) -> bool:
        """See Holder."""
        return self._connection is not None or (self._retry is not None and not self._loss.unread)

    def granted(self, lease: PoolLease) -> None:
        """See Holder."""
        self.lease, client = lease, self.client
        if client is None or (self._queued and client.hung_up()):
            self.lease = None
            self.pool.release(lease)  # unused: neither the log nor a service time should name that worker
            self._parted()
            self._finish(CLIENT_CLOSED_REQUEST, "the client left the queue")
            if client is not None:
                client.cut_off()
            return
        if self.head.websocket and self._has_too_many(lease.worker):
            self.lease = None
            self.pool.release(lease)
            self.pool.refuse(self, "websockets", TOO_MANY_WEBSOCKETS)
            return
        super().granted(lease)
        self.phase = _CONNECTING
        self.pool.requests.touch_at(self, lease.since)
        lease.worker.begin(self)

    def _has_too_many(self, worker: Upstream) -> bool:
        most = self.pool.settings.max_websockets
        return 0 < most <= worker.tunnels and not worker.queues

    def has_to_wait(self) -> None:
        """See Holder."""
        self._queued = True
        if self.client is not None and self.client.half_closed:
            self.client_half_closed()

    def lock_gone(self) -> None:
        """See Holder. The rest of the response may still arrive: the end of the connection decides the outcome."""
        if self.lease is not None:
            self._loss = self.account.explain(self._loss, self.lease.worker.exit)
        super().lock_gone()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = self.pool.loop.call_soon(self._exit_known)

    # -- the worker's connection -------------------------------------------------------------------------------

    def connected(self, connection: UpstreamConnection) -> bool:
        """A connection for this request is open. False: the client has disconnected, so do not send the request."""
        if self.client is None:
            if not self._sends:
                self.account.worker = ""  # the worker has seen nothing of the request
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before its request was sent")
            return False
        self.phase = _ACTIVE
        self._connection = connection
        self._sends += 1
        self._connects = 0
        return True

    def connect_failed(self, worker: Upstream, error: Exception) -> None:
        """No connection to `worker` could be opened, so nothing was sent."""
        self.pool.unreachable(worker, error)
        if self.phase is _CONNECTING:  # else the request has ended meanwhile
            if not isinstance(error, NotBegun):
                self._connects += 1
                self.account.remark(f"worker {worker.name} accepted no connection")
            self._fail(Event.CONNECT_FAILED, f"{self._connects} workers in a row accepted no connection.")

    def not_begun(self, worker: Upstream, error: NotBegun) -> None:
        """`worker` answered that it will not begin the request: treat that as a failed connect."""
        self._detached()
        if self.intake is not None and self.intake.streaming:  # the bytes already sent are no longer buffered
            self.pool.refuse(self, "not_begun", str(error))
            return
        self._sends -= 1
        self.phase = _CONNECTING
        self.connect_failed(worker, error)

    def no_descriptor(self) -> None:
        """No connection could be opened for lack of a file descriptor. That is not the worker's fault."""
        if self.phase is _CONNECTING:
            self._fail(Event.NO_DESCRIPTOR, NO_DESCRIPTORS)

    def connection_ended(self, loss: Loss) -> None:
        """The worker's connection ended before the response did."""
        self._detached()
        self._loss = loss if self.lease is not None else loss._replace(exit=self._loss.exit)
        self._fail(Event.LINK_LOST if loss.link else Event.WORKER_ENDED, self._loss.detail)

    def _exit_known(self) -> None:
        """It is known now whether the worker has exited (its lock is gone) or lives."""
        self._retry = None
        self._fail(Event.EXIT_KNOWN, self._loss.detail)

    def bad_response(self, error: BadResponse) -> None:
        """The worker sent bytes that are not valid HTTP: neither they nor later ones can be relayed."""
        if self._connection is not None:
            self._connection.drop_response()
        self._fail(Event.BAD_RESPONSE, error.detail)

    # -- the worker answers ------------------------------------------------------------------------------------

    def interim_response(self, head: ResponseHead) -> None:
        """Relay a 1xx response. Raises BadResponse after more than INTERIM_LIMIT of them."""
        self._interims += 1
        if self._interims > INTERIM_LIMIT:
            raise BadResponse(f"The worker sent more than {INTERIM_LIMIT} interim responses.")
        ours = head.status == 100 and self.head.fields.expects_continue
        if not ours and self.head.minor == 1 and self.client is not None:
            self._relay(head.raw)

    def upgraded(self, connection: UpstreamConnection, head: ResponseHead, rest: bytes) -> None:
        """101: switch to a tunnel, and release the lock, since a worker serves requests beside a WebSocket."""
        client = self._parted()
        self._detached()
        if client is None:
            connection.close()
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before the upgrade")
            return
        self.account.sent += len(head.raw) + len(rest)
        backend = None if self.lease is None else self.lease.worker
        client.become_tunnel(head.raw + rest, backend, connection.transport)
        self._finish(head.status, "upgraded to WebSocket")

    def response_head(self, head: ResponseHead) -> Body:
        """Take the head of the final response. Return the framer of its body."""
        self._response = head
        body = head.body(self.head.method)
        if self.head.minor == 0 and head.fields.chunked and not body.done and self.client is not None:
            # RFC 9112, 6.1. The rest of the response is still read, as if the client had disconnected.
            self._answer_client(502, "The worker answered a client of HTTP/1.0 in chunks.")
            self._hear_out()
        return body

    def response_part(self, data: bytes) -> None:
        """Relay bytes of the final response, its head included."""
        if self.client is not None:
            if not self._relayed:
                self._relayed = True  # from here on this request is never sent again
                if self.intake is not None and not self.intake.pending:
                    self.intake.drop()
            self._relay(data)
            if self.client.write_paused:
                self.client_paused()

    def response_ended(self, data: bytes, until_close: bool) -> None:
        """Relay the last bytes of the final response. `until_close`: the response is delimited by the close."""
        response, client = self._response, self.client
        early = not self.body_done
        self._detached()
        # Release the lock first: the next request need not wait for this client.
        self._release()
        if client is None or response is None:
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before the answer")
            return
        self._relay(data)
        self._finish(response.status, HALF_CLOSED if client.half_closed else "")
        if early:
            client.linger()
        else:
            client.exchange_ended(not until_close and self._client_may_stay(response))

    def _relay(self, data: bytes) -> None:
        assert self.client is not None
        self.account.sent += len(data)
        self.client.write(data)

    def _client_may_stay(self, response: ResponseHead) -> bool:
        """Whether request and response both allow the client's connection to persist (RFC 9112, 9.3)."""
        explicit = self.head.minor == 1 or response.fields.keep_alive
        return self.head.fields.persistent and response.fields.persistent and explicit

    # -- slowness ----------------------------------------------------------------------------------------------

    def client_paused(self) -> None:
        """The client does not read, and its buffer is full: stop reading from the worker."""
        if self._connection is not None:
            self._connection.pause_reading()

    def client_resumed(self) -> None:
        """The client reads again: go on reading from the worker."""
        if self._connection is not None:
            self._connection.resume_reading()

    # -- failures ----------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """The client's connection is lost."""
        self._parted()
        self.account.client_left()
        place = {_READING: "while it sent its request", _QUEUED: "the queue"}.get(self.phase, "before the answer")
        self._fail(Event.CLIENT_GONE, f"the client left {place}")

    def client_half_closed(self) -> bool:
        """The client has closed its sending side. Return whether its connection stays open for the response."""
        if self.phase is _QUEUED and self.body_done:
            self._fail(
                Event.CLIENT_HALF_CLOSED, "The client closed its side of the connection while its request was queued."
            )
            return True
        if self._connection is not None and self.is_elsewhere:
            self._connection.end_request()  # the request may be queued at the other Faucet
        return self.body_done

    def timed_out(self) -> None:
        """The request timeout has passed since the lock was granted, and the response is not complete."""
        late = self._client_is_late() and not self._client_blamed
        if late:
            self._client_blamed = True
            self.pool.requests.touch(self)  # the worker gets a full request timeout of its own
            self._fail(Event.TIMED_OUT, "The client was too slow to send its request or to read its answer.", late=True)
            return
        if self.is_elsewhere:
            self.pool.requests.touch(self)
            return
        grace = None if self.lease is None else self.lease.worker.lock_grace
        seconds = f"{self.pool.requests.patience(self):g} s"
        end = "is restarted" if grace is None else f"stays locked for {grace:g} s more, or until it has answered"
        self._fail(Event.TIMED_OUT, f"The worker did not answer within {seconds} and {end}.")

    def _client_is_late(self) -> bool:
        """Whether the client causes the delay: it does not read the response, or does not send its body."""
        client, connection = self.client, self._connection
        if client is None or connection is None:
            return False
        return client.write_paused or not (self.body_done or connection.write_paused)

    def abandon(self, detail: str) -> None:
        """See Holder. The client is answered with an error, if that is still possible."""
        self._close_connection()
        self._fail(Event.SHUTDOWN, detail)

    def internal_error(self) -> None:
        """See Holder."""
        if self.client is not None and not self.client.serves(self):
            self._parted()  # the client has its response
        verdict = after(Event.BUG, self._facts())
        self._close_connection()
        self._carry_out(Event.BUG, verdict, "Faucet failed to handle this request; its log says why.")

    def refuse(self, status: int, detail: str, retry_after: int | None = None) -> None:
        """Answer with an error of Faucet's own, in any phase. Reset the client if part of a response was relayed."""
        if self.client is None:
            return
        if self._relayed:
            self._cut_client(detail)
        else:
            self._answer_client(status, detail, retry_after=retry_after)
        self._hear_out()
        self._finish_if_over(status, detail)

    def give_up_waiting(self) -> None:
        """See Holder."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace_over()

    def _grace_over(self) -> None:
        self._grace = None
        self._close_connection()
        self._finish(CLIENT_CLOSED_REQUEST, "the worker never answered")

    def _close_connection(self) -> None:
        connection = self._detached()
        if connection is not None:
            connection.close()

    def _detached(self) -> UpstreamConnection | None:
        """Detach the worker's connection from this exchange, and return it."""
        connection, self._connection = self._connection, None
        if self.intake is not None:
            self.intake.worker_gone()
        return connection

    def _parted(self) -> Downstream | None:
        """Detach the client's connection from this exchange, and return it."""
        client, self.client = self.client, None
        if self.intake is not None:
            self.intake.client_gone()
        return client

    # -- verdicts ----------------------------------------------------------------------------------------------

    def _facts(self, late: bool = False) -> Facts:
        """Return the facts that `failures` decides by."""
        lease, streaming = self.lease, self.intake is not None and self.intake.streaming
        return Facts(
            phase=self.phase,
            waiting=self.client is not None,
            told=self.account.sent > 0,
            relayed=self._relayed,
            body_done=self.body_done,
            repeatable=not streaming and self._sends < MAX_SENDS and self.head.method in IDEMPOTENT,
            policy=self.pool.settings.retry,
            connects=self._connects,
            loss=self._loss,
            age=monotonic() - self.account.granted_at - self.pool.pauses.since(self.account.granted_at),
            exited=lease is None and not self._loss.link,
            client_late=late,
            endable=lease is None or lease.worker.lock_grace is None,
            connected=self._connection is not None,
        )

    def _fail(self, event: Event, detail: str, late: bool = False) -> None:
        self._carry_out(event, after(event, self._facts(late)), detail)

    def _carry_out(self, event: Event, verdict: Verdict, detail: str) -> None:
        fate = verdict.fate
        if fate is Fate.GOES_ON:
            self.pool.requests.touch(self)
            return
        self._settle_lock(verdict.lock, fate)
        if fate is Fate.ANSWER:
            self._tell(event, verdict.status, detail)
        elif fate is Fate.CUT:
            self._cut_client(detail)
        elif fate is Fate.WAIT:
            self.phase = _CONNECTING
        elif fate is Fate.RETRY:
            self._try_another()
        elif fate is Fate.RESEND:
            self._send_again()
        self._finish_if_over(CLIENT_CLOSED_REQUEST, detail)

    def _settle_lock(self, lock: Lock, fate: Fate) -> None:
        """Carry out the verdict on the lock."""
        if lock is Lock.RELEASE:
            self._release()
        elif lock in (Lock.KEEP, Lock.KEEP_BRIEFLY):
            self._keep_locked(lock is Lock.KEEP_BRIEFLY, await_turn=fate is Fate.WAIT)
        elif lock is Lock.AWAIT_EXIT:
            self._await_exit(told=fate is not Fate.WAIT)
        elif lock is Lock.HEAR_OUT:
            self._hear_out()
        elif lock is Lock.GRACE:
            self._outlast()
        elif lock is Lock.REPLACE:
            self._replace_worker()

    def _keep_locked(self, brief: bool, await_turn: bool) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            self.pool.keep_locked(lease, self._loss.refused_for if brief else math.inf)
        if await_turn:
            self._retry = self.pool.loop.call_soon(self._exit_known)

    def _await_exit(self, told: bool) -> None:
        """Learn shortly whether the worker has exited. If the client is `told`, only the lock depends on that."""
        if told:
            self.pool.requests.discard(self)
            if self.lease is None:
                return
        self._retry = self.pool.pauses.after(0 if self.lease is None else RETRY_GRACE, self._exit_known)

    def _hear_out(self) -> None:
        """No client waits for the response any more, but the worker is at work, so its lock stays.

        If the request was not sent completely, the sending side is closed. The worker then closes the connection or
        answers, and either ends the exchange.
        """
        connection = self._connection
        if connection is not None and self.is_elsewhere:
            self._close_connection()  # the other Faucet takes the request out of its queue, or reads its response
        elif connection is not None and self.phase is _ACTIVE:
            connection.resume_reading()
            if not self.all_sent:
                connection.end_request()
            if self.intake is not None:
                self.intake.drop()

    def _outlast(self) -> None:
        """Keep the lock of a worker that Faucet cannot end until the worker answers or closes, or the lock grace is
        over."""
        if self._grace is None and self.lease is not None and self.lease.worker.lock_grace is not None:
            self._grace = self.pool.pauses.after(self.lease.worker.lock_grace, self._grace_over)
            self.lease.worker.on_hung(self.account)

    def _replace_worker(self) -> None:
        lease, self.lease = self.lease, None
        self._close_connection()
        if lease is not None:
            self.pool.remove(lease.worker)
            lease.worker.on_hung(self.account)

    def _send_again(self) -> None:
        """Send the request to the same worker again, which has not read a byte of it."""
        assert self.lease is not None
        self._remark_retry()
        self.lease.worker.begin(self)

    def _try_another(self) -> None:
        sent = self._connects == 0
        if sent:
            self._remark_retry()
        self.phase = _QUEUED
        self.account.waits_again(sent)
        self.pool.requests.discard(self)
        self.pool.resubmit(self)

    def _remark_retry(self) -> None:
        self.account.remark(f"sent again, since worker {self.account.worker} ended the connection")

    # -- the end -----------------------------------------------------------------------------------------------

    def _tell(self, event: Event, status: int, detail: str) -> None:
        """Answer the client with an error, because of a failure."""
        if event is Event.NO_DESCRIPTOR:
            self.pool.refuse(self, "descriptors", detail)
        elif event is Event.CLIENT_HALF_CLOSED:
            self._answer_client(status, detail, logged=CLIENT_CLOSED_REQUEST)
        else:
            self._answer_client(status, detail)

    def _answer_client(self, status: int, detail: str, logged: int = 0, retry_after: int | None = None) -> None:
        client = self._parted()
        assert client is not None
        keep = status >= 500 and self.body_done and self.head.minor == 1 and self.head.fields.persistent
        keep = keep and not self.pool.draining
        data = answer(status, detail, method=self.head.method, close=not keep, retry_after=retry_after)
        self.account.sent += len(data)
        client.write(data)
        client.owes_nothing()
        self._record(logged or status, detail)
        if keep:
            client.exchange_ended(keep=True)
        else:
            client.linger()

    def _cut_client(self, detail: str) -> None:
        """Reset the client's connection, so that the client does not take part of a response for the whole."""
        client = self._parted()
        assert client is not None
        client.owes_nothing()
        self._record(502 if self._response is None else self._response.status, detail)
        client.cut_off()

    def _finish_if_over(self, status: int, note: str) -> None:
        """End the exchange if no client waits for the response and no worker is at work on it."""
        waits = self._connection is not None or self._retry is not None or self._grace is not None
        if self.client is None and not waits and not (self.phase is _CONNECTING and self.lease is not None):
            self._finish(status, note)

    def _finish(self, status: int, note: str = "") -> None:
        """End the exchange: release the lock if it is still held, cancel the timers, and record the outcome."""
        if self.phase is _QUEUED:
            self.pool.dispatcher.cancel(self)
        self.phase = _DONE
        if self.intake is not None:
            self.intake.drop()
        self.pool.requests.discard(self)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self.lease is not None:
            self._release()
        self._record(status, note)

    def _record(self, status: int, note: str) -> None:
        """Record the outcome, once: when the client has its response, or no client is left."""
        if self.account.settle(status, note):
            self.pool.record(self.account)

    def _release(self) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            self.pool.release(lease, counted=True)
