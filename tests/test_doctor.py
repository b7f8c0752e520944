"""`faucet doctor`: each thing that can be wrong is told with the next step; nothing hangs or crashes it."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import pty
import resource
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

import faucet.doctor
from faucet.doctor import Finding, machine, probe, r, report, tools
from faucet.settings import LocalSettings, parse_span
from tests.support.examination import examine
from tests.support.running import wait_gone

GOOD = '#* @get /\nfunction() "hello"\n'
READS = 'library(plumber)\npr("plumber.R") %>%\n  pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))\n'
ANY_PORT = "127.0.0.1:0"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's own environment says is not what is tested."""
    for name in list(os.environ):
        if name.startswith("FAUCET_"):
            monkeypatch.delenv(name)


@pytest.fixture
def api(tmp_path: Path) -> Path:
    """A directory with a plumber.R."""
    where = tmp_path / "api"
    where.mkdir()
    (where / "plumber.R").write_text(GOOD)
    return where


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def fake_rscript(where: Path, script: str) -> str:
    """A program in the place of Rscript."""
    path = where / "Rscript"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def answering(where: Path, *answers: str) -> str:
    """An Rscript that gives these answers."""
    lines = "\n".join(("Loading …", *(f"faucet:{answer}" for answer in answers)))
    return fake_rscript(where, f"cat <<'END'\n{lines}\nEND")


def of(findings: list[Finding], subject: str) -> Finding:
    """The one of that subject."""
    found = [finding for finding in findings if finding.subject == subject]
    assert len(found) == 1, findings
    return found[0]


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.level for finding in findings}


# -- R ----------------------------------------------------------------------------------------------------------


def test_with_real_r(plumber: str, api: Path) -> None:
    findings = examine(api, ANY_PORT, plumber, None)
    assert report(findings) == 0
    found = levels(findings)
    for subject in ("options", "API", "R", "plumber", "httpuv", "plumber.R", "address", "CPUs"):
        assert found[subject] == "ok", findings
    assert of(findings, "R").found.startswith("4.")
    assert "plumber.R in" in of(findings, "API").found
    assert set(levels(findings).values()) <= {"ok", "warning", "broken", "unused"}


def test_a_syntax_error_is_shown_as_r_says_it(plumber: str, api: Path) -> None:
    (api / "plumber.R").write_text(GOOD + 'function( "this is no R\n')
    findings = examine(api, ANY_PORT, plumber)
    wrong = of(findings, "plumber.R")
    assert wrong.level == "broken"
    assert "plumber.R:4:0" in wrong.found or "plumber.R:3:11: unexpected" in wrong.found, wrong
    assert "parse(commandArgs(TRUE))" in wrong.advice
    assert report(findings) == 1
    words = ["sh", "-c", wrong.advice.partition("check: ")[2]]
    by_hand = subprocess.run(words, capture_output=True, text=True, check=False)
    assert by_hand.returncode == 1
    assert "unexpected" in by_hand.stderr


def test_both_files_are_read_if_both_matter(plumber: str, api: Path) -> None:
    (api / "entrypoint.R").write_text(READS)
    (api / "plumber.R").write_text("function(")
    found = levels(examine(api, ANY_PORT, plumber))
    assert (found["entrypoint.R"], found["plumber.R"]) == ("ok", "broken")
    (api / "entrypoint.R").write_text("# not plumber.R\nlibrary(another)\n")
    assert "plumber.R" not in levels(examine(api, ANY_PORT, plumber))


def test_a_noisy_profile_does_not_matter(plumber: str, api: Path) -> None:
    (api / ".Rprofile").write_text('cat("welcome"); message("faucet:\\xe9 [31m")\n')
    assert levels(examine(api, ANY_PORT, plumber))["plumber"] == "ok"


def test_a_profile_decides_about_packages(plumber: str, api: Path) -> None:
    """As renv's does: R is asked in the directory, where the workers run."""
    (api / ".Rprofile").write_text('assign(".lib.loc", character(), envir = environment(.libPaths))\n')
    findings = examine(api, ANY_PORT, plumber)
    assert of(findings, "R").level == "ok"
    assert of(findings, "plumber").level == "broken"
    assert "there is no package" in of(findings, "plumber").found


def test_without_r(api: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = examine(api, ANY_PORT, "Rscript", None)
    assert of(findings, "R").level == "broken"
    assert "r-base-core" in of(findings, "R").advice
    assert of(findings, "API").level == "ok"
    assert of(findings, "kubectl").level == "unused"
    assert report(findings) == 1


def test_without_r_and_with_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = examine(tmp_path, ANY_PORT, "Rscript", f"{sys.executable} app.py")
    assert of(findings, "R").level == "unused"
    assert "app.py" in of(findings, "API").found
    assert report(findings) == 0


@pytest.mark.quiet
def test_r_that_hangs_is_ended_with_its_children(api: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(r, "PATIENCE", 0.5)
    pid_file = tmp_path / "pid"
    rscript = fake_rscript(tmp_path, f"sleep 100 & echo $! > {pid_file}; wait")
    began = monotonic()
    findings = examine(api, ANY_PORT, rscript)
    assert monotonic() - began < 5
    wrong = of(findings, "R")
    assert (wrong.level, "did not end within 0.5 s" in wrong.found) == ("broken", True)
    assert "R.version.string" in wrong.advice
    wait_gone(int(pid_file.read_text()), 2)


def test_r_that_answers_and_then_hangs(api: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(r, "PATIENCE", 0.5)
    rscript = fake_rscript(tmp_path, "echo faucet:R=4.9.9; exec >&- 2>&-; sleep 100")
    found = [finding for finding in examine(api, ANY_PORT, rscript) if finding.subject == "R"]
    assert [finding.level for finding in found] == ["ok", "warning"]


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 1", "failed with exit code 1"),
        ("echo first; echo 'no such library' >&2; exit 3", "failed with exit code 3: no such library"),
        ("head -c 100000 /dev/urandom", "does not answer as R does"),
        ("exit 0", "does not answer as R does"),
        ("echo hello", "does not answer as R does: hello"),
        ("kill -9 $$", "failed with exit code -9"),
    ],
)
def test_what_is_no_r(api: Path, tmp_path: Path, script: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    findings = examine(api, ANY_PORT, fake_rscript(tmp_path, script))
    wrong = of(findings, "R")
    assert wrong.level == "broken"
    assert text in wrong.found
    assert report(findings) == 1
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


@pytest.mark.quiet
def test_a_babbler_is_ended(api: Path, tmp_path: Path) -> None:
    began = monotonic()
    assert of(examine(api, ANY_PORT, fake_rscript(tmp_path, "exec yes")), "R").level == "broken"
    assert monotonic() - began < 8


def test_what_cannot_be_executed(api: Path, tmp_path: Path) -> None:
    rscript = fake_rscript(tmp_path, "")
    Path(rscript).write_bytes(b"\x7fELF, or not\n\x00\x01")
    assert of(examine(api, ANY_PORT, rscript), "R").level == "broken"
    Path(rscript).write_text("#!/no/such/interpreter\n")
    assert "cannot be started: No such file or directory" in of(examine(api, ANY_PORT, rscript), "R").found


@pytest.mark.parametrize(
    ("answers", "level", "text"),
    [
        (("plumber=!there is no package called ‘plumber’",), "broken", "there is no package"),
        (("plumber=0.4.6",), "broken", "pr_run() came with 1.0.0"),
        ((), "broken", "said nothing"),
        (("plumber=garbage",), None, "could not be examined"),
        (("plumber=1.2.1", "httpuv=1.6.9"), "ok", "1.2.1"),
    ],
)
def test_the_package(api: Path, tmp_path: Path, answers: tuple[str, ...], level: str | None, text: str) -> None:
    findings = examine(api, ANY_PORT, answering(tmp_path, "R=4.2.2", *answers))
    found = of(findings, "plumber" if level else "R")
    assert found.level == (level or "warning")
    assert text in found.found
    if level == "broken":
        assert 'install.packages("plumber")' in found.advice


def test_what_does_without_plumber(api: Path, tmp_path: Path) -> None:
    rscript = answering(tmp_path, "R=4.2.2", "plumber=!missing")
    (api / "entrypoint.R").write_text('ambiorix::Ambiorix$new(port = Sys.getenv("FAUCET_PORT"))\n')
    assert of(examine(api, ANY_PORT, rscript), "plumber").level == "unused"
    (api / "entrypoint.R").write_text(READS)
    assert of(examine(api, ANY_PORT, rscript), "plumber").level == "broken"


def test_an_api_of_a_package_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what `faucet` would serve there, and plumber serves it."""
    monkeypatch.setenv("FAUCET_API", "plumber::01-append")
    rscript = answering(tmp_path, "R=4.5.0", "plumber=1.3.0", "httpuv=1.6.15")
    findings = examine(tmp_path, rscript=rscript)
    assert of(findings, "API").found == f"plumber::01-append in {tmp_path}"
    missing = answering(tmp_path, "R=4.5.0", "plumber=!there is no package called plumber", "httpuv=1.6.15")
    assert of(examine(tmp_path, rscript=missing), "plumber").level == "broken"


def test_a_broken_httpuv(api: Path, tmp_path: Path) -> None:
    rscript = answering(tmp_path, "R=4.2.2", "plumber=1.2.1", "httpuv=!libuv.so: cannot open\x1fshared object")
    found = of(examine(api, ANY_PORT, rscript), "httpuv")
    assert (found.level, found.found) == ("broken", "cannot be loaded: libuv.so: cannot open\nshared object")


# -- the API ----------------------------------------------------------------------------------------------------


def test_nothing_to_serve(tmp_path: Path) -> None:
    wrong = of(examine(tmp_path, ANY_PORT, "true"), "API")
    assert wrong.level == "broken"
    assert f"faucet init {tmp_path}" in wrong.advice
    wrong = of(examine(tmp_path / "nowhere", ANY_PORT, "true"), "API")
    assert "does not exist" in wrong.found
    assert "--dir" in wrong.advice
    assert of(examine(tmp_path, ANY_PORT, "true", "no-such-program --port {port}"), "API").level == "broken"


# -- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("workers = ", "cannot be read"),
        ("worker = 3", "worker is no option; did you mean workers?"),
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
        found = machine.control(LocalSettings(control=str(path)))[0]
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


# -- the report -------------------------------------------------------------------------------------------------

SOME = [
    Finding("ok", "one", "is \x1b[31mred\x1b]0;title\x07"),
    Finding("warning", "two", "caf\u00e9 \udce9", "do this"),
    Finding("unused", "three", "[bold]is[/bold] not there"),
]


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(SOME) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "[bold]is[/bold]" in text
    assert text.endswith("\nNothing is broken, 1 warning.\n")
    assert report([*SOME, Finding("broken", "four", "fails")]) == 1
    assert "1 thing is broken, 1 warning." in capsys.readouterr().out


def test_the_report_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(SOME, as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[1] == {"level": "warning", "subject": "two", "found": "caf\u00e9 \udce9", "advice": "do this"}


def test_the_report_in_ascii(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ASCII", "1")
    assert report(SOME) == 0
    text = capsys.readouterr().out
    assert text.isascii()
    assert "! warning" in text
    assert "-> do this" in text


def in_a_terminal(api: Path, columns: int, rows: int, **variables: str) -> str:
    """What `doctor` shows in a terminal of that size."""
    code = (
        "import sys; from faucet.cli.main import main; "
        f"sys.exit(main(['doctor', {str(api)!r}, '--host', {ANY_PORT!r}, '--rscript', 'true']))"
    )
    own, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "COLORTERM")}
    environment = {**kept, "TERM": "xterm-256color", "PYTHONUTF8": "1", **variables}
    root = Path(__file__).parents[1]
    words = [sys.executable, "-W", "error", "-c", code]
    process = subprocess.Popen(words, stdin=other, stdout=other, stderr=other, env=environment, cwd=root)
    os.close(other)
    output = b""
    try:
        while some := os.read(own, 65536):
            output += some
    except OSError:  # Linux: nobody has the other end any more
        pass
    os.close(own)
    assert process.wait(20) == 1, output
    return output.decode()


def test_in_a_terminal(api: Path) -> None:
    text = in_a_terminal(api, 100, 30)
    assert "xterm-256color, 100 by 30, UTF-8, colours: 256" in text
    assert "\x1b[32m✓ ok" in text
    assert max(len(line) for line in text.splitlines()) < 140


def test_in_a_small_terminal_without_colours(api: Path) -> None:
    text = " ".join(in_a_terminal(api, 70, 20, NO_COLOR="1", FAUCET_ASCII="1").split())
    assert "70 by 20, ASCII, no colours: small" in text
    assert "80 by 24, at least" in text
    assert "[32m" not in text


def test_a_check_that_fails_is_told(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: LocalSettings) -> list[Finding]:
        raise RuntimeError("unheard of")

    monkeypatch.setattr(faucet.doctor, "_local_checks", lambda variables: (("memory", fails),))
    found = of(examine(api, ANY_PORT, "true"), "memory")
    assert (found.level, found.found) == ("warning", "could not be examined: RuntimeError: unheard of")


def test_a_program_that_leaves_its_output_to_another(tmp_path: Path) -> None:
    """It has ended, but its output has not."""
    pid_file = tmp_path / "pid"
    script = fake_rscript(tmp_path, f"sleep 100 & echo $! > {pid_file}; echo done")
    answer = probe.ask_program([script], None, 0.5)
    assert (answer.code, answer.text, answer.ended) == (0, "done\n", False)
    wait_gone(int(pid_file.read_text()), 2)


def test_sigkill_leaves_no_r(api: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    os.mkfifo(pid_file)
    rscript = fake_rscript(tmp_path, f"sleep 100 & echo $! > {pid_file}; wait")
    code = f"from faucet.cli.main import main; main(['doctor', {str(api)!r}, '--rscript', {rscript!r}])"
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1]) as doctor:
        pid = int(pid_file.read_text())
        doctor.kill()
    wait_gone(pid, 2)


def test_whoever_reads_may_stop(api: Path) -> None:
    code = (
        "import sys; from faucet.doctor import Finding, report; "
        "sys.exit(report([Finding('broken', 'x', 'y' * 100)] * 2000))"
    )
    root = Path(__file__).parents[1]
    words = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as doctor:
        assert doctor.stdout is not None
        assert doctor.stderr is not None
        assert doctor.stdout.read(10)
        doctor.stdout.close()
        assert doctor.stderr.read() == b""
        assert doctor.wait(20) == 1
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, cwd=root, timeout=20, check=False)
        assert (result.returncode, b"cannot write to standard output: No space left" in result.stderr) == (1, True)
