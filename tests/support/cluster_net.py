"""Two network namespaces with a wire between them: "laptop", where tests and clients are, and "cluster".

Nothing of it is in the machine's own namespace, so nothing of it can leave the machine. The laptop knows that there is
no way to the addresses of the cluster; the only thing that it can reach is the bastion. The names of the namespaces
tell whose they are (`fct<pid>…`), so that those of a test run that was killed can be swept away by a later one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from typing import Literal

from tests.support.running import is_alive

Where = Literal["laptop", "cluster"]

LAPTOP, BASTION = "10.251.7.1", "10.251.7.2"
DNS = "10.96.0.10"
HOLE = "10.244.9.66"
"""What is sent there vanishes without a word, as for a pod whose node has gone."""

CLONE_NEWNET = 0x40000000
NOBODY = "02:00:00:00:00:99"
NAMESPACES, SETTINGS = Path("/run/netns"), Path("/etc/netns")
OURS = re.compile(r"fct(?P<pid>[0-9]+)[a-z]")

RESOLVERS: dict[Where, str] = {
    "laptop": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",  # where nobody listens: refused at once
    "cluster": f"nameserver {DNS}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
}
HOSTS: dict[Where, str] = {"laptop": f"127.0.0.1 localhost\n{BASTION} bastion\n", "cluster": "127.0.0.1 localhost\n"}
SWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"
"""nsswitch.conf: without it systemd-resolved, asked over a Unix socket, would answer from outside of the namespace."""


_in_use: set[str] = set()


def wait_until(true: Callable[[], object], what: str, seconds: float = 5, step: float = 0.002) -> None:
    """Wait for a condition that cannot be awaited; AssertionError if it does not come."""
    deadline = monotonic() + seconds
    while not true():
        if monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        threading.Event().wait(step)


def ip(*lines: str, check: bool = True) -> None:
    """Several `ip` commands in one process; CalledProcessError tells what ip said."""
    script = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(["ip", "-batch", "-"], input=script, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise subprocess.CalledProcessError(done.returncode, ["ip", *lines], done.stdout, done.stderr)


class Namespaces:
    """The two namespaces, and how to get in."""

    def __init__(self, tag: str = "") -> None:
        """A second pair in the same process needs a tag of lower-case letters."""
        self.names: dict[Where, str] = {
            "laptop": f"fct{os.getpid()}{tag}l",
            "cluster": f"fct{os.getpid()}{tag}c",
        }
        self._children: list[subprocess.Popen[bytes] | subprocess.Popen[str]] = []
        self._cut = False

    def build(self, addresses: Iterable[str]) -> None:
        """Make them; `addresses` are those of the pods."""
        laptop, cluster = self.names["laptop"], self.names["cluster"]
        if cluster in _in_use:
            raise RuntimeError(f"{cluster} is there already; a second one needs a tag")
        _in_use.add(cluster)
        for where, name in self.names.items():
            if (SETTINGS / name).exists():  # of a run that was killed and had the pid that we have now
                remove(name)
            (SETTINGS / name).mkdir(parents=True)
            (SETTINGS / name / "resolv.conf").write_text(RESOLVERS[where])
            (SETTINGS / name / "hosts").write_text(HOSTS[where])
            if Path("/etc/nsswitch.conf").exists():
                (SETTINGS / name / "nsswitch.conf").write_text(SWITCH)
        ip(
            f"netns add {laptop}",
            f"netns add {cluster}",
            f"link add eth0 netns {laptop} type veth peer name eth0 netns {cluster}",
        )
        self.ip("laptop", "link set lo up", f"addr add {LAPTOP}/30 dev eth0", "link set eth0 up")
        self.ip("laptop", "route add unreachable 10.244.0.0/16", "route add unreachable 10.96.0.0/16")
        local = [f"addr add {address}/32 dev lo" for address in (DNS, *addresses)]
        self.ip("cluster", "link set lo up", f"addr add {BASTION}/30 dev eth0", "link set eth0 up", *local)
        self.ip(
            "cluster",
            "link add hole0 type bridge",  # with nobody on it; this kernel has no dummy devices
            "link set hole0 up",
            "addr add 10.244.9.1/24 dev hole0",
            f"neigh add {HOLE} lladdr {NOBODY} dev hole0 nud permanent",
        )

    def ip(self, where: Where, *lines: str) -> None:
        """`ip` commands about one of the namespaces."""
        name = self.names[where]
        done = subprocess.run(
            ["ip", "-n", name, "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, ["ip", "-n", name, *lines], done.stdout, done.stderr)

    def wrapper(self, where: Where) -> list[str]:
        """What goes in front of a command; it runs with the pid that `ip` had, and with the files of /etc/netns."""
        return ["ip", "netns", "exec", self.names[where]]

    def spawn(self, where: Where, argv: Iterable[str], **popen: object) -> subprocess.Popen[bytes]:
        """Start a program; killed at the latest with the namespace."""
        child: subprocess.Popen[bytes] = subprocess.Popen([*self.wrapper(where), *argv], **popen)  # type: ignore[call-overload]
        self._children = [each for each in self._children if each.poll() is None]
        self._children.append(child)
        return child

    @contextlib.contextmanager
    def inside(self, where: Where) -> Iterator[None]:
        """This thread's sockets (and its new threads and children) are there. Names are not: that is `wrapper`'s."""
        with Path("/proc/thread-self/ns/net").open() as home, (NAMESPACES / self.names[where]).open() as there:
            enter(there.fileno())
            try:
                yield
            finally:
                enter(home.fileno())

    def listens(self, where: Where, port: int) -> bool:
        """Whether anybody listens on a TCP port, over IPv4; found out without connecting, which a server would log."""
        with self.inside(where):
            lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
        return any(local.endswith(f":{port:04X}") and state == "0A" for _, local, _, state, *_ in map(str.split, lines))

    def cut(self) -> None:
        """From now on all frames between the two go to nobody: no reset, no ICMP, nothing."""
        self._cut = True
        self.ip("laptop", f"neigh replace {BASTION} lladdr {NOBODY} dev eth0 nud permanent")
        self.ip("cluster", f"neigh replace {LAPTOP} lladdr {NOBODY} dev eth0 nud permanent")

    def heal(self) -> None:
        """The end of `cut`, if there was one."""
        if self._cut:
            self._cut = False
            self.ip("laptop", f"neigh del {BASTION} dev eth0")
            self.ip("cluster", f"neigh del {LAPTOP} dev eth0")

    def close(self) -> None:
        """End everything in there, and remove it."""
        for name in self.names.values():
            remove(name)
        for child in self._children:
            child.kill()  # one that was started a moment ago may not have been inside yet
            child.wait(10)
        _in_use.discard(self.names["cluster"])


def enter(descriptor: int) -> None:
    """setns(2), which Python has since 3.12."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def pids(name: str) -> list[int]:
    """What runs in a namespace, except ourselves (a thread may be inside)."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split() if int(pid) != os.getpid()]


def remove(name: str) -> None:
    """Kill what is in a namespace, by pid, and remove all that belongs to it."""

    def kill() -> bool:
        left = pids(name)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    wait_until(kill, f"the end of all in {name}")
    ip(f"netns del {name}", check=False)
    shutil.rmtree(SETTINGS / name, ignore_errors=True)


def sweep() -> None:
    """Remove what test runs have left that were killed."""
    temporary = Path(tempfile.gettempdir())
    for path in [*NAMESPACES.glob("fct*"), *SETTINGS.glob("fct*"), *temporary.glob("fct*")]:
        owner = OURS.match(path.name)
        if owner is None or is_alive(int(owner["pid"])):
            continue
        if path.parent == temporary:
            shutil.rmtree(path, ignore_errors=True)
        else:
            remove(path.name)
