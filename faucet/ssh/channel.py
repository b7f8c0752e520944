"""An SSH channel as an asyncio transport, with the same events in the same order as TCP.

asyncssh's own channel is almost that. This class removes the differences, each measured with asyncssh 2.24 and OpenSSH
9.2: an exception in a callback would end the whole connection with every channel; an abort after a close does nothing;
a close with unsent bytes waits for ever for a peer that does not read; a write after the end raises; `connection_lost`
comes when the far side confirms, which may be never; errors are not OSErrors. One difference stays: a reset by the far
side looks like EOF.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

import asyncssh

from faucet.net.connect import LinkLost

_log = logging.getLogger("faucet")

PAUSED_LOW, PAUSED_HIGH = 16 * 1024, 64 * 1024
"""asyncio's default low and high marks of a write buffer, in bytes."""


class ChannelTransport(asyncio.Transport, asyncssh.SSHTCPSession[bytes]):
    """Both a transport for `protocol` and the session of a channel to `peer`."""

    def __init__(
        self, protocol: asyncio.BaseProtocol, peer: tuple[str, int] | str, acknowledge: Callable[[], None] | None = None
    ) -> None:
        """Create a transport. `acknowledge` is called after each read, if the far side waits for TCP ACKs."""
        super().__init__()
        self._acknowledge = acknowledge
        self._protocol = protocol
        self._peer = peer
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._ended = False  # we have sent EOF
        self._eof = False  # the far side has sent EOF
        self._lost = False  # the protocol's connection_lost was called
        self._reading = True
        self._limits = (PAUSED_LOW, PAUSED_HIGH)

    # -- what asyncssh calls -----------------------------------------------------------------------------------

    def connection_made(self, chan: Any) -> None:
        """The channel is open."""
        self._channel = chan
        chan.set_write_buffer_limits(high=self._limits[1], low=self._limits[0])

    def session_started(self) -> None:
        """The session has started: data may come."""
        self._tell(self._protocol.connection_made, self)

    def data_received(self, data: bytes, datatype: object = None) -> None:
        """Bytes from the far side."""
        if self._acknowledge is not None:
            self._acknowledge()
        if not self._lost:
            self._tell(self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            cast("asyncio.Protocol", protocol).data_received(data)
            return
        view = memoryview(data)
        while view and not self._lost:
            buffer = memoryview(protocol.get_buffer(len(view))).cast("B")
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            view = view[count:]
            protocol.buffer_updated(count)

    def eof_received(self) -> bool:
        """The far side has sent EOF. Close unless the protocol objects: asyncssh itself would only send EOF."""
        self._eof = True
        if self._lost:
            return True
        keep = self._tell(cast("asyncio.Protocol", self._protocol).eof_received)
        if not keep and not self._closing:
            self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, or the connection below it is lost."""
        if exc is None and not self._eof and not self._closing:
            exc = LinkLost("the bastion closed the channel")  # if the pod closes, EOF comes first
        elif exc is not None:
            exc = LinkLost(f"ssh: {exc}")
        self._end(exc)

    def pause_writing(self) -> None:
        """The write buffer is full."""
        self._tell(self._protocol.pause_writing)

    def resume_writing(self) -> None:
        """The write buffer has room again."""
        self._tell(self._protocol.resume_writing)

    def _tell(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        """Call the protocol. No exception may reach asyncssh's packet loop."""
        try:
            return callback(*arguments)
        except Exception as error:
            _log.exception("a protocol on an SSH channel failed")
            self._fail(error)
            return None

    def _end(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._tell(self._protocol.connection_lost, exc)

    # -- what the protocol calls -------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; after a close or EOF it is dropped, and `connection_lost` tells the protocol."""
        if self._closing or self._ended or self._channel is None:
            return
        try:
            self._channel.write(bytes(data))
        except OSError:
            self._fail(ConnectionResetError("the channel is closed"))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send the items, one after the other."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Whether EOF can be sent: always, since SSH channels can be half-closed, like TCP connections."""
        return True

    def write_eof(self) -> None:
        """Send EOF; data is still received."""
        if not (self._closing or self._ended) and self._channel is not None:
            self._ended = True
            try:
                self._channel.write_eof()
            except OSError:
                self._fail(ConnectionResetError("the channel is closed"))

    def close(self) -> None:
        """Close once all written data is sent."""
        if self._closing:
            return
        self._closing = True
        if self._channel is None:
            return
        if self._channel.get_write_buffer_size():
            # A close would wait for a peer that may never read, and an abort could not follow it.
            self._protocol = _Closing(self._protocol, self)
            self._channel.resume_reading()  # else the far side's EOF would never be seen
            self._channel.set_write_buffer_limits(high=0)
        else:
            self._close_now()

    def _close_now(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._loop.call_soon(self._end, None)

    def abort(self) -> None:
        """Close at once, and call `connection_lost` without waiting for the far side, which may be gone."""
        self._fail(None)

    def _force_close(self, exc: Exception | None) -> None:
        """Called by asyncio's TLS layer on errors."""
        self._fail(exc)

    def _fail(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._closing = True
        if self._channel is not None:
            self._channel.abort()
        self._loop.call_soon(self._end, exc)

    def is_closing(self) -> bool:
        """Whether it is closing or closed, so that nothing can be written."""
        return self._closing

    def pause_reading(self) -> None:
        """Stop reading, so that the far side has to wait."""
        if self._reading and not self._closing and self._channel is not None:
            self._reading = False
            self._channel.pause_reading()

    def resume_reading(self) -> None:
        """Read again after `pause_reading`."""
        if not self._reading and not self._closing and self._channel is not None:
            self._reading = True
            self._channel.resume_reading()

    def is_reading(self) -> bool:
        """Whether data is read."""
        return self._reading and not self._closing

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that wait to be sent."""
        return 0 if self._channel is None else self._channel.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark, in bytes."""
        return self._limits

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes, at which the protocol is paused and resumed."""
        if high is None:
            high = PAUSED_HIGH if low is None else 4 * low
        self._limits = (high // 4 if low is None else low, high)
        if self._channel is not None:
            self._channel.set_write_buffer_limits(high=high, low=self._limits[0])

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Use another protocol from now on."""
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `peername`, else `default`: the socket is shared by all channels."""
        return self._peer if name == "peername" else default


class _Closing(asyncio.Protocol):
    """Stands in for the protocol of a closing transport: closes once the last bytes are sent."""

    def __init__(self, protocol: asyncio.BaseProtocol, transport: ChannelTransport) -> None:
        self._protocol = protocol
        self._transport = transport

    def resume_writing(self) -> None:
        self._transport._close_now()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)
