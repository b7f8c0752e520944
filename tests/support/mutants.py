"""Requests with a few bytes changed at random. What is accepted of them must be one request to h11 as well."""

from __future__ import annotations

import random

import h11

from tests.support.framing import read_requests
from tests.support.splits import random_pieces

SEEDS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /x HTTP/1.2\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b'1;a="b\\"" ; c = d\r\nx\r\n0;e\r\n\r\n',
    b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: ,100-continue\r\nContent-Length: 1\r\n\r\nx",
    b"GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
]

SPICE = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"0",
    b",",
    b"\x00",
    b"chunked",
    b"Content-Length: 3\r\n",
    b";",
    b"\xff",
]


def mutate(data: bytes, source: random.Random) -> bytes:
    """Flip, insert, double or cut a few bytes."""
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(data) + 1)
        match source.randrange(4):
            case 0:
                data = data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + source.choice(SPICE) + data[at:]
            case 2:
                end = at + source.randint(1, 20)
                data = data[:end] + data[at:end] + data[end:]
            case _:
                data = data[:at] + data[at + source.randint(1, 5) :]
    return data


def agrees_with_h11(forwarded: bytes) -> bool:
    """Whether h11 takes exactly these bytes for one request."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(forwarded)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.EndOfMessage):
            return connection.trailing_data[0] == b""
        if event in (h11.NEED_DATA, h11.PAUSED):
            return False


def check_mutant(data: bytes, source: random.Random) -> int:
    """How many requests of `data` would reach a worker; each must be one to h11 too, however it was split."""
    results = read_requests([data])
    assert read_requests(random_pieces(data, source)) == results, data
    assert read_requests([data[i : i + 1] for i in range(len(data))]) == results, data
    accepted = [result for result in results if not isinstance(result, int)]
    for forwarded, _method, _target in accepted:
        try:
            assert agrees_with_h11(forwarded), forwarded
        except h11.RemoteProtocolError as error:
            raise AssertionError(f"h11 refuses {forwarded!r}: {error}") from error
    return len(accepted)


def fuzz(rounds: int, seed: int) -> tuple[int, int]:
    """Mutants tried, and requests among them that were accepted."""
    source = random.Random(seed)
    accepted = 0
    for _ in range(rounds):
        data = b"".join(source.choices(SEEDS, k=source.randint(1, 3)))
        accepted += check_mutant(mutate(data, source), source)
    return rounds, accepted
