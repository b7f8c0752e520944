"""The endpoints of a service: what follows from a sequence of answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.pods.discovery.endpoints import Answer, Endpoint, Found, Missing, Trouble, one_family
from faucet.pods.endpoint_set import EndpointSet
from tests.support.resolved import A, B

ANSWERS = st.one_of(
    st.builds(Found, st.lists(st.sampled_from([A, B, A._replace(ready=False)]), unique_by=lambda e: e.key).map(tuple)),
    st.just(Missing("gone")),
    st.just(Trouble("down")),
)


@given(st.lists(ANSWERS, max_size=30))
def test_a_roster_is_what_the_answers_say(answers: list[Answer]) -> None:
    endpoint_set = EndpointSet()
    expected: set[Endpoint] = set()
    missing = 0
    for moment, answer in enumerate(answers):
        before = dict(endpoint_set.endpoints)
        changed = endpoint_set.apply(answer, float(moment))
        missing = missing + 1 if isinstance(answer, Missing) else 0
        if isinstance(answer, Found):
            expected = set(answer.endpoints)
            assert endpoint_set.trouble == ""
            assert endpoint_set.known_since == moment
        elif missing >= 2:
            expected = set()
        assert set(endpoint_set.endpoints.values()) == expected
        assert changed == (before != endpoint_set.endpoints)
        assert set(endpoint_set.ready) == {endpoint for endpoint in expected if endpoint.ready}


def test_trouble_between_two_missing_answers_begins_the_count_anew() -> None:
    endpoint_set = EndpointSet()
    endpoint_set.apply(Found((A,)), 0)
    for answer in (Missing("gone"), Trouble("down"), Missing("gone")):
        assert not endpoint_set.apply(answer, 1)
    assert endpoint_set.apply(Missing("gone"), 2)
    assert endpoint_set.trouble == "gone"


def test_other_addresses_of_the_same_pods_are_not_believed_at_once() -> None:
    """glibc tells the IPv6 addresses alone when the question for the others failed: each would be a second lock."""
    endpoint_set = EndpointSet()
    six = Found((Endpoint("fd00::1", 8000),))
    endpoint_set.apply(Found((A, B)), 0)
    for _ in range(3):
        assert not endpoint_set.apply(six, 1)
        assert set(endpoint_set.ready) == {A, B}
    assert endpoint_set.apply(six, 2)
    assert endpoint_set.ready == list(six.endpoints)


def test_one_worker_has_one_address() -> None:
    assert one_family(["::1", "127.0.0.1", "127.0.0.1"]) == ["127.0.0.1"]
    assert one_family(["fd00::2", "fd00::1"]) == ["fd00::1", "fd00::2"]
    assert one_family(["10.0.0.10", "10.0.0.9"]) == ["10.0.0.9", "10.0.0.10"]
    assert one_family([]) == []
    with pytest.raises(ValueError, match="nobody"):
        one_family(["nobody"])
