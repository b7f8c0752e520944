"""`faucet doctor` takes the command line of a service: its flags, its variables, its file, all of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from faucet.cli.main import main
from faucet.cli.parser import whole_app
from faucet.doctor import Finding
from tests.support.examination import findings_of

LOCAL = ("--host", "127.0.0.1:0", "--rscript", "true")


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current directory is empty, and no variable of the machine counts."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("FAUCET_"):
            monkeypatch.delenv(name)


def of(findings: list[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def options_of(*command: str) -> set[str]:
    app = whole_app()
    for name in command:
        app = app[name]
    arguments = app.assemble_argument_collection()
    return {name for argument in arguments for name in argument.names}


@pytest.mark.parametrize("service", ["local", "k8s"])
def test_it_has_every_option_of_the_service(service: str) -> None:
    assert len(options_of(service)) > 40
    assert options_of(service) <= options_of("doctor", service)
    assert options_of("doctor", service) - options_of(service) <= {"--json", "-j", "--trust-config"}


def test_without_a_service_it_is_local() -> None:
    assert options_of("doctor") == options_of("doctor", "local")


def test_flags_are_in_force() -> None:
    findings = findings_of(*LOCAL, "-w", "2..7", "--control", "none", "--headless", "--admin", "127.0.0.1:0")
    assert "for 2..7 workers" in of(findings, "CPUs").found
    assert of(findings, "control").found.startswith("no socket is wanted")
    assert of(findings, "terminal").found == "no monitor is wanted (headless)"
    assert of(findings, "admin").level == "ok"


def test_a_named_file_is_read() -> None:
    Path("other.toml").write_text('control = "none"\n')
    findings = findings_of(*LOCAL, "--config", "other.toml")
    assert of(findings, "options").found == "other.toml: control"
    assert of(findings, "control").level == "unused"


def test_flags_still_count_if_the_file_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("faucet.toml").write_text('workers = "many"\ncontrol = "none"\n')
    monkeypatch.setenv("FAUCET_HEADLESS", "true")
    findings = findings_of(*LOCAL, "--scale-up-after", "2s")
    assert (
        of(findings, "options").found
        == "faucet.toml: workers: invalid number of workers 'many'; expected one like 4, or 2..8"
    )
    assert of(findings, "address").found == "any free port", "the flag"
    assert of(findings, "control").level != "unused", "nothing of the file"
    assert of(findings, "terminal").found != "no monitor is wanted (headless)", "no variable"


def test_a_wrong_flag_is_wrong_usage_even_if_the_file_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    Path("faucet.toml").write_text("worker = 3\n")
    assert main(["doctor", "--queue-limit", "many"]) == 2
    assert "many" in capsys.readouterr().err


def test_the_directory_in_a_variable_counts_if_another_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("api").mkdir()
    (Path("api") / "plumber.R").touch()
    monkeypatch.setenv("FAUCET_DIR", "api")
    monkeypatch.setenv("FAUCET_WORKERS", "many")
    findings = findings_of(*LOCAL)
    assert of(findings, "options").found.startswith("the variable FAUCET_WORKERS: invalid number of workers 'many'")
    assert of(findings, "API").level == "ok"


@pytest.mark.parametrize("name", ["trust-config", "json"])
def test_a_file_cannot_say_that_it_is_trusted(name: str) -> None:
    Path("faucet.toml").write_text(f"{name} = true\n")
    found = of(findings_of(*LOCAL), "options")
    assert (found.level, found.found) == ("broken", f"faucet.toml: unknown option {name}")


# -- k8s --------------------------------------------------------------------------------------------------------


def k8s(*words: str) -> list[Finding]:
    return findings_of("k8s", "--host", "127.0.0.1:0", *words)


def test_a_service_that_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    found = of(k8s("--service-url", "http://localhost:8000"), "service")
    assert (found.level, "1 pod, by DNS" in found.found) == ("ok", True)
    monkeypatch.setenv("FAUCET_SERVICE_URL", "http://127.0.0.1:8000")
    findings = k8s()
    assert of(findings, "service").found == "http://127.0.0.1:8000: 1 pod, by one address"
    assert of(findings, "options").found == "variables: FAUCET_SERVICE_URL"
    assert not {"R", "API", "CPUs"} & {finding.subject for finding in findings}


def test_services_that_do_not_resolve() -> None:
    assert of(k8s(), "service") == Finding(
        "broken", "service", "none is named", "faucet k8s --service-url http://plumber:8000"
    )
    found = of(k8s("--service-url", "http://x:80", "--dns", "127.0.0.1:9"), "service")
    assert (found.level, found.found.startswith("not resolved by DNS at 127.0.0.1:9: ")) == ("warning", True)


def test_a_bastion_is_not_logged_in_to() -> None:
    found = of(k8s("--service-url", "http://x", "--via-ssh", "ops@bastion"), "service")
    assert (found.level, "on ops@bastion, which was not logged in to" in found.found) == ("unused", True)
    assert of(k8s("--via-ssh", "ops@bastion"), "service").level == "unused"


def test_asyncssh_is_needed_for_a_bastion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert of(k8s("--via-ssh", "ops@bastion"), "asyncssh").level == "broken"
    assert of(k8s(), "asyncssh").level == "unused"


def test_certificates(tmp_path: Path) -> None:
    url = ("--service-url", "https://127.0.0.1:8000")
    assert not [finding for finding in k8s(*url) if finding.subject == "TLS"]
    assert of(k8s(*url, "--insecure-skip-verify"), "TLS").level == "warning"
    missing = of(k8s(*url, "--ca-file", "none.pem"), "TLS")
    assert (missing.level, missing.found) == ("broken", "--ca-file none.pem: No such file or directory")
    assert "are for https" in of(k8s("--service-url", "http://127.0.0.1:1", "--insecure-skip-verify"), "TLS").found


def test_its_exit_code_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "k8s", "--json", "--host", "127.0.0.1:0", "--service-url", "http://127.0.0.1:8000"]) == 0
    rows = {row["subject"]: row["level"] for row in json.loads(capsys.readouterr().out)}
    assert rows["service"] == "ok"
