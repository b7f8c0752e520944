"""`faucet doctor`: R, plumber and what is asked of them; nothing hangs or crashes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from faucet.doctor import r, report
from tests.support.examination import examine
from tests.support.findings import ANY_PORT, GOOD, answering, fake_rscript, levels, of
from tests.support.running import wait_gone


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


READS = 'library(plumber)\npr("plumber.R") %>%\n  pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))\n'
