"""What a fuzzer may call with any bytes. Whatever is raised is a finding.

The framers, and the reader of PROXY headers, must not depend on how bytes are split, and the framers must agree with
h11 on the length of what both accept. The control connection answers each line once, in order, with JSON, and never
with "the command failed".
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import h11

from faucet.control.commands import Commands
from faucet.control.server import ControlConnection
from faucet.fleet import Command, Faults, Origin, Refused
from faucet.log.recent import RecentLog
from faucet.net.proxy_header import SIGNATURE, ProxyHeaderError, ProxyHeaderReader
from faucet.proxy.server import Proxy
from faucet.settings import ServeSettings
from faucet.status.collect import Runtime
from tests.support.framing import read_requests, read_response
from tests.support.mutants import SEEDS, SPICE, check_mutant
from tests.support.splits import random_pieces

METHODS = (b"GET", b"HEAD", b"POST")

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def requests(data: bytes) -> None:
    """A connection of a client."""
    check_mutant(data, random.Random(zlib.crc32(data)))


def bodies(data: bytes) -> None:
    """A chunked body, whatever it is: its head is good."""
    requests(CHUNKED + data)


def headers(data: bytes) -> None:
    """A PROXY header, however it is split."""
    source = random.Random(zlib.crc32(data))
    whole = read_header([data])
    assert read_header(random_pieces(data, source)) == whole
    assert read_header([data[i : i + 1] for i in range(len(data))]) == whole


def read_header(pieces: list[bytes]) -> object:
    """The address, and the bytes behind it; or what is wrong; None as long as more is needed."""
    reader = ProxyHeaderReader()
    found: tuple[object, bytes] | None = None
    for piece in pieces:
        if found is not None:
            found = found[0], found[1] + piece
            continue
        try:
            found = reader.feed(piece)
        except ProxyHeaderError as error:
            return str(error)
    return found


def lengths(data: bytes) -> None:
    """A limit of the body: it holds however the body is framed and split."""
    for result in read_requests([data], max_body=8):
        if not isinstance(result, int):
            assert len(result[0]) <= len(data)
    assert read_requests([data], max_body=8) == read_requests([data[i : i + 1] for i in range(len(data))], max_body=8)


def responses(data: bytes) -> None:
    """A connection of a worker."""
    source = random.Random(zlib.crc32(data))
    for method in METHODS:
        whole = read_response([data], method)
        split = read_response(random_pieces(data, source), method)
        bytewise = read_response([data[i : i + 1] for i in range(len(data))], method)
        assert whole == split == bytewise, (whole, split, bytewise)
        if isinstance(whole, tuple):
            agree_on_response(data, method, *whole)


def agree_on_response(data: bytes, method: bytes, status: int, relayed: bytes, left: bytes, done: bool) -> None:
    """What both take for a whole message ends at the same byte."""
    assert relayed + left == data
    ends_itself = done and status >= 200
    theirs = rest_for_h11(data, method) if ends_itself else None
    assert theirs is None or theirs == left, (theirs, left)


def rest_for_h11(data: bytes, method: bytes) -> bytes | None:
    """What is behind the first response, to h11; None if it takes none from these bytes."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.EndOfMessage):
                rest: bytes = connection.trailing_data[0]
                return rest
            if event in (h11.NEED_DATA, h11.PAUSED):
                return None
    except h11.RemoteProtocolError:
        return None


class Control:
    """A control connection whose transport is a list, and whose commands are run at once."""

    def __init__(self) -> None:
        class Immediate(ControlConnection):
            def forget(self) -> None:
                self._rest, self._subscriber = b"", None
                self._lines.clear()

            def _schedule(self) -> None:
                while self._lines and not self.transport.is_closing():
                    self._answer(self._lines.popleft())

            def _watch(self, message: dict[str, Any]) -> str:
                """All of it but the timer, which is the loop's."""
                self._subscriber = cast("Any", SimpleNamespace())
                return super()._watch(message)

        self.sent: list[bytes] = []
        self.closed = False
        transport = SimpleNamespace(
            set_write_buffer_limits=lambda high: None, is_closing=lambda: self.closed, write=self.sent.append,
            close=self._close, abort=self._close, pause_reading=int, resume_reading=int, get_write_buffer_size=int,
        )  # fmt: skip
        self.connection = Immediate(cast("Any", server()))
        self.connection.connection_made(cast("Any", transport))
        self.sent.clear()

    def _close(self) -> None:
        self.closed = True

    def answers(self, data: bytes) -> list[bytes]:
        """The lines that it sends for these bytes, which come in two pieces."""
        self.sent.clear()
        self.closed = False
        self.connection.forget()
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            if not self.closed:
                self.connection.data_received(piece)
        *lines, rest = b"".join(self.sent).split(b"\n")
        assert rest == b""
        return lines


def server() -> Any:
    """As much of a ControlServer, and of what it controls, as commands need."""

    def act(ask: Command) -> str:
        if not (isinstance(ask.worker, str) and isinstance(ask.count, int) and isinstance(ask.who, str)):
            raise AssertionError(ask)
        return f"done for {ask.who}"

    def refuse(worker: str) -> None:
        raise Refused(f"there is no worker {worker}")

    actions = dict.fromkeys(("restart", "rolling-restart", "scale", "hold", "resume", "kill"), act)
    fleet = SimpleNamespace(
        actions=actions, not_offered={"drop": "not here: restart {worker}"}, count=2, failing=False, details=refuse,
        origin=Origin, notice=str, statuses=list, faults=Faults,
    )  # fmt: skip

    async def made() -> Proxy:
        return Proxy(ServeSettings(), lambda record: None)

    proxy = asyncio.run(made())  # commands need no loop
    runtime = Runtime(proxy, cast("Any", fleet), RecentLog(), "t", "d", "local", "u", 1, stop=lambda who, now: None)
    return SimpleNamespace(
        runtime=runtime, commands=Commands(runtime), welcome=lambda connection: True, detach=lambda connection: "path"
    )


@cache
def controlled() -> Control:
    """One connection for all inputs: to make it takes longer than to use it."""
    return Control()


def control(data: bytes) -> None:
    """A client of the control socket."""
    connection = controlled()
    answers = connection.answers(data)
    for answer in answers:
        told = json.loads(answer)
        assert ("ok" in told) != ("error" in told), told
        assert "command failed" not in str(told.get("error")), told
    assert connection.closed or len(answers) == data.count(b"\n")


RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nmore",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nto the end",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close, x\r\n\r\n0\r\n\r\n",
]

COMMANDS = [
    b'{"id":1,"do":"status"}\n{"id":2,"do":"logs","last":3,"worker":"1"}\n',
    b'{"id":"x","do":"scale","count":"+1","who":"me","wait":true,"protocol":4}\n',
    b'{"do":"restart","worker":1}\n{"do":"requests","last":10}\n{"do":"health"}\n',
    b'{"do":"drop","worker":"{pod}"}\n{"do":"details","worker":"a"}\n{"do":"detach"}\n',
    b'{"do":"stop","now":true}\n[1]\n{}\nnull\n{"do":["a"],"id":null}\n',
    b'{"do":"watch","hz":2.5}\n{"do":"watch","hz":1e-9}\n',
]

CHUNKS = [b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", b'1;a="b\\""\r\nx\r\n0;e\r\n\r\nGET / HTTP/1.1\r\n\r\n']


HEADERS = [
    b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 65535\r\n",
    b"PROXY UNKNOWN whatever\r\n",
    SIGNATURE + b"\x21\x11\0\x0c" + bytes(12) + b"GET",
    SIGNATURE + b"\x20\0\0\0" + SIGNATURE + b"\x21\x21\0\x28" + bytes(40),
]


class Target(NamedTuple):
    """What can be fuzzed."""

    check: Callable[[bytes], None]
    """Raises what is a finding."""
    reach: Callable[[bytes], object]
    """Goes through the same code once, without the checks: its coverage is what guides."""
    seeds: list[bytes]
    """What to begin with."""


TARGETS = {
    "requests": Target(requests, lambda data: read_requests([data[:9], data[9:]]), SEEDS),
    "bodies": Target(bodies, lambda data: read_requests([CHUNKED + data]), CHUNKS),
    "lengths": Target(lengths, lambda data: read_requests([data], max_body=8), SEEDS),
    "responses": Target(responses, lambda data: read_response([data[:9], data[9:]]), RESPONSES),
    "headers": Target(headers, lambda data: read_header([data[:9], data[9:]]), HEADERS),
    "control": Target(control, control, COMMANDS),
}

WORDS = [
    *SPICE,
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"HTTP/1.1 ", b"0\r\n\r\n", b"Host: a\r\n", b'"'),
    *(b'"do":', b'"worker":', b'"count":', b"1e999", b"-1", b"\\ud800", b"[", b"{", b"}\n", b"null", b"9" * 20),
]
"""What a mutation may put in."""
