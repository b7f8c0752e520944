"""A remote cluster on this machine: a laptop, a bastion, pods and their names, in two network namespaces.

    laptop 10.251.7.1 ---- 10.251.7.2:2222 sshd, cluster: pods 10.244.1.11-70:8000, names 10.96.0.10:53

From the laptop only the bastion can be reached, and no name of the cluster be resolved: what works there went through
ssh. It is built once per test run (a third of a second) and `reset` between tests. Linux and root only; everywhere
else tests that need it are skipped, except in CI, where none may be.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.cluster_dns import NameServer
from tests.support.cluster_net import Namespaces, Where, sweep
from tests.support.cluster_pods import ADDRESSES, CONTROL, Pods
from tests.support.cluster_ssh import Bastion, find_sshd
from tests.support.needs import IN_CI

SERVICE = "plumber.default.svc.cluster.local"
PODS = ADDRESSES[:3]
"""The addresses of SERVICE, to begin with."""


class NoNamespaces(Exception):
    """This machine does not let us make them."""


class Cluster:
    """Everything, running."""

    def __init__(self, tag: str = "") -> None:
        """A second one in the same process needs a tag of lower-case letters. NoNamespaces."""
        sweep()
        self.spaces = Namespaces(tag)
        self.directory = Path(tempfile.mkdtemp(prefix=f"fct{os.getpid()}d"))
        self.dns = NameServer(self.spaces, self.directory)
        self.ssh = Bastion(self.spaces, self.directory)
        self.pods = Pods(self.spaces, self.directory / "pods.log")
        self._more_pods: list[Pods] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        try:
            self.spaces.build((CONTROL, *ADDRESSES))
        except subprocess.CalledProcessError as error:
            raise NoNamespaces(error.stderr) from error
        self.pods.launch()  # the slowest to start, so first
        self.ssh.build()
        self.dns.set_all({SERVICE: PODS})
        self.pods.wait_ready()

    def wrapper(self, where: Where) -> list[str]:
        """What goes in front of a command that is to run there, names and all."""
        return self.spaces.wrapper(where)

    def spawn(self, where: Where, argv: Iterable[str], **popen: object) -> subprocess.Popen[bytes]:
        """Start a program there; its pid is that of the Popen."""
        return self.spaces.spawn(where, argv, **popen)

    def run(self, where: Where, argv: Sequence[str], seconds: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a program there to its end."""
        words = [*self.wrapper(where), *argv]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds, input="")

    def inside(self, where: Where) -> contextlib.AbstractContextManager[None]:
        """In this block the sockets that this thread opens are there; those opened before stay where they were."""
        return self.spaces.inside(where)

    @contextlib.contextmanager
    def stay(self, where: Where) -> Iterator[Cluster]:
        """As it was at first, and we are inside. At the end: not one pod may have been given two requests at once."""
        self.reset()
        with self.inside(where):
            yield self
            assert self.pods.offences() == 0, self.pods.log.read_text()

    def cut(self) -> None:
        """The link between laptop and bastion swallows everything, silently."""
        self.spaces.cut()

    def heal(self) -> None:
        """It works again."""
        self.spaces.heal()

    def more_pods(self, addresses: Sequence[str], port: int, cert: Path | None = None, key: Path | None = None) -> Pods:
        """Another program on another port, with TLS if there is a certificate; until the next reset."""
        options = [] if cert is None else ["--cert", str(cert), "--key", str(key)]
        pods = Pods(self.spaces, self.directory / f"pods-{port}.log", addresses, port, *options)
        self._more_pods.append(pods)
        pods.start()
        return pods

    def certificate(self, *names: str) -> tuple[Path, Path]:
        """A certificate (which is its own authority) for these host names and IP addresses, and its key."""
        cert, key = self.directory / "tls.crt", self.directory / "tls.key"
        alternatives = ",".join(f"{'IP' if name[-1].isdigit() else 'DNS'}:{name}" for name in names)
        argv = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        argv += ["-days", "2", "-subj", "/CN=pods", "-addext", f"subjectAltName={alternatives}"]
        subprocess.run([*argv, "-keyout", str(key), "-out", str(cert)], capture_output=True, check=True)
        return cert, key

    def reset(self) -> None:
        """As it was at first: link, sshd, the three pods of SERVICE with a TTL of 1 s; nothing that was added."""
        self.heal()
        self.ssh.reset()
        self.dns.set_all({SERVICE: PODS})
        for pods in self._more_pods:
            pods.stop()
        self._more_pods.clear()
        self.pods.reset()

    def close(self) -> None:
        """End all that runs in it, and leave nothing behind."""
        self.spaces.close()
        for pods in (self.pods, *self._more_pods):
            pods.stop()
        shutil.rmtree(self.directory)


def what_is_missing() -> str | None:
    """Why there can be no cluster on this machine, if so."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root, for network namespaces"
    lacking = [name for name in ("ip", "dnsmasq", "ssh", "ssh-keygen", "openssl") if shutil.which(name) is None]
    if find_sshd() is None:
        lacking.append("sshd")
    return f"needs {', '.join(lacking)}" if lacking else None


def _unavailable(reason: str) -> NoReturn:
    if IN_CI:
        pytest.fail(f"where CI runs there must be a cluster: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster for the whole run; a test calls `reset` first, or has a fixture that does."""
    if reason := what_is_missing():
        _unavailable(reason)
    try:
        built = Cluster()
    except NoNamespaces as error:
        _unavailable(f"no network namespaces: {error}")
    try:
        yield built
    finally:
        built.close()
