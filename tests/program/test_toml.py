"""faucet.toml: what is in force, and what is said of a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faucet.cli.toml import ConfigError
from faucet.settings import parse_span
from tests.support.checkout import ROOT
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")


def faucet_says(directory: Path, *words: str, code: int = 0, **variables: str) -> str:
    """Run `faucet …` in a directory; what it says."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-m", "faucet", *words], cwd=directory, env=environment,
                          capture_output=True, text=True, check=False, timeout=30)  # fmt: skip
    assert done.returncode == code, done
    return done.stdout + done.stderr


def test_flag_then_variable_then_file_then_default(tmp_path: Path) -> None:
    (tmp_path / "faucet.toml").write_text(
        'workers = "2..4"\nqueue_limit = 7\nqueue-timeout = "5s"\nreload = true\nmax-body = "1MiB"\n'
        '[keys]\nquit = "x"\n'
    )
    text = faucet_says(tmp_path, "config", "--queue-timeout", "9s", FAUCET_QUEUE_LIMIT="8", FAUCET_QUEUE_TIMEOUT="7s")
    values = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert values["queue-timeout"] == ["9s", "--queue-timeout"]
    assert values["queue-limit"] == ["8", "FAUCET_QUEUE_LIMIT"]
    assert values["workers"] == ["2..4", "faucet.toml"]
    assert values["reload"] == ["True", "faucet.toml"]
    assert values["max-body"] == ["1MiB", "faucet.toml"]
    assert values["keys"] == ["quit=x", "faucet.toml"]
    assert values["keep-alive"] == ["75s", "default"]
    other = tmp_path / "sub"
    other.mkdir()
    assert "2..4" in faucet_says(other, "config", "--dir", "..")
    assert "2..4" in faucet_says(other, "config", "--config", "../faucet.toml")
    assert "2..4" not in faucet_says(other, "config")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wrokers = 3", "faucet.toml: unknown option wrokers; did you mean workers?"),
        ("workers = 0", "invalid number of workers '0'"),
        ('queue-timeout = "soon"', "invalid duration 'soon'"),
        ("workers = [1, 2]", "faucet.toml: workers must be a single value"),
        ("workers = ", "faucet.toml cannot be read"),
        ('config = "x"', "unknown option config"),
        ('health-path = "health"', "invalid path 'health'; expected one like /health"),
        ("refresh = nan", "must be at least"),
        ("queue-limit = 1.5", "invalid number '1.5'; expected a whole number"),
        ("queue-limit = -1", "must be at least 0"),
        ("queue-limit = 1\nqueue_limit = 2", "queue-limit is there twice"),
        ('[keys]\nquit = ["a"]', "keys must be a single value"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "faucet.toml").write_text(text)
    assert said in faucet_says(tmp_path, "local", "--command", "true", code=2)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    assert "there is no file nowhere.toml" in faucet_says(tmp_path, "--config", "nowhere.toml", code=2)


def test_the_file_is_in_force(faucet: Start, tmp_path: Path) -> None:
    (tmp_path / "faucet.toml").write_text(f'command = "{COUNTING}"\nworkers = 1\n')
    assert "with 1 worker" in faucet().wait_ready().output


def test_spans() -> None:
    assert parse_span("4") == (4, 4)
    assert parse_span("2..8") == (2, 8)
    for text in ("", "0", "3..2", "1..", "..2", "1..2000", "x", "1.2", "-1", "٣"):
        with pytest.raises(ValueError, match="number of workers"):
            parse_span(text)
    assert str(ConfigError("x")) == "x"
