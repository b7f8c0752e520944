"""The names under which admin pages are served: a web page of a stranger has none of them."""

from __future__ import annotations

import socket

import pytest

from faucet.admin.names import OwnNames


@pytest.mark.parametrize(
    "host",
    [
        None, b"", b"127.0.0.1", b"127.0.0.1:3839", b"10.1.2.3:9090", b"[::1]:3839", b"[fe80::1]", b"localhost:3839",
        b"LOCALHOST", b"faucet:9090", b"faucet.default.svc:9090", b"faucet.default.svc.cluster.local", b"nas.local",
        b"a.internal.", socket.gethostname().encode(),
    ],
)  # fmt: skip
def test_own_names(host: bytes | None) -> None:
    assert OwnNames().include(host)


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"evil.example:3839", b"127.0.0.1.evil.example", b"localhost.evil.example", b"1.2.3.4.5",
     b"a.locals", b"xn--localhost.com", b"evillocal.com"],
)  # fmt: skip
def test_names_that_somebody_could_register(host: bytes) -> None:
    assert not OwnNames().include(host)
    assert OwnNames([host.decode().partition(":")[0].upper()]).include(host)
    assert OwnNames(["*"]).include(host)
