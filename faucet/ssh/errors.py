"""Explains failed logins to a bastion: what is wrong, where, and what to do next, in one message."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from faucet.net.connect import NoWay, why_not
from faucet.ssh.attempt import CONNECT_PATIENCE, Attempt
from faucet.text import visible


class SshError(NoWay):
    """A failed login. The message is shown to the user. `permanent`: a retry will fail in the same way."""

    def __init__(
        self, text: str, permanent: bool = False, methods: tuple[str, ...] = (), skipped: Sequence[Path] = (),
        refused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(visible(text))  # it may quote a server that is not trusted yet
        self.permanent = permanent
        self.refused = permanent if refused is None else refused
        """Whether the bastion answered and refused us, so that frequent retries may get us banned."""
        self.methods = methods
        """The authentication methods that the bastion offers, if it refused us."""
        self.skipped = tuple(skipped)
        """Encrypted keys that were skipped, since their passphrase is unknown."""


async def explain(error: Exception, attempt: Attempt) -> SshError:
    """Return the error to show to the user."""
    where = attempt.where
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return SshError(_host_key(attempt), permanent=True)
        case asyncssh.PermissionDenied():
            return await _denied(attempt)
        case asyncssh.KeyExchangeFailed() | asyncssh.ProtocolError():
            return SshError(f"{where} and Faucet have no SSH protocol or algorithm in common: {error}", permanent=True)
        case asyncssh.ConfigParseError():
            return SshError(f"invalid ssh config: {error}", permanent=True)
        case asyncssh.ConnectionLost() | asyncssh.DisconnectError() | ConnectionResetError():
            return SshError(
                f"{where} closed the connection before the login: it is not an ssh server, or it limits "
                f"connections (MaxStartups, PerSourcePenalties): {error}"
            )
        case socket.gaierror():
            return SshError(
                f"--via-ssh: the bastion {attempt.host!r} cannot be resolved ({error.strerror}). If it is a Host "
                "alias, define it in ~/.ssh/config or in the file given by --ssh-config",
                permanent=True,
                refused=False,
            )
        case ConnectionRefusedError():
            return SshError(f"--via-ssh: {where} refused the connection. Is the port right? (user@host:port)")
        case TimeoutError():
            return SshError(f"--via-ssh: {where} did not answer within {CONNECT_PATIENCE:g} s (a firewall? a VPN?)")
        case OSError():
            return SshError(f"--via-ssh: {where} cannot be reached: {why_not(error)}")
        case _:
            return SshError(str(error), permanent=True)


def _host_key(attempt: Attempt) -> str:
    key, options = attempt.host_key, attempt.options
    where = attempt.where if attempt.port != 22 else attempt.host
    assert options is not None
    if key is None:
        return f"{where} offers a revoked host key; ask its administrator"
    name = options.host_key_alias or attempt.host
    offered = f"{key.get_algorithm()} {key.get_fingerprint()}"
    known: list[object] = []
    with contextlib.suppress(OSError, ValueError, IndexError):  # an empty list of files is one index too short
        known = list(asyncssh.match_known_hosts(options.known_hosts, name, attempt.address, attempt.port)[0])
    entry = f"[{name}]:{attempt.port}" if attempt.port != 22 else name
    if known:
        file = f" -f {shlex.quote(str(attempt.files.known_hosts))}" if attempt.files.known_hosts else ""
        return (
            f"THE HOST KEY OF {where} HAS CHANGED. The connection may be intercepted, or the machine was reinstalled. "
            f"It offers {offered}. If that is right, remove the old one: ssh-keygen{file} -R {shlex.quote(entry)}"
        )
    file = str(attempt.files.known_hosts or "~/.ssh/known_hosts")
    port = f"-p {attempt.port} " if attempt.port != 22 else ""
    option = f"-o UserKnownHostsFile={shlex.quote(file)} " if attempt.files.known_hosts else ""
    return (
        f"{where} is not in {file}. It offers {offered}. Verify that with its administrator, then: "
        f"ssh {option}{port}{attempt.user}@{attempt.host}"
    )


async def _denied(attempt: Attempt) -> SshError:
    options = attempt.options
    assert options is not None
    methods: tuple[str, ...] = ()
    with contextlib.suppress(OSError, asyncssh.Error, ValueError, TimeoutError):
        methods = tuple(
            await asyncssh.get_server_auth_methods(
                options.host, options.port, username=options.username, options=options
            )
        )
    tried = [f"the agent ({count} keys)"] if (count := await agent_keys()) else []
    tried += [str(path) for path in attempt.keys if path not in attempt.skipped]
    if attempt.password:
        tried.append("the password")
    text = f"{attempt.where} refused {attempt.user}."
    text += f" It accepts: {', '.join(methods)}." if methods else ""
    text += f" Tried: {', '.join(tried) or 'nothing: there is neither an agent nor a key'}."
    if attempt.skipped:
        first = attempt.skipped[0]
        skipped = ", ".join(str(path) for path in attempt.skipped)
        text += f" Skipped, since encrypted: {skipped} (ssh-add {first}, or run in a terminal to be asked)."
    return SshError(text, permanent=True, methods=methods, skipped=attempt.skipped)


async def agent_keys() -> int:
    """Return the number of keys in the ssh agent; 0 without an agent."""
    if not os.environ.get("SSH_AUTH_SOCK"):
        return 0
    with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
        async with asyncio.timeout(2), asyncssh.connect_agent() as agent:
            return len(list(await agent.get_keys()))
    return 0
