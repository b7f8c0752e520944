"""Warm-up (`--warmup`): requests that a new worker answers before it serves clients, so the first client need not wait.

They are sent one after the other before the worker is added to the proxy, so no client's request can be in the worker
at the same time. A worker that fails one counts as one that could not start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from faucet import pauses
from faucet.http1 import BadResponse
from faucet.settings import Warmup
from faucet.text import visible
from faucet.units import format_duration
from faucet.workers.asking import Answered, ask

SHOWN = 300
"""Characters of a bad answer that are shown."""

Log = logging.LoggerAdapter[logging.Logger]


class WarmupFailed(Exception):
    """The worker did not answer as it should. The text says how, with the worker as its subject."""


async def warm_up(requests: Sequence[Warmup], directory: Path, host: str, port: int, seconds: float, log: Log) -> None:
    """Send all of `requests` within `seconds` in total. Raises WarmupFailed."""
    asked_for = ""
    try:
        async with pauses.timeout(seconds):
            for request in requests:
                asked_for = request.line
                await _ask_for(request, directory, host, port, log)
    except TimeoutError as error:
        within = format_duration(seconds)
        raise WarmupFailed(f"did not answer {asked_for}, its warm-up, within {within} (--startup-timeout)") from error


async def _ask_for(request: Warmup, directory: Path, host: str, port: int, log: Log) -> None:
    body = await _body(request, directory)
    asked = monotonic()
    try:
        answer = await ask(host, port, request.method, request.request(body))
    except (OSError, BadResponse) as error:
        why = str(error) or type(error).__name__
        raise WarmupFailed(f"did not answer {request.line}, its warm-up: {why}") from error
    if not answer.good:
        raise WarmupFailed(f"answered {request.line}, its warm-up, with {described(answer)}")
    log.info("warm-up %s: %d after %s", request.line, answer.status, format_duration(monotonic() - asked))


async def _body(request: Warmup, directory: Path) -> bytes:
    """Return the body of a request, read from its file. Raises WarmupFailed."""
    if request.body is None:
        return b""
    try:
        return await asyncio.to_thread((directory / request.body).read_bytes)
    except OSError as error:
        raise WarmupFailed(f"has no body for {request.line}, its warm-up: {error.strerror}: {request.body}") from error


def described(answer: Answered) -> str:
    """Return status and content of an answer in one line: `500: {"error":"no model"}`."""
    text = " ".join(answer.content.decode("utf-8", "replace").split())
    if len(text) > SHOWN:
        text = text[:SHOWN] + "…"
    return f"{answer.status}: {visible(text)}" if text else str(answer.status)


def missing_files(requests: Sequence[Warmup], directory: Path) -> list[Path]:
    """Return the files named as request bodies that do not exist."""
    paths = [directory / request.body for request in requests if request.body is not None]
    return [path for path in paths if not path.is_file()]
