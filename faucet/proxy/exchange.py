"""One request and its answer, from the complete head to the released lock.

The lock is taken when the request is in hand (head, and the body up to the buffer limit), and given back when the
worker's whole response was read or the worker is gone. Two connections come and go meanwhile, and either may fail at
any point; this class is where each of these events has its one meaning. In particular: a client that goes away in
ACTIVE does not end the exchange, because the worker goes on computing. `client` is then None and what the worker
says is dropped, but the lock is kept until it has finished saying it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from faucet.http1 import IDEMPOTENT, INTERIM_LIMIT, BadResponse, Body, ResponseHead
from faucet.proxy.budget import FREE
from faucet.proxy.ending import Ending
from faucet.proxy.phases import (
    CLIENT_CLOSED_REQUEST,
    HALF_CLOSED,
    MAX_SENDS,
    NO_DESCRIPTORS,
    RETRY_GRACE,
    STALE_SECONDS,
    Loss,
    Phase,
)  # fmt: skip
from faucet.proxy.tunnel import Tunnel

if TYPE_CHECKING:
    from faucet.proxy.downstream import ClientConnection
    from faucet.proxy.upstream import Backend, BackendConnection

_READING, _QUEUED, _CONNECTING, _ACTIVE, _ = Phase  # a global is found faster than a member of an Enum


class Exchange(Ending):
    """One request and what becomes of it. Serves as the dispatcher's ticket."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self.head.method.decode()} {self.head.target.decode()} {self.phase.value}>"

    # -- the request arrives -----------------------------------------------------------------------------------

    def take_body(self, data: bytes) -> int:
        """Take body bytes; the index behind the last that belongs to this request. Raises FramingError."""
        assert self.body is not None
        end = self.body.feed(data)
        self.body_done = self.body.done
        part = data[:end]
        self.account.received += end
        if self.phase is _ACTIVE and self._connection is not None:
            self._connection.write(part)
        else:
            self._buffer += part
        return end

    def body_arrived(self) -> None:
        """After take_body: go on as far as the bytes in hand allow."""
        proxy, client = self.proxy, self.client
        if client is None:
            return
        if self.body_done:
            client.owes_nothing()
            if self.phase is _READING:
                self.submit()
        elif self.phase is _READING:
            if len(self._buffer) > proxy.settings.buffer_request:
                self._streaming = True
                client.owes_nothing()
                client.pause_reading()
                self.submit()
            elif self._reserved == 0 and len(self._buffer) > FREE:
                self._reserve(client)
            elif self._reserved >= 0:
                client.owes_body(self)
        elif self._connection is not None and self._connection.write_paused:
            self.worker_paused()
        elif self.phase is _ACTIVE:  # else nobody waits for the client: what it sent waits for a worker
            client.owes_body(self)

    def _reserve(self, client: ClientConnection) -> None:
        """Its body is a long one: take memory for all that may have to be kept of it, or wait for that."""
        limit = self.proxy.settings.buffer_request
        size = max(min(limit, self.head.fields.length or limit), len(self._buffer))
        if self.proxy.budget.reserve(self, size):
            self._reserved = min(size, self.proxy.budget.total)
            client.owes_body(self)
        else:
            self._reserved = -1
            client.owes_nothing()
            client.pause_reading()
            self.proxy.memory.touch(client)

    def memory_granted(self, size: int) -> None:
        """It has waited for memory, and has it now: the rest of its body may come."""
        self._reserved = size
        if self.client is not None:
            self.proxy.memory.discard(self.client)
            self.client.owes_body(self)
            self.client.resume_reading()

    @property
    def wants_body(self) -> bool:
        """More of the body may be read: it fits into the buffer, or the worker takes it."""
        if self.phase is _READING:
            return not self.body_done and self._reserved >= 0
        return self._connection is not None and not self._connection.write_paused and not self.body_done

    def submit(self) -> None:
        """The request is in hand: ask for a worker."""
        self.phase = _QUEUED
        if self._reserved:
            self._settle_memory(len(self._buffer))
        self.account.ready()
        self.proxy.submit(self)

    # -- the lock ----------------------------------------------------------------------------------------------

    def granted(self, backend: Backend) -> None:
        """This request holds the lock of `backend`."""
        self.backend = backend
        self.account.granted(backend.name)
        self.phase = _CONNECTING
        if self.client is None or (self._queued and self.client.hung_up()):
            self._finish(CLIENT_CLOSED_REQUEST, "the client left the queue")
            self._close_client()
            return
        self.proxy.requests.touch(self)
        backend.begin(self)

    def has_to_wait(self) -> None:
        """No worker is free: this request is in the queue."""
        self._queued = True
        if self.client is not None and self.client.half_closed:
            self._leave_queue()

    def _leave_queue(self) -> None:
        self.proxy.dispatcher.cancel(self)
        self._answer_client(503, "The client ended its sending side while it waited.", CLIENT_CLOSED_REQUEST)

    def lock_gone(self) -> None:
        """The worker is gone, and its lock with it. What it said before may still be on its way to us: its
        connection tells how this ends."""
        self.backend = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = self.proxy.loop.call_soon(self._exit_known)

    # -- the worker's connection -------------------------------------------------------------------------------

    def connected(self, connection: BackendConnection) -> bool:
        """A connection is open: the bytes to send first are `head.raw` and `buffered`. False: nobody wants them."""
        if self.client is None:
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before its request was sent")
            return False
        self.phase = _ACTIVE
        self._connection = connection
        self._sends += 1
        return True

    @property
    def buffered(self) -> bytes:
        """The body bytes in hand."""
        return bytes(self._buffer)

    def request_sent(self) -> None:
        """What was in hand is written; the rest of the body follows as it comes."""
        if self._streaming and self.client is not None:
            self._drop_buffer()
            if self._connection is None or not self._connection.write_paused:
                self.worker_resumed()

    def connect_failed(self, backend: Backend, error: Exception) -> None:
        """No connection could be opened, so nothing was sent: any request may go to another worker."""
        self.proxy.unreachable(backend, error)
        if self.phase is not _CONNECTING:
            return  # it has ended meanwhile
        self.account.remark(f"worker {backend.name} accepted no connection")
        self._release()
        if self.client is None:
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before its request was sent")
        else:
            self._try_another()

    def no_descriptor(self) -> None:
        """No connection could be opened, for want of a descriptor. That is no fault of the worker's."""
        if self.phase is not _CONNECTING:
            return
        self._release()
        if self.client is None:
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before its request was sent")
        else:
            self.proxy.refuse(self, "descriptors", NO_DESCRIPTORS)

    def connection_ended(self, loss: Loss) -> None:
        """The worker's connection ended before the response did. As long as the client was sent none of that, it need
        not know of it."""
        self._connection = None
        if self.account.sent or self.client is None or not self._may_be_sent_again(loss):
            self._broken(loss.detail, loss)
        else:
            self.phase = _CONNECTING
            self._await_exit(loss)

    def _may_be_sent_again(self, loss: Loss) -> bool:
        """RFC 9110, 9.2.2; and its bytes are still here; and `--retry` says so, as far as is known now.

        A request that has crashed its worker must not crash the next one. Of a worker of our own we learn in a moment
        whether it has exited. Of any other we never do: then only a kept connection that turns out to be stale, and
        does so at once, tells that the request is not to blame.
        """
        if self._streaming or self._sends >= MAX_SENDS or self.head.method not in IDEMPOTENT:
            return False
        policy = self.proxy.settings.retry
        if policy != "safe":
            return policy == "always"
        if loss.way:
            return True
        stale = not loss.fresh and monotonic() - self.account.granted_at < STALE_SECONDS
        return not loss.begun and (loss.supervised or stale)

    def _may_have_crashed_it(self, loss: Loss) -> bool:
        """Its worker has exited. What that had not read a byte of cannot be the reason; only of a request without a
        body does a reset tell that for sure."""
        return self.proxy.settings.retry == "safe" and loss.supervised and not (loss.unread and self.body is None)

    def _await_exit(self, loss: Loss) -> None:
        """Its worker may be dying, and what it gets now is lost in its backlog: the lock stays until that is known."""
        self._loss = loss
        grace = 0 if self.backend is None else RETRY_GRACE
        self._retry = self.proxy.loop.call_later(grace, self._exit_known)

    def _exit_known(self) -> None:
        """The worker is gone, and the lock with it; or it lives, and serves others. What becomes of the request?"""
        self._retry = None
        loss = self._loss
        if self.client is None:
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before its request was sent again")
        elif self.backend is None and self._may_have_crashed_it(loss):
            self._broken(loss.detail)
        else:
            self.account.remark(f"sent again, since worker {self.account.worker} ended the connection")
            self._send_again(elsewhere=loss.fresh or loss.begun)

    def way_lost(self, begun: bool) -> None:
        """The way to the worker is lost. That may go on with this request, so its lock stays with it for a while."""
        backend, self.backend = self.backend, None
        if backend is not None:
            self.proxy.keep_locked(backend, self)
        self.connection_ended(Loss(fresh=True, begun=begun, way=True))

    def _send_again(self, elsewhere: bool) -> None:
        """To the same worker, unless it is gone, or has failed in a way that it may repeat."""
        if self.backend is not None and not elsewhere:
            self.backend.begin(self)
        else:
            self._release()
            self._try_another()

    def _try_another(self) -> None:
        self.phase = _QUEUED
        self.account.waits_again()
        self.proxy.requests.discard(self)
        self.proxy.resubmit(self)

    def bad_response(self, error: BadResponse) -> None:
        """What the worker sent cannot be relayed. Its connection is closed."""
        self._connection = None
        self._broken(error.detail)

    def _broken(self, detail: str, loss: Loss | None = None) -> None:
        """The worker failed this request, for good. With a `loss` it may be dying: then nobody else gets it yet."""
        client = self.client
        if loss is not None and loss.supervised and self.backend is not None:
            self.proxy.requests.discard(self)
            self._await_exit(loss)
        else:
            self._release()
        if client is None:
            self._record(CLIENT_CLOSED_REQUEST, detail)
            if self._retry is None:
                self._finish(CLIENT_CLOSED_REQUEST, detail)
        elif self._relayed:
            self._cut_client(detail)
        else:
            self._answer_client(502, detail)

    # -- the worker answers ------------------------------------------------------------------------------------

    def interim_response(self, head: ResponseHead) -> None:
        """A response of the class 1xx. Raises BadResponse if there are too many."""
        self._interims += 1
        if self._interims > INTERIM_LIMIT:
            raise BadResponse(f"The worker sent more than {INTERIM_LIMIT} interim responses.")
        ours = head.status == 100 and self.head.fields.expects_continue
        if not ours and self.head.minor == 1 and self.client is not None:
            self._relay(head.raw)

    def upgraded(self, connection: BackendConnection, head: ResponseHead, rest: bytes) -> None:
        """101: HTTP ends here. The lock too, since the worker serves others beside a WebSocket."""
        if not self.head.websocket:
            raise BadResponse("The worker switched protocols without being asked.")
        client, self.client = self.client, None
        if client is None:
            connection.close()
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before the upgrade")
            return
        self._response = head
        self.account.sent += len(head.raw) + len(rest)
        client.write(head.raw + rest)
        ahead = client.become_tunnel()
        tunnel = Tunnel(self.proxy.tunnels, self.backend, client.transport, connection.transport)
        tunnel.open(ahead, client.half_closed)
        self._finish(head.status, "upgraded to WebSocket")

    def response_head(self, head: ResponseHead) -> Body:
        """The final response's head; the framer of its body."""
        self._response = head
        body = head.body(self.head.method)
        if self.head.minor == 0 and head.fields.chunked and not body.done and self.client is not None:
            # RFC 9112, 6.1. The worker still has to be heard out, as if the client had gone.
            self._answer_client(502, "The worker answered a client of HTTP/1.0 in chunks.")
        return body

    def response_part(self, data: bytes) -> None:
        """Bytes of the final response, its head included."""
        if self.client is not None:
            if not self._relayed:
                self._relayed = True  # from here on this request is never sent again
                self._drop_buffer()
            self._relay(data)
            if self.client.write_paused:
                self.client_paused()

    def response_ended(self, data: bytes, until_close: bool) -> None:
        """The last bytes of the final response. `until_close`: only the end of the connection ends it."""
        response, client = self._response, self.client
        assert response is not None
        early = not self.body_done
        self._connection = None
        # The next in the queue first: the worker need not wait for our client.
        self._release()
        if client is None:
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
        """RFC 9112, 9.3: whether both ends of the conversation let the client's connection go on."""
        explicit = self.head.minor == 1 or response.fields.keep_alive
        return self.head.fields.persistent and response.fields.persistent and explicit

    # -- the client --------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """The client's connection is lost."""
        self.client = None
        if self.phase is _READING:
            self._finish(CLIENT_CLOSED_REQUEST, "the client left while it sent its request")
        elif self.phase is _QUEUED:
            self.proxy.dispatcher.cancel(self)
            self._finish(CLIENT_CLOSED_REQUEST, "the client left the queue")
        elif self.phase is _ACTIVE:
            self._hear_worker_out()

    def client_half_closed(self) -> bool:
        """The client sends no more. Whether its connection stays open for the answer."""
        if self.phase is _QUEUED and self.body_done:
            self._leave_queue()
            return True
        return self.body_done

    def client_paused(self) -> None:
        """The client does not read, and as much of the response waits for it as may."""
        if self._connection is not None:
            self._connection.pause_reading()

    def client_resumed(self) -> None:
        """The client reads again."""
        if self._connection is not None:
            self._connection.resume_reading()

    def worker_paused(self) -> None:
        """The worker does not take the streamed body as fast as it comes."""
        if self.client is not None and not self.body_done:
            self.client.owes_nothing()
            self.client.pause_reading()

    def worker_resumed(self) -> None:
        """The worker takes more of the streamed body."""
        if self.client is not None and not self.body_done:
            self.client.owes_body(self)
            self.client.resume_reading()
