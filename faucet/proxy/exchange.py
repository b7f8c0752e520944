"""One request and its answer, from the complete head to the released lock.

The lock is taken when the request is in hand (head, and the body up to the buffer limit), and given back when the
worker's whole response was read or the worker is gone. Two connections come and go meanwhile, and either may fail at
any point; this class is where each of these events has its one meaning. In particular: a client that goes away in
ACTIVE does not end the exchange, because the worker goes on computing. `client` is then None and what the worker
says is dropped, but the lock is kept until it has finished saying it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faucet.http1 import IDEMPOTENT, INTERIM_LIMIT, BadResponse, Body, ResponseHead
from faucet.proxy.ending import Ending
from faucet.proxy.phases import CLIENT_CLOSED_REQUEST, HALF_CLOSED, MAX_SENDS, RETRY_GRACE, Phase
from faucet.proxy.tunnel import Tunnel

if TYPE_CHECKING:
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
            proxy.bodies.discard(client)
            if self.phase is _READING:
                self.submit()
        elif self.phase is _READING:
            if len(self._buffer) > proxy.settings.buffer_request:
                self._streaming = True
                proxy.bodies.discard(client)
                client.pause_reading()
                self.submit()
            else:
                proxy.bodies.touch(client)
        elif self._connection is not None and self._connection.write_paused:
            self.worker_paused()
        elif self.phase is _ACTIVE:  # else nobody waits for the client: what it sent waits for a worker
            proxy.bodies.touch(client)

    @property
    def wants_body(self) -> bool:
        """More of the body may be read: it fits into the buffer, or the worker takes it."""
        if self.phase is _READING:
            return not self.body_done
        return self._connection is not None and not self._connection.write_paused and not self.body_done

    def submit(self) -> None:
        """The request is in hand: ask for a worker."""
        self.phase = _QUEUED
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
            self._retry = self.proxy.loop.call_soon(self._send_again, True)

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
            self._buffer.clear()
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

    def connection_ended(self, fresh: bool, begun: bool) -> None:
        """The worker's connection ended before the response did. `fresh`: it was opened for this request; `begun`:
        some of a response had come. As long as the client was sent none of that, it need not know of it."""
        self._connection = None
        if self.account.sent or self.client is None or not self._may_be_sent_again():
            how = "its answer before it was complete" if begun else "the connection without an answer"
            self._broken(f"The worker ended {how}.")
        else:
            # It may just have closed a connection that was idle for too long; or it is dying, and what is sent to it
            # now is lost in its backlog. A moment tells, unless it is known to be gone.
            self.account.remark(f"sent again, since worker {self.account.worker} ended the connection")
            self.phase = _CONNECTING
            grace = 0 if self.backend is None else RETRY_GRACE
            self._retry = self.proxy.loop.call_later(grace, self._send_again, fresh or begun)

    def _may_be_sent_again(self) -> bool:
        """RFC 9110, 9.2.2; and its bytes are still here."""
        return not self._streaming and self._sends < MAX_SENDS and self.head.method in IDEMPOTENT

    def way_lost(self, begun: bool) -> None:
        """The way to the worker is lost. That may go on with this request, so its lock stays with it for a while."""
        backend, self.backend = self.backend, None
        if backend is not None:
            self.proxy.keep_locked(backend, self)
        self.connection_ended(fresh=True, begun=begun)

    def _send_again(self, elsewhere: bool) -> None:
        """To the same worker, unless it is gone, or has failed in a way that it may repeat."""
        self._retry = None
        if self.client is None:
            self._finish(CLIENT_CLOSED_REQUEST, "the client left before its request was sent again")
        elif self.backend is not None and not elsewhere:
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

    def _broken(self, detail: str) -> None:
        """The worker failed this request, for good."""
        client = self.client
        self._release()
        if client is None:
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
        tunnel = Tunnel(self.proxy.tunnels, client.transport, connection.transport)
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
                self._buffer.clear()
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
            self.proxy.bodies.discard(self.client)
            self.client.pause_reading()

    def worker_resumed(self) -> None:
        """The worker takes more of the streamed body."""
        if self.client is not None and not self.body_done:
            self.proxy.bodies.touch(self.client)
            self.client.resume_reading()
