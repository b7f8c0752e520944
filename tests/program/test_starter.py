"""`faucet init`: what it writes really works, and nothing is ever written over."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import requests

from faucet.cli.main import main
from faucet.templates import starter
from faucet.templates.starter import NAMES, StarterError, write_starter
from tests.support.checkout import ROOT
from tests.support.load import fetch
from tests.support.running import Faucet

Start = Callable[..., Faucet]

COMMENTED = re.compile(r"^#(?=[a-z][a-z-]* = )", re.MULTILINE)


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def uncommented() -> str:
    """faucet.toml with all options in force."""
    return COMMENTED.sub("", files("faucet.templates.starter").joinpath("faucet.toml").read_text("utf-8"))


def test_it_writes_its_files_into_a_directory_that_it_makes(tmp_path: Path) -> None:
    where = tmp_path / "new" / "api"
    assert write_starter(where) == [str(where / name) for name in NAMES]
    assert set(contents(where)) == set(NAMES)
    assert all(text.endswith("\n") for text in contents(where).values())


def test_into_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_starter(Path()) == list(NAMES)
    assert set(contents(tmp_path)) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(StarterError, match=rf"^{name} is in .* already: nothing was written"):
        write_starter(tmp_path)
    assert contents(tmp_path) == {name: "mine"}


def test_a_link_that_leads_nowhere_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "plumber.R").symlink_to(tmp_path / "elsewhere.R")
    (tmp_path / "entrypoint.R").write_text("mine")
    with pytest.raises(StarterError, match=r"^plumber.R, entrypoint.R are in"):
        write_starter(tmp_path)
    assert not (tmp_path / "elsewhere.R").exists()
    assert not (tmp_path / "faucet.toml").exists()


def test_somebody_who_is_faster_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that appears after the look, and before the writing."""
    (tmp_path / "faucet.toml").write_text("theirs")
    monkeypatch.setattr(starter, "_refuse_if_any", lambda directory: None)
    with pytest.raises(StarterError, match=r"faucet\.toml: File exists; nothing was written"):
        write_starter(tmp_path)
    assert contents(tmp_path) == {"faucet.toml": "theirs"}


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """No file may be larger than 1 KiB here, and entrypoint.R alone is smaller."""
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from faucet.templates import starter\n"
        "starter.NAMES = ('entrypoint.R', 'plumber.R', 'faucet.toml')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "try: starter.write_starter(Path(sys.argv[1]))\n"
        "except starter.StarterError as error: print(error)\n"
    )
    where = tmp_path / "a" / "b"
    words = [sys.executable, "-B", "-W", "error", "-c", code, str(where)]
    result = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=30, check=True)
    assert "nothing was written" in result.stdout, result
    assert list(tmp_path.iterdir()) == []


def test_whatever_interrupts_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = starter._write

    def interrupted(path: Path, made: list[Path]) -> None:
        write(path, made)
        if path.name == "entrypoint.R":
            raise KeyboardInterrupt

    monkeypatch.setattr(starter, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_starter(tmp_path / "api")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for where in (tmp_path / "file", tmp_path / "file" / "api"):
        with pytest.raises(StarterError, match=r"/file is a file, not a directory: nothing was written"):
            write_starter(where)
    assert contents(tmp_path) == {"file": ""}


@pytest.mark.parametrize("below", ["", "api"])
def test_what_is_no_directory_in_the_way(tmp_path: Path, below: str) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(StarterError, match=r"/link is a symbolic link to nothing \(nowhere\): nothing was written"):
        write_starter(tmp_path / "link" / below)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StarterError, match=r"/pipe is not a directory: nothing was written"):
        write_starter(tmp_path / "pipe" / below)
    assert {path.name for path in tmp_path.iterdir()} == {"link", "pipe"}


def test_names_in_other_letters_are_served_too(tmp_path: Path) -> None:
    (tmp_path / "Plumber.r").write_text("mine")
    with pytest.raises(StarterError, match=r"^Plumber.r is in .* already: nothing was written"):
        write_starter(tmp_path)
    assert contents(tmp_path) == {"Plumber.r": "mine"}


def test_a_name_that_steers_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "a\x1b[2Jb"]) == 0
    assert "\x1b" not in capsys.readouterr().out.partition("Serve it")[0]
    assert (tmp_path / "a\x1b[2Jb" / "plumber.R").is_file()


def test_each_option_in_the_file_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_starter(tmp_path)
    assert main(["config", "--dir", str(tmp_path)]) == 0
    quiet = capsys.readouterr().out
    assert not [line for line in quiet.splitlines() if line.endswith("/faucet.toml")], "nothing is set to begin with"
    path = tmp_path / "all.toml"
    path.write_text(uncommented())
    assert main(["config", "--config", str(path)]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.endswith(str(path))]
    names = re.findall(r"^([a-z-]+) = ", uncommented(), re.MULTILINE)
    assert sorted(line.split()[0] for line in shown) == sorted(names)
    assert len(names) == len(set(names)) > 10


def test_the_examples_are_not_the_defaults(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An option that changes nothing when it is uncommented explains nothing."""
    assert main(["config", "--dir", str(tmp_path)]) == 0
    before = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    (tmp_path / "faucet.toml").write_text(uncommented())
    assert main(["config", "--dir", str(tmp_path)]) == 0
    after = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    for name in re.findall(r"^([a-z-]+) = ", uncommented(), re.MULTILINE):
        assert before[name].split()[0] != after[name].split()[0], name


async def test_it_serves(plumber: str, faucet: Start, tmp_path: Path) -> None:
    """All files, with all options in force but what is for writing it."""
    where = tmp_path / "api"
    write_starter(where)
    path = where / "faucet.toml"
    path.write_text(re.sub(r"^(reload|log-level|log-format) = .*\n", "", uncommented(), flags=re.MULTILINE))
    service = faucet("--dir", "api", "--rscript", plumber).wait_ready()
    assert "(entrypoint.R)" in service.output
    status, body = await fetch(service.port, "/health")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert await fetch(service.port, "/hello?name=you") == (200, b'{"hello":"you"}')
    url = f"http://127.0.0.1:{service.port}/mean"
    assert requests.post(url, json={"x": [1, 2, 6]}, timeout=10).json() == {"mean": 3, "n": 3}
    refused: list[dict[str, list[str]]] = [{"x": ["a"]}, {"x": []}, {}]
    for wrong in refused:
        answer = requests.post(url, json=wrong, timeout=10)
        assert (answer.status_code, answer.json()) == (400, {"error": "x must be a list of numbers"})
    assert service.stop() == 0


async def test_plumber_r_alone_serves_too(plumber: str, faucet: Start, tmp_path: Path) -> None:
    write_starter(tmp_path)
    (tmp_path / "entrypoint.R").unlink()
    service = faucet("-w", "1", "--rscript", plumber, "--health-path", "/health").wait_ready()
    assert "(plumber.R)" in service.output
    assert (await fetch(service.port, "/hello"))[1] == b'{"hello":"world"}'


def test_its_entrypoint_survives_what_kubernetes_sets(plumber: str, tmp_path: Path) -> None:
    """A service called faucet sets FAUCET_PORT=tcp://…; without Faucet, the file is still run on port 8000."""
    write_starter(tmp_path)
    code = """
      pr <- function(...) NULL
      pr_run <- function(pr, host, port) cat(sprintf("port=%s", port))
      for (line in parse("entrypoint.R")[-1]) eval(line)
    """
    for value, port in (("tcp://10.0.0.1:80", "8000"), ("9123", "9123"), (None, "8000")):
        environment = {name: text for name, text in os.environ.items() if name != "FAUCET_PORT"}
        if value is not None:
            environment["FAUCET_PORT"] = value
        script = f"library(magrittr);{code}"
        words = [plumber, "-e", script]
        said = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert said.stdout == f"port={port}"
        assert said.stderr == ""
