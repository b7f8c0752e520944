"""--via-ssh without root and without sshd: an SSH server in this process is the bastion, and knows two pods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from tests.support.load import fetch
from tests.support.running import Faucet
from tests.support.status import control, ready, until

PODS = ("10.244.1.11", "10.244.1.12")


@dataclass
class Bastion:
    """What there is behind it, and who is connected."""

    directory: Path
    ports: dict[str, int] = field(default_factory=dict)
    """The real port of each pod."""
    pods: tuple[str, ...] = PODS
    """What the name means."""
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    in_hand: dict[str, int] = field(default_factory=dict)
    offences: int = 0
    port: int = 0

    async def pod(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers with its address, one request after the other; two at once are an offence."""
        while await reader.readuntil(b"\r\n\r\n"):
            self.in_hand[address] = self.in_hand.get(address, 0) + 1
            self.offences += self.in_hand[address] > 1
            await asyncio.sleep(0.005)  # R at work
            self.in_hand[address] -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(address), address.encode()))

    async def serve_pod(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the client has gone."""
        try:
            await self.pod(address, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def run(self, process: asyncssh.SSHServerProcess[str]) -> None:
        """What an account with a shell would do."""
        command = process.command or ""
        if "getent" in command:
            async for _ in process.stdin:
                process.stdout.write(f"0 {' '.join(self.pods)}\n")
        process.exit(0)


class Server(asyncssh.SSHServer):
    """Lets the one key in, and forwards to the pods."""

    def __init__(self, bastion: Bastion) -> None:
        self._bastion = bastion

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._bastion.connections.append(conn)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> object:  # type: ignore[override]
        if dest_host not in self._bastion.ports or dest_port != 8000:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "Connection refused")
        return self._connection.forward_connection("127.0.0.1", self._bastion.ports[dest_host])


@pytest.fixture
async def bastion(tmp_path: Path) -> AsyncIterator[Bastion]:
    """Listening."""
    made = Bastion(tmp_path)
    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(tmp_path / name)
        key.write_public_key(tmp_path / f"{name}.pub")
    async with AsyncExitStack() as stack:
        for address in PODS:
            server = await asyncio.start_server(
                lambda reader, writer, address=address: made.serve_pod(address, reader, writer), "127.0.0.1", 0
            )
            await stack.enter_async_context(server)
            made.ports[address] = server.sockets[0].getsockname()[1]
        listener = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=lambda: Server(made), server_host_keys=[tmp_path / "host"],
            authorized_client_keys=str(tmp_path / "user.pub"), process_factory=made.run,
        )  # fmt: skip
        made.port = listener.get_port()
        host_key = (tmp_path / "host.pub").read_text()
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{made.port} {host_key}")
        (tmp_path / "config").touch()
        yield made
        for connection in made.connections:
            connection.abort()
        listener.close()
        await listener.wait_closed()


async def test_pods_behind_a_bastion_in_this_process(bastion: Bastion, faucet: Callable[..., Faucet]) -> None:
    directory = bastion.directory
    service = faucet(
        "k8s", "--service-url", "http://plumber:8000", "--via-ssh", f"somebody@127.0.0.1:{bastion.port}",
        "--ssh-key", str(directory / "user"), "--ssh-known-hosts", str(directory / "known_hosts"),
        "--ssh-config", str(directory / "config"), "--resolve-interval", "1s", env={"SSH_AUTH_SOCK": ""},
    )  # fmt: skip
    await asyncio.to_thread(service.wait_ready)
    async with control(service) as client:
        status = await until(client, "both", ready(2))
        assert status["service"]["resolved_by"] == f"getent on somebody@127.0.0.1:{bastion.port}"
        answers = await asyncio.gather(*(fetch(service.port, "/") for _ in range(60)))
        assert {body.decode() for _, body in answers} == set(PODS)
        bastion.pods = PODS[:1]
        await until(client, "one", ready(1))
        connection = bastion.connections[-1]
        connection.abort()
        assert (await fetch(service.port, "/"))[0] == 200
        await until(client, "up again", lambda s: s["service"]["link_state"] == "up")
        assert len(bastion.connections) >= 2
    assert bastion.offences == 0
    assert await asyncio.to_thread(service.stop) == 0
