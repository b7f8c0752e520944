"""Unix sockets to listen on: replaced where nobody listens any more, never taken from a process that does."""

from __future__ import annotations

import errno
import socket
import stat
from pathlib import Path

import pytest

from faucet.net.unix_socket import bind_unix, is_listening


def listener(path: Path, backlog: int = 1) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(backlog)
    return sock


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener(path).close()
    assert path.is_socket()
    assert not is_listening(str(path))
    with bind_unix(str(path)):
        assert path.is_socket()


def test_one_that_is_listened_on_is_not(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listener(path), pytest.raises(OSError, match="another process listens there") as raised:
        bind_unix(str(path))
    assert raised.value.errno == errno.EADDRINUSE


@pytest.mark.timeout(10)
def test_a_listener_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Its queue is full and it accepts nothing: connecting would block for ever."""
    path = tmp_path / "socket"
    with listener(path, backlog=0):
        waiting = []
        try:
            while True:
                client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                waiting.append(client)
                client.setblocking(False)
                client.connect(str(path))
        except BlockingIOError:
            pass
        with pytest.raises(OSError, match="another process listens there"):
            bind_unix(str(path))
        for client in waiting:
            client.close()
    assert path.is_socket(), "it is the other process's"


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="there is a file of that name"):
        bind_unix(str(path))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_its_mode_is_what_was_asked_for(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "socket"
    with bind_unix(str(path), mode):
        assert stat.S_IMODE(path.stat().st_mode) == mode
