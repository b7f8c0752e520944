"""Temporary files for what is longer than a buffer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faucet.proxy import spool
from faucet.proxy.build import COMPILED
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


class Disk:
    """Writes take `seconds` by a clock that only they move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.seconds = 0.0
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._write)
        monkeypatch.setattr(spool, "monotonic", lambda: self.now)

    def _write(self, descriptor: int, data: memoryview, at: int) -> int:
        self.now += self.seconds
        return self._pwrite(descriptor, data, at)


@pytest.mark.parametrize(("took", "rest"), [(0.3, 30.0), (6.0, spool.LONGEST_REST)])
def test_a_slow_disk_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, took: float, rest: float
) -> None:
    """What has been written stays, and is read; nothing more is written for a while, to no file."""
    disk, space = Disk(monkeypatch), SpoolSpace(tmp_path, 1000)
    one, two = space.open(), space.open()
    assert one is not None
    assert two is not None
    disk.seconds = 0.2
    assert one.append(b"fast enough")
    disk.seconds = took
    assert one.append(b", slow")
    ended = disk.now
    disk.seconds = 0.0
    for passed in (0.0, rest - 0.1):
        disk.now = ended + passed
        assert not one.append(b"more")
        assert not two.append(b"more")
        assert space.open() is None
    assert (one.read(), two.size, space.used) == (b"fast enough, slow", 0, 17)
    assert caplog.text.count("kept all requests waiting") == 1
    disk.now = ended + rest + 0.1
    assert two.append(b"later")
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


@pytest.mark.skipif(COMPILED, reason="compiled functions call each other directly")
def test_a_directory_in_memory_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "file_system", lambda directory: "tmpfs" if directory == Path("/var/tmp") else "ext4")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert directory_on_disk(None) == tmp_path
    monkeypatch.setattr(spool, "file_system", lambda directory: "tmpfs")
    assert directory_on_disk(None) is None
    assert directory_on_disk(Path("/named")) == Path("/named")
