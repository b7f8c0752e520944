"""`faucet doctor`: each thing that can be wrong is told with the next step; nothing hangs or crashes it."""

from __future__ import annotations

import importlib.util
import os
import resource
import socket
from pathlib import Path

import pytest

import faucet.doctor
from faucet.doctor import Finding, machine, tools
from faucet.settings import LocalSettings, parse_span
from tests.support.examination import examine, findings_of
from tests.support.findings import ANY_PORT, levels, of

# -- the API ----------------------------------------------------------------------------------------------------


def test_nothing_to_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = of(examine(tmp_path, ANY_PORT, "true"), "API")
    assert wrong.level == "broken"
    assert f"faucet init {tmp_path}" in wrong.advice
    assert of(examine(tmp_path, ANY_PORT, "true", "no-such-program --port {port}"), "API").level == "broken"
    monkeypatch.setenv("FAUCET_DIR", str(tmp_path / "nowhere"))
    wrong = of(findings_of("--rscript", "true"), "API")
    assert "does not exist" in wrong.found
    assert "--dir" in wrong.advice


# -- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("workers = ", "cannot be read"),
        ("worker = 3", "unknown option worker; did you mean workers?"),
        ('workers = "many"', "many"),
        ('queue-timeout = "soon"', "soon"),
        ("queue-limit = -1", "must be at least 0"),
    ],
)
def test_a_wrong_file(api: Path, toml: str, text: str) -> None:
    (api / "faucet.toml").write_text(toml)
    findings = examine(api, ANY_PORT, "true")
    wrong = of(findings, "options")
    assert wrong.level == "broken"
    assert text in wrong.found
    assert str(api / "faucet.toml") in wrong.found
    assert of(findings, "API").level == "ok", "the rest is examined all the same"


def test_a_wrong_variable(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_WORKERS", "many")
    wrong = of(examine(api, ANY_PORT, "true"), "options")
    assert wrong.level == "broken"
    assert "many" in wrong.found


def test_what_is_in_force_is_examined(api: Path, busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag, then a variable, then the file."""
    (api / "faucet.toml").write_text(f'host = "127.0.0.1:{busy}"\nworkers = "2..7"\ncontrol = "none"\n')
    findings = examine(api, rscript="true")
    assert of(findings, "options").found == f"{api}/faucet.toml: control, host, workers"
    assert of(findings, "address").level == "broken"
    assert "for 2..7 workers" in of(findings, "CPUs").found
    assert of(findings, "control").level == "unused"
    monkeypatch.setenv("FAUCET_HOST", ANY_PORT)
    findings = examine(api, rscript="true")
    assert of(findings, "options").found.endswith("; variables: FAUCET_HOST")
    assert of(findings, "address").found == "any free port"
    assert of(examine(api, f"127.0.0.1:{busy}", "true"), "address").level == "broken"


# -- the machine ------------------------------------------------------------------------------------------------


def test_a_busy_port(api: Path, busy: int) -> None:
    wrong = of(examine(api, f"127.0.0.1:{busy}", "true"), "address")
    assert wrong.level == "broken"
    assert f"(pid {os.getpid()})" in wrong.found
    assert wrong.advice == "choose another with --host"


def test_a_busy_port_that_may_be_a_faucet(api: Path, busy: int, runtime_directory: Path) -> None:
    (runtime_directory / "faucet").mkdir(mode=0o700, exist_ok=True)
    path = runtime_directory / "faucet" / f"{busy}.sock"
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(path))
    assert f"faucet ctl status --at {busy}" in of(examine(api, f"127.0.0.1:{busy}", "true"), "address").advice
    path.unlink()


def test_an_address_of_another_machine(api: Path) -> None:
    wrong = of(examine(api, "192.0.2.1:80", "true"), "address")
    assert wrong.level == "broken"
    assert wrong.advice


def test_a_name_with_several_addresses(api: Path, busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are examined: one that is busy is enough."""
    real = socket.getaddrinfo
    addresses = ["127.0.0.2", "127.0.0.3"]

    def resolve(host: str, *rest: object, **options: object) -> list[object]:
        return [answer for one in addresses for answer in real(one, *rest, **options)]  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    good = of(examine(api, f"several:{busy}", "true"), "address")
    assert (good.level, good.found) == ("ok", f"http://several:{busy} (127.0.0.2 and 127.0.0.3) is free")
    addresses.append("127.0.0.1")
    wrong = of(examine(api, f"several:{busy}", "true"), "address")
    assert wrong.level == "broken"
    assert wrong.found.startswith(f"cannot listen on several:{busy} (127.0.0.1:{busy}): the port is in use by ")


def test_a_name_that_is_resolved_too_slowly(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    ended = threading.Event()
    monkeypatch.setattr(faucet.doctor, "RESOLVE_PATIENCE", 0.2)
    monkeypatch.setattr(machine, "bind", lambda address: ended.wait(20))
    found = of(examine(api, "slow.example:80", "true"), "address")
    ended.set()
    assert (found.level, found.found) == ("warning", "was not known within 0.2 s")


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for hard, level, text in ((300, "warning", "up to 300: for 224 clients"), (65536, "ok", "65536"), (-1, "ok", "no")):
        monkeypatch.setattr(resource, "getrlimit", lambda which, hard=hard: (hard, hard))
        found = machine.open_files(LocalSettings(workers=parse_span("2")))[0]
        assert (found.level, text in found.found) == (level, True), found


def test_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 500 << 20)
    assert machine.memory(LocalSettings(workers=parse_span("2")))[0].level == "ok"
    found = machine.memory(LocalSettings(workers=parse_span("2..3")))[0]
    assert (found.level, found.advice) == ("warning", "fewer of them: -w 2")
    monkeypatch.setattr(machine, "available_memory", lambda: 100 << 20)
    found = machine.memory(LocalSettings(workers=parse_span("1")))[0]
    assert (found.level, found.advice) == ("warning", "")


def test_memory_of_a_cgroup(tmp_path: Path) -> None:
    free = machine.available_memory(tmp_path)
    assert free > 1 << 20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert machine.available_memory(tmp_path) > 1 << 20
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\nfile 7\ninactive_file 500000\n")
    assert machine.available_memory(tmp_path) == 2_500_000
    other = tmp_path / "v1"
    (other / "memory").mkdir(parents=True)
    (other / "memory/memory.limit_in_bytes").write_text("3000\n")
    (other / "memory/memory.usage_in_bytes").write_text("4000\n")
    (other / "memory/memory.stat").write_text("total_inactive_file 500\n")
    assert machine.available_memory(other) == 0


def test_the_place_of_the_control_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="fct-") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        settings = LocalSettings()
        assert machine.control(settings)[0] == Finding("ok", "control", f"sockets in {runtime}/faucet")
        assert list(Path(runtime).iterdir()) == [], "nothing is made"
        place = Path(runtime) / "faucet"
        place.mkdir(mode=0o755)
        place.chmod(0o755)
        found = machine.control(settings)[0]
        assert (found.level, found.advice) == ("warning", f"chmod 700 {place}")
        place.chmod(0o700)
        assert machine.control(settings)[0].level == "ok"
        place.rmdir()
        place.symlink_to("/tmp")
        assert "XDG_RUNTIME_DIR" in machine.control(settings)[0].advice
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.sock", tmp_path / ("long" * 30) / "x.sock"):
        found = machine.control(LocalSettings(control=path))[0]
        assert (found.level, "--control none" in found.advice) == ("broken", True)


def test_uvloop_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    absent = ("uvloop", "watchfiles", "asyncssh")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in absent else find_spec(name))
    found = machine.python(LocalSettings())[0]
    assert (found.level, "slower by a fifth" in found.found) == ("warning", True)
    assert "pip install uvloop" in found.advice
    assert tools.watchfiles(LocalSettings())[0].level == "unused"
    assert tools.watchfiles(LocalSettings(reload=True))[0].level == "broken"
    assert "pip install asyncssh" in tools.ssh(LocalSettings())[0].advice


def test_what_ssh_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("asyncssh")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tools, "SYSTEM_KNOWN_HOSTS", tmp_path / "none")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    subjects = {"ssh config", "known_hosts", "ssh agent"}
    assert {tools_level for name, tools_level in levels(tools.ssh(LocalSettings())).items() if name in subjects} == {
        "unused"
    }
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").mkdir()
    (tmp_path / ".ssh/known_hosts").touch()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    found = levels(tools.ssh(LocalSettings()))
    assert [found[name] for name in sorted(subjects)] == ["ok", "warning", "warning"]
    (tmp_path / ".ssh/config").rmdir()
    (tmp_path / ".ssh/config").touch()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        assert set(levels(tools.ssh(LocalSettings())).values()) == {"ok"}
