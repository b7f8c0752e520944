"""Pods that may be used only while a gate is open: the gate is asked before each request.

The gate is the term of an active Faucet (`faucet.ha`), which this package must not import.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from faucet.net.connect import Connector, NotBegun, ProtocolFactory
from faucet.proxy.exchange import Exchange
from faucet.proxy.fencing import with_epoch
from faucet.proxy.upstream import Backend, BackendConnection


class Gate(Protocol):
    """Decides which pods may be used. A pod is named by its address, `10.0.0.7:8000`."""

    def why_closed(self, pod: str) -> str:
        """Return why `pod` gets no requests now; empty if it may get requests."""
        ...

    fencing: bool
    """Whether requests tell their pod the epoch, since the pod refuses those of an earlier active."""

    @property
    def epoch(self) -> int:
        """The epoch of this Faucet's right to use pods."""
        ...

    def passes(self, pod: str) -> bool:
        """Whether a request may be sent to `pod` at this moment. If not, all pods are held when the call returns."""
        ...


class GatedBackend(Backend):
    """A pod behind a gate. The gate is asked before each request, and again after a new connection was opened.

    A request that does not pass has not begun: it goes back to the head of the queue.
    """

    def __init__(
        self, pod: str, gate: Gate, name: str, host: str, port: int, connector: Connector, timeout: float, grace: float
    ) -> None:
        super().__init__(name, host, port, _looking_again(connector, pod, gate), timeout, grace)
        self._pod = pod
        self.gate = gate

    def begin(self, exchange: Exchange) -> None:
        """See Backend."""
        if self.gate.passes(self._pod):
            super().begin(exchange)
        else:
            exchange.connect_failed(self, _closed())

    def _new_connection(self) -> BackendConnection:
        return FencedConnection(self) if self.gate.fencing else super()._new_connection()


class FencedConnection(BackendConnection):
    """A connection to a pod that is told the epoch as it is when a request is sent, which may have waited for long."""

    __slots__ = ("_gate",)

    def __init__(self, backend: GatedBackend) -> None:
        super().__init__(backend)
        self._gate = backend.gate

    def _head_of(self, exchange: Exchange) -> bytes:
        return with_epoch(exchange.head.raw, self._gate.epoch)


def _looking_again(connector: Connector, pod: str, gate: Gate) -> Connector:
    async def connect(
        protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        transport, protocol = await connector(protocol_factory, host, port, timeout)
        if not gate.passes(pod):
            cast("asyncio.Transport", transport).abort()
            raise _closed()
        return transport, protocol

    return connect


def _closed() -> NotBegun:
    return NotBegun("This Faucet is not the active any more.")
