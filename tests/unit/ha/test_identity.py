"""Who a process is, by its environment."""

from __future__ import annotations

import socket

import pytest

from faucet.ha.identity import address_of, identity_of
from faucet.ha.record import Identity


def test_a_pod_is_known_by_its_uid_and_each_process_by_itself() -> None:
    environment = {"POD_NAME": "faucet-1", "POD_UID": "uid-1"}
    one, other = identity_of(environment), identity_of(environment)
    assert (one.name, one.uid) == ("faucet-1", "uid-1")
    assert one.restarted(other)
    assert Identity.parse(str(one)) == one


def test_without_a_uid_no_process_is_known_to_be_dead() -> None:
    one, other = identity_of({}), identity_of({})
    assert one.name == socket.gethostname()
    assert not one.restarted(other)
    assert one.key != other.key


def test_a_name_with_slashes_is_still_an_identity() -> None:
    one = identity_of({"POD_NAME": "a/b", "POD_UID": "c/d"})
    assert Identity.parse(str(one)) == one


@pytest.mark.parametrize(
    ("environment", "host", "address"),
    [
        ({"POD_IP": "10.1.2.3"}, "", "10.1.2.3:3840"),
        ({"POD_IP": "fd00::1"}, "", "[fd00::1]:3840"),
        ({"POD_IP": "10.1.2.3"}, "127.0.0.1", "10.1.2.3:3840"),
        ({}, "127.0.0.1", "127.0.0.1:3840"),
        ({}, "::1", "[::1]:3840"),
    ],
)
def test_where_others_reach_it(environment: dict[str, str], host: str, address: str) -> None:
    assert address_of(environment, host, 3840) == address


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])
def test_an_address_of_every_interface_is_none_to_tell(host: str) -> None:
    address, _, port = address_of({}, host, 3840).rpartition(":")
    assert port == "3840"
    assert address not in ("", "0.0.0.0", "[::]")
