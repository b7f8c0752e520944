"""Ways to cut bytes into pieces: the outcome must never depend on them."""

from __future__ import annotations

import random
from collections.abc import Iterator


def splittings(data: bytes, seeds: int = 4) -> Iterator[list[bytes]]:
    """`data` in one piece, byte by byte, in two at every CR and LF, and at random."""
    yield [data]
    yield [data[index : index + 1] for index in range(len(data))]
    for index, octet in enumerate(data):
        if octet in b"\r\n":
            yield [data[:index], data[index:]]
            yield [data[: index + 1], data[index + 1 :]]
    for seed in range(seeds):
        yield random_pieces(data, random.Random(seed))


def random_pieces(data: bytes, source: random.Random, longest: int = 40) -> list[bytes]:
    """`data` in pieces of random lengths from 1 to `longest`."""
    pieces = []
    while data:
        size = source.randint(1, longest)
        pieces.append(data[:size])
        data = data[size:]
    return pieces
