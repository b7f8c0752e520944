"""How a process ended, and what it was doing when it did not answer, in words."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from faucet.proxy.record import Account
from faucet.workers import kernel_kills
from faucet.workers.doing import Doing, Mark, cpu_mark, doing
from faucet.workers.endings import Ending, by_a_stranger
from faucet.workers.kernel_kills import UNKNOWN, KernelKills

WORK = Account("10.0.0.7", b"GET", b"/segv")


def test_sentences() -> None:
    assert Ending("crashed (SIGSEGV)", 121.0, WORK, 1.4, 124 << 20).text == (
        "crashed (SIGSEGV) while serving GET /segv from 10.0.0.7 after 1.4s, 124MiB"
    )
    assert Ending("exited with code 1", 2.1).text == "exited with code 1 after 2.1s"
    assert Ending("was killed by SIGKILL", 44.9, peak=4 << 30, why=UNKNOWN).text == (
        "was killed by SIGKILL after 44.9s, 4GiB (not by Faucet: out of memory? see dmesg)"
    )


def test_only_a_sigkill_that_nobody_here_has_sent_is_a_strangers() -> None:
    assert by_a_stranger(-signal.SIGKILL, {signal.SIGTERM})
    assert not by_a_stranger(-signal.SIGKILL, {signal.SIGKILL})
    assert not by_a_stranger(-signal.SIGSEGV, ())
    assert not by_a_stranger(1, ())


# -- out of memory --------------------------------------------------------------------------------------------------


class Kernel:
    """Files as the kernel has them."""

    def __init__(self, directory: Path, groups: str) -> None:
        self.root, self.own, self.vmstat = directory / "cgroup", directory / "own", directory / "vmstat"
        self.own.write_text(groups)
        self.vmstat.write_text("nr_free_pages 1\noom_kill 7\n")

    def count(self, path: str, number: int) -> None:
        """Write a counter of a cgroup."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"oom 9\noom_kill {number}\n")

    def kills(self) -> KernelKills:
        return KernelKills(self.root, self.own, self.vmstat)


@pytest.mark.parametrize(
    ("groups", "path"),
    [
        ("0::/system.slice/faucet.service\n", "system.slice/faucet.service/memory.events"),
        ("0::/\n", "memory.events"),
        ("4:memory:/docker/abc\n1:cpu:/\n0::/\n", "memory/docker/abc/memory.oom_control"),
        ("4:memory:/docker/abc\n", "memory/memory.oom_control"),
    ],
)
def test_the_counter_of_our_cgroup_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, path: str
) -> None:
    kernel = Kernel(tmp_path, groups)
    kernel.count(path, 3)
    limit = "memory.max" if path.endswith("events") else "memory.limit_in_bytes"
    (kernel.root / path).with_name(limit).write_text(str(512 << 20))
    kills = kernel.kills()
    kernel.vmstat.write_text("oom_kill 8\n")
    assert kills.why() == "not by Faucet, and not because memory ran out", "which was elsewhere on the machine"
    assert not kills.out_of_memory
    kernel.count(path, 4)
    assert kills.why() == "by the kernel: out of memory, the limit is 512MiB"
    assert kills.why().startswith("by the kernel"), "the next one may have ended for the same reason"
    assert kills.out_of_memory
    monkeypatch.setattr(kernel_kills, "RECENT", -1.0)
    assert "not because" in kills.why()


def test_without_one_that_of_the_machine_does(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "0::/\n")
    kills = kernel.kills()
    assert "not because" in kills.why()
    kernel.vmstat.write_text("oom_kill 8\n")
    kills.look()
    assert kills.why() == "by the kernel, most likely: this machine was out of memory"
    kernel.vmstat.unlink()
    kernel.own.unlink()
    assert kernel.kills().why() == UNKNOWN


# -- what it was doing ----------------------------------------------------------------------------------------------


def test_what_a_process_is_doing_in_words() -> None:
    seen = Doing("sleeping", Mark(30.0, 5.25), 1, ("connecting to 10.0.0.5:5432",))
    assert seen.text(Mark(1.0, 5.0)) == (
        "waiting, 250ms of CPU time in the last 29s, 1 child process, connecting to 10.0.0.5:5432"
    )
    assert Doing("running", Mark(0.0, 0.0)).text() == "computing"


def test_connections_that_a_process_has_opened() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    own = socket.create_server(("127.0.0.1", 0))
    port, own_port = server.getsockname()[1], own.getsockname()[1]
    with server, own, socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", own_port)):
        accepted, _ = own.accept()
        with accepted:
            seen = doing(os.getpid(), own_port)
    assert seen is not None
    assert f"connected to 127.0.0.1:{port}" in seen.remotes
    assert seen.now.cpu > 0


def test_nothing_is_known_of_a_process_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    absent: Any = 2**22 - 1
    assert doing(absent, 1) is None
    assert cpu_mark(absent) is None
