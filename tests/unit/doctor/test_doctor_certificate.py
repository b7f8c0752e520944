"""`faucet doctor` on the certificate for clients."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from faucet.doctor import Finding
from tests.support.certificates import Authority, Certificate, make_ca
from tests.support.examination import findings_of
from tests.support.findings import ANY_PORT, of


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_ca(tmp_path / "ca")


def examined(api: Path, pair: Certificate, *more: str) -> list[Finding]:
    words = ("--dir", str(api), "--rscript", "true", "--host", ANY_PORT)
    return findings_of(*words, "--tls-cert", str(pair.chain), "--tls-key", str(pair.key), *more)


def test_a_good_one(api: Path, authority: Authority) -> None:
    pair = authority.issue("a.example", "b.example", "c.example", "d.example")
    found = of(examined(api, pair), "certificate")
    assert found.level == "ok"
    assert found.found.startswith("for a.example, b.example, c.example and 1 more, valid until 3000-")


def test_one_that_expires_soon(api: Path, authority: Authority) -> None:
    in_three_days = dt.datetime.now(dt.UTC) + dt.timedelta(days=3.5)
    found = of(examined(api, authority.issue("a", not_after=in_three_days)), "certificate")
    assert (found.level, found.advice) == ("warning", "renew it: it expires in 3 days")


def test_one_that_has_expired(api: Path, authority: Authority) -> None:
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    found = of(examined(api, authority.issue("a", not_after=yesterday)), "certificate")
    assert found.level == "broken"
    assert f"expired on {yesterday:%Y-%m-%d}" in found.found


def test_a_pair_that_does_not_fit_and_half_a_pair(api: Path, authority: Authority) -> None:
    one, other = authority.issue("a"), authority.issue("b")
    found = of(examined(api, Certificate(one.chain, other.key)), "certificate")
    assert found.level == "broken"
    assert "does not belong to the first certificate" in found.found
    assert found.advice
    words = ("--dir", str(api), "--rscript", "true", "--host", ANY_PORT, "--tls-key", str(one.key))
    found = of(findings_of(*words), "certificate")
    assert (found.level, found.found) == ("broken", "--tls-key needs --tls-cert")


def test_a_key_that_everybody_can_read(api: Path, authority: Authority) -> None:
    pair = authority.issue("a")
    pair.key.chmod(0o644)
    found = [each for each in examined(api, pair) if each.subject == "certificate"]
    assert [each.level for each in found] == ["ok", "warning"]
    assert found[1].advice == f"chmod o= {pair.key}"


def test_for_pods_too(authority: Authority) -> None:
    pair = authority.issue("a")
    words = ("k8s", "--service-url", "http://127.0.0.1:1", "--host", ANY_PORT)
    found = of(findings_of(*words, "--tls-cert", str(pair.chain), "--tls-key", str(pair.key)), "certificate")
    assert found.level == "ok"
