"""Control sockets of other users: never obeyed, never commanded, and what they say is shown as text."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faucet.control.client import NoRuntime, open_socket
from faucet.control.find import find
from faucet.control.protocol import PROTOCOL
from faucet.control.server import ControlError, bind
from faucet.net.unix_socket import peer_uid
from tests.support.checkout import ROOT

NOBODY = 65534

LISTEN = """
import os, socket, sys
os.setgid({uid}); os.setuid({uid}); os.umask(0)
server = socket.socket(socket.AF_UNIX); server.bind({path!r}); server.listen()
print("listening", flush=True)
while True:
    client, _ = server.accept()
    client.sendall({greeting!r})
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else for a moment")


def greeting(title: str) -> bytes:
    fields = {"faucet": "1", "protocol": PROTOCOL, "port": 1234, "pid": 1, "title": title, "url": "u", "mode": "local"}
    return json.dumps(fields).encode() + b"\n"


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory that every user may look into, with a short path: sockets have 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="fct-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def trap(short: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of our sockets in /tmp, made by another user, with a socket for port 1234 that answers as we do."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("TMPDIR", str(short))
    where = short / f"faucet-{os.getuid()}"
    where.mkdir()
    os.chown(where, NOBODY, NOBODY)
    path = where / "1234.sock"
    code = LISTEN.format(uid=NOBODY, path=str(path), greeting=greeting("yours, \x1b]0;really\x07"))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        yield path
        process.kill()


@needs_root
async def test_a_socket_where_ours_would_be_is_not_trusted(trap: Path) -> None:
    for which in (1234, None):
        with pytest.raises(NoRuntime, match="is not private to you") as refused:
            await find(which)
        assert "\x1b" not in str(refused.value)


@needs_root
async def test_a_stranger_in_our_own_directory_is_refused_too(trap: Path) -> None:
    """E.g. a group that may write, for a moment; the process that listens is looked at, not only the directory."""
    os.chown(trap.parent, 0, 0)
    trap.parent.chmod(0o700)
    with pytest.raises(NoRuntime, match=r"belongs to user nobody|belongs to user #65534"):
        await find(1234)


@needs_root
async def test_root_may_name_the_socket_of_any_user(trap: Path) -> None:
    client = await find(trap)
    assert client.greeting.title == r"yours, \x1b]0;really\x07"
    await client.close()


@needs_root
def test_another_user_refuses_a_strangers_socket_even_by_name(short: Path) -> None:
    code = f"""
import asyncio, os, pathlib, sys
sys.path.insert(0, {str(ROOT)!r})
from faucet.control.find import find
from faucet.control.client import NoRuntime
os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    asyncio.run(find(pathlib.Path(sys.argv[1])))
except NoRuntime as error:
    print(error)
"""
    short.chmod(0o777)
    path = short / "a.sock"
    listening = LISTEN.format(uid=1, path=str(path), greeting=greeting("x"))
    with subprocess.Popen([sys.executable, "-c", listening], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        said = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, timeout=30
        )
        process.kill()
    assert "belongs to user" in said.stdout, said.stderr
    assert "not to you" in said.stdout


async def test_our_own_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    server = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), path)
    reader, writer = await open_socket(path, named=False)
    assert peer_uid(writer.get_extra_info("socket")) == os.geteuid()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()


def test_a_socket_without_a_peer_is_nobodys() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        assert peer_uid(other) in (None, -1)


def test_the_directory_is_looked_at_after_it_was_made(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    (short / "faucet").mkdir()
    (short / "faucet").chmod(0o755)
    with pytest.raises(ControlError, match="is not private to you"):
        bind(short / "faucet" / "1.sock")
