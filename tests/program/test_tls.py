"""HTTPS towards clients: the program with curl, openssl, Python and Go, on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest
from websockets.asyncio.client import connect

from tests.support.certificate_files import CertificateFiles
from tests.support.checkout import ROOT
from tests.support.needs import need
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]
Tool = Callable[[str], str]
COUNTING = python_worker("counting")


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


@pytest.fixture
def serve(faucet: Start, files: CertificateFiles) -> Start:
    """Starts the program with a certificate for localhost."""

    def start(*options: str, worker: str = COUNTING, workers: int = 2) -> Faucet:
        return faucet("--command", worker, "-w", str(workers), *files.options, *options).wait_ready()

    return start


def run(*command: object, data: bytes = b"", seconds: float = 60) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*map(str, command)], input=data, capture_output=True, timeout=seconds, check=False)


def names(port: int, authority: Path) -> set[str]:
    """The names of the certificate that a client gets."""
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain) as client:
        found = client.getpeercert() or {}
        return {str(value) for _, value in found.get("subjectAltName", ())}  # type: ignore[misc]


# -- clients ----------------------------------------------------------------------------------------------------


def test_curl(serve: Start, files: CertificateFiles, tool: Tool) -> None:
    service = serve("--forwarded")
    base = f"https://localhost:{service.port}"
    assert f"on https://127.0.0.1:{service.port} with 2 workers" in service.output
    body = os.urandom(3_000_000)
    for version in ("--tls-max 1.2", "--tlsv1.3"):
        curl = (tool("curl"), "-sS", "--cacert", files.authority.ca_file, *version.split())
        big = run(*curl, f"{base}/big?5000000")
        assert (len(big.stdout), big.stderr) == (5_000_000, b"")
        sent = run(*curl, "--data-binary", "@-", f"{base}/body", data=body)
        assert sent.stdout.decode() == f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    told = run(*curl, "-v", f"{base}/", f"{base}/")
    assert b"ALPN: server accepted http/1.1" in told.stderr
    assert b"Re-using existing connection" in told.stderr
    untrusted = run(tool("curl"), "-sS", f"{base}/")
    assert untrusted.returncode == 60


def test_openssl(serve: Start, files: CertificateFiles, tool: Tool) -> None:
    service = serve("--tls-min", "1.3", worker=python_worker("echo"), workers=1)
    client = (tool("openssl"), "s_client", "-connect", f"127.0.0.1:{service.port}", "-servername", "localhost",
              "-verify_return_error", "-CAfile", files.authority.ca_file)  # fmt: skip
    refused = run(*client, "-tls1_2")
    assert b"alert protocol version" in refused.stderr
    assert refused.returncode
    # K: a key update of this side, which asks for one of the other.
    said = interactive(client, b"K\n", b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Protocol  : TLSv1.3" in said or b"New, TLSv1.3" in said
    assert b"KEYUPDATE" in said
    assert b"GET /behind HTTP/1.1" in said
    assert b"\nclosed" in said, "the worker's Connection: close is announced"


def interactive(command: tuple[object, ...], *inputs: bytes) -> bytes:
    """What a program prints that is told one thing after another, until it ends."""
    words = [*map(str, command)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        timer = threading.Timer(20, process.kill)
        timer.start()
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        while b"---\n" not in said or b"Verify return code" not in said:
            part = os.read(process.stdout.fileno(), 65536)
            assert part, said
            said += part
        for data in inputs:
            process.stdin.write(data)
            process.stdin.flush()
            sleep(0.3)  # commands are one read of s_client each
        while part := os.read(process.stdout.fileno(), 65536):
            said += part
        timer.cancel()
    return said


def test_sessions_are_resumed(serve: Start, files: CertificateFiles) -> None:
    service = serve()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=files.authority.ca_file)
        context.maximum_version = version
        session, reused = None, []
        for _ in range(3):
            plain = socket.create_connection(("127.0.0.1", service.port), 10)
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.recv(9).startswith(b"HTTP/1.1 ")
                reused.append(client.session_reused)
                session = client.session
        assert reused == [False, True, True], version


def test_python(serve: Start, files: CertificateFiles) -> None:
    service = serve("--forwarded", worker=python_worker("echo"))
    context = ssl.create_default_context(cafile=files.authority.ca_file)
    with urllib.request.urlopen(f"https://localhost:{service.port}/x", context=context, timeout=20) as response:
        head = response.read()
    assert b"X-Forwarded-Proto: https\r\n" in head
    assert b";proto=https;host=" in head
    connection = http.client.HTTPSConnection("localhost", service.port, context=context, timeout=20)
    for number in range(5):
        connection.request("GET", f"/{number}")
        assert connection.getresponse().read().startswith(b"GET /%d " % number)
    connection.close()


@pytest.mark.slow  # builds Go's TLS
@pytest.mark.timeout(400)
def test_go(serve: Start, files: CertificateFiles, tmp_path: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    need(go is not None, "go")
    service = serve()
    program = tmp_path / "client"
    source = ROOT / "tests" / "support" / "goclient_tls" / "main.go"
    # Not optimized: that takes a third off the minute for which Go compiles its own library.
    built = run(go, "build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", program, source, seconds=240)
    assert not built.returncode, built.stderr
    said = run(program, f"https://localhost:{service.port}", files.authority.ca_file, seconds=120)
    assert said.stdout == b"ok\n"


async def test_websockets(serve: Start, files: CertificateFiles) -> None:
    service = serve(worker=python_worker("websocket"))
    context = ssl.create_default_context(cafile=files.authority.ca_file)
    message = os.urandom(1 << 20)
    async with connect(f"wss://localhost:{service.port}/ws", ssl=context, max_size=None, compression=None) as ws:
        for _ in range(3):
            await ws.send(message)
            assert await asyncio.wait_for(ws.recv(), 20) == message


def test_the_wrong_protocol_is_named_on_both_kinds_of_port(
    serve: Start, faucet: Start, files: CertificateFiles, tool: Tool
) -> None:
    service = serve()
    told = run(tool("curl"), "-sS", f"http://localhost:{service.port}/")
    assert b"This port speaks HTTPS" in told.stdout
    plain = faucet("--command", COUNTING, "-w", "1").wait_ready()
    assert run(tool("curl"), "-sSk", f"https://localhost:{plain.port}/").returncode == 35
    plain.wait_line(r"400 .*\(The client speaks TLS \(https://…\), and this port speaks plain HTTP")


def test_unix_sockets_stay_plain(faucet: Start, files: CertificateFiles, tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "s"
    service = faucet(
        "--command", python_worker("echo"), "-w", "1", "--forwarded", *files.options,
        "--host", "127.0.0.1:0", "--host", f"unix:{path}",
    )  # fmt: skip
    port = service.wait_line(r"on https://127\.0\.0\.1:([0-9]+) and unix:")[1]
    told = run(tool("curl"), "-sS", "--unix-socket", path, "http://localhost/")
    assert b"X-Forwarded-Proto: http\r\n" in told.stdout
    curl = (tool("curl"), "-sS", "--cacert", files.authority.ca_file)
    assert b"X-Forwarded-Proto: https\r\n" in run(*curl, f"https://localhost:{port}/").stdout


# -- the certificate --------------------------------------------------------------------------------------------


def test_a_renewed_certificate_after_sighup_and_without(serve: Start, files: CertificateFiles) -> None:
    service = serve(workers=1)
    assert names(service.port, files.authority.ca_file) == {"localhost", "127.0.0.1"}
    files.renew("after.sighup")
    service.signal(signal.SIGHUP)
    service.wait_line("new connections get the certificate from .*, valid until")
    assert names(service.port, files.authority.ca_file) == {"after.sighup"}
    files.renew("by.itself")
    service.wait_line("new connections get the certificate")
    assert names(service.port, files.authority.ca_file) == {"by.itself"}


def test_a_broken_one_is_a_notice_and_the_old_one_stays(serve: Start, files: CertificateFiles, tmp_path: Path) -> None:
    control = tmp_path / "c"
    service = serve("--control", str(control), workers=1)
    files.key.write_text("-----BEGIN PRIVATE KEY-----\n")
    service.wait_line("the certificate on disk is not used: ")
    assert names(service.port, files.authority.ca_file) == {"localhost", "127.0.0.1"}
    told = run(sys.executable, "-m", "faucet", "ctl", "status", "--at", control)
    assert b"the certificate on disk is not used, the one before it is: OpenSSL cannot use" in told.stdout, told
    assert b"https://127.0.0.1:" in told.stdout


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--tls-cert", "{crt}"], 2, "--tls-cert needs --tls-key"),
        (["--tls-cert", "{crt}", "--tls-key", "nowhere.key"], 1, "cannot read --tls-key nowhere.key"),
        (["--tls-cert", "{crt}", "--tls-key", "{crt}"], 1, "has no private key in PEM"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(
    faucet: Start, files: CertificateFiles, options: list[str], code: int, text: str
) -> None:
    service = faucet("--command", COUNTING, *(word.format(crt=files.certificate) for word in options))
    assert service.wait_exit() == code
    assert text in service.output


def test_metrics(serve: Start, files: CertificateFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = free.getsockname()[1]
    service = serve("--admin", f"127.0.0.1:{admin}")
    context = ssl.create_default_context(cafile=files.authority.ca_file)
    plain = socket.create_connection(("127.0.0.1", service.port), 10)
    with context.wrap_socket(plain, server_hostname="localhost") as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(9)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", service.port), 10) as other:
            other.sendall(b"\0")
            other.recv(1)
        page = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=20).read().decode()
    found = {name: float(value) for name, value in re.findall(r"^(faucet_tls_\S+) (\S+)$", page, re.MULTILINE)}
    assert found["faucet_tls_handshakes_total"] == 1
    assert found["faucet_tls_connections"] == 1
    assert found['faucet_tls_handshake_failures_total{reason="not_tls"}'] == 1
    assert found["faucet_tls_memory_bytes"] > 0
    assert found["faucet_tls_certificate_expires_seconds"] > 86400
    deadline = monotonic() + 10
    while "faucet_tls_connections 0.0" not in page:
        assert monotonic() < deadline
        page = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=20).read().decode()
