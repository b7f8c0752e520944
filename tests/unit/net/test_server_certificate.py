"""The certificate for clients: what is accepted, and what the error says to do about the rest."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from faucet.net.server_certificate import CertificateError, Files, load
from faucet.net.x509 import read_certificate
from tests.support.certificates import Authority, make_ca

NEXT_YEAR = dt.datetime(2099, 3, 1, 12, 30, 15, tzinfo=dt.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_ca(tmp_path / "ca")


def test_names_and_validity(authority: Authority) -> None:
    files = Files(*authority.issue("api.example.com", "127.0.0.1", "::1", not_after=NEXT_YEAR))
    certificate = load(files, "1.2").certificate
    assert certificate.names == ("api.example.com", "127.0.0.1", "::1")
    assert certificate.not_after == NEXT_YEAR.timestamp()


def test_what_openssl_makes_is_read_as_openssl_reads_it(tool: Callable[[str], str], tmp_path: Path) -> None:
    """RSA, another encoding of the moments, and no alternative name."""
    chain, key = tmp_path / "a.crt", tmp_path / "a.key"
    openssl = tool("openssl")
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", chain, "-days", "20000",
            "-subj", "/CN=only a name"]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    said = subprocess.run([openssl, "x509", "-in", chain, "-noout", "-enddate"], check=True, capture_output=True)
    moment = dt.datetime.strptime(said.stdout.decode().strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=dt.UTC)
    certificate = load(Files(chain, key), "1.3").certificate
    assert (certificate.names, certificate.not_after) == ((), moment.timestamp())


@pytest.mark.parametrize(
    "der",
    [b"", b"0", b"0\x80", b"0\x84\xff\xff\xff\xff", b"0\x03\x02\x01", b"\x02\x01\x05", b"0\x02\x30\x00", b"0\x00"],
)
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_certificate(der)


def wrong(files: Files) -> str:
    with pytest.raises(CertificateError) as raised:
        load(files, "1.2")
    return str(raised.value)


def test_errors_that_name_the_file_and_the_next_step(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.issue("a"), authority.issue("b")
    assert "cannot read --tls-cert" in wrong(Files(tmp_path / "none", good.key))
    assert "does not belong to the first certificate" in wrong(Files(good.chain, other.key))
    assert "has no certificate in PEM" in wrong(Files(good.key, good.key))
    assert "has no private key in PEM" in wrong(Files(good.chain, good.chain))
    damaged = tmp_path / "damaged.crt"
    damaged.write_bytes(good.chain.read_bytes().replace(b"\nM", b"\n!", 1))
    assert str(damaged) in wrong(Files(damaged, good.key))
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "damaged" in wrong(Files(damaged, good.key))
    assert "cannot read --tls-key" in wrong(Files(good.chain, tmp_path))
    key = tmp_path / "broken.key"
    key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert f"OpenSSL cannot use {good.chain} with {key}" in wrong(Files(good.chain, key))


def test_an_expired_one_is_loaded_and_told_apart(authority: Authority) -> None:
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert load(Files(*authority.issue("a", not_after=yesterday)), "1.2").expired
    assert not load(Files(*authority.issue("b")), "1.2").expired


@pytest.mark.parametrize("form", [["pkcs8", "-topk8", "-v2", "aes256"], ["ec", "-aes256"]])
def test_nobody_is_asked_for_the_passphrase_of_a_key(
    authority: Authority, tool: Callable[[str], str], tmp_path: Path, form: list[str]
) -> None:
    good = authority.issue("a")
    key = tmp_path / "encrypted.key"
    command = [tool("openssl"), *form, "-in", good.key, "-out", key, "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    said = wrong(Files(good.chain, key))
    assert f"the key in {key} is encrypted" in said
    assert "openssl pkey -in" in said
