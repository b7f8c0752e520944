"""The lines between members: what is written is read again, and nothing else is taken for a message."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.ha.messages import Ask, Freed, Promise, Refusal, Stopped
from faucet.ha.wire import BadMessage, Hello, Message, NotActive, Ping, Welcome, decode, encode

epochs = st.integers(0, 2**31 - 1)
texts = st.text(max_size=20)
seconds = st.floats(0, 1e6)
stops = st.builds(Stopped, epochs, texts, st.frozensets(texts, max_size=4), seconds)
messages = st.one_of(
    st.builds(Ask, epochs, epochs, seconds),
    st.builds(Promise, epochs, epochs, texts),
    st.builds(Refusal, epochs, epochs, texts),
    stops,
    st.builds(Freed, epochs, texts, texts),
    st.builds(Hello, epochs, texts, texts, texts, st.none() | stops),
    st.builds(Welcome, epochs),
    st.builds(NotActive, epochs),
    st.builds(Ping, epochs, epochs),
)


@given(messages)
def test_each_message_is_one_line_and_comes_back(message: Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    again = decode(line)
    assert again == message
    assert type(again) is type(message)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)
names = st.sampled_from(["Ask", "Promise", "Refusal", "Stopped", "Freed", "Hello", "Welcome", "NotActive", "Ping"])


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused_in_one_way(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(line)


@given(names, st.lists(json_values, max_size=5))
def test_a_name_with_any_fields_is_a_message_of_the_right_types_or_refused(name: str, fields: list[object]) -> None:
    try:
        message = decode(json.dumps([name, *fields]).encode())
    except BadMessage:
        return
    assert decode(encode(message)) == message
    assert type(message.epoch) is int


@pytest.mark.parametrize(
    "line",
    [
        b'["Welcome",true]',
        b'["Welcome",-1]',
        b'["Welcome",2147483648]',
        b'["Welcome"]',
        b'["Welcome",1,2]',
        b'["Ask",1,1,NaN]',
        b'["Ask",1,1,1e999]',
        b'["Stopped",1,"a","pods",0]',
        b'["Hello",1,"a","b","c",[1]]',
        b"[" * 100_000,
    ],
)
def test_near_misses(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(line)
