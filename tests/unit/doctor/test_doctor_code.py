"""What `faucet doctor` reads in the files of an API: it finds what would fail, and runs none of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from faucet.cli.main import main
from faucet.doctor import Finding, probe, r, report
from faucet.doctor.code import Answers, Need
from tests.support.examination import examine
from tests.support.findings import ANY_PORT, answering, fake_rscript, levels, of


@pytest.fixture
def api(tmp_path: Path) -> Path:
    """An empty directory for an API."""
    where = tmp_path / "api"
    (where / "R").mkdir(parents=True)
    return where


def look(api: Path, rscript: str, code: str, name: str = "plumber.R") -> list[Finding]:
    """What is found in an API with this file."""
    (api / name).write_text(code)
    return examine(api, ANY_PORT, rscript)


def missing(findings: list[Finding], level: str = "broken") -> set[str]:
    """The packages that are not installed."""
    return {found.subject for found in findings if found.found.startswith("is not installed") and found.level == level}


# -- packages ---------------------------------------------------------------------------------------------------


def test_a_missing_package_breaks_it(plumber: str, api: Path) -> None:
    findings = look(api, plumber, "library(plumber)\n\nlibrary(doesnotexist)\n#* @get /\nfunction() 1\n")
    wrong = of(findings, "doesnotexist")
    assert (wrong.level, wrong.found) == ("broken", "is not installed; plumber.R, line 3 needs it (library())")
    assert wrong.advice == f"install it with: {plumber} -e 'install.packages(\"doesnotexist\")'"
    assert report(findings) == 1


def test_its_exit_code_and_json(plumber: str, api: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (api / "plumber.R").write_text("library(doesnotexist)")
    assert main(["doctor", str(api), "--json", "--host", ANY_PORT, "--rscript", plumber]) == 1
    rows = {row["subject"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["doesnotexist"]["level"] == "broken"
    assert "install.packages" in rows["doesnotexist"]["advice"]


WAYS = (
    "library(needed)",
    "library('needed')",
    "library(package = needed)",
    "suppressPackageStartupMessages({ library(needed) })",
    "require(needed)",
    "x <- loadNamespace('needed')",
    "attachNamespace('needed')",
    "requireNamespace('needed')",
    "stopifnot(requireNamespace('needed'))",
    "requireNamespace('needed') || stop('no')",
    "if (!requireNamespace('needed', quietly = TRUE)) stop('install it')",
    "if (requireNamespace('needed')) 1 else stop('install it')",
    "#* @get /\nfunction() needed::f()",
    "#* @get /\nfunction() needed:::f(1)",
    "x <- c(1, 2)[1, , drop = needed::g]",
    "f <- function(x = needed::g(), ...) x",
    "if (needed::ready()) 1",
    "box::use(needed)",
    "box::use(alias = needed[filter, ...])",
    "import::from(needed, f)",
    "use('needed', 'f')",
    "name <- 'needed'\nlibrary(name, character.only = TRUE)",
    "for (name in c('jsonlite', 'needed')) library(name, character.only = TRUE)",
    "lapply(c('jsonlite', 'needed'), library, character.only = TRUE)",
    "names <- c('jsonlite', 'needed')\ninvisible(sapply(names, require, character.only = TRUE))",
    "lapply(c('needed'), function(p) library(p, character.only = TRUE))",
    "source('R/needs.R')",
    "source(file.path('R', 'needs.R'))",
    "sys.source(here::here('R', 'needs.R'), new.env())",
    "for (file in list.files('R', full.names = TRUE)) source(file)",
    "box::use(./R/needs)",
    "library(plumber)\npr() |> pr_mount('/x', pr('R/needs.R'))",
    "if (interactive()) 1 else library(needed)",
    "\\(x) needed::f",
    "\ufefflibrary(needed)",
    "x <- 'caf\u00e9'; library(needed)",
)
"""To need a package."""

HARMLESS = (
    ("if (requireNamespace('needed', quietly = TRUE)) needed::f()", "optional"),
    ("x <- requireNamespace('needed') && needed::f()", "optional"),
    ("has <- requireNamespace('needed')", "optional"),
    ("tryCatch(library(needed), error = function(e) NULL)", "optional"),
    ("if ('needed' %in% rownames(installed.packages())) library(needed)", "optional"),
    ("if (nzchar(system.file(package = 'needed'))) needed::f()", "optional"),
    ("if (!require(needed)) { install.packages('needed'); library(needed) }", "installs"),
    ("if (FALSE) library(needed)", None),
    ("if (interactive()) library(needed)", None),
    ("quote(library(needed))", None),
    ("# library(needed)\n'needed::f'", None),
    ("library(help = needed)", None),
    ("library(needed, lib.loc = 'elsewhere')", None),
    ("library(unknown, character.only = TRUE)", None),
    ("library()", None),
    ("writeLines('1', 'R/needs.R')", None),
    ("source('https://example.com/needs.R')", None),
)
"""What names a package and does not need it, and the level at which it is told if it is missing."""


def asked_at_once(rscript: str, api: Path, snippets: Sequence[str]) -> tuple[list[Need], str]:
    """What R says of all these files: each about packages of its own, `needed` being `needed7` in the seventh."""
    for number, code in enumerate(snippets):
        (api / f"R{number}").mkdir()
        (api / f"R{number}/needs.R").write_text(f"library(needed{number})\n")
        own = re.sub(r"\bneeded\b", f"needed{number}", code).replace("'R'", f"'R{number}'")
        own = own.replace("R/needs", f"R{number}/needs")
        (api / f"file{number}.R").write_text(own)
    files = [f"file{number}.R" for number in range(len(snippets))]
    said = probe.ask_program([rscript, str(r.QUESTIONS), "-", *files], api, 60)
    answers = Answers.read(said.text)
    assert len(list(answers.all("file", 2))) >= len(files), said.text
    return [Need(*values) for values in answers.all("need", 8)], said.text


def test_ways_to_need_a_package(plumber: str, api: Path) -> None:
    needs, said = asked_at_once(plumber, api, WAYS)
    kinds = {need.package: need.kind for need in needs}
    lost = [WAYS[number] for number in range(len(WAYS)) if kinds.get(f"needed{number}") != "required"]
    assert lost == [], said


def test_what_does_not_need_it(plumber: str, api: Path) -> None:
    needs, said = asked_at_once(plumber, api, [code for code, _ in HARMLESS])
    kinds = {need.package: need.kind for need in needs}
    for number, (code, kind) in enumerate(HARMLESS):
        assert kinds.get(f"needed{number}") == kind, (code, said)


def test_how_they_are_told(plumber: str, api: Path) -> None:
    findings = look(api, plumber, "if (requireNamespace('aa')) aa::f()\nif (!require(bb)) install.packages('bb')\n")
    assert (of(findings, "aa").level, of(findings, "bb").level) == ("unused", "warning")
    assert missing(findings) == set()


def test_nothing_is_run_or_loaded(plumber: str, api: Path, tmp_path: Path) -> None:
    """Not even a package: its code may do anything when it is loaded."""
    library = tmp_path / "library"
    loads = library / "loads"
    (loads / "R").mkdir(parents=True)
    (loads / "DESCRIPTION").write_text("Package: loads\nVersion: 1.0\nBuilt: R 4.2.0; ; ; unix\n")
    (api / ".Rprofile").write_text(f".libPaths('{library}')\n")
    mark = tmp_path / "mark"
    findings = look(api, plumber, f"file.create('{mark}')\nlibrary(loads)\nfunction() loads::f()\n")
    assert "loads 1.0" in of(findings, "packages").found
    assert not mark.exists()


def test_what_a_package_needs_itself(plumber: str, api: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    for name, needs in {
        "first": "Imports: second",
        "second": "Depends: R (>= 3.0), third (>= 2.0)",
        "third": "",
        "lost": "Imports: jsonlite, nowhere (>= 1.0)",
        "future": "Depends: R (>= 99.1)",
    }.items():
        (library / name).mkdir(parents=True)
        text = f"Package: {name}\nVersion: 1.0\nBuilt: R 1.9.1; ; ; unix\n{needs}"
        (library / name / "DESCRIPTION").write_text(text)
    (api / ".Rprofile").write_text(f".libPaths('{library}')\n")
    findings = look(api, plumber, "library(first)\nlibrary(lost)\nfuture::f()\n")
    assert of(findings, "first").found == "second needs third 2.0 or newer, and 1.0 is installed"
    assert of(findings, "lost").found == "lost needs nowhere, which is not installed"
    assert of(findings, "future").found == "future needs R 99.1"
    assert {of(findings, name).level for name in ("first", "lost", "future")} == {"broken"}
    old = of(findings, "packages' R")
    assert old.level == "warning"
    assert "first (R 1.9.1), future (R 1.9.1)" in old.found
    assert "install.packages(c(" in old.advice


def test_packages_that_are_installed_lack_nothing(plumber: str, api: Path) -> None:
    """All of this machine, as they really write what they need."""
    code = "cat(rownames(installed.packages()))"
    names = subprocess.run([plumber, "-e", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(names) > 20
    needs, said = asked_at_once(plumber, api, [f"library({name})" for name in names])
    there = {need.package: need for need in needs if not need.package.startswith("needed")}
    assert set(names) <= set(there), said
    assert [need for need in there.values() if need.lacks] == []


def test_one_command_installs_all(plumber: str, api: Path) -> None:
    findings = look(api, plumber, "library(bb)\nlibrary(aa)\n")
    advice = [finding.advice for finding in findings if finding.subject in ("aa", "bb")]
    assert advice == [f'install them with: {plumber} -e \'install.packages(c("aa", "bb"))\'', ""]


@pytest.mark.parametrize("name", ["csv", "yaml", "parquet", "json"])
def test_what_plumber_needs_for_an_annotation(plumber: str, api: Path, name: str) -> None:
    """It refuses to start without: found by its own words."""
    package = {"csv": "readr", "yaml": "yaml", "parquet": "arrow"}.get(name)
    (api / ".Rprofile").write_text(f"# {package}\n")
    code = f"#* @get /\n#* @serializer {name}\nfunction() 1\n"
    if package and not installed(plumber, package):
        wrong = of(look(api, plumber, code), package)
        assert wrong.found == f"is not installed; plumber.R, line 2 needs it (@serializer {name})"
        assert missing(look(api, plumber, code.replace("serializer", "parser"))) == {package}
    elif not package:
        assert missing(look(api, plumber, code)) == set()


def installed(rscript: str, package: str) -> bool:
    code = f"quit(status = !nzchar(system.file(package = '{package}')))"
    return subprocess.run([rscript, "-e", code], check=False).returncode == 0


# -- renv -------------------------------------------------------------------------------------------------------


def test_renv_restores(plumber: str, api: Path) -> None:
    (api / "renv.lock").write_text('{"R": {}, "Packages": {"locked": {"Package": "locked"}}}')
    findings = look(api, plumber, "library(locked)\n")
    restore = f"renv manages the packages here: cd {api} && {plumber} -e 'renv::restore()'"
    assert of(findings, "locked").advice == restore
    findings = look(api, plumber, "library(locked)\nlibrary(another)\n")
    assert "another is not in renv.lock" in of(findings, "another").advice
    assert 'renv::install("another"); renv::snapshot()' in of(findings, "another").advice
    (api / "renv.lock").write_text("no JSON")
    assert "is not in renv.lock" in of(look(api, plumber, "library(locked)\n"), "locked").advice


def test_renv_is_not_installed_by_a_look(plumber: str, api: Path, tmp_path: Path) -> None:
    """Its activate.R downloads renv where that is missing, unless it is told not to."""
    mark = tmp_path / "mark"
    (api / "renv").mkdir()
    (api / "renv/activate.R").write_text(
        f"if (!identical(Sys.getenv('RENV_CONFIG_AUTOLOADER_ENABLED'), 'FALSE')) file.create('{mark}')\n"
    )
    (api / ".Rprofile").write_text('source("renv/activate.R")\n')
    wrong = of(look(api, plumber, "1\n"), "renv")
    assert (wrong.level, "its library is empty" in wrong.found) == ("broken", True)
    assert "renv::restore()" in wrong.advice
    assert not mark.exists()
    there = api / "renv/library/R-4.2/x86_64-pc-linux-gnu/renv"
    there.mkdir(parents=True)
    (there / "DESCRIPTION").touch()
    assert "renv" not in levels(look(api, plumber, "1\n"))
    assert mark.exists()


# -- ports ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("pr_run(pr('plumber.R'), port = 8000)", 1),
        ("pr('plumber.R') %>%\n  pr_run(host = '0.0.0.0', port = 8000L)", 2),
        ("port <- 8000L\npr('plumber.R') |> pr_run(port = port)", 2),
        ("plumb('plumber.R')$run('0.0.0.0', 8000)", 1),
        ("p <- plumb('plumber.R')\np$run(port=8000)", 2),
        ("options(plumber.port = 8000)\nplumb('plumber.R')$run()", 1),
        ("httpuv::runServer('127.0.0.1', 8000, list())", 1),
        ("app <- ambiorix::Ambiorix$new(port = 8000L)", 1),
        ("pr_run(pr(), port = as.integer('8000'))", 1),
    ],
)
def test_a_fixed_port(plumber: str, api: Path, monkeypatch: pytest.MonkeyPatch, code: str, line: int) -> None:
    """Two workers cannot have it, and one that has it is not where Faucet waits."""
    (api / "plumber.R").touch()
    monkeypatch.setenv("FAUCET_WORKERS", "1..2")
    wrong = of(look(api, plumber, code, "entrypoint.R"), "port")
    assert wrong.level == "broken"
    assert wrong.found.startswith(f"entrypoint.R, line {line}: listens on port 8000")
    assert "only one of 2 workers" in wrong.found
    assert 'as.integer(Sys.getenv("FAUCET_PORT"))' in wrong.advice


def test_a_fixed_port_with_one_worker(plumber: str, api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the port can be named."""
    (api / "plumber.R").touch()
    monkeypatch.setenv("FAUCET_WORKERS", "1")
    wrong = of(look(api, plumber, "plumber::pr('plumber.R') |> plumber::pr_run(port = 8000)", "entrypoint.R"), "port")
    assert (wrong.level, "--workers 1 --child-port 8000" in wrong.advice) == ("broken", True)
    monkeypatch.setenv("FAUCET_CHILD_PORT", "8000")
    assert of(examine(api, ANY_PORT, plumber), "port").level == "warning"


@pytest.mark.parametrize(
    "code",
    [
        "pr_run(pr(), port = as.integer(Sys.getenv('FAUCET_PORT', 8000)))",
        "port = 8000\np <- Sys.getenv('PORT')\npr_run(pr(), port = p)",
        "if (interactive()) pr_run(pr(), port = 8000) else pr_run(pr())",
        "DBI::dbConnect(x, port = 5432)\npool$new(port = 6379)",
        "pr_run(pr()) # port = 8000",
        "if (on) port <- 8000 else port <- 9000\npr_run(pr(), port = port)",
        "",
    ],
)
def test_no_fixed_port(plumber: str, api: Path, code: str) -> None:
    assert "port" not in levels(look(api, plumber, code, "entrypoint.R"))


@pytest.mark.parametrize(
    ("version", "first", "level"),
    [
        ("1.3.0", 0, "ok"),
        ("1.3.0", 8000, "ok"),
        ("1.3.0", 49150, "broken"),
        ("1.3.2", 6660, "broken"),
        ("2.0.0", 1000, "broken"),
        ("1.2.1", 50000, "ok"),
        ("1.2.1", 1000, "ok"),
    ],
)
def test_ports_that_plumber_refuses(
    api: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, first: int, level: str
) -> None:
    monkeypatch.setenv("FAUCET_CHILD_PORT", str(first))
    monkeypatch.setenv("FAUCET_WORKERS", "4")
    rscript = answering(tmp_path, "R=4.5.0", f"plumber={version}", "httpuv=1.6.15")
    found = of(look(api, rscript, "1\n"), "plumber")
    assert found.level == level
    if level == "broken":
        assert "--child-port 20000" in found.advice


# -- the rest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["C", "POSIX"])
def test_a_locale_without_utf_8(plumber: str, api: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    code = "# caf\u00e9\nlibrary(jsonlite)\nx <- 'caf\u00e9'\n"
    monkeypatch.setenv("LC_ALL", encoding)
    findings = look(api, plumber, code)
    found = of(findings, "locale")
    assert (found.level, "LC_ALL=C.UTF-8" in found.advice) == ("warning", True)
    assert of(findings, "plumber.R").level == "ok"
    assert "jsonlite" in of(findings, "packages").found
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert "locale" not in levels(look(api, plumber, code))


def test_a_syntax_error_in_a_file_that_is_sourced(plumber: str, api: Path) -> None:
    (api / "R/good.R").write_text("1\n")
    (api / "R/bad.R").write_text("f <- function( {\n")
    findings = look(api, plumber, "source('R/good.R')\nsource('R/bad.R')\nsource('plumber.R')\n")
    wrong = of(findings, "R/bad.R")
    assert (wrong.level, "R/bad.R:1:16" in wrong.found) == ("broken", True)
    assert of(findings, "other files").found == "R can read R/good.R"
    assert of(findings, "plumber.R").level == "ok"


@pytest.mark.parametrize(
    ("yaml", "level", "said"),
    [
        ("engine: jsonlite\n", "broken", "its engine jsonlite cannot serve it: version "),
        ("engine: doesnotexist # 1\n", "broken", "there is no package called"),
        ("routes: api.R\n", "broken", "names no engine"),
        ("engine: 'base'\n", "broken", " has no function launch_server()"),
    ],
)
def test_the_engine_of_a_server(plumber: str, api: Path, yaml: str, level: str, said: str) -> None:
    found = of(look(api, plumber, yaml, "_server.yml"), "_server.yml")
    assert (found.level, said in found.found) == (level, True)
    assert ("install" in found.advice) == ("no package" in found.found), "what is installed is not to be installed"


def test_an_engine_that_is_there(api: Path, tmp_path: Path) -> None:
    rscript = answering(tmp_path, "R=4.5.0", "plumber=!no", "engine=0.2.0")
    findings = look(api, rscript, "engine: plumber2\n", "_server.yml")
    assert of(findings, "_server.yml") == Finding("ok", "_server.yml", "by plumber2 0.2.0")
    assert of(findings, "plumber").level == "unused"


def test_a_script_that_the_command_names(plumber: str, api: Path) -> None:
    (api / "run.R").write_text("library(doesnotexist)\n")
    findings = examine(api, ANY_PORT, plumber, "Rscript run.R")
    assert missing(findings) == {"doesnotexist"}
    assert missing(examine(api, ANY_PORT, plumber, "python3 run.R")) == set()


def test_a_strangers_file_starts_no_program(api: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    rscript = fake_rscript(tmp_path, f"touch {mark}")
    (api / "plumber.R").touch()
    (api / "faucet.toml").write_text(f"rscript = '{rscript}'\n")
    monkeypatch.setattr("faucet.doctor.LocalSettings.rscript", "no-such-rscript")
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    if (api / "faucet.toml").stat().st_uid == 0:
        os.chown(api / "faucet.toml", 54_321, -1)
    found = of(examine(api, ANY_PORT), "rscript")
    assert (found.level, "it was not started" in found.found) == ("warning", True)
    assert f"--rscript {rscript}" in found.advice
    assert not mark.exists()
    examine(api, ANY_PORT, rscript)
    assert mark.exists()
    mark.unlink()
    examine(api, ANY_PORT, trust_config=True)
    assert mark.exists()


def test_a_strangers_startup_files_are_not_run(plumber: str, api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (api / "plumber.R").touch()
    (api / ".Rprofile").write_text("file.create('profile')\n")
    (api / ".Renviron").write_text("DOCTOR_TEST=1\n")
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    for path in (api, api / ".Rprofile", api / ".Renviron"):
        if path.stat().st_uid == 0:
            os.chown(path, 54_321, -1)
    findings = examine(api, ANY_PORT, plumber)
    for name in (".Rprofile", ".Renviron"):
        found = of(findings, name)
        assert (found.level, "R did not read it" in found.found) == ("warning", True)
        assert "--trust-config" in found.advice
    assert not (api / "profile").exists()
    assert of(findings, "R").level == "ok"
    examine(api, ANY_PORT, plumber, trust_config=True)
    assert (api / "profile").exists()


def test_one_address_for_two(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ADMIN", ":4000")
    (api / "plumber.R").touch()
    wrong = of(examine(api, "127.0.0.1:4000", "true"), "address")
    assert (wrong.level, "are the same address" in wrong.found) == ("broken", True)
    monkeypatch.setenv("FAUCET_ADMIN", "127.0.0.1:0")
    assert of(examine(api, ANY_PORT, "true"), "admin").level == "ok"
