"""How an exchange ends: answered, refused, cut, timed out, abandoned; and that its lock goes back, once.

The other half of `exchange.Exchange`, which tells the course until then. Whatever happens: a client gets an answer or
a cut, never half an answer that looks whole; and the lock is kept for as long as the worker may be at work.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from faucet.http1 import Body, RequestHead, ResponseHead
from faucet.proxy.error_responses import answer
from faucet.proxy.phases import CLIENT_CLOSED_REQUEST, Phase
from faucet.proxy.record import Account

if TYPE_CHECKING:
    from faucet.proxy.downstream import ClientConnection
    from faucet.proxy.server import Proxy
    from faucet.proxy.upstream import Backend, BackendConnection

_ACTIVE, _DONE = Phase.ACTIVE, Phase.DONE


class Ending:
    """The state of an exchange, and what can end it."""

    __slots__ = (
        "_buffer",
        "_client_blamed",
        "_connection",
        "_grace",
        "_interims",
        "_queued",
        "_relayed",
        "_response",
        "_retry",
        "_sends",
        "_streaming",
        "account",
        "backend",
        "body",
        "body_done",
        "client",
        "head",
        "phase",
        "proxy",
    )

    def __init__(self, proxy: Proxy, client: ClientConnection, head: RequestHead, body: Body | None) -> None:
        self.proxy = proxy
        self.client: ClientConnection | None = client
        self.account = Account(client.peer, head.method, head.target, head.minor, len(head.raw))
        self.head = head
        self.body = body
        self.body_done = body is None
        """The whole request has arrived."""
        self.phase = Phase.READING
        self._buffer = bytearray()  # body bytes not sent yet, or that may have to be sent again
        self._streaming = False  # the body is longer than the buffer: it cannot be sent again
        self._sends = 0
        # The lock.
        self.backend: Backend | None = None
        self._connection: BackendConnection | None = None
        self._queued = False  # it had to wait
        self._retry: asyncio.Handle | None = None  # it is sent again in a moment
        self._grace: asyncio.TimerHandle | None = None  # its time is over, but the worker cannot be ended
        # The response.
        self._response: ResponseHead | None = None
        self._relayed = False  # the client has been sent some of the final response
        self._interims = 0
        self._client_blamed = False

    def refuse(self, status: int, detail: str, retry_after: int | None = None) -> None:
        """Answer with an error of our own, whatever phase this request is in."""
        if self._relayed:
            self._cut_client(detail)
        else:
            self._answer_client(status, detail, retry_after=retry_after)

    def abandon(self, detail: str) -> None:
        """The service ends before the worker has answered: the client is told, as far as that is possible still."""
        if self.client is not None:
            self.refuse(503, detail)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._finish(CLIENT_CLOSED_REQUEST, detail)

    def internal_error(self) -> None:
        """A bug of ours, already logged. The lock must not be lost with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._release()
        client = self.client
        if client is None or client.exchange is not self:
            return
        if self.account.sent:
            self.client = client.exchange = None
            client.cut()
        else:
            self.refuse(500, "Faucet failed to handle this request; its log says why.")

    def timed_out(self) -> None:
        """From lock to now, the request timeout has passed without the response being complete."""
        connection = self._connection
        if self._client_is_to_blame() and not self._client_blamed:
            self._client_blamed = True
            self.proxy.requests.touch(self)
            self.refuse(408, "The client was too slow to send its request or to read its answer.")
            return
        if self.backend is not None and self.backend.lock_grace is not None:
            self._outlast(self.backend, self.backend.lock_grace)
            return
        backend, self.backend = self.backend, None
        self._connection = None
        if connection is not None:
            connection.close()
        if backend is not None:
            self.proxy.remove(backend)
            backend.on_hung()
        self._answer_in_vain("is restarted")

    def _answer_in_vain(self, consequence: str) -> None:
        """504, if somebody waits for it."""
        detail = f"The worker did not answer within {self.proxy.settings.request_timeout:g} s and {consequence}."
        if self.client is not None:
            self.refuse(504, detail)
        elif self._grace is None:
            self._finish(CLIENT_CLOSED_REQUEST, detail)

    def _outlast(self, backend: Backend, seconds: float) -> None:
        """A worker that nobody here can end is still at work: its lock stays until it answers, closes, or `seconds`
        have passed."""
        if self._connection is None:
            self.proxy.requests.touch(self)  # it is being connected to, which has an end of its own
            return
        self._grace = self.proxy.loop.call_later(seconds, self._outlasted)
        backend.on_hung()
        self._answer_in_vain(f"stays locked for {seconds:g} s more, or until it has answered")

    def give_up_waiting(self) -> None:
        """If nobody waits for this but us, because its worker might answer late: do not."""
        if self._grace is not None:
            self._grace.cancel()
            self._outlasted()

    def _outlasted(self) -> None:
        self._grace = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._finish(CLIENT_CLOSED_REQUEST, "the worker never answered")

    def _client_is_to_blame(self) -> bool:
        """For the time this takes: it does not read, or it does not send."""
        client, connection = self.client, self._connection
        if client is None or connection is None:
            return False
        return client.write_paused or not (self.body_done or connection.write_paused)

    def _answer_client(self, status: int, detail: str, logged: int = 0, retry_after: int | None = None) -> None:
        client = self.client
        assert client is not None
        keep = status >= 500 and self.body_done and self.head.minor == 1 and self.head.fields.persistent
        keep = keep and not self.proxy.draining
        data = answer(status, detail, method=self.head.method, close=not keep, retry_after=retry_after)
        self.account.sent += len(data)
        client.write(data)
        self._part_from_client(logged or status, detail)
        if keep:
            client.exchange_ended(keep=True)
        else:
            client.linger()

    def _cut_client(self, detail: str) -> None:
        """Part of the answer was relayed and no more will come: the client must not take it for the whole."""
        client = self.client
        assert client is not None
        assert self._response is not None
        self._part_from_client(self._response.status, detail)
        client.exchange = None
        client.cut()

    def _part_from_client(self, status: int, detail: str) -> None:
        """The client has its answer. If a worker is still at work on this request, hear it out first."""
        client, self.client = self.client, None
        if client is not None:
            self.proxy.bodies.discard(client)
            self._record(status, detail)
        if self.phase is _ACTIVE and self._connection is not None:
            self._hear_worker_out()
        else:
            self._finish(status, detail)

    def _close_client(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            client.exchange = None
            client.cut()

    def _finish(self, status: int, note: str = "") -> None:
        """Nothing more will happen to this request. The lock goes back, if it has not yet."""
        self.phase = _DONE
        self._buffer.clear()
        self.proxy.requests.discard(self)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self.backend is not None:
            self._release()
        self._record(status, note)

    def _record(self, status: int, note: str) -> None:
        """Tell what became of this request, once: when the client has its answer, or no client is left."""
        if self.account.settle(status, note):
            self.proxy.record(self.account)

    def _release(self) -> None:
        backend, self.backend = self.backend, None
        if backend is not None:
            self.proxy.release(backend, self, monotonic() - self.account.granted_at)

    def _hear_worker_out(self) -> None:
        """Nobody waits for the answer any more, but the worker is at work, so its lock stays.

        If it was still being sent the request, it is told that no more will come, and that no more was meant: it
        will close, or answer, and either is the end of it.
        """
        connection = self._connection
        if connection is not None:
            connection.resume_reading()
            if not self.body_done:
                connection.end_request()
