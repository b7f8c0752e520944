"""Temporary files for what is longer than a buffer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from faucet.proxy import spool
from faucet.proxy.spool import SpoolSpace, directory_on_disk, file_system

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/sdb1 /tmp/disk xfs rw 0 0
tmpfs /twice tmpfs rw 0 0
/dev/sdc1 /twice ext4 rw 0 0
"""


def test_what_is_written_is_read_in_its_order_and_again(tmp_path: Path) -> None:
    space = SpoolSpace(tmp_path, 1000)
    file = space.open()
    assert file is not None
    assert file.append(b"hello")
    assert file.read(3) == b"hel"
    assert file.append(b" world")
    assert (file.size, space.used) == (8, 11)
    assert file.read() == b"lo world"
    assert file.read() == b""
    file.rewind()
    assert file.read() == b"hello world"
    assert list(tmp_path.iterdir()) == [], "it has no name"
    file.close()
    file.close()
    assert (space.used, space.files) == (0, 0)


def test_the_space_is_shared_and_limited(tmp_path: Path) -> None:
    space = SpoolSpace(tmp_path, 10)
    one, two = space.open(), space.open()
    assert one is not None
    assert two is not None
    assert one.append(b"123456")
    assert not two.append(b"12345"), "all of it, or nothing"
    assert two.append(b"1234")
    assert space.open() is None
    one.close()
    assert two.append(b"123456")
    two.close()


def test_no_space_at_all(tmp_path: Path) -> None:
    assert SpoolSpace(None, 1000).open() is None
    assert SpoolSpace(tmp_path, 0).open() is None


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A disk of which each write takes so many seconds."""
    seconds, pwrite = [0.0], os.pwrite

    def write(descriptor: int, data: memoryview, at: int) -> int:
        sleep(seconds[0])
        return pwrite(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(spool, "SLOW_SECONDS", 0.02)
    monkeypatch.setattr(spool, "REST_FACTOR", 5)
    return lambda value: seconds.__setitem__(0, value)


def test_a_slow_disk_rests(
    tmp_path: Path,
    slow_disk: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has been written stays, and is read; nothing more is written for a while, to no file."""
    space = SpoolSpace(tmp_path, 1000)
    one, two = space.open(), space.open()
    assert one is not None
    assert two is not None
    assert one.append(b"fast")
    slow_disk(0.03)
    assert one.append(b" slow")
    began = monotonic()
    assert not one.append(b"more")
    assert not two.append(b"more")
    assert space.open() is None
    assert monotonic() - began < 0.02, "nobody waits for it"
    assert (one.read(), two.size, space.used) == (b"fast slow", 0, 9)
    assert caplog.text.count("kept all requests waiting") == 1
    slow_disk(0)
    deadline = monotonic() + 5
    while not two.append(b"later"):
        assert monotonic() < deadline
        sleep(0.01)
    one.close()
    two.close()


def test_a_directory_that_is_not_there_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    space = SpoolSpace(tmp_path / "nowhere", 1000)
    assert [space.open() for _ in range(3)] == [None] * 3
    (line,) = caplog.messages
    assert "--spool-dir" in line


def test_a_full_disk_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    space = SpoolSpace(tmp_path, 1000)
    file = space.open()
    assert file is not None
    assert file.append(b"abc")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert not file.append(b"def")
    monkeypatch.undo()
    assert (file.read(), space.used) == (b"abc", 3)
    assert "No space left on device" in caplog.text
    file.close()


@pytest.mark.parametrize(
    ("directory", "kind"),
    [("/var/tmp", "ext4"), ("/tmp", "tmpfs"), ("/tmp/x", "tmpfs"), ("/tmp/disk/y", "xfs"), ("/twice", "ext4")],
)
def test_which_file_system_a_directory_is_on(tmp_path: Path, directory: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system(Path(directory), mounts) == kind
    assert file_system(Path(directory), tmp_path / "nothing") == ""


def test_a_directory_in_memory_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "file_system", lambda directory: "tmpfs" if directory == Path("/var/tmp") else "ext4")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert directory_on_disk(None) == tmp_path
    monkeypatch.setattr(spool, "file_system", lambda directory: "tmpfs")
    assert directory_on_disk(None) is None
    assert directory_on_disk(Path("/named")) == Path("/named")
