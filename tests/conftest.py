"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import cluster as cluster  # noqa: PLC0414
from tests.support.needs import need
from tests.support.quiet import room
from tests.support.running import Faucet

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling


sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""It is set in many containers. Then each process would compile all test files, with pytest's changes in them, and each
of the hundreds of programs that tests start would compile Faucet."""

gc.disable()
"""Until all tests are collected: hundreds of modules are loaded, of which nothing is garbage, and each of six
processes would look through them again and again. What is there then is never looked at any more (`gc.freeze`)."""


def pytest_collection_finish() -> None:
    """All tests are collected."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs R (`-m r`) and a cluster; let what is long begin first, and quiet tests last.

    A long test that begins last keeps one process busy and the others idle. A quiet one between others would wait until
    all that run have ended.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "plumber" in fixtures:
            item.add_marker("r")
        if "cluster" in fixtures:
            item.add_marker("cluster")
    if "PYTEST_XDIST_WORKER" in os.environ:
        spread(items)
    items.sort(key=lambda item: ("quiet" in item.keywords) - ("slow" in item.keywords))


def spread(items: list[pytest.Item]) -> None:
    """Mix the files, each evenly over the whole run. Files of which all tests wait would leave the processors idle, and
    those of which all compute would delay each other."""
    sizes = Counter(item.path for item in items)
    begun: Counter[Path] = Counter()
    places = {}
    for item in items:
        begun[item.path] += 1
        places[item] = (begun[item.path] - 0.5) / sizes[item.path]
    items.sort(key=places.__getitem__)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """With several processes, let each take the next test when it is free."""
    from tests.support.scheduling import Scheduling

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With several processes (`-n 2`), let a quiet test run alone. The wait is no part of any test's own time limit."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with room(quiet=item.get_closest_marker("quiet") is not None):
        return (yield)


@pytest.fixture(scope="session")
def plumber() -> str:
    """The Rscript of an R with the plumber package."""
    rscript = shutil.which("Rscript")
    need(rscript is not None, "R")
    assert rscript is not None
    probe = [rscript, "-e", 'quit(status = !requireNamespace("plumber", quietly = TRUE))']
    need(subprocess.run(probe, capture_output=True, check=False).returncode == 0, "the R package plumber")
    return rscript


@pytest.fixture(scope="session", autouse=True)
def runtime_directory() -> Iterator[Path]:
    """Control sockets of tests are apart from those of the user. The path is short: sockets have 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="fct-") as path:
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = path
        yield Path(path)
        for left in Path(path).glob("faucet/*"):  # by runtimes that got SIGKILL
            with socket.socket(socket.AF_UNIX) as probe, pytest.raises(ConnectionRefusedError):
                probe.connect(str(left))
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before


@pytest.fixture(scope="session", autouse=True)
def no_memory() -> None:
    """No monitor remembers the layout of the one before, nor changes that of the user."""
    os.environ["XDG_STATE_HOME"] = "/dev/null"


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """A Log takes the loggers for itself: after each test they are as they were."""
    both = [logging.getLogger(name) for name in ("faucet", "asyncio")]
    before = [([*logger.handlers], logger.propagate, logger.level) for logger in both]
    yield
    for logger, (handlers, propagate, level) in zip(both, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def tool() -> Callable[[str], str]:
    """The path of an installed program."""

    def find(name: str) -> str:
        path = shutil.which(name)
        need(path is not None, name)
        assert path is not None
        return path

    return find


@pytest.fixture
def faucet(tmp_path: Path) -> Iterator[Callable[..., Faucet]]:
    """Starts the real program, as a user would; ends it after the test, and looks that nothing is left of it."""
    running: list[Faucet] = []

    def start(*arguments: str, **options: object) -> Faucet:
        process = Faucet(tmp_path, *arguments, **options)  # type: ignore[arg-type]
        running.append(process)
        return process

    yield start
    for process in running:
        process.close()


@pytest.fixture
async def scripted() -> AsyncIterator[Callable[..., object]]:
    """A Proxy in this process, with workers that do what the test says."""
    from tests.support.scripted import stages

    async with stages() as open_stage:
        yield open_stage
