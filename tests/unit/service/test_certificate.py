"""Renewal of the certificate for clients: when a pair on disk is used, and when it is not."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from faucet.net.server_certificate import Files
from faucet.service.certificate import ServedCertificate
from tests.support.certificates import Authority, Certificate, make_ca

PATIENCE = 10.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_ca(tmp_path / "ca")


class Disk:
    """The files that a service reads."""

    def __init__(self, directory: Path, first: Certificate) -> None:
        self.files = Files(directory / "tls.crt", directory / "tls.key")
        self.put(first)

    def put(self, pair: Certificate) -> None:
        self.files.certificate.write_bytes(pair.chain.read_bytes())
        self.files.key.write_bytes(pair.key.read_bytes())


def name(served: ServedCertificate) -> str:
    return served.pair.certificate.names[0]


async def test_a_new_pair_is_used_when_two_looks_agree(authority: Authority, tmp_path: Path) -> None:
    disk = Disk(tmp_path, authority.issue("old"))
    served = ServedCertificate(disk.files, "1.2")
    context = served.context()
    await served.look()
    assert served.context() is context, "nothing new"
    disk.put(authority.issue("newer"))
    await served.look()
    assert name(served) == "old"
    disk.put(authority.issue("newest"))
    await served.look()
    assert name(served) == "old", "the two looks have seen different pairs"
    await served.look()
    assert (name(served), served.state().refused) == ("newest", "")
    assert served.context() is not context


async def test_a_pair_that_is_half_there_is_not_used_until_it_is_whole(authority: Authority, tmp_path: Path) -> None:
    disk = Disk(tmp_path, authority.issue("old"))
    served = ServedCertificate(disk.files, "1.2")
    renewed = authority.issue("new")
    disk.files.certificate.write_bytes(renewed.chain.read_bytes())
    await served.look()
    assert served.state().refused == "", "it may be in the middle of being written"
    await served.look()
    assert "does not belong to the first certificate" in served.state().refused
    assert name(served) == "old"
    disk.put(renewed)
    await served.look()
    await served.look()
    assert (name(served), served.state().refused) == ("new", "")


async def test_what_cannot_be_used_is_said_once_and_the_old_one_stays(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = authority.issue("old")
    disk = Disk(tmp_path, first)
    served = ServedCertificate(disk.files, "1.2")
    expired = authority.issue("new", not_after=dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
    with caplog.at_level("INFO", "faucet"):
        disk.put(expired)
        for _ in range(4):
            await served.look()
        assert "expired on" in served.state().refused
        disk.files.key.unlink()
        for _ in range(4):
            await served.look()
        assert "cannot read --tls-key" in served.state().refused
        disk.put(first)
        for _ in range(4):
            await served.look()
    assert (name(served), served.state().refused) == ("old", "")
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]


async def test_an_expired_one_serves_where_there_is_no_better(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    yesterday, today = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours) for hours in (24, 1))
    disk = Disk(tmp_path, authority.issue("first", not_after=yesterday))
    served = ServedCertificate(disk.files, "1.2")
    assert "expired on" in caplog.text
    assert served.state().left < 0
    for next_name, not_after in (("second", today), ("third", None)):
        disk.put(authority.issue(next_name) if not_after is None else authority.issue(next_name, not_after=not_after))
        await served.look()
        await served.look()
        assert (name(served), served.state().refused) == (next_name, "")
    assert served.state().left > 0


async def test_a_secret_of_kubernetes(authority: Authority, tmp_path: Path) -> None:
    """Its files are links to `..data/`, which is a link to a directory with a date; only that link is replaced."""
    for number, pair in enumerate((authority.issue("old"), authority.issue("new"))):
        directory = tmp_path / f"..2026_{number}"
        directory.mkdir()
        (directory / "tls.crt").write_bytes(pair.chain.read_bytes())
        (directory / "tls.key").write_bytes(pair.key.read_bytes())
    (tmp_path / "..data").symlink_to("..2026_0")
    files = Files(tmp_path / "tls.crt", tmp_path / "tls.key")
    for path in files:
        path.symlink_to(Path("..data") / path.name)
    served = ServedCertificate(files, "1.2")
    (tmp_path / "..data_tmp").symlink_to("..2026_1")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    await served.look()
    await served.look()
    assert name(served) == "new"


async def renewed(served: ServedCertificate, expected: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while name(served) != expected:
            await asyncio.sleep(0.01)


async def test_it_is_noticed_by_itself_and_at_once_after_a_signal(authority: Authority, tmp_path: Path) -> None:
    disk = Disk(tmp_path, authority.issue("old"))
    served = ServedCertificate(disk.files, "1.2", look=0.02, agree=0.01)
    async with served.watched():
        disk.put(authority.issue("new"))
        await renewed(served, "new")
    patient = ServedCertificate(disk.files, "1.2", look=1000, agree=0.01)
    async with patient.watched():
        await asyncio.sleep(0)
        disk.put(authority.issue("newest"))
        patient.hurry()
        await renewed(patient, "newest")
