"""The field that tells a strict pod the epoch, and what such a pod refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.http1 import RequestReader
from faucet.proxy.error_responses import NOT_BEGUN, answer
from faucet.proxy.fencing import OLDER_EPOCH, REMEMBERED, Fence, take_epoch, with_epoch

FIELDS = st.lists(st.sampled_from([b"A: b", b"X-Epoch: 7", b"Faucet-Epochs: 7", b"a: Faucet-Epoch: 9", b"Z:"]))


def head_of(fields: list[bytes]) -> bytes:
    return b"\r\n".join([b"POST /Faucet-Epoch:3 HTTP/1.1", b"Host: a", *fields, b"", b""])


@given(FIELDS, st.integers(0, 10**15 - 1))
def test_the_worker_gets_what_the_client_has_sent(fields: list[bytes], epoch: int) -> None:
    head = head_of(fields)
    between = with_epoch(head, epoch)
    parsed = RequestReader().feed(between)
    assert parsed is not None
    assert parsed[0].raw == between
    assert take_epoch(between) == (head, epoch)
    assert take_epoch(head) == (head, None)


@pytest.mark.parametrize("forged", [b"Faucet-Epoch: 999", b"faucet_epoch:999", b"FAUCET-EPOCH: x", b"Faucet-Epoch:"])
def test_a_client_cannot_tell_the_epoch(forged: bytes) -> None:
    head = head_of([b"A: b", forged, b"C: d"])
    assert take_epoch(with_epoch(head, 5)) == (head_of([b"A: b", b"C: d"]), 5)


def test_what_is_no_number_is_no_epoch() -> None:
    for value in (b"", b"x", b"-1", b"1e3", b"1" * 16):
        assert take_epoch(head_of([b"Faucet-Epoch: " + value])) == (head_of([]), None)


def test_an_older_epoch_is_refused_while_the_newest_is_remembered() -> None:
    fence = Fence()
    assert not fence.refuses(5, 0)
    assert not fence.refuses(5, 1)
    assert fence.refuses(4, 1 + REMEMBERED), "counted from when the newest was seen last"
    assert not fence.refuses(6, 2 + REMEMBERED)
    assert fence.refuses(5, 3 + REMEMBERED)
    assert not fence.refuses(1, 3 + 2 * REMEMBERED), "epochs begin anew where the Lease was deleted"
    assert not fence.refuses(1, 4 + 2 * REMEMBERED)


def test_the_refusal_says_that_the_request_was_not_begun() -> None:
    assert NOT_BEGUN in answer(503, OLDER_EPOCH)
