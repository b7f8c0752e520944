"""When memory is given back: after much was in buffers, once, and in a quiet moment."""

from __future__ import annotations

import asyncio
import sys

import pytest

from faucet.proxy import trim
from faucet.proxy.trim import LEAST, TRIES, Trimmer, system_trim


class Scene:
    def __init__(self) -> None:
        self.calls = 0
        self.busy = False
        self.trimmer = Trimmer(asyncio.get_running_loop(), self._trim, lambda: self.busy)

    def _trim(self) -> None:
        self.calls += 1


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(trim, "QUIET_SECONDS", 0.01)
    return Scene()


async def test_it_trims_once_after_most_is_freed(scene: Scene) -> None:
    for used in (LEAST, 2 * LEAST, LEAST, LEAST // 4, 0):
        scene.trimmer.note(used)
    assert scene.calls == 0
    await asyncio.sleep(0.05)
    assert scene.calls == 1
    scene.trimmer.note(LEAST // 2)
    scene.trimmer.note(0)
    await asyncio.sleep(0.05)
    assert scene.calls == 1, "so little is not worth it"
    scene.trimmer.note(LEAST)
    scene.trimmer.note(0)
    await asyncio.sleep(0.05)
    assert scene.calls == 2


async def test_not_while_much_is_in_use_again(scene: Scene) -> None:
    scene.trimmer.note(2 * LEAST)
    scene.trimmer.note(0)
    scene.trimmer.note(LEAST)
    await asyncio.sleep(0.05)
    assert scene.calls == 0
    scene.trimmer.note(0)
    await asyncio.sleep(0.05)
    assert scene.calls == 1


async def test_a_busy_worker_puts_it_off_but_not_for_ever(scene: Scene) -> None:
    scene.busy = True
    scene.trimmer.note(LEAST)
    scene.trimmer.note(0)
    await asyncio.sleep(0.05)
    assert scene.calls == 0
    scene.busy = False
    await asyncio.sleep(0.05)
    assert scene.calls == 1
    scene.busy = True
    scene.trimmer.note(LEAST)
    scene.trimmer.note(0)
    async with asyncio.timeout(TRIES * 0.01 + 5):
        while scene.calls == 1:
            await asyncio.sleep(0.01)


async def test_after_the_close_nothing_happens(scene: Scene) -> None:
    scene.trimmer.note(LEAST)
    scene.trimmer.note(0)
    scene.trimmer.close()
    await asyncio.sleep(0.05)
    assert scene.calls == 0


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_the_function_of_the_system_gives_memory_back() -> None:
    import psutil

    function = system_trim()
    if function is None:
        pytest.skip("not glibc")
    process = psutil.Process()
    crowd = [bytes(100_000) + b"x" for _ in range(2000)]
    kept = crowd[::50]
    before = process.memory_info().rss
    crowd.clear()
    function()
    assert process.memory_info().rss < before - 100_000_000
    assert len(kept) == 40


def test_a_system_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: None) -> object:
        return object()

    monkeypatch.setattr("faucet.proxy.trim.ctypes.CDLL", no_library)
    assert system_trim() is None
