"""Health checks: ask each worker at intervals, while it is idle. A check holds the lock, as a request does."""

from __future__ import annotations

import asyncio

from faucet import pauses
from faucet.http1 import BadResponse
from faucet.net.descriptors import is_shortage
from faucet.proxy.server import Proxy
from faucet.proxy.upstream import Backend
from faucet.workers.asking import ask
from faucet.workers.causes import Cause, Reason
from faucet.workers.context import Context, SlotLog
from faucet.workers.health_lock import Check
from faucet.workers.instance import Instance

HEALTH_TIMEOUT = 10.0
"""Seconds within which an idle worker must answer; otherwise it is hung."""

AGAIN_AFTER = 1.0
"""Seconds before the check of a worker that has just become ready, or was busy when its check was due."""

FAILURES_LIMIT = 3
"""Failed health checks in a row after which a worker is unhealthy."""


class Hung(Exception):
    """The worker did not answer, so it is still busy or stuck."""


class Unhealthy(Exception):
    """The worker answered with an error, or not in HTTP."""


async def watch_health(instance: Instance, context: Context, log: SlotLog) -> None:
    """Check the health of `instance` for as long as it lives; set its `healthy`, and kill it if it is hung.

    The interval counts from the end of a check: one that takes longer must not hold the worker all the time.
    """
    pause, failures = AGAIN_AFTER, 0
    while not await _exits_within(instance, pause):
        pause = AGAIN_AFTER
        try:
            if not instance.in_service or instance.backend is None:
                continue
            if not await check(context.proxy, instance.backend, context.settings.health_path):
                continue
            failures = 0
        except Hung as error:
            log.warning("%s; it is killed and replaced", error)
            instance.kill(Cause(Reason.HUNG, "it did not answer its health check"))
        except Unhealthy as error:
            failures += 1
            log.warning("unhealthy, %d of %d: %s", failures, FAILURES_LIMIT, error)
        instance.healthy = failures < FAILURES_LIMIT
        pause = context.settings.health_interval


async def _exits_within(instance: Instance, seconds: float) -> bool:
    await asyncio.wait([instance.exited], timeout=seconds)
    return instance.exited.done()


async def check(proxy: Proxy, backend: Backend, path: str, timeout: float = HEALTH_TIMEOUT) -> bool:
    """Request `path` from an idle worker. Return False if it was not idle, or has gone meanwhile.

    Raises Unhealthy if it does not answer with 2xx or 3xx. Raises Hung if it does not answer at all; its lock is not
    given back then, but taken away with it, since it is still at work.
    """
    ticket = Check(path)
    if not proxy.pool.take(backend, ticket):
        return False
    ticket.asking = asyncio.ensure_future(ask(backend.host, backend.port, "GET", _request(path)))
    try:
        async with pauses.timeout(timeout):
            answer = await ticket.asking
    except TimeoutError as error:
        proxy.pool.remove(backend)
        raise Hung(f"did not answer GET {path} within {timeout:g} s") from error
    except (OSError, BadResponse) as error:
        if ticket.lease is None:
            return False
        if is_shortage(error):
            proxy.pool.descriptors.note("health check")
            return False
        raise Unhealthy(f"GET {path}: {str(error) or type(error).__name__}") from error
    finally:
        if ticket.lease is not None:
            proxy.pool.release(ticket.lease)
    if not answer.good:
        raise Unhealthy(f"GET {path} was answered with {answer.status}")
    return True


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
