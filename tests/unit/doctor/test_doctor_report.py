"""`faucet doctor`: its report, in terminals of all kinds, and however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import faucet.doctor
from faucet.doctor import Finding, probe, report
from faucet.settings import LocalSettings
from tests.support.checkout import ROOT
from tests.support.examination import examine
from tests.support.findings import ANY_PORT, fake_rscript, of
from tests.support.running import wait_gone

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
    words = [sys.executable, "-W", "error", "-c", code]
    process = subprocess.Popen(words, stdin=other, stdout=other, stderr=other, env=environment, cwd=ROOT)
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
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as doctor:
        pid = int(pid_file.read_text())
        doctor.kill()
    wait_gone(pid, 2)


def test_whoever_reads_may_stop(api: Path) -> None:
    code = (
        "import sys; from faucet.doctor import Finding, report; "
        "sys.exit(report([Finding('broken', 'x', 'y' * 100)] * 2000))"
    )
    words = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as doctor:
        assert doctor.stdout is not None
        assert doctor.stderr is not None
        assert doctor.stdout.read(10)
        doctor.stdout.close()
        assert doctor.stderr.read() == b""
        assert doctor.wait(20) == 1
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=20, check=False)
        assert (result.returncode, b"cannot write to standard output: No space left" in result.stderr) == (1, True)
