"""The cluster that other tests are made with: that it is as real, as separate and as observant as they rely on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from tests.support.cluster import PODS, SERVICE, Cluster
from tests.support.cluster_net import BASTION, HOLE, NAMESPACES, SETTINGS, sweep, wait_until
from tests.support.cluster_pods import ADDRESSES
from tests.support.running import is_alive

RESOLVE = """
import socket, sys
try:
    found = socket.getaddrinfo(sys.argv[1], 8000, socket.AF_INET, socket.SOCK_STREAM)
    print(*sorted({address for *_, (address, _) in found}))
except socket.gaierror as error:
    print(error.errno)
"""
POD = PODS[0]


@pytest.fixture(autouse=True)
def anew(cluster: Cluster) -> None:
    cluster.reset()


@pytest.fixture
def curl(cluster: Cluster, tool: Callable[[str], str]) -> Callable[..., tuple[int, str]]:
    """curl's exit code and what it got; it has a second."""
    path = tool("curl")

    def get(where: str, url: str, *options: str) -> tuple[int, str]:
        done = cluster.run(where, [path, "-s", "--max-time", "1", *options, url])  # type: ignore[arg-type]
        return done.returncode, done.stdout

    return get


def resolve(cluster: Cluster, name: str, where: str = "cluster") -> list[str]:
    """Its addresses as a program there finds them, or the number of the error."""
    done = cluster.run(where, [sys.executable, "-I", "-S", "-c", RESOLVE, name])  # type: ignore[arg-type]
    assert not done.stderr
    return done.stdout.split()


def dial(cluster: Cluster, address: str = POD) -> socket.socket:
    with cluster.inside("cluster"):
        return socket.create_connection((address, 8000), timeout=3)


def get(connection: socket.socket, target: str) -> None:
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: pod\r\n\r\n".encode())


def received(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data


@contextmanager
def tunnel(
    cluster: Cluster, port: int = 2222, target: str = POD, local: int = 9000
) -> Iterator[subprocess.Popen[bytes]]:
    """`ssh -L` on the laptop."""
    argv = cluster.ssh.command("-N", "-L", f"{local}:{target}:8000", port=port)
    with cluster.spawn("laptop", argv, stderr=subprocess.PIPE) as ssh:
        try:
            wait_until(lambda: ssh.poll() is not None or cluster.spaces.listens("laptop", local), "the tunnel")
            yield ssh
        finally:
            ssh.kill()


def test_names_are_known_in_the_cluster_and_not_on_the_laptop(cluster: Cluster) -> None:
    for name in ("plumber", "plumber.default", SERVICE, f"{SERVICE}."):
        assert resolve(cluster, name) == list(PODS)
    assert resolve(cluster, f"pod-1.{SERVICE}") == [PODS[1]]
    assert resolve(cluster, "nobody.default.svc.cluster.local.") == [str(socket.EAI_NONAME)]
    assert resolve(cluster, SERVICE, "laptop") == [str(socket.EAI_AGAIN)]
    assert resolve(cluster, "bastion", "laptop") == [BASTION]


def test_sixty_pods_are_all_found(cluster: Cluster) -> None:
    cluster.dns.set_ports("plumber", ADDRESSES)
    assert resolve(cluster, SERVICE) == sorted(ADDRESSES)
    over_udp, over_tcp = cluster.dns.ask(SERVICE), cluster.dns.ask(SERVICE, tcp=True)
    assert over_udp.truncated
    assert over_tcp == (0, 60, False, 1)
    assert cluster.dns.ask(f"_http._tcp.{SERVICE}", "SRV", tcp=True) == (0, 60, False, 1)


@pytest.mark.quiet
def test_a_change_is_known_at_once(cluster: Cluster) -> None:
    began = monotonic()
    cluster.dns.set("plumber", ADDRESSES[7:9])
    assert resolve(cluster, SERVICE) == list(ADDRESSES[7:9])
    assert monotonic() - began < 1, "nothing keeps the old answer for a while"
    assert cluster.dns.queries().count(f"A {SERVICE}") == 1


def test_no_pods_and_no_such_name(cluster: Cluster) -> None:
    cluster.dns.set("plumber", [])
    assert cluster.dns.ask(SERVICE) == (0, 0, False, 0)
    cluster.dns.set("plumber", PODS)
    assert cluster.dns.ask(SERVICE) == (0, 3, False, 1)
    assert cluster.dns.ask(SERVICE, "AAAA") == (0, 0, False, 0)
    cluster.dns.set_ports("plumber", [])
    assert cluster.dns.ask(SERVICE) == (3, 0, False, 0)


def test_more_services_and_another_ttl(cluster: Cluster) -> None:
    cluster.dns.set_all({"plumber": PODS, "other": ADDRESSES[3:5], "third.elsewhere": ADDRESSES[5:6]}, ttl=30)
    assert resolve(cluster, "plumber") == list(PODS)
    assert resolve(cluster, "other") == list(ADDRESSES[3:5])
    assert resolve(cluster, "third.elsewhere.svc") == [ADDRESSES[5]]
    assert cluster.dns.ask(SERVICE).ttl == 30
    assert cluster.dns.ask("_http._tcp.other.default.svc.cluster.local", "SRV") == (0, 2, False, 30)
    cluster.reset()
    assert cluster.dns.ask("other.default.svc.cluster.local").code == 3
    assert cluster.dns.ask(SERVICE) == (0, 3, False, 1)


def test_names_gone_silent_and_back(cluster: Cluster) -> None:
    cluster.dns.stop()
    assert resolve(cluster, SERVICE) == [str(socket.EAI_AGAIN)]
    cluster.dns.set("plumber", ADDRESSES[:1])
    cluster.dns.start()
    assert resolve(cluster, SERVICE) == [POD]
    cluster.dns.freeze()
    with pytest.raises(TimeoutError):
        cluster.dns.ask(SERVICE)
    cluster.dns.thaw()
    assert cluster.dns.ask(SERVICE).records == 1


def test_the_only_way_in_is_ssh(cluster: Cluster, curl: Callable[..., tuple[int, str]]) -> None:
    assert curl("laptop", f"http://{POD}:8000/")[0] == 7
    assert curl("cluster", f"http://{SERVICE}:8000/")[1] in PODS
    with tunnel(cluster):
        assert curl("laptop", "http://127.0.0.1:9000/") == (0, POD)
    with tunnel(cluster, target=SERVICE):
        assert curl("laptop", "http://127.0.0.1:9000/")[1] in PODS


def test_nothing_of_it_is_outside(cluster: Cluster) -> None:
    for what in (["route", "show", "table", "all"], ["-o", "link"], ["-o", "address"]):
        seen = subprocess.run(["ip", *what], capture_output=True, text=True, check=True).stdout
        assert not [word for word in ("10.251.7.", "10.244.", "10.96.", "veth", "hole0") if word in seen]
    before = Path("/proc/thread-self/ns/net").readlink()
    with cluster.inside("laptop"), cluster.inside("cluster"):
        assert Path("/proc/thread-self/ns/net").readlink() != before
    assert Path("/proc/thread-self/ns/net").readlink() == before


async def test_a_loop_can_be_inside(cluster: Cluster) -> None:
    with cluster.inside("cluster"):
        reader, writer = await asyncio.open_connection(PODS[1], 8000)
        writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(PODS[1].encode())
        writer.close()
        await writer.wait_closed()
    with cluster.inside("laptop"), pytest.raises(OSError, match="No route to host"):
        await asyncio.open_connection(PODS[1], 8000)


def test_the_hole_is_silent_and_other_addresses_are_not(cluster: Cluster) -> None:
    with cluster.inside("cluster"):
        with pytest.raises(TimeoutError):
            socket.create_connection((HOLE, 8000), timeout=0.3)
        with pytest.raises(OSError, match="unreachable"):
            socket.create_connection(("10.244.1.200", 8000), timeout=5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((POD, 8001), timeout=5)


def test_two_requests_at_once_are_an_offence(cluster: Cluster) -> None:
    with dial(cluster) as first, dial(cluster) as second, dial(cluster, PODS[1]) as elsewhere:
        get(first, "/sleep?0.2")
        get(elsewhere, "/")
        received(elsewhere, PODS[1].encode())
        assert cluster.pods.offences() == 0
        get(second, "/")
        assert b" 500 " in received(second, b"offence")
        assert b" 200 " in received(first, POD.encode())
        get(second, "/")
        assert b" 200 " in received(second, POD.encode())
        assert cluster.pods.offences() == 1
        assert (cluster.pods.served(POD), cluster.pods.served(PODS[1])) == (2, 1)
        first.sendall(b"GET / HTTP/1.1\r\n\r\n" * 2)
        wait_until(lambda: cluster.pods.offences() == 2, "pipelining is one too")
    assert f"{POD}: GET /? during GET /sleep?0.2" in cluster.pods.log


def test_a_pod_computes_on_when_its_client_has_gone(cluster: Cluster) -> None:
    with dial(cluster) as first:
        get(first, "/sleep?0.3")
        wait_until(lambda: "/sleep" in probe(cluster), "the request is in hand")
    with dial(cluster) as second:
        get(second, "/")
        assert b" 500 " in received(second, b"offence")
        wait_until(lambda: cluster.pods.served(POD) == 1, "it has ended")
        get(second, "/")
        received(second, POD.encode())
    assert cluster.pods.offences() == 2


def probe(cluster: Cluster) -> str:
    """What a pod said of the offence that this request was."""
    with dial(cluster) as connection:
        get(connection, "/")
        connection.recv(1000)
    return cluster.pods.log


@pytest.mark.parametrize("target", ["/silent", "/drip"])
def test_a_pod_that_does_not_answer_is_free_when_its_client_has_gone(cluster: Cluster, target: str) -> None:
    with dial(cluster) as connection:
        get(connection, target)
        if target == "/drip":
            assert received(connection, b"drip").startswith(b"HTTP/1.1 200 OK")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert cluster.pods.served(POD) == 0
    wait_until(lambda: cluster.pods.served(POD) == 1, "it is free")
    assert cluster.pods.ask("/", POD) == POD
    assert cluster.pods.offences() == 0


def test_bodies_and_broken_connections(cluster: Cluster, curl: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    body = os.urandom(3_000_000)
    (tmp_path / "body").write_bytes(body)
    url, upload = f"http://{POD}:8000", f"@{tmp_path / 'body'}"
    told = f"3000000 {hashlib.sha256(body).hexdigest()}"
    assert curl("cluster", f"{url}/", "--data-binary", upload) == (0, told)
    assert curl("cluster", f"{url}/sleep?0", "-T", upload[1:], "-H", "Transfer-Encoding: chunked") == (0, told)
    assert curl("cluster", f"{url}/big?500000") == (0, "x" * 500_000)
    assert curl("cluster", f"{url}/two?5") == (0, "xxxxx")
    assert curl("cluster", f"{url}/reset")[0] == 56
    assert curl("cluster", f"{url}/close")[0] == 52
    assert curl("cluster", f"{url}/", "--head")[1].startswith("HTTP/1.1 200 OK")
    assert cluster.pods.served(POD) == 7
    assert cluster.pods.offences() == 0


def test_a_pod_that_is_in_trouble(cluster: Cluster, curl: Callable[..., tuple[int, str]]) -> None:
    url = f"http://{POD}:8000/"
    with dial(cluster) as connection:
        get(connection, "/")
        received(connection, POD.encode())
        cluster.pods.set(POD, "refuse")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert curl("cluster", url)[0] == 7
    cluster.pods.set(POD, "silent")
    assert curl("cluster", url)[0] == 28
    cluster.pods.set(POD, "reset")
    assert curl("cluster", url)[0] in (7, 56)  # 7: curl has not seen yet that it was connected
    assert cluster.pods.ask("/", PODS[1]) == PODS[1]
    cluster.pods.set(POD, "normal")
    assert curl("cluster", url) == (0, POD)


def test_a_pod_with_tls(cluster: Cluster, curl: Callable[..., tuple[int, str]]) -> None:
    cert, key = cluster.certificate(SERVICE, POD)
    pods = cluster.more_pods([POD], 8443, cert, key)
    assert curl("cluster", f"https://{POD}:8443/", "--cacert", str(cert)) == (0, POD)
    assert curl("cluster", f"https://{POD}:8443/reset", "--cacert", str(cert))[0] in (35, 56)
    assert pods.served(POD) == 2
    cluster.reset()
    assert curl("cluster", f"https://{POD}:8443/")[0] == 7


def test_an_sshd_as_a_test_wants_it(cluster: Cluster, curl: Callable[..., tuple[int, str]]) -> None:
    other = cluster.ssh.make_key("host_other")
    server = cluster.ssh.start("AllowTcpForwarding no", "Match User nobody", "X11Forwarding no", host_key=other)
    hello = cluster.ssh.command(port=server.port, remote="hostname -I; cat /etc/resolv.conf")
    assert "Host key verification failed" in cluster.run("laptop", hello).stderr
    cluster.ssh.known_hosts.write_text(cluster.ssh.main.known_hosts_line + server.known_hosts_line)
    assert "nameserver 10.96.0.10" in cluster.run("laptop", hello).stdout
    with tunnel(cluster, server.port):
        assert curl("laptop", "http://127.0.0.1:9000/")[0] in (52, 56)
    server.restart()
    assert cluster.run("laptop", hello).returncode == 0
    cluster.reset()
    assert "refused" in cluster.run("laptop", hello).stderr


def test_the_keys(cluster: Cluster) -> None:
    login, good = cluster.ssh.command(remote="echo here"), str(cluster.ssh.key)
    assert cluster.run("laptop", login).stdout == "here\n"
    wrong = [str(cluster.ssh.wrong_key) if word == good else word for word in login]
    assert "Permission denied (publickey)" in cluster.run("laptop", wrong).stderr
    for passphrase, code in (("sesame", 0), ("", 255)):
        argv = ["ssh-keygen", "-y", "-P", passphrase, "-f", str(cluster.ssh.encrypted_key)]
        assert subprocess.run(argv, capture_output=True, check=False).returncode == code


def test_a_session_cut_loudly(cluster: Cluster) -> None:
    with tunnel(cluster) as ssh:
        assert len(cluster.ssh.main.sessions()) == 1
        cluster.ssh.main.kill_sessions()
        assert ssh.wait(5) == 255
    assert cluster.ssh.main.sessions() == []
    cluster.ssh.main.stop()
    with tunnel(cluster) as ssh:
        assert ssh.wait(5) == 255
    cluster.reset()
    assert cluster.run("laptop", cluster.ssh.command(remote="echo here")).stdout == "here\n"


def test_a_session_that_hangs(cluster: Cluster, curl: Callable[..., tuple[int, str]]) -> None:
    with tunnel(cluster):
        assert curl("laptop", "http://127.0.0.1:9000/") == (0, POD)
        cluster.ssh.main.freeze_sessions()
        assert curl("laptop", "http://127.0.0.1:9000/")[0] == 28
        cluster.ssh.main.thaw_sessions()
        assert curl("laptop", "http://127.0.0.1:9000/") == (0, POD)


def test_the_link_cut_silently_and_healed(cluster: Cluster, curl: Callable[..., tuple[int, str]]) -> None:
    with tunnel(cluster) as ssh:
        cluster.cut()
        assert curl("laptop", "http://127.0.0.1:9000/")[0] == 28
        assert ssh.poll() is None
        cluster.heal()
        wait_until(lambda: curl("laptop", "http://127.0.0.1:9000/") == (0, POD), "the link works", 10)


def test_nothing_is_left(cluster: Cluster) -> None:
    other = Cluster("x")
    sleeper = other.spawn("laptop", ["sleep", "600"])
    there, directory = list(other.spaces.names.values()), other.directory
    mine = [name for where in there for name in (NAMESPACES / where, SETTINGS / where)]
    assert all(path.exists() for path in mine)
    other.close()
    assert sleeper.returncode == -9
    assert not [path for path in (*mine, directory) if path.exists()]
    assert cluster.pods.ask("/") != ""


def test_what_a_killed_run_has_left_is_swept_away(cluster: Cluster) -> None:
    with subprocess.Popen(["true"]) as dead:
        name = f"fct{dead.pid}c"
    subprocess.run(["ip", "netns", "add", name], check=True)
    (SETTINGS / name).mkdir()
    with subprocess.Popen(["ip", "netns", "exec", name, "sleep", "600"]) as sleeper:
        wait_until(lambda: subprocess.check_output(["ip", "netns", "pids", name]), "it is inside")
        sweep()
    assert not is_alive(sleeper.pid)
    assert not (NAMESPACES / name).exists()
    assert not (SETTINGS / name).exists()
    assert cluster.pods.ask("/") != ""
