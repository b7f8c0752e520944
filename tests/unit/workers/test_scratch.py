"""Each worker's temporary directory: its own, and gone after it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from faucet.workers.kin import VARIABLE
from faucet.workers.process import ChildProcess
from faucet.workers.reaper import Reaper
from faucet.workers.removal import remove_tree
from faucet.workers.scratch import Scratch, sweep
from tests.support.checkout import ROOT
from tests.support.family import wait_marked
from tests.support.load import fetch
from tests.support.running import Faucet, python_worker, wait_gone

Start = Callable[..., Faucet]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What TMPDIR names, for this process and those it starts."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr("faucet.workers.scratch.temporary_directories", lambda: [str(path)])
    return path


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    made = Reaper()
    yield made
    made.close()


async def start(reaper: Reaper, script: str, name: str = "worker-3") -> ChildProcess:
    return await ChildProcess.start(["/bin/sh", "-c", script], Path("/"), os.environ, reaper, lambda *_: None, name)


async def ended(process: ChildProcess, reaper: Reaper) -> None:
    async with asyncio.timeout(20):
        await process.output_ended()
        await reaper.scratch.removed()


# -- removing ----------------------------------------------------------------------------------------------------


def as_somebody(code: str) -> str:
    """Run Python code as a user whom permissions bind; what it prints."""
    drop = "if os.getuid() == 0:\n    os.setgroups([])\n    os.setgid(65534)\n    os.setuid(65534)\n"
    words = [sys.executable, "-c", code.replace("import os\n", f"import os\n{drop}", 1)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub" / "file").write_text("precious")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    links = {"dir": outside, "a/b/dir": outside / "sub", "a/up": Path("../..")}
    for link, target in links.items():
        (tree / link).symlink_to(target)
    (tree / "a" / "file").hardlink_to(outside / "sub" / "file")
    (tree / "nowhere").symlink_to("/no/where")
    os.mkfifo(tree / "fifo")
    assert remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "sub" / "file").read_text() == "precious"
    tree.symlink_to(outside)
    assert not remove_tree(str(tree)), "the directory itself is a link"
    assert (outside / "sub" / "file").exists()
    assert remove_tree(str(tmp_path / "never there"))


def test_directories_that_are_read_only_or_closed(tmp_path: Path) -> None:
    source = (ROOT / "faucet" / "workers" / "removal.py").read_text()
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    code = f"""{source}
top = {str(tmp_path)!r} + "/theirs"
os.makedirs(top + "/a/b/c")
for name in ("/a/one", "/a/b/two", "/a/b/c/three"):
    open(top + name, "w").close()
for name, mode in (("/a/b/c", 0), ("/a/b", 0o555), ("/a", 0o100), ("", 0o500)):
    os.chmod(top + name, mode)
print(remove_tree(top), os.path.exists(top))
"""
    assert as_somebody(code) == "True False\n"


def test_a_tree_that_is_deeper_than_a_path_may_be_long(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert remove_tree(str(tmp_path / "deeper"))
    assert not (tmp_path / "deeper").exists()


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="mounts something")
def test_what_is_mounted_there_is_left_alone(tmp_path: Path) -> None:
    """A bind mount of the same file system looks like any other directory."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("precious")
    (tmp_path / "tree" / "a" / "mount").mkdir(parents=True)
    (tmp_path / "tree" / "mount").mkdir(parents=True)
    script = (
        f"mount --bind {tmp_path}/outside {tmp_path}/tree/mount && "
        f"mount --bind {tmp_path}/outside {tmp_path}/tree/a/mount && exec {sys.executable} -c "
        f"'from faucet.workers.removal import remove_tree; print(remove_tree({str(tmp_path / 'tree')!r}))'"
    ).replace(f"'{tmp_path / 'tree'}'", f'"{tmp_path / "tree"}"')
    words = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip("may not mount here")
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert (tmp_path / "outside" / "file").exists()


async def test_the_event_loop_goes_on_meanwhile(reaper: Reaper) -> None:
    process = await start(reaper, 'cd "$TMPDIR"; seq 1 6000 | xargs touch; echo made')
    loop = asyncio.get_running_loop()
    await process.exited
    began = last = loop.time()
    longest = 0.0
    while Path(process.home).exists():
        await asyncio.sleep(0.001)
        now = loop.time()
        longest, last = max(longest, now - last), now
    assert longest < (last - began) / 2
    await ended(process, reaper)


# -- whose is it -------------------------------------------------------------------------------------------------


async def test_it_is_the_workers_own_and_gone_however_that_ends(reaper: Reaper, temporary: Path) -> None:
    for last in ("exit 0", "kill -KILL $$", "exec sleep 600"):
        script = 'echo x >"$TMPDIR/file"; mkdir "$TMPDIR/RtmpX"; chmod 500 "$TMPDIR/RtmpX"; echo "$TMPDIR"; ' + last
        process = await start(reaper, script)
        while not process.last_lines:
            await asyncio.sleep(0.01)
        home = Path(process.last_lines[0])
        assert home.name.startswith("worker-3-")
        assert home.parent.name.startswith(f"faucet-tmp-{os.getpid()}-")
        assert home.parent.parent == temporary
        if not process.exited.done() and last.startswith("exec"):
            assert (home / "file").exists()
            assert home.stat().st_mode & 0o777 == home.parent.stat().st_mode & 0o777 == 0o700
            await process.stop(0)
        await ended(process, reaper)
        assert not home.exists()
    reaper.close()
    assert not list(temporary.iterdir())


async def test_a_directory_that_a_cleaner_has_removed(reaper: Reaper, temporary: Path) -> None:
    first = await start(reaper, "exit 0")
    await ended(first, reaper)
    assert remove_tree(reaper.scratch.root)
    second = await start(reaper, 'echo x >"$TMPDIR/file"')
    assert await second.exited == 0
    await ended(second, reaper)
    reaper.close()
    assert not list(temporary.iterdir())


async def test_no_temporary_directory_at_all(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("faucet.workers.scratch.temporary_directories", lambda: ["/proc/nowhere", "/dev/null"])
    monkeypatch.delenv("TMPDIR")
    for _ in range(3):
        process = await start(reaper, 'test -z "$TMPDIR"')
        assert await process.exited == 0
        await ended(process, reaper)
    said = [record.getMessage() for record in caplog.records if "temporary directory" in record.getMessage()]
    assert len(said) == 1
    assert "tried /proc/nowhere, /dev/null" in said[0]


def test_it_is_removed_when_faucet_is_killed(faucet: Start, temporary: Path) -> None:
    service = faucet("--command", python_worker("counting"), "-w", "2")
    pids = service.wait_workers(2)
    (home,) = temporary.iterdir()
    assert len([path for path in home.iterdir() if path.is_dir()]) == 2
    service.process.kill()
    service.wait_exit()
    for pid in pids.values():
        wait_gone(pid, 2)
    deadline = monotonic() + 2
    while list(temporary.iterdir()):
        assert monotonic() < deadline
        threading.Event().wait(0.02)


# -- what others have left --------------------------------------------------------------------------------------


def leave(parent: Path, name: str, service: str) -> Path:
    path = parent / name
    (path / "worker-1-1" / "RtmpX").mkdir(parents=True)
    path.chmod(0o700)
    (path / "owner").write_text(service)
    return path


def test_only_what_is_ours_and_abandoned_is_swept(temporary: Path, tmp_path: Path) -> None:
    dead = "0123456789abcdef" * 2
    abandoned = leave(temporary, "faucet-tmp-1-a", dead)
    open_to_all = leave(temporary, "faucet-tmp-2-b", dead)
    open_to_all.chmod(0o755)
    leave(temporary, "something-else", dead)
    leave(temporary, "faucet-tmp-3-c", "what is this?")
    (leave(temporary, "faucet-tmp-4-d", dead) / "owner").unlink()
    linked = leave(temporary, "faucet-tmp-5-e", dead) / "owner"
    linked.unlink()
    (tmp_path / "service").write_text(dead)
    linked.symlink_to(tmp_path / "service")
    (temporary / "faucet-tmp-6-f").symlink_to(leave(tmp_path, "outside", dead))
    (temporary / "faucet-tmp-7-g").write_text("a file")
    if os.getuid() == 0:
        foreign = leave(temporary, "faucet-tmp-8-h", dead)
        os.chown(foreign, 65534, 65534)
    before = set(temporary.iterdir())
    assert sweep() == [str(abandoned)]
    assert set(temporary.iterdir()) == before - {abandoned}
    assert (tmp_path / "outside" / "worker-1-1").exists()


def test_a_service_that_lives_keeps_its_directory(temporary: Path) -> None:
    scratch = Scratch("ab" * 16, lambda _: None)
    home = Path(scratch.make("worker-1-1"))
    assert not sweep()
    scratch.close()
    assert sweep() == [str(home.parent)]


def test_the_reaper_alone_keeps_it_too(temporary: Path) -> None:
    reaper = Reaper()
    reaper.scratch.make("worker-1-1")
    root = reaper.scratch.root
    deadline = monotonic() + 10
    while f" {reaper.pid} " not in Path("/proc/locks").read_text():  # a probe by a lock could keep it from its own
        assert monotonic() < deadline, "the reaper does not hold the lock"
        threading.Event().wait(0.01)
    reaper.scratch._unlock()
    probe = os.open(root, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(probe)
    assert not sweep()
    reaper.close()
    assert not Path(root).exists()


def test_workers_that_have_outlived_everybody_keep_it(temporary: Path) -> None:
    service = "cd" * 16
    path = leave(temporary, "faucet-tmp-1-a", service)
    worker = subprocess.Popen(["sleep", "600"], env={VARIABLE: f"{service}.4"})
    wait_marked(worker.pid)
    assert not sweep()
    worker.kill()
    worker.wait()
    assert sweep() == [str(path)]


def test_a_start_sweeps_and_says_so(faucet: Start, temporary: Path) -> None:
    path = leave(temporary, "faucet-tmp-1-a", "ef" * 16)
    service = faucet("--command", python_worker("counting"), "-w", "1")
    service.wait_line(f"removed {path}: a Faucet that was killed had left it behind")
    service.wait_ready()
    assert asyncio.run(fetch(service.port, "/")) == (200, b"hello")
    assert not path.exists()
