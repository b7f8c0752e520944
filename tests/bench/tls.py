"""HTTPS towards clients: against nginx and HAProxy that end TLS with the same key, and what a client costs in memory.

All have the same certificate, versions, ciphers and workers; sessions are resumed by tickets only, in all of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from tests.bench import load, memory, peers
from tests.support.certificate_files import CertificateFiles
from tests.support.compiled import build, lay_out
from tests.support.running import python_worker

WORKERS, CLIENTS = 4, 32

HAPROXY, NGINX = "HAProxy, http-reuse always, maxconn 1", "nginx, a kept connection per worker"
PLAIN, COMPILED = "Faucet without TLS", "Faucet, compiled by mypyc"

NGINX_TLS = """\
upstream origin {{ {servers} keepalive {count}; }}
server {{
  listen 127.0.0.1:{port} ssl;
  ssl_certificate {certificate}; ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off; ssl_session_tickets on;
  location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }}
}}"""

HAPROXY_TLS = """\
global
  nbthread 1
  tune.ssl.cachesize 0
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  timeout queue 60s
frontend all
  bind 127.0.0.1:{port} ssl crt {both} ssl-min-ver TLSv1.2 alpn http/1.1
  default_backend origin
backend origin
  http-reuse always
  {servers}
"""

Rounds = Callable[[dict[str, Callable[[], float]]], dict[str, list[float]]]
Table = Callable[[str, str, dict[str, list[float]], dict[str, float] | None], None]


@contextlib.contextmanager
def haproxy(origins: Sequence[int], files: CertificateFiles, directory: Path) -> Iterator[peers.Running]:
    """HAProxy with one thread."""
    port, both, config = peers.free_port(), directory / "both.pem", directory / "haproxy.cfg"
    both.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    servers = "\n  ".join(f"server s{origin} 127.0.0.1:{origin} maxconn 1" for origin in origins)
    config.write_text(HAPROXY_TLS.format(port=port, both=both, servers=servers))
    with peers.process(HAPROXY, port, ["haproxy", "-db", "-f", str(config)]) as running:
        yield running


@contextlib.contextmanager
def nginx(origins: Sequence[int], files: CertificateFiles) -> Iterator[peers.Running]:
    """nginx with one process."""
    port = peers.free_port()
    servers = " ".join(f"server 127.0.0.1:{origin};" for origin in origins)
    http = NGINX_TLS.format(
        port=port, servers=servers, count=len(origins), certificate=files.certificate, key=files.key
    )
    with peers.nginx(NGINX, port, http, buffering="off") as running:
        yield running


def handshakes(port: int, ca_file: Path, reuse: bool, seconds: int = 4) -> float:
    """Handshakes per second of one client, without a request: of TLS 1.3, or with a resumed session of TLS 1.2.

    s_time reads nothing, so it never sees the tickets of TLS 1.3.
    """
    words = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-CAfile", str(ca_file), "-time", str(seconds)]
    words += ["-tls1_2", "-reuse"] if reuse else ["-tls1_3", "-new"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^([0-9]+) connections in ([0-9]+) real seconds", said, re.MULTILINE)
    assert found, said
    return int(found[1]) / int(found[2])


def serving(port: int) -> psutil.Process:
    """The process of this one's children that listens on a port."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(each.laddr[1] == port and each.status == psutil.CONN_LISTEN for each in process.net_connections()):
                return process
    raise RuntimeError(f"nobody listens on port {port}")


def by_cpu(port: int, measure: Callable[[], float], seconds: int = 4) -> float:
    """What `measure` counts a second, for each second of CPU of the process that serves: whatever else runs here."""
    process = serving(port)
    before = process.cpu_times()
    count = measure() * seconds
    after = process.cpu_times()
    return count / (after.user + after.system - before.user - before.system)


def throughput(table: Table, rounds: Rounds) -> None:
    """Kept connections, new ones, resumed ones, and a long response."""
    origins, beside = peers.consecutive_ports(WORKERS), peers.consecutive_ports(2 * WORKERS)[WORKERS:]
    with tempfile.TemporaryDirectory(prefix="faucet-bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        os.environ["FAUCET_ORIGINS"], os.environ["PYTHONPATH"] = name, str(peers.ROOT)
        files = CertificateFiles(directory)
        command = ("--command", python_worker("nginx_origin"), "--dir", name)
        enter = stack.enter_context
        lay_out(build(directory / "dist"), directory / "compiled")
        third = peers.consecutive_ports(3 * WORKERS)[2 * WORKERS :]
        compiled = peers.faucet(COMPILED, third, *command, *files.options, root=directory / "compiled")
        found = {
            "Faucet": enter(peers.faucet("Faucet", origins, *command, *files.options)),
            COMPILED: enter(compiled),
        }
        if peers.have("haproxy"):
            found[HAPROXY] = enter(haproxy(origins, files, directory))
        if peers.have("nginx"):
            found[NGINX] = enter(nginx(origins, files))
        plain = enter(peers.faucet(PLAIN, beside, *command))

        def asked(running: peers.Running, scheme: str, *, close: bool = False) -> Callable[[], float]:
            def ask() -> float:
                result = load.wrk(running.port, CLIENTS, scheme=scheme, close=close)
                assert not result.failed
                return result.requests

            return ask

        kept = {who: asked(running, "https") for who, running in found.items()}
        needed = dict.fromkeys((HAPROXY, NGINX), 0.5)
        table(f"TLS, {CLIENTS} kept connections, fast origin", "requests/s",
              rounds(kept | {PLAIN: asked(plain, "http")}), needed)  # fmt: skip
        table("The same, for a second of CPU of the proxy (the figure that counts on a busy machine)", "requests",
              rounds({who: lambda port=found[who].port, one=one: by_cpu(port, one) for who, one in kept.items()}),
              needed)  # fmt: skip
        new = {who: asked(running, "https", close=True) for who, running in found.items()}
        table(f"TLS, {CLIENTS} clients, a connection for each request", "requests/s", rounds(new), needed)
        ca = files.authority.ca_file
        for reuse, title in ((False, "one client, new sessions"), (True, "one client, resumed sessions")):
            measured = {who: lambda port=r.port, reuse=reuse: handshakes(port, ca, reuse) for who, r in found.items()}
            table(f"TLS, {title}", "handshakes/s", rounds(measured), needed)
            cpu = {who: lambda port=found[who].port, one=one: by_cpu(port, one) for who, one in measured.items()}
            table("The same, for a second of CPU of the proxy", "handshakes", rounds(cpu), needed)
        bulk = {who: lambda port=r.port: load.bulk(port, None, "https") / 1e6 for who, r in found.items()}
        table("TLS, 100 MB down, one client", "MB/s", rounds(bulk), needed)


class Handshakes:
    """Clients in the middle of their handshake: the server has answered, and waits."""

    def __init__(self, port: int, count: int, context: ssl.SSLContext) -> None:
        self._sockets: list[socket.socket] = []
        for _ in range(count):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            sock = socket.create_connection(("127.0.0.1", port), 60)
            sock.sendall(outgoing.read())
            sock.recv(65536)
            self._sockets.append(sock)

    def close(self) -> None:
        """Leave."""
        for sock in self._sockets:
            sock.close()


def handshake_bytes(files: CertificateFiles, count: int = 400) -> float:
    """Resident bytes of the service for each handshake in progress."""
    options = (*memory.OPTIONS, *files.options, "--command", python_worker("blocking"))
    context = ssl.create_default_context(cafile=files.authority.ca_file)
    with peers.faucet("Faucet", peers.consecutive_ports(1), *options) as running:
        watched = memory.Watched(peers.service_on(running.port).pid)
        first = memory.Clients(running.port, 100, context)
        first.ask()
        before = watched.memory()
        under_way = Handshakes(running.port, count, context)
        each = (watched.memory() - before) / count
        under_way.close()
        first.close()
    return each


def clients(count: int) -> None:
    """What a client costs in memory."""
    with tempfile.TemporaryDirectory(prefix="faucet-bench-") as name:
        files = CertificateFiles(Path(name))
        found = memory.figures(count, files)
        print("\n### Memory of the service, clients inside TLS\n")
        print("| clients | resident, MiB | each, KiB |\n| --- | --- | --- |")
        print(*memory.rows(found, count), sep="\n")
        print(f"\nA handshake in progress: {handshake_bytes(files) / memory.KIB:.1f} KiB", flush=True)


def report(table: Table, rounds: Rounds) -> None:
    """All of it."""
    throughput(table, rounds)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients(min(memory.CLIENTS, hard - 1000))
