"""Values of options arrive parsed, whether by a flag, a variable or a file, and are shown as they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faucet.cli.main import main
from faucet.cli.parser import whole_app
from faucet.net.address import Address, UnixAddress
from faucet.net.service_url import ServiceUrl
from faucet.settings import Limit, LocalSettings, PackageApi, Span
from faucet.ssh.target import Target

LOCAL = [
    ("host", ":8080", (Address("", 8080),)),
    ("host", "[::1]:80, unix:/run/x.sock?mode=660", (Address("::1", 80), UnixAddress("/run/x.sock", 0o660))),
    ("admin", "3839", Address("127.0.0.1", 3839)),
    ("workers", "4", Span(4, 4)),
    ("workers", "2..8", Span(2, 8)),
    ("keys", "restart=f5,quit=x", {"restart": "f5", "quit": "x"}),
    ("api", "plumber::01-append", PackageApi("plumber", "01-append")),
    ("queue-timeout", "5m", 300.0),
    ("max-body", "1KiB", 1024),
    ("limit", "/a at-once=1; POST /b,c queue=5", (Limit("/a", at_once=1), Limit("POST /b,c", queue=5))),
]
K8S = [
    ("service-url", "http://plumber:8000", ServiceUrl("http", "plumber", 8000)),
    ("dns", "10.96.0.10", Address("10.96.0.10", 53)),
    ("dns", "[fd00::a]:54", Address("fd00::a", 54)),
    ("via-ssh", "ops@one:22,two", (Target("one", "ops", 22), Target("two"))),
]
ALL = [("local", *row) for row in LOCAL] + [("k8s", *row) for row in K8S]


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def value_of(command: str, name: str, *words: str) -> Any:
    _, bound, _ = whole_app().parse_args([command, *words], exit_on_error=False, print_error=False)
    return bound.arguments[name.replace("-", "_")]


@pytest.mark.parametrize(("command", "name", "text", "value"), ALL)
def test_values_are_parsed(
    command: str, name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert value_of(command, name, f"--{name}", text) == value
    monkeypatch.setenv(f"FAUCET_{name.upper().replace('-', '_')}", text)
    assert value_of(command, name) == value
    monkeypatch.delenv(f"FAUCET_{name.upper().replace('-', '_')}")
    (tmp_path / "my.toml").write_text(f"{name} = '{text}'\n")
    assert value_of(command, name, "--config", "my.toml") == value


def test_limits_are_tables_in_a_file(tmp_path: Path) -> None:
    tables = (
        '[[limit]]\nmatch = "/a"\nat-once = 1\n[[limit]]\nmatch = "GET /b/*"\nqueue_timeout = "2m"\npriority = -1\n'
    )
    (tmp_path / "my.toml").write_text(tables)
    limits = value_of("local", "limit", "--config", "my.toml")
    assert limits == (Limit("/a", at_once=1), Limit("GET /b/*", queue_timeout=120.0, priority=-1))


def test_a_table_without_a_match_is_no_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.toml").write_text("[[limit]]\nat-once = 1\n")
    assert main(["config", "--config", "my.toml"]) == 2
    assert "each [[limit]] needs a match" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["via-ssh", "host"])
def test_a_flag_that_is_repeated(name: str) -> None:
    command = "k8s" if name == "via-ssh" else "local"
    assert len(value_of(command, name, f"--{name}", "a", f"--{name}", "b,c")) == 3


@pytest.mark.parametrize("name", ["admin", "api", "host", "log_redact", "reload_include"])
def test_an_empty_variable_sets_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FAUCET_{name.upper()}", "")
    _, bound, _ = whole_app().parse_args(["local"], exit_on_error=False, print_error=False)
    assert getattr(LocalSettings(**bound.arguments), name) == getattr(LocalSettings(), name)


def test_an_empty_admin_address_is_none() -> None:
    assert value_of("local", "admin", "--admin", "") is None


def test_networks_that_are_trusted() -> None:
    trust = value_of("local", "trust", "--trust", "10.0.0.0/8, unix")
    assert "10.1.2.3" in trust
    assert "unix" in trust
    assert "192.0.2.1" not in trust


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--host", ":8080,unix:/run/x.sock?mode=660"], "host                 :8080, unix:/run/x.sock?mode=660"),
        (["--admin", "3839"], "admin                127.0.0.1:3839"),
        (["-w", "2..8"], "workers              2..8"),
        (["-w", "3"], "workers              3 "),
        (["--keys", "quit=x,restart=f5"], "keys                 quit=x,restart=f5"),
        (["--trust", "10.0.0.0/8, ::1"], "trust                10.0.0.0/8,::1"),
        (["--limit", "/a queue=5; /b at-once=1"], "limit                /a queue=5; /b at-once=1"),
        ([], "trust                nobody"),
        ([], "host                 127.0.0.1:3838, or systemd's sockets"),
    ],
)
def test_what_config_shows_can_be_given_again(words: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", *words]) == 0
    assert shown in capsys.readouterr().out


def test_no_option_takes_its_parts_by_flags_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A parsed value has fields; they are no options."""
    assert main(["k8s", "--dns.port", "5"]) == 2
    assert main(["--host.port", "5"]) == 2
    assert "unknown option" in capsys.readouterr().err
