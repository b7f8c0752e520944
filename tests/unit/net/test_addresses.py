"""Addresses to listen on: what is written, what is bound, and what is said when that fails."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from faucet.net import binding
from faucet.net.address import Address, AddressError, UnixAddress, parse_address
from faucet.net.binding import bind, bound_address, listen
from faucet.net.listener import Entrance, Listener, Listeners
from faucet.net.port_owner import who_listens
from tests.support.needs import needs_ipv6

BOTH = ("127.0.0.1", "::1")


Names = Callable[..., None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Lets a name have those addresses."""
    known: dict[str, tuple[str, ...]] = {}
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        numeric = known.get(host, (host,))
        return [answer for one in numeric for answer in real(one, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    def let(name: str, *addresses: str) -> None:
        known[name] = addresses

    return let


@contextmanager
def bound(address: Address | UnixAddress) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        sockets = bind(address)
        for sock in sockets:
            stack.enter_context(sock)
        yield sockets


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:3838", Address("127.0.0.1", 3838), "http://127.0.0.1:3838"),
        ("localhost:80", Address("localhost", 80), "http://localhost:80"),
        (":8080", Address("", 8080), "http://localhost:8080"),
        ("0.0.0.0:80", Address("0.0.0.0", 80), "http://localhost:80"),
        ("[::1]:3838", Address("::1", 3838), "http://[::1]:3838"),
        ("localhost", Address("localhost", 3838), "http://localhost:3838"),
        ("0.0.0.0", Address("0.0.0.0", 3838), "http://localhost:3838"),
        ("[::1]", Address("::1", 3838), "http://[::1]:3838"),
        ("8080", Address("127.0.0.1", 8080), "http://127.0.0.1:8080"),
    ],
)
def test_addresses(text: str, address: Address, url: str) -> None:
    assert parse_address(text) == address
    assert address.url == url


@pytest.mark.parametrize("text", ["a:", "a:b", "::1", "::1:80", "a:65536", "65536", "a:1:2", "http://a:80", "[a", "a]"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "", "localhost", "0.0.0.0"])
def test_binding(host: str) -> None:
    with bound(Address(host, 0)) as sockets:
        address = bound_address(sockets, Address(host, 0))
        assert address.port > 0
        for sock in sockets:
            listen(sock, address)
        with pytest.raises(AddressError, match=rf"in use by .* \(pid {os.getpid()}\); choose another"):
            bind(address)


def test_accepted_connections_are_kept_alive_by_the_kernel() -> None:
    """A client that vanished without a word is noticed in the end."""
    with bound(Address("127.0.0.1", 0)) as sockets:
        address = bound_address(sockets, Address("127.0.0.1", 0))
        listen(sockets[0], address)
        with socket.create_connection(("127.0.0.1", address.port)):
            accepted, _ = sockets[0].accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


# -- names with several addresses ----------------------------------------------------------------------------------


@needs_ipv6
@pytest.mark.parametrize("addresses", [BOTH, BOTH[::-1], ("127.0.0.1", "127.0.0.2", "::1", "127.0.0.1")])
def test_a_name_is_bound_at_all_its_addresses_on_one_port(names: Names, addresses: tuple[str, ...]) -> None:
    names("several", *addresses)
    asked = Address("several", 0)
    with bound(asked) as sockets:
        found = bound_address(sockets, asked)
        once = tuple(dict.fromkeys(addresses))
        assert [sock.getsockname()[:2] for sock in sockets] == [(host, found.port) for host in once]
        assert str(found) == f"several:{found.port}"
        assert found.described == f"http://several:{found.port} ({' and '.join(once)})"


@needs_ipv6
def test_port_0_is_tried_again_where_it_is_taken_on_one_address(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port that the kernel gives at 127.0.0.1 may be another's at ::1."""
    names("several", *BOTH)
    real, given = binding._bound_socket, []

    def taken_twice(family: int, target: tuple[Any, ...], only_v6: bool) -> socket.socket:
        if family == socket.AF_INET6 and len(given) < 2:
            given.append(target[1])
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return real(family, target, only_v6)

    monkeypatch.setattr(binding, "_bound_socket", taken_twice)
    with bound(Address("several", 0)) as sockets:
        ports = {sock.getsockname()[1] for sock in sockets}
        assert len(sockets) == 2
        assert len(ports) == 1
    assert len(given) == 2
    assert 0 not in given
    given.clear()
    monkeypatch.setattr(binding, "PORT_TRIES", 2)
    with pytest.raises(AddressError, match=r"cannot listen on several:0 \(\[::1\]:\d+\): the port is in use"):
        bind(Address("several", 0))


@needs_ipv6
@pytest.mark.parametrize("busy", BOTH)
def test_a_port_in_use_at_one_address_is_in_use(names: Names, busy: str) -> None:
    """Else clients that try this address first would reach another program."""
    names("several", *BOTH)
    with bound(Address(busy, 0)) as [other]:
        address = bound_address([other], Address(busy, 0))
        listen(other, address)
        where = str(Address(busy, address.port)).replace("[", r"\[").replace("]", r"\]")
        with pytest.raises(AddressError, match=rf"several:{address.port} \({where}\): the port is in use by "):
            bind(Address("several", address.port))
    with bound(Address("several", address.port)) as sockets:  # nothing was left behind
        assert len(sockets) == 2


@pytest.mark.parametrize("addresses", [("198.51.100.1", "127.0.0.1"), ("127.0.0.1", "2001:db8::1", "198.51.100.1")])
def test_addresses_that_are_not_there_are_left_out(names: Names, addresses: tuple[str, ...]) -> None:
    names("several", *addresses)
    with bound(Address("several", 0)) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]
        assert bound_address(sockets, Address("several", 0)).described.endswith(" (127.0.0.1)")


@pytest.mark.parametrize("problem", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6(names: Names, monkeypatch: pytest.MonkeyPatch, problem: int) -> None:
    names("several", *BOTH[::-1])
    real = binding._bound_socket

    def without_ipv6(family: int, target: tuple[Any, ...], only_v6: bool) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(problem, os.strerror(problem))
        return real(family, target, only_v6)

    monkeypatch.setattr(binding, "_bound_socket", without_ipv6)
    with bound(Address("several", 0)) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]
    with pytest.raises(AddressError, match=r"listen on \[::1\]:0: no interface of this machine has that address; "):
        bind(Address("::1", 0))


def test_a_name_whose_addresses_are_all_elsewhere(names: Names) -> None:
    names("elsewhere", "198.51.100.1", "198.51.100.2")
    said = r"listen on elsewhere:80 \(198\.51\.100\.2:80\): no interface of this machine has that address"
    with pytest.raises(AddressError, match=said):
        bind(Address("elsewhere", 80))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), r"the name 'x' has no address \(Name or"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), r"the name 'x' cannot be resolved now \(Temporary"),
        (UnicodeError("label too long"), "'x' is not a host name"),
        (ValueError("embedded null character"), "'x' is not a host name"),
    ],
)
def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(AddressError, match=f"cannot listen on x:80: {said}.*; .*address"):
        bind(Address("x", 80))


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "a b", "a\0b", "\u0660"])
def test_names_that_are_none(host: str) -> None:
    with pytest.raises(AddressError, match="cannot listen on "):
        bind(Address(host, 80))


def test_another_way_to_write_every_interface(names: Names) -> None:
    """`0` is 0.0.0.0 to the resolver."""
    names("0", "0.0.0.0")
    with bound(Address("0", 0)) as sockets:
        found = bound_address(sockets, Address("0", 0))
        assert found.described == f"http://localhost:{found.port} (all interfaces)"


# -- listening -----------------------------------------------------------------------------------------------------


class Hello(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")  # type: ignore[attr-defined]
        transport.close()


async def heard(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()


@needs_ipv6
async def test_a_listener_listens_at_all_addresses_and_stops_at_all(names: Names) -> None:
    names("several", *BOTH)
    listener = Listener(parse_address("several:0"))
    await listener.open(Hello)
    for host in BOTH:
        assert await heard(host, listener.address.port) == b"hello"
    # One that the kernel has accepted at the end is answered, at each address.
    waiting = [socket.create_connection((host, listener.address.port)) for host in BOTH]
    await listener.close()
    for sock in waiting:
        with sock:
            sock.setblocking(False)
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 100), 5) == b"hello"
    for host in BOTH:
        with pytest.raises(ConnectionRefusedError):
            await heard(host, listener.address.port)


@needs_ipv6
async def test_a_name_beside_its_own_addresses(names: Names) -> None:
    """In any order; each is bound once."""
    names("several", *BOTH)
    with bound(Address("several", 0)) as sockets:
        port = sockets[0].getsockname()[1]
    for hosts, described in (
        (["127.0.0.1", "several"], f"http://127.0.0.1:{port} and http://several:{port} (::1)"),
        (["::1", "several", "127.0.0.1"], f"http://[::1]:{port} and http://several:{port} (127.0.0.1)"),
        (["several", "::1"], f"http://several:{port} (127.0.0.1 and ::1)"),
        (["127.0.0.1", "127.0.0.1"], f"http://127.0.0.1:{port}"),
    ):
        listeners = Listeners([Address(host, port) for host in hosts])
        assert listeners.described == described
        await listeners.open(Entrance(Hello))
        assert await heard("127.0.0.1", port) == b"hello"
        if len(set(hosts)) > 1:
            assert await heard("::1", port) == b"hello"
        await listeners.close()


def test_nothing_stays_bound_when_one_of_several_fails(names: Names) -> None:
    names("elsewhere", "198.51.100.1")
    with bound(Address("127.0.0.1", 0)) as sockets:
        port = sockets[0].getsockname()[1]
    with pytest.raises(AddressError, match="elsewhere"):
        Listeners([Address("127.0.0.1", port), Address("elsewhere", port)])
    with bound(Address("127.0.0.1", port)) as sockets:
        listen(sockets[0], Address("127.0.0.1", port))


@needs_ipv6
def test_who_is_in_the_way_at_that_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several programs can have one port, at different addresses."""
    import psutil

    class Connection:
        status = psutil.CONN_LISTEN

        def __init__(self, host: str, pid: int | None) -> None:
            self.laddr, self.pid = (host, 3838), pid

    connections = [Connection("127.0.0.1", os.getppid()), Connection("::1", os.getpid()), Connection("10.0.0.1", None)]
    monkeypatch.setattr(psutil, "net_connections", lambda kind: connections)
    assert f"(pid {os.getpid()})" in str(who_listens(3838, "::1"))
    assert f"(pid {os.getppid()})" in str(who_listens(3838, "127.0.0.1"))
    assert f"(pid {os.getppid()})" in str(who_listens(3838))
    assert f"(pid {os.getppid()})" in str(who_listens(3838, "10.0.0.1"))
    assert who_listens(3839, "::1") is None
