"""A real Kubernetes API server with etcd, on loopback: what no fake can be asked. There are no kubelets.

`just kube` builds it into a cache outside the checkout; etcd is Debian's etcd-server.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from faucet.pods.discovery.endpoint_slices import ApiError
from faucet.pods.discovery.in_cluster import InCluster
from tests.support.certificates import make_ca
from tests.support.fresh import free_port

ADMIN, FAUCET = "admin-token", "faucet-token"
READY = 60.0


def binary() -> Path | None:
    """Where the API server lies; None if it was not built."""
    cache = Path("/var/cache") if os.geteuid() == 0 else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    path = cache / "faucet/kube/kube-apiserver"
    return path if path.exists() else None


def is_here() -> bool:
    """Whether everything that it takes is on this machine."""
    return binary() is not None and shutil.which("etcd") is not None and shutil.which("openssl") is not None


def need() -> None:
    """Skip a test where that is missing; in CI, too, since not every machine can build an API server."""
    if not is_here():
        why = os.environ.get("NO_KUBE", "run `just kube`, and install etcd-server")
        pytest.skip(f"needs a Kubernetes API server and etcd: {why}")


class RealKube:
    """`async with RealKube(directory) as kube:`; `kube.admin` may do all, `kube.faucet` what its Role says."""

    def __init__(self, directory: Path, address: str = "127.0.0.1") -> None:
        self.directory = directory
        self.address = address
        self.port = free_port()
        self._etcd_port, self._etcd_peer_port = free_port(), free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._authority = make_ca(directory)
        self._certificate = self._authority.issue(address)
        self.admin = self._client("admin", ADMIN)
        self.faucet = self._client("faucet", FAUCET)

    def _client(self, name: str, token: str) -> InCluster:
        account = self.directory / name
        account.mkdir()
        (account / "ca.crt").write_text(self._authority.ca_file.read_text())
        (account / "token").write_text(token)
        (account / "namespace").write_text("default")
        return InCluster(self.address, self.port, account)

    async def __aenter__(self) -> Self:
        self._write_files()
        try:
            self.start_etcd()
            self.start_server()
            await self.wait_ready()
        except BaseException:  # nobody else would end them
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        # The server first: without its etcd it does not end by itself.
        for process in sorted(self._processes, key=lambda one: one is self.etcd):
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _write_files(self) -> None:
        subprocess.run(
            ["openssl", "genrsa", "-out", str(self.directory / "sa.key"), "2048"], check=True, capture_output=True
        )
        (self.directory / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n{FAUCET},faucet,2\n')

    def _start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{Path(program).name}.log").open("ab") as log:
            process = subprocess.Popen([program, *options], stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)
        return process

    def _etcd_options(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer_port}"
        return [
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ]  # fmt: skip

    def start_server(self) -> None:
        """Start the API server; `stop_server` before a second time."""
        here = self.directory
        self.server = self._start(
            str(binary()), f"--etcd-servers=http://127.0.0.1:{self._etcd_port}", f"--bind-address={self.address}",
            "--advertise-address=10.99.0.1", f"--secure-port={self.port}", f"--cert-dir={here / 'certs'}",
            f"--tls-cert-file={self._certificate.chain}", f"--tls-private-key-file={self._certificate.key}",
            f"--service-account-key-file={here / 'sa.key'}", f"--service-account-signing-key-file={here / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC", f"--token-auth-file={here / 'tokens.csv'}",
            "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none",
        )  # fmt: skip

    def stop_server(self) -> None:
        """Kill the API server; etcd keeps what there is."""
        self.server.kill()
        self.server.wait()
        self._processes.remove(self.server)

    def start_etcd(self) -> None:
        """Start etcd; `stop_etcd` before a second time."""
        self.etcd = self._start("etcd", *self._etcd_options())

    def stop_etcd(self) -> None:
        """Kill etcd; its data stay."""
        self.etcd.kill()
        self.etcd.wait()
        self._processes.remove(self.etcd)

    async def wait_ready(self) -> None:
        """Until it serves."""
        async with asyncio.timeout(READY):
            while True:
                try:
                    if await self.admin.get("/readyz") == b"ok":
                        return
                except (OSError, TimeoutError, ApiError):
                    pass
                assert self.server.poll() is None, (self.directory / "kube-apiserver.log").read_text()[-2000:]
                await asyncio.sleep(0.1)

    async def create(self, path: str, thing: dict[str, Any]) -> None:
        """Create an object, as an administrator."""
        await self.admin.send("POST", path, json.dumps(thing).encode())

    async def allow_leases(self, verbs: list[str]) -> None:
        """Give `faucet` a Role for Leases."""
        await self.allow([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}])

    async def allow(self, rules: list[dict[str, Any]]) -> None:
        """Give `faucet` a Role."""
        rbac, meta = "/apis/rbac.authorization.k8s.io/v1/namespaces/default", {"name": "faucet", "namespace": "default"}
        group = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": meta}
        await self.create(f"{rbac}/roles", {**group, "kind": "Role", "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "faucet"}
        subjects = [{"kind": "User", "name": "faucet", "apiGroup": "rbac.authorization.k8s.io"}]
        await self.create(
            f"{rbac}/rolebindings", {**group, "kind": "RoleBinding", "roleRef": role, "subjects": subjects}
        )
