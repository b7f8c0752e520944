"""A member of an election as a process of its own, which notes each moment at which it may grant.

`python -m tests.support.ha_process PORT ACCOUNT NAME LOG`; SIGTERM gives the Lease up. A line of LOG has the time of
day, which is the same for all processes of a machine whatever their clocks of terms say, the epoch, and the identity.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from pathlib import Path
from secrets import token_hex
from time import time
from typing import NamedTuple, TextIO

from faucet.ha import clock
from faucet.ha.election import Election
from faucet.ha.member import Member
from faucet.ha.peers import Peers
from faucet.ha.record import Identity
from faucet.net.address import Address
from faucet.pods.discovery.in_cluster import InCluster
from tests.support.ha_player import TIMING, client

EVERY = 0.002


class Moment(NamedTuple):
    """A process might have granted a pod."""

    at: float
    epoch: int
    identity: str


def moments(directory: Path) -> list[Moment]:
    """What all processes have noted, in the order of time."""
    found = []
    for path in directory.glob("*.grants"):
        lines = path.read_text().splitlines(keepends=True)
        for line in (line for line in lines if line.endswith("\n")):  # one may have been killed while it wrote
            at, epoch, identity = line.split()
            found.append(Moment(float(at), int(epoch), identity))
    return sorted(found)


def overlaps(found: list[Moment]) -> list[tuple[Moment, Moment]]:
    """Neighbours in time that show two at once: an epoch that is older than the one before, or that of two."""
    return [
        (one, other)
        for one, other in itertools.pairwise(found)
        if other.epoch < one.epoch or (other.epoch == one.epoch and other.identity != one.identity)
    ]


async def note(election: Election, log: TextIO) -> None:
    """For ever. The time is read first: what is noted is never later than what the rule was asked for."""
    while True:
        moment = time()
        if election.may_grant(clock.now()):
            log.write(f"{moment:.6f} {election.epoch} {election.me}\n")
            log.flush()
        await asyncio.sleep(EVERY)


async def main(port: int, account: Path, name: str, log: Path) -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    election = Election(Identity(name, f"uid-{name}", token_hex(4)), TIMING, token=token_hex(8))
    peers = Peers(Member(election, lock_grace=5.0), client(InCluster("127.0.0.1", port, account)), lambda _: None)
    listening = await peers.start(Address("127.0.0.1", 0))
    election.address = f"127.0.0.1:{listening}"
    with log.open("a") as file:
        noting = asyncio.ensure_future(note(election, file))
        await ended.wait()
        election.leave()
        await peers.elector.release("it ends")
        noting.cancel()
    await peers.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))
