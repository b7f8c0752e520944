"""Each conversation takes place twice: in plain HTTP, and inside TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.scripted import stages


@pytest.fixture(params=["plain", pytest.param("tls", marks=pytest.mark.inside_tls)])
async def scripted(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., object]]:
    """A Proxy in this process, with workers that do what the test says.

    A test that looks at what only a plain connection has is marked with `plain_only` and the reason.
    """
    tls = request.param == "tls"
    if tls and (mark := request.node.get_closest_marker("plain_only")):
        pytest.skip(mark.args[0])
    async with stages(tls) as open_stage:
        yield open_stage
