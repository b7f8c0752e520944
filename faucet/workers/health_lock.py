"""The holder of a worker's lock during a health check. Apart from the checks, since it is compiled with its base."""

from __future__ import annotations

import asyncio

from faucet.proxy.holders import Holder
from faucet.proxy.record import Account
from faucet.workers.asking import Answered


class Check(Holder):
    """Holds the lock during a health check."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.account = Account("health check", b"GET", path.encode())
        self.account.ready()
        self.asking: asyncio.Task[Answered] | None = None

    def abandon(self, detail: str) -> None:
        """Cancel the check, because the service is stopping."""
        if self.asking is not None:
            self.asking.cancel()
