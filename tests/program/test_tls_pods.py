"""HTTPS towards clients of pods: one Faucet, and several with --ha, where a relay hands requests to the active."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.support.certificate_files import CertificateFiles
from tests.support.kubeapi import Endpoint, KubeApi
from tests.support.running import WORKERS, Faucet

Start = Callable[..., Faucet]
FORWARDED = ("--forwarded", "--request-id")


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
def pod() -> Iterator[int]:
    """The port of one that answers with the head of each request."""
    port = free_port()
    environment = {**os.environ, "FAUCET_PORT": str(port)}
    process = subprocess.Popen([sys.executable, str(WORKERS / "echo.py")], env=environment)
    try:
        deadline = monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert monotonic() < deadline
            sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def head_at_the_pod(port: int, files: CertificateFiles) -> bytes:
    context = ssl.create_default_context(cafile=files.authority.ca_file)
    with urllib.request.urlopen(f"https://localhost:{port}/x", context=context, timeout=20) as response:
        head: bytes = response.read()
    return head


def test_one_faucet(faucet: Start, files: CertificateFiles, pod: int) -> None:
    options = ("k8s", "--service-url", f"http://127.0.0.1:{pod}", *files.options, *FORWARDED)
    service = faucet(*options).wait_ready()
    assert b"X-Forwarded-Proto: https\r\nForwarded: for=127.0.0.1;proto=https;host=" in head_at_the_pod(
        service.port, files
    )


@contextlib.contextmanager
def member(api: KubeApi, account: Path, name: str, *options: str) -> Iterator[tuple[int, int]]:
    """One of several: where it serves, and its admin pages, once it is ready."""
    port, admin, peer = free_port(), free_port(), free_port()
    words = [sys.executable, "-m", "tests.support.in_cluster_program", str(account), "k8s", "--headless", "--ha"]
    words += ["--service-url", "http://plumber", "--resolve", "kubernetes", "--control", "none", *options]
    words += ["--host", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--peer-host", f"127.0.0.1:{peer}"]
    environment = {**os.environ, **api.in_cluster_env, "POD_NAME": name, "POD_UID": name, "POD_IP": "127.0.0.1"}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    try:
        until(lambda: page(admin, "/readyz") is not None)
        yield port, admin
    finally:
        process.terminate()
        process.wait(40)


def until(met: Callable[[], bool], seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not met():
        assert monotonic() < deadline
        sleep(0.1)


def page(admin: int, path: str) -> bytes | None:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{admin}{path}", timeout=5) as answer:
        data: bytes = answer.read()
        return data
    return None


async def test_a_relay(files: CertificateFiles, pod: int, tmp_path: Path) -> None:
    import asyncio

    async with KubeApi(tmp_path / "api") as api:
        api.set_slice("plumber-1", "plumber", [Endpoint("127.0.0.1", "pod1")], ports=[("http", pod)])
        account = api.service_account(tmp_path / "account")
        await asyncio.to_thread(both_members, api, account, files)


def both_members(api: KubeApi, account: Path, files: CertificateFiles) -> None:
    options = (*files.options, *FORWARDED)
    with (
        member(api, account, "one", *options) as (first, first_admin),
        member(api, account, "two", *options) as (second, second_admin),
    ):
        for port in (first, second):
            head = head_at_the_pod(port, files)
            assert head.count(b"X-Forwarded-Proto: https\r\n") == 1
            assert head.count(b"X-Forwarded-Proto") == 1
        roles = {json.loads(page(admin, "/status") or b"{}")["service"]["group"]["role"]
                 for admin in (first_admin, second_admin)}  # fmt: skip
        assert roles == {"active", "relay"}
