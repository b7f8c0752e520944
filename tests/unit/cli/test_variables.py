"""Variables: `faucet ctl` obeys those of `faucet attach`, and none counts as known that does nothing."""

from __future__ import annotations

import pytest

from faucet.cli.ctl import Where
from faucet.cli.parser import whole_app
from faucet.cli.variables import unknown_variables
from faucet.ssh.target import Target

SSH = {
    "FAUCET_VIA_SSH": "a@one:22, two",
    "FAUCET_SSH_CONFIG": "/etc/config",
    "FAUCET_SSH_KEY": "/etc/key",
    "FAUCET_SSH_KNOWN_HOSTS": "/etc/hosts",
}


def where_of(command: list[str]) -> Where:
    _, bound, _ = whole_app().parse_args(command, exit_on_error=False, print_error=False)
    where: Where = bound.arguments["at"]
    return where


@pytest.mark.parametrize("command", [["ctl", "status"], ["ctl", "logs", "1"], ["ctl", "stop"]])
def test_ctl_goes_where_attach_goes(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    for name, value in SSH.items():
        monkeypatch.setenv(name, value)
    _, attached, _ = whole_app().parse_args(["attach"], exit_on_error=False, print_error=False)
    for name in ("via_ssh", "ssh_config", "ssh_key", "ssh_known_hosts"):
        assert getattr(where_of(command), name) == attached.arguments[name], name
    assert where_of([*command, "--via-ssh", "other"]).via_ssh == (Target("other"),), "a flag wins over a variable"


def test_an_empty_variable_means_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_VIA_SSH", "")
    assert where_of(["ctl", "status", "--at", "1"]).via_ssh == ()


def test_a_word_of_the_command_line_has_no_variable() -> None:
    assert unknown_variables({"FAUCET_WHICH": "3838"}) == ["unknown variable FAUCET_WHICH (ignored)"]
    assert unknown_variables(dict.fromkeys((*SSH, "FAUCET_READ_ONLY", "FAUCET_LOG_REDACT"), "")) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FAUCET_WORKER", "FAUCET_WORKERS"),
        ("FAUCET_QUEUE_TIMEOT", "FAUCET_QUEUE_TIMEOUT"),
        ("FAUCET_HOSTS", "FAUCET_HOST"),
        ("FAUCET_AT", ""),
        ("FAUCET_X", ""),
        ("FAUCET_", ""),
        ("FAUCET_DEBUG", ""),
    ],
)
def test_what_is_meant_by_a_slip(name: str, meant: str) -> None:
    """What all names begin with makes none like another."""
    (remark,) = unknown_variables({name: ""})
    assert remark.partition("; did you mean ")[2] == (f"{meant}?" if meant else "")
