"""Why a bastion could not be logged in to: what is wrong, where, and what to do next, in one message."""

from __future__ import annotations

import contextlib
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from faucet.net.connect import NoWay, why_not
from faucet.ssh.login import CONNECT_PATIENCE, Attempt, Login, agent_keys
from faucet.text import visible


class SshError(NoWay):
    """The text is for the user. `permanent`: it will be the same the next time."""

    def __init__(
        self, text: str, permanent: bool = False, methods: tuple[str, ...] = (), skipped: Sequence[Path] = (),
        refused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(visible(text))  # a server that nobody has trusted yet may have its words in it
        self.permanent = permanent
        self.refused = permanent if refused is None else refused
        """Somebody was there, and does not want to be asked again and again."""
        self.methods = methods
        """How the bastion lets people log in, where it refused us."""
        self.skipped = tuple(skipped)
        """Keys that are encrypted, with a passphrase nobody has told."""


async def explain(error: Exception, attempt: Attempt, login: Login) -> SshError:
    """The error for the user."""
    where = attempt.where
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return SshError(_host_key(attempt, login), permanent=True)
        case asyncssh.PermissionDenied():
            return await _denied(attempt, login)
        case asyncssh.KeyExchangeFailed() | asyncssh.ProtocolError():
            return SshError(f"{where} and Faucet have no common language: {error}", permanent=True)
        case asyncssh.ConfigParseError():
            return SshError(f"the ssh config is wrong: {error}", permanent=True)
        case asyncssh.ConnectionLost() | asyncssh.DisconnectError() | ConnectionResetError():
            return SshError(
                f"{where} closed the connection before anybody could log in: it is no ssh server, or it limits "
                f"connections (MaxStartups, PerSourcePenalties): {error}"
            )
        case socket.gaierror():
            return SshError(
                f"--via-ssh: the bastion {attempt.host!r} cannot be resolved ({error.strerror}). Is it a Host alias? "
                "~/.ssh/config, or the file that --ssh-config names, is read",
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


def _host_key(attempt: Attempt, login: Login) -> str:
    key, options = attempt.host_key, attempt.options
    where = attempt.where if attempt.port != 22 else attempt.host
    assert options is not None
    if key is None:
        return f"{where} offers a host key that is revoked"
    name = options.host_key_alias or attempt.host
    offered = f"{key.get_algorithm()} {key.get_fingerprint()}"
    known: list[object] = []
    with contextlib.suppress(OSError, ValueError, IndexError):  # an empty list of files is one index too short
        known = list(asyncssh.match_known_hosts(options.known_hosts, name, attempt.address, attempt.port)[0])
    entry = f"[{name}]:{attempt.port}" if attempt.port != 22 else name
    if known:
        file = f" -f {shlex.quote(str(login.files.known_hosts))}" if login.files.known_hosts else ""
        return (
            f"THE HOST KEY OF {where} HAS CHANGED. Somebody may be in between, or the machine was installed anew. It "
            f"offers {offered}. If that is right, forget the old one: ssh-keygen{file} -R {shlex.quote(entry)}"
        )
    file = str(login.files.known_hosts or "~/.ssh/known_hosts")
    port = f"-p {attempt.port} " if attempt.port != 22 else ""
    option = f"-o UserKnownHostsFile={shlex.quote(file)} " if login.files.known_hosts else ""
    return (
        f"{where} is not in {file}. It offers {offered}. Compare that with what its owner says, then: "
        f"ssh {option}{port}{attempt.user}@{attempt.host}"
    )


async def _denied(attempt: Attempt, login: Login) -> SshError:
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
    tried += [str(path) for path in login.key_files(options) if path not in attempt.skipped]
    if login.secrets.passwords.get(str(attempt.target)):
        tried.append("the password")
    text = f"{attempt.where} refused {attempt.user}."
    text += f" It accepts: {', '.join(methods)}." if methods else ""
    text += f" Tried: {', '.join(tried) or 'nothing, there is no agent and no key'}."
    if attempt.skipped:
        first = attempt.skipped[0]
        skipped = ", ".join(str(path) for path in attempt.skipped)
        text += f" Skipped, since encrypted: {skipped} (ssh-add {first}, or run in a terminal to be asked)."
    return SshError(text, permanent=True, methods=methods, skipped=attempt.skipped)
