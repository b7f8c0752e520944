"""Each conversation takes place twice: in plain HTTP, and inside TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.scripted import Stage, tls_of_localhost


@pytest.fixture(params=["plain", pytest.param("tls", marks=pytest.mark.inside_tls)])
async def scripted(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., object]]:
    """A Proxy in this process, with workers that do what the test says.

    A test that looks at what only a plain connection has is marked with `plain_only` and the reason.
    """
    tls = request.param == "tls"
    if tls and (mark := request.node.get_closest_marker("plain_only")):
        pytest.skip(mark.args[0])
    stages: list[Stage] = []

    async def open_stage(workers: int = 1, **settings: object) -> Stage:
        stage = Stage(**settings)
        if tls:
            stage.tls = tls_of_localhost()
        stages.append(stage)
        await stage.open(workers)
        return stage

    yield open_stage
    for stage in stages:
        await stage.close()
