"""Name resolution by the system: /etc/hosts, nsswitch and resolv.conf apply.

`getaddrinfo` blocks, cannot be cancelled, and may take 20 seconds with a silent server. It runs in a daemon thread of
its own, one at a time: a thread of the loop's pool would delay the exit of the program.

That a name does not exist, glibc also says of a loop of CNAMEs. Since a missing name leaves no pods, it has to be
confirmed by a query of our own.
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
"""Seconds to wait for an answer. The lookup goes on, and its answer is used by the next one."""

NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
"""What glibc calls NXDOMAIN and an empty answer. (A short name that does not exist may be EAI_AGAIN instead, where the
search list leads to a server that fails; then it looks like trouble.)"""


def absolute(name: str) -> str:
    """With a dot at the end, if it is a whole name of a cluster: one question instead of the search list's four, and
    the only form for which a missing name is told apart from a failing server."""
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
        """`confirm` looks the name up in another way, after the system said that it does not exist."""
        self._confirm = confirm
        self._name = name
        self._port = port
        self._patience = patience
        self._pending: asyncio.Future[Answer] | None = None

    async def lookup(self) -> Answer:
        """Look up the name and return the answer; errors of resolution are answers, too."""
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
