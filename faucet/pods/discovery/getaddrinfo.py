"""Name resolution by the system: /etc/hosts, nsswitch and resolv.conf apply.

`getaddrinfo` blocks, cannot be cancelled, and may take 20 seconds with a silent server. Each call runs in its own
daemon thread, one at a time: a thread of the loop's pool would delay the exit of the program.

glibc also reports a loop of CNAMEs as a name that does not exist. Since a missing name leaves no pods, that answer has
to be confirmed by a direct DNS query.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from functools import partial

from faucet.pods.discovery.endpoints import Answer, Endpoint, Found, Missing, Trouble, one_family

PATIENCE = 5.0
"""Seconds to wait for an answer. After that the lookup goes on, and the next call of `lookup` uses its answer."""

NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
"""The errors of glibc for NXDOMAIN and for an empty answer. (For a short name that does not exist, the error may be
EAI_AGAIN instead, if the search list leads to a server that fails; that counts as Trouble.)"""


def absolute(name: str) -> str:
    """Return `name` with a final dot if it is a full name in a cluster: one query instead of the search list's four,
    and the only form for which a missing name can be told from a failing server."""
    labels = name.split(".")
    whole = len(labels) > 3 and labels[2] == "svc" and not name.endswith(".")
    return f"{name}." if whole else name


class SystemNames:
    """Looks up one name."""

    def __init__(
        self,
        name: str,
        port: int,
        patience: float = PATIENCE,
        confirm: Callable[[], Awaitable[Answer]] | None = None,
    ) -> None:
        """`confirm` looks up the name in another way, after the system has reported that it does not exist."""
        self._confirm = confirm
        self._name = name
        self._port = port
        self._patience = patience
        self._pending: asyncio.Future[Answer] | None = None

    async def lookup(self) -> Answer:
        """Look up the name and return the answer. Errors are returned as Missing or Trouble."""
        if self._pending is None:
            self._pending = self._ask()
        pending = self._pending
        done, _ = await asyncio.wait([pending], timeout=self._patience)
        if not done:
            return Trouble(f"resolving {self._name} timed out after {self._patience:g} s")
        self._pending = None
        answer = pending.result()
        return await self._confirmed(answer) if isinstance(answer, Missing) else answer

    async def _confirmed(self, missing: Missing) -> Answer:
        if self._confirm is None:
            return missing
        other = await self._confirm()
        if isinstance(other, Missing):
            return missing
        seen = other.text if isinstance(other, Trouble) else "its DNS server knows it"
        return Trouble(f"{missing.text}, but {seen}")

    def _ask(self) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def tell(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        def ask() -> None:
            answer = self._resolve()
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(partial(tell, answer))

        threading.Thread(target=ask, name=f"getaddrinfo {self._name}", daemon=True).start()
        return future

    def _resolve(self) -> Answer:
        try:
            found = socket.getaddrinfo(absolute(self._name), self._port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            text = f"{self._name}: {error.strerror}"
            return Missing(text) if error.errno in NO_SUCH_NAME else Trouble(text)
        except (OSError, UnicodeError) as error:
            return Trouble(f"{self._name}: {error}")
        hosts = one_family(str(entry[4][0]).partition("%")[0] for entry in found)
        return Found(tuple(Endpoint(host, self._port) for host in hosts))
