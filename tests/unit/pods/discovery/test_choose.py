"""Service URLs and DNS servers as users write them, and what is told if they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from faucet.cli.main import main
from faucet.net.address import Address
from faucet.net.service_url import ServiceUrl, parse_dns_server, parse_service_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://plumber:8000", ServiceUrl("http", "plumber", 8000)),
        ("https://plumber.api.svc.cluster.local.", ServiceUrl("https", "plumber.api.svc.cluster.local.", None)),
        ("http://10.1.2.3:80/", ServiceUrl("http", "10.1.2.3", 80)),
        ("http://[fd00::1]:8000", ServiceUrl("http", "fd00::1", 8000)),
    ],
)
def test_service_urls(text: str, url: ServiceUrl) -> None:
    assert parse_service_url(text) == url
    assert str(url) == text.removesuffix("/")


@pytest.mark.parametrize(
    "text",
    ["plumber:8000", "plumber", "ftp://plumber", "http://", "http://a b", "http://x:99999", "http://plumber/api",
     "http://me@plumber", "http://-x", "http://" + "a" * 254, "http://x?y"],
)  # fmt: skip
def test_what_is_no_service_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid service URL .*; expected e\.g\. http://plumber:8000"):
        parse_service_url(text)


def test_dns_servers() -> None:
    assert parse_dns_server("10.96.0.10") == Address("10.96.0.10", 53)
    assert parse_dns_server("10.96.0.10:5353") == Address("10.96.0.10", 5353)
    assert parse_dns_server("fd00::a") == Address("fd00::a", 53)
    assert parse_dns_server("[fd00::a]:54") == Address("fd00::a", 54)
    for text in ("dns.example", "10.96.0.10:", "10.96.0.10:0", "10.96.0.10:x", ""):
        with pytest.raises(ValueError, match="invalid DNS server"):
            parse_dns_server(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which service? faucet k8s --service-url http://plumber:8000"),
        (["--service-url", "plumber"], "invalid service URL"),
        (["--service-url", "http://x", "--dns", "y"], "invalid DNS server"),
        (["--service-url", "http://x", "--insecure-skip-verify"], "are for https"),
        (["--service-url", "https://x", "--insecure-skip-verify", "--ca-file", "f"], "use only one of them"),
    ],
)
def test_usage(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["k8s", *words, "--headless"]) == 2
    assert said in capsys.readouterr().err


def test_a_file_without_certificates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    words = ["k8s", "--service-url", "https://x", "--headless", "--ca-file"]
    assert main([*words, str(tmp_path / "ca.pem")]) == 1
    assert main([*words, str(tmp_path / "none.pem")]) == 1
    assert capsys.readouterr().err.count("--ca-file") == 2
