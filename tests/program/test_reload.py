"""`--reload`: what counts as code, what never does, and an API that would restart itself for ever."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faucet.cli.main import main
from faucet.fleet import StartFailed
from faucet.workers.loops import DATA_LIMIT, SOURCE_LIMIT, Loops, Moment
from faucet.workers.reload import _changes, require
from faucet.workers.watched import Watched
from tests.support.load import fetch
from tests.support.running import WORKERS, Faucet

Start = Callable[..., Faucet]


CODE = (
    "plumber.R", "Plumber.r", "R/helper.R", "report.Rmd", "report.qmd", "config.yml", "_server.yml", "a.yaml", "a.json",
    "a.toml", "q.sql", ".Rprofile", ".Renviron", ".env", ".env.local", "prod.env", "renv.lock", "DESCRIPTION",
    "NAMESPACE", "src/fast.cpp", "src/a.h", "src/Makevars", "templates/mail.html", "renv/activate.R",
)  # fmt: skip

NO_CODE = (
    "data.csv", "log.txt", "model.rds", "app.sqlite", "app.sqlite-wal", "app.sqlite-journal", "x.duckdb",
    "x.duckdb.wal",
    ".git/config.json", ".git/x.R", "renv/library/R-4.5/x/DESCRIPTION", "renv/staging/1/a.R", "packrat/lib/a.R",
    "node_modules/a/package.json", "__pycache__/a.py", ".venv/lib/a.R", ".Rproj.user/a.json", ".Rhistory", ".RData",
    "plumber.R~", ".plumber.R.swp", "#plumber.R#", ".#plumber.R", "4913", "style.css", "app.js", "app.py",
    "faucet-log-20261127-120000.txt", "faucet-20261127-120000.svg", "service.log", "service.log.1", "picture.png",
)  # fmt: skip


def counted(names: tuple[str, ...], directory: Path, **options: object) -> list[str]:
    watched = Watched(directory, **options)  # type: ignore[arg-type]
    return [name for name in names if watched(directory / name)]


def test_what_counts_for_r(tmp_path: Path) -> None:
    assert counted(CODE + NO_CODE, tmp_path) == [*CODE]


def test_what_counts_for_a_command(tmp_path: Path) -> None:
    names = ("app.py", "server.js", "main.ts", "main.go", "lib.rs", "app.rb", "app.jl", "go.mod", "plumber.R", "x.css",
             "bin")  # fmt: skip
    assert counted(names, tmp_path, any_language=True) == [*names[:9]]
    assert counted(names, tmp_path, any_language=True, named=frozenset({"bin"})) == [*names[:9], "bin"]


def test_include_and_exclude(tmp_path: Path) -> None:
    names = ("a.txt", "data/a.csv", "data/deep/b.csv", "model.rds", "x.sqlite-wal", "cache/a.json", "b.json",
             ".venv/a.txt")  # fmt: skip
    assert counted(names, tmp_path, include=("*.txt", "data/*.csv")) == [*names[:3], "cache/a.json", "b.json"]
    assert counted(names, tmp_path, include=("*",)) == [*names[:3], "cache/a.json", "b.json"]
    assert counted(names, tmp_path, include=("*.rds",), exclude=("cache/",)) == ["model.rds", "b.json"]
    assert counted(names, tmp_path, exclude=("*.json",)) == []
    assert counted(names, tmp_path, include=(".venv/*.txt",)) == ["cache/a.json", "b.json", ".venv/a.txt"]
    assert counted(("cache", "x/cache/a.R"), tmp_path, exclude=("cache",)) == []


def test_the_log_never_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    names = ("log.json", "log.json.1", "log.json-20261127.gz", "log.jsonl", "other.json")
    assert counted(names, tmp_path, include=("*",), log=log) == ["log.jsonl", "other.json"]


# -- loops ------------------------------------------------------------------------------------------------------


def writes(loops: Loops, names: set[str], times: int, **more: int | bool) -> list[str]:
    """What is left out after each of so many changes, each of which leads to a restart."""
    step = {"starting": True, "requested": False, "requests": 0, **more}
    verdicts = []
    for _ in range(times):
        rolls = writes.rolls = getattr(writes, "rolls", 0) + 1
        verdicts.append(loops.judge(names, Moment(rolls=rolls, **step)))  # type: ignore[arg-type]
    return verdicts


def test_a_file_that_changes_with_each_restart_is_left_out() -> None:
    loops = Loops()
    assert writes(loops, {"state.json"}, DATA_LIMIT + 1) == [""] * DATA_LIMIT + ["state.json"]
    assert loops.ignores("state.json")
    assert not loops.ignores("plumber.R")
    assert not loops.ignores("other.json")


def test_source_files_are_given_more_time() -> None:
    loops = Loops()
    assert writes(loops, {"R/made.R"}, SOURCE_LIMIT) == [""] * SOURCE_LIMIT
    assert loops.calm
    assert writes(loops, {"R/made.R"}, 1) == ["R/made.R"]


def test_files_with_another_name_each_time_are_left_out_together() -> None:
    loops = Loops()
    verdicts = [writes(loops, {f"cache/{number}.json"}, 1)[0] for number in range(DATA_LIMIT + 1)]
    assert verdicts == [""] * DATA_LIMIT + ["cache/*.json"]
    assert loops.ignores("cache/99.json")
    assert not loops.ignores("config.json")


def test_a_person_is_no_loop() -> None:
    loops = Loops()
    assert not any(writes(loops, {"config.yml"}, 50, starting=False)), "long after the restart"
    assert not any(writes(loops, {name}, 1)[0] for _ in range(20) for name in ("a.R", "b.yml", "c.json"))
    assert not any(writes(loops, {f"{number}.R"}, 1)[0] for number in range(50)), "sources have different names"


def test_a_long_copy_is_one_restart() -> None:
    loops = Loops()
    moment = Moment(starting=True, requested=False, requests=0, rolls=1)
    assert not any(loops.judge({"big.json"}, moment) for _ in range(50))


def test_a_file_that_is_written_for_each_request() -> None:
    loops, left_out = Loops(), []
    for number in range(1, DATA_LIMIT + 2):
        moment = Moment(starting=False, requested=True, requests=number, rolls=number)
        left_out.append(loops.judge({"count.json"}, moment))
    assert left_out == [""] * DATA_LIMIT + ["count.json"]
    loops = Loops()
    busy = [Moment(starting=False, requested=True, requests=20 * number, rolls=number) for number in range(1, 30)]
    assert not any(loops.judge({"config.yml"}, moment) for moment in busy), "a person, while others send requests"


def test_without_watchfiles_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(StartFailed, match="pip install watchfiles"):
        require()


async def test_where_the_system_cannot_report_changes_they_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with inotify's limit of watches, or of instances."""
    import watchfiles

    real, asked = watchfiles.awatch, []

    def awatch(*paths: Path, **options: Any) -> Any:
        asked.append(options["force_polling"])
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, "OS file watch limit reached")
        return real(*paths, **options)

    monkeypatch.setattr(watchfiles, "awatch", awatch)
    async with asyncio.timeout(20), contextlib.aclosing(_changes(Watched(tmp_path))) as changes:
        number = 0
        async for names in changes:
            if names:
                break
            number += 1
            (tmp_path / "a.R").write_text("x" * number)
    assert names == {"a.R"}
    assert asked == [None, True]
    assert "OS file watch limit reached" in caplog.text


def test_the_options_have_variables_and_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faucet.toml").write_text('reload-exclude = ["cache/", "state.json"]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAUCET_RELOAD_INCLUDE", "*.txt,models/*.rds")
    assert main(["config"]) == 0
    values = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "*.txt, models/*.rds" in values["reload-include"]
    assert "cache/, state.json" in values["reload-exclude"]
    assert main(["config", "--reload-exclude", "a.json", "--reload-exclude", "b/"]) == 0
    assert "a.json, b/" in capsys.readouterr().out
    assert main(["config", "--reload-exclude", "/etc"]) == 2
    assert "invalid pattern '/etc'" in capsys.readouterr().err


# -- the real thing ---------------------------------------------------------------------------------------------


def write_app(directory: Path, at_start: str = "", per_request: str = "") -> str:
    """An API whose answer is what `answer.yml` says; the --command that runs it."""
    (directory / "answer.yml").write_text("0")
    (directory / "app.py").write_text(
        "import counting, os, time\nfrom pathlib import Path\ntext = Path('answer.yml').read_text()\n"
        f"{at_start}\n"
        "class Handler(counting.Handler):\n  def serve(self, alone):\n"
        f"    {per_request or 'pass'}\n"
        "    self.send_response(200)\n    self.send_header('Content-Length', str(len(text)))\n    self.end_headers()\n"
        "    self.wfile.write(text.encode())\n"
        "Handler.listen()\n"
    )
    return f"env PYTHONPATH={WORKERS} {sys.executable} app.py"


async def started(faucet: Start, command: str, *more: str) -> Faucet:
    service = faucet("--command", command, "-w", "1", "--reload", *more)
    await asyncio.to_thread(service.wait_ready)
    return service


async def answers(service: Faucet, text: str) -> None:
    """Wait until the API answers that."""
    async with asyncio.timeout(20):
        while await fetch(service.port, "/") != (200, text.encode()):
            await asyncio.sleep(0.05)


async def watching(service: Faucet, directory: Path) -> None:
    """Wait until changes are seen."""
    async with asyncio.timeout(20):
        number = 0
        while "requested by a change of seen.sql" not in service.output:
            number += 1
            (directory / "seen.sql").write_text(str(number))
            await asyncio.sleep(0.5)
    await asyncio.to_thread(service.wait_line, "(is|are) replaced")


async def test_an_api_that_writes_when_it_starts(faucet: Start, tmp_path: Path) -> None:
    command = write_app(tmp_path, at_start="Path('state.json').write_text(str(time.time()))")
    service = await started(faucet, command)
    (tmp_path / "state.json").write_text("begin")
    line = await asyncio.to_thread(service.wait_line, "state.json changes again after each restart", 40)
    assert "--reload-exclude 'state.json'" in line.string
    rolls = service.output.count("requested by a change of state.json")
    assert 2 <= rolls <= DATA_LIMIT + 1
    (tmp_path / "answer.yml").write_text("new")
    await answers(service, "new")
    await asyncio.sleep(1.5)  # longer than a change takes to be seen
    assert service.output.count("requested by a change of state.json") == rolls


async def test_an_api_that_writes_for_each_request(faucet: Start, tmp_path: Path) -> None:
    command = write_app(tmp_path, per_request="Path('count.json').write_text(str(time.time()))")
    service = await started(faucet, command)
    async with asyncio.timeout(40):
        while "count.json changes again" not in service.output:
            assert (await fetch(service.port, "/"))[0] == 200
            await asyncio.sleep(0.3)
    (tmp_path / "answer.yml").write_text("new")
    await answers(service, "new")


async def test_a_person_who_saves_five_times_in_a_row(faucet: Start, tmp_path: Path) -> None:
    service = await started(faucet, write_app(tmp_path))
    await watching(service, tmp_path)
    for number in range(1, 6):
        (tmp_path / "answer.yml").write_text(f"{number}")
        await answers(service, f"{number}")
    assert "changes again" not in service.output


async def test_editors_that_rename_and_a_clock_that_was_set_back(faucet: Start, tmp_path: Path) -> None:
    service = await started(faucet, write_app(tmp_path))
    await watching(service, tmp_path)
    (tmp_path / ".answer.yml.tmp").write_text("renamed")
    (tmp_path / ".answer.yml.tmp").rename(tmp_path / "answer.yml")
    await answers(service, "renamed")
    (tmp_path / ".x.tmp").write_text("of the past")
    os.utime(tmp_path / ".x.tmp", (1000, 1000))
    (tmp_path / ".x.tmp").rename(tmp_path / "answer.yml")
    await answers(service, "of the past")


async def test_links_to_files_and_to_directories(faucet: Start, tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap, and as deployments exchange a directory."""
    api, elsewhere = tmp_path / "api", tmp_path / "elsewhere"
    for directory in (api, elsewhere / "1", elsewhere / "2"):
        directory.mkdir(parents=True)
    command = write_app(api)
    (elsewhere / "answer.yml").write_text("linked")
    (api / "answer.yml").unlink()
    (api / "answer.yml").symlink_to(elsewhere / "answer.yml")
    (api / "R").symlink_to(elsewhere / "1")
    service = await started(faucet, command, "--dir", "api")
    await watching(service, api)
    (elsewhere / "answer.yml").write_text("anew")
    await answers(service, "anew")
    (elsewhere / "1" / "a.json").touch()
    await asyncio.to_thread(service.wait_line, "requested by a change of R/a.json")
    (tmp_path / "R").symlink_to(elsewhere / "2")
    (tmp_path / "R").rename(api / "R")
    await asyncio.to_thread(service.wait_line, "requested by a change of R")
    async with asyncio.timeout(20):
        while "change of R/b.json" not in service.output:
            (elsewhere / "2" / "b.json").write_text(os.urandom(4).hex())
            await asyncio.sleep(0.5)


async def test_a_link_that_is_deployed(faucet: Start, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        command = write_app(tmp_path / name)
        (tmp_path / name / "answer.yml").write_text(name)
    (tmp_path / "current").symlink_to("one")
    service = await started(faucet, command, "--dir", "current")
    await answers(service, "one")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "current")
    await answers(service, "two")


async def test_a_directory_that_is_moved_in_and_options_that_need_a_restart(faucet: Start, tmp_path: Path) -> None:
    api = tmp_path / "api"
    api.mkdir()
    service = await started(faucet, write_app(api), "--dir", "api", "--reload-exclude", "cache")
    await watching(service, api)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.sql").touch()
    (tmp_path / "new").rename(api / "queries")
    await asyncio.to_thread(service.wait_line, "requested by a change of queries/a.sql")
    await asyncio.to_thread(service.wait_line, "(is|are) replaced")
    (api / "cache").mkdir()
    (api / "cache" / "a.json").touch()
    (api / "faucet.toml").write_text("workers = 2")
    await asyncio.to_thread(service.wait_line, "take effect when Faucet is restarted")
    assert "change of cache" not in service.output
    assert "change of faucet.toml" not in service.output


async def test_plumber_apis_that_write(faucet: Start, tmp_path: Path, plumber: str) -> None:
    """One file when it starts, one for each request; and the code can still be edited."""
    code = (
        'writeLines(format(Sys.time(), "%H:%M:%OS6"), "state.json")\n'
        "#* @get /\n#* @serializer text\n"
        'function() {{ writeLines(format(Sys.time(), "%H:%M:%OS6"), "count.yml"); "{}" }}\n'
    )
    (tmp_path / "plumber.R").write_text(code.format("old"))
    service = faucet("-w", "1", "--reload", "--rscript", plumber)
    await asyncio.to_thread(service.wait_ready)
    (tmp_path / "state.json").write_text("begin")
    await asyncio.to_thread(service.wait_line, "state.json changes again after each restart", 90)
    async with asyncio.timeout(90):
        while "count.yml changes again" not in service.output:
            assert (await fetch(service.port, "/"))[0] == 200
            await asyncio.sleep(0.3)
    (tmp_path / "plumber.R").write_text(code.format("new"))
    async with asyncio.timeout(30):
        while await fetch(service.port, "/") != (200, b"new"):
            await asyncio.sleep(0.1)
