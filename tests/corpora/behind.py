"""toxiproxy between Faucet and its pods, on loopback: the way to each is slow, thin, sliced or cut, each way.

A pod is a worker that counts, behind a way of its own; their addresses come from a name server of ours. What is only
slow must be answered in full. Of what is cut each request ends, no client gets another's answer, and no pod ever has
two requests: the lock outlasts the connection. (Between a monitor and the control socket there is no TCP to stand in.)
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import dns.message
import dns.rrset

from tests.corpora.rig import Rig, Row
from tests.corpora.toxic import TOXICS, crowd, free_port, toxiproxy, wait_listening
from tests.support.checkout import ROOT

PODS = ("127.0.1.11", "127.0.1.12", "127.0.1.13")

LIMITS = ("--request-timeout", "4s", "--lock-grace", "4s", "--queue-timeout", "15s", "--resolve-interval", "1s")
"""Short, so that what is cut ends soon."""


@contextlib.contextmanager
def name_server(addresses: Sequence[str]) -> Iterator[int]:
    """Answers every query with these addresses; its port."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        threading.Thread(target=answer_queries, args=(sock, addresses), daemon=True).start()
        yield sock.getsockname()[1]
        with contextlib.suppress(OSError):  # it is not connected; whoever reads is woken all the same
            sock.shutdown(socket.SHUT_RDWR)


def answer_queries(sock: socket.socket, addresses: Sequence[str]) -> None:
    """Until the socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            data, client = sock.recvfrom(512)
            if not data:
                return
            query = dns.message.from_wire(data)
            reply = dns.message.make_response(query)
            question = query.question[0]
            if question.rdtype == dns.rdatatype.A:
                reply.answer = [dns.rrset.from_text(question.name, 1, "IN", "A", *addresses)]
            sock.sendto(reply.to_wire(), client)


@contextlib.contextmanager
def workers(directory: Path, count: int) -> Iterator[list[int]]:
    """So many workers that write into `directory`/book; their ports."""
    program = str(ROOT / "tests" / "support" / "workers" / "booked.py")
    ports, processes = [free_port() for _ in range(count)], []
    try:
        for port in ports:
            variables = {**os.environ, "FAUCET_PORT": str(port), "CORPORA_BOOK": str(directory / "book")}
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            processes.append(subprocess.Popen([sys.executable, program], env=variables, **silent))
        for port in ports:
            wait_listening(port)
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


def recipe() -> Row:
    """All toxics, one after the other, each way."""
    seed, port, answered, failed = random.randrange(1 << 30), free_port(), 0, 0
    with contextlib.ExitStack() as stack:
        names = stack.enter_context(name_server(PODS))
        options = ("--service-url", f"http://pods.test:{port}", "--dns", f"127.0.0.1:{names}", *LIMITS)
        rig = Rig("toxiproxy-pods", *options, probed=False, pods=True)
        stack.enter_context(rig.prepared())
        upstreams = stack.enter_context(workers(rig.directory, len(PODS)))
        way = stack.enter_context(toxiproxy({(pod, port): to for pod, to in zip(PODS, upstreams, strict=True)}))
        stack.enter_context(rig)
        for toxic in TOXICS:
            for stream in ("upstream", "downstream"):
                with way.poisoned(toxic, stream, 0.8):  # a good connection would be kept
                    counts = crowd(rig, rig.port, toxic, stream, seed)
                answered, failed = answered + counts[0], failed + counts[1]
                rig.settled()
    rig.row.said = f"{2 * len(TOXICS)} toxics, {answered} answered, {failed} failed, seed {seed}"
    return rig.row
