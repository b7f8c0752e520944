"""The program `workers/pods.py` in the cluster, and what a test wants of its addresses."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.support.cluster_net import Namespaces
from tests.support.running import WORKERS

Mode = Literal["normal", "refuse", "silent", "reset"]

ADDRESSES = tuple(f"10.244.1.{number}" for number in range(11, 71))
"""Of the sixty pods."""
CONTROL = "10.244.1.10"
"""One more, in no service: never anything but normal, so that there is always one to ask."""


class Pods:
    """One program with all these addresses and CONTROL, started with `start`."""

    def __init__(
        self, spaces: Namespaces, log: Path, addresses: Sequence[str] = ADDRESSES, port: int = 8000, *options: str
    ) -> None:
        self._spaces, self._log = spaces, log
        self.addresses, self.port = tuple(addresses), port
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it; `wait_ready` before it is asked."""
        argv = [
            sys.executable,
            "-I",
            "-S",
            str(WORKERS / "pods.py"),
            CONTROL,
            *self.addresses,
            "--port",
            str(self.port),
        ]
        with self._log.open("ab") as log:
            self.process = self._spaces.spawn(
                "cluster", [*argv, *self._options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )

    def wait_ready(self) -> None:
        """Wait until it listens on all addresses."""
        assert self.process is not None
        assert self.process.stdout is not None
        with self.process.stdout as output:
            assert output.readline() == b"ready\n", self.log

    def start(self) -> None:
        """Launch it and wait."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """All pods are gone at once; new connections are refused."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()  # where nobody has waited for it to be ready
            self.process = None

    def reset(self) -> None:
        """As if just started."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.ask("/anew")

    @property
    def log(self) -> str:
        """Each offence, in words; and its tracebacks."""
        return self._log.read_text()

    def ask(self, target: str, address: str = CONTROL) -> str:
        """The body that one address answers to GET; OSError or HTTPException when it does not. At most 5 s."""
        with self._spaces.inside("cluster"):
            connection = socket.create_connection((address, self.port), timeout=5)
        if self._options:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(connection)
        with connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            body = response.read().decode()
            response.close()
        assert response.status == 200, body
        return body

    def set(self, address: str, mode: Mode) -> None:
        """From now on it refuses connections, resets each at once (as it does those it has), or never answers."""
        self.ask(f"/control?{address}={mode}")

    def served(self, address: str) -> int:
        """How many requests an address has answered."""
        return int(self.ask("/served", address))

    def offences(self) -> int:
        """How many requests came to any of the addresses while it had one in hand."""
        return int(self.ask("/offences"))
