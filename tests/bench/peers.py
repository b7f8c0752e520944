"""What Faucet is compared with, built from what is installed: nginx and HAProxy in front of the same origins."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil

from tests.support.checkout import ROOT

os.environ["PATH"] += ":/usr/sbin"  # where Debian keeps nginx and HAProxy

NGINX_ALONE = """\
daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log crit;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 0; sendfile on;
  proxy_buffering on; proxy_request_buffering {buffering}; proxy_max_temp_file_size 0;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  {http}
}}
"""

ORIGIN = """\
server {{
  listen 127.0.0.1:{port};
  location / {{ return 200 "hello hello hello hello hello hello hello he"; }}
  location /file {{ root {dir}; }}
}}"""

NGINX_PROXY = """\
upstream origin {{ {servers} {keepalive} }}
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://origin; {headers} }} }}"""

HAPROXY = """\
global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  timeout queue 60s
frontend all
  bind 127.0.0.1:{port}
  default_backend origin
backend origin
  {mode}
  {servers}
"""


@dataclass(frozen=True)
class Running:
    """Something that serves on a port of this machine."""

    name: str
    port: int
    pid: int


def service_on(port: int) -> psutil.Process:
    """The process of the Faucet that serves on this port."""
    return next(process for process in psutil.process_iter(["cmdline"])
                if f"127.0.0.1:{port}" in (process.info["cmdline"] or []))  # fmt: skip


def have(program: str) -> bool:
    """Whether a peer is installed. If not, its rows are left out with a word."""
    return shutil.which(program) is not None


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def wait_listening(port: int, seconds: float = 60) -> None:
    """Wait until somebody does."""
    deadline = monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if monotonic() > deadline:
                raise
            threading.Event().wait(0.02)
        else:
            return


@contextlib.contextmanager
def process(name: str, port: int, words: Sequence[str], **options: object) -> Iterator[Running]:
    """Run a server for as long as the context lasts."""
    popen = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        wait_listening(port)
        yield Running(name, port, popen.pid)
    finally:
        popen.terminate()
        popen.wait(20)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory for the length of the context."""
    with tempfile.TemporaryDirectory(prefix="faucet-bench-") as name:
        yield Path(name)


@contextlib.contextmanager
def nginx(name: str, port: int, http: str, buffering: str = "on") -> Iterator[Running]:
    """nginx with one process."""
    with scratch() as directory:
        config = directory / "nginx.conf"
        config.write_text(
            NGINX_ALONE.format(dir=directory, http=http.replace("{dir}", str(directory)), buffering=buffering)
        )
        with process(name, port, ["nginx", "-p", str(directory), "-c", str(config)]) as running:
            yield running


@contextlib.contextmanager
def nginx_proxy(name: str, origins: Sequence[int], keepalive: int) -> Iterator[Running]:
    """nginx as a proxy: with so many kept connections to the origins, or a connection per request, its default."""
    port = free_port()
    http = NGINX_PROXY.format(
        port=port,
        servers=" ".join(f"server 127.0.0.1:{origin};" for origin in origins),
        keepalive=f"keepalive {keepalive};" if keepalive else "",
        headers='proxy_http_version 1.1; proxy_set_header Connection "";' if keepalive else "",
    )
    with nginx(name, port, http, buffering="off") as running:
        yield running


@contextlib.contextmanager
def haproxy(name: str, origins: Sequence[int], mode: str) -> Iterator[Running]:
    """HAProxy with one thread, one request per server at a time."""
    port = free_port()
    servers = "\n  ".join(f"server s{origin} 127.0.0.1:{origin} maxconn 1" for origin in origins)
    with scratch() as directory:
        config = directory / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=port, mode=mode, servers=servers))
        with process(name, port, ["haproxy", "-db", "-f", str(config)]) as running:
            yield running


@contextlib.contextmanager
def bare(name: str, origins: Sequence[int]) -> Iterator[Running]:
    """The least that such a proxy can do: see bare.py."""
    port = free_port()
    words = [sys.executable, "-m", "tests.bench.bare", str(port), *map(str, origins)]
    with process(name, port, words, cwd=ROOT) as running:
        yield running


WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from faucet.cli.main import main; sys.exit(main())"


@contextlib.contextmanager
def faucet(
    name: str,
    origins: Sequence[int],
    *options: str,
    uvloop: bool = True,
    root: Path = ROOT,
    python: str = sys.executable,
) -> Iterator[Running]:
    """The Faucet in `root`, the whole program with its log, in front of workers that it has started on these ports.

    `python` runs it, and has to have what it depends on.
    """
    port = free_port()
    start = ["-m", "faucet"] if uvloop else ["-c", WITHOUT_UVLOOP]
    words = [python, *start, "local", "--headless", "--host", f"127.0.0.1:{port}", "-w", str(len(origins))]
    words += ["--child-port", str(origins[0]), *options]
    with scratch() as directory:
        log = ["--log-file", str(directory / "log")]
        # Python looks into the working directory first.
        with process(name, port, [*words, *log], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as running:
            for origin in origins:
                wait_listening(origin)
            yield running


def consecutive_ports(count: int) -> list[int]:
    """So many free ports in a row, below those that the kernel gives to clients."""
    for first in range(22_000 + os.getpid() % 8000, 32_000, count):
        ports = list(range(first, first + count))
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in ports:
                sock = stack.enter_context(socket.socket())
                sock.bind(("127.0.0.1", port))
            return ports
    raise RuntimeError("no free ports")
