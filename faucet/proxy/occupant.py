"""Holds the lock of a worker that is at work on something nobody waits for here: a health check, or a request that was
cut off from its worker. Seen from outside it looks like an exchange."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from faucet.proxy.record import Account

if TYPE_CHECKING:
    from faucet.proxy.ending import Ending


class Occupant:
    """`who` is told as its client."""

    client = None

    def __init__(self, who: str, method: bytes, target: bytes) -> None:
        self.account = Account(who, method, target)
        self.account.ready()
        self.gone = False
        """The worker is gone, and the lock with it."""
        self.timer: asyncio.TimerHandle | None = None

    def lock_gone(self) -> None:
        """The worker is gone."""
        self.gone = True
        if self.timer is not None:
            self.timer.cancel()

    def give_up_waiting(self) -> None:
        """See Ending."""

    def abandon(self, detail: str) -> None:
        """The service ends."""
        if self.timer is not None:
            self.timer.cancel()


def cut_off(exchange: Ending) -> Occupant:
    """In the place of an exchange whose worker may still be at work on it."""
    account = exchange.account
    occupant = Occupant(f"{account.client} (cut off)", account.method, account.target)
    occupant.account.granted(account.worker)
    occupant.account.granted_at = account.granted_at
    return occupant
