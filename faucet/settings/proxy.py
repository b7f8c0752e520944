"""What the proxy holds itself and others to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faucet.http1.forwarded import Trust
from faucet.settings.limit import EXAMPLE, Limit
from faucet.settings.option import KIB, LOG, MESSAGES, MIB, QUEUE, option


@dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """What the proxy holds itself and others to."""

    queue_limit: int = option(
        1024,
        "Requests that may wait in the queue; any more get 503.",
        QUEUE,
        unit="count",
        minimum=0,
        example="200",
        counts="requests",
    )
    queue_timeout: float = option(
        60.0,
        "How long a request may wait in the queue; then it gets 503. 0: no limit.",
        QUEUE,
        unit="duration",
        example="30s",
    )
    request_timeout: float = option(
        300.0,
        "From the lock to the end of the response; then the client gets 504 and the worker is restarted. 0: no limit.",
        QUEUE,
        unit="duration",
        example="10m",
        detail="A pod cannot be restarted: it stays locked, up to `--lock-grace`.",
    )
    limit: tuple[Limit, ...] = option(
        (),
        "Limit requests that match: how many are served at once, may wait, and for how long. Can be repeated; the "
        "first that matches counts.",
        QUEUE,
        unit="limit",
        shown="none",
        example=EXAMPLE,
        detail="Keys: `at-once`, `queue`, `queue-timeout`, `timeout`, `priority`. In `faucet.toml`: `[[limit]]` tables."
        " What each means: [limits.md](limits.md).",
    )
    client_timeout: float = option(
        60.0,
        "How long a client may be silent within a request, or not read its response. 0: no limit.",
        QUEUE,
        unit="duration",
        example="30s",
        detail="A sender gets 408; a reader's connection is cut. A request head has to arrive within it as a whole.",
    )
    keep_alive: float = option(
        75.0, "How long an idle client connection is kept open. 0: no limit.", QUEUE, unit="duration", example="2m"
    )
    buffer_request: int = option(
        MIB,
        "Bytes of a request body that are kept in memory; a longer one goes to a temporary file.",
        MESSAGES,
        unit="size",
        example="4MiB",
    )
    buffer_response: int = option(
        8 * MIB,
        "Bytes of a response that are kept in memory for a slow client; more of it goes to a temporary file.",
        MESSAGES,
        unit="size",
        minimum=KIB,
        example="32MiB",
    )
    spool_dir: Path | None = option(
        None,
        "Directory for temporary files with what is longer than a buffer, so that no worker waits for a client.",
        MESSAGES,
        shown="/var/tmp, or TMPDIR",
        example="/srv/spool",
        detail="A default that is in memory (tmpfs) or cannot be written is not used.",
    )
    spool_limit: int = option(
        1024 * MIB,
        "Bytes that these files may take together; beyond that, bodies and responses are streamed under the lock. "
        "0: no files.",
        MESSAGES,
        unit="size",
        example="10GiB",
    )
    retry: Literal["safe", "none", "always"] = option(
        "safe",
        "Retry a request whose worker closed the connection without a response. safe: unless it may have "
        "crashed the worker; none; always: whatever HTTP allows (GET, PUT…), once.",
        MESSAGES,
        example="none",
        detail="What each of them means for a request: [workers.md](workers.md#which-requests-are-retried).",
    )
    buffer_total: int | None = option(
        None,
        "Bytes that all request and response buffers may take together; then workers are read more slowly, "
        "and bodies wait.",
        MESSAGES,
        unit="size",
        minimum=64 * KIB,
        shown="1/16 of the memory",
        example="512MiB",
        detail="The default is at least 16 MiB and at most 1 GiB."
        " How it is shared: [operations.md](operations.md#memory-and-slow-clients).",
    )
    max_clients: int | None = option(
        None,
        "Connections of clients; beyond them idle ones are closed, or new ones get 503.",
        QUEUE,
        unit="count",
        minimum=1,
        shown="as open files allow",
        example="2000",
        counts="connections",
        detail="WebSockets count. The default is the limit of open files less 256, and 16384 at most.",
    )
    max_websockets: int = option(
        500,
        "WebSockets that may be open to each worker; another one gets 503. 0: no limit.",
        QUEUE,
        unit="count",
        minimum=0,
        example="2000",
        counts="WebSockets",
        detail="Each takes an open file of R, which has 1024 by default and refuses all requests when none is left.",
    )
    min_rate: int = option(
        240,
        "Bytes a second that a client must send of its body, or read of its response, on average over "
        "--client-timeout. 0: no limit.",
        QUEUE,
        unit="size",
        example="1KiB",
        counts="bytes a second",
        detail="With `--client-timeout 0` the average is over one minute.",
    )
    forwarded: bool = option(
        False,
        "Add X-Forwarded-For, X-Forwarded-Proto and Forwarded to requests.",
        MESSAGES,
        detail="What is added, and what is left out: [operations.md](operations.md#who-the-client-is).",
    )
    ip_from: Literal["client", "x-forwarded-for", "x-real-ip"] = option(
        "client",
        "Where the client address in the log comes from: the connection, or a header that a trusted proxy sets.",
        MESSAGES,
        example="x-forwarded-for",
        detail="A header counts only if it comes from a network in `--trust`.",
    )
    trust: Trust = option(
        Trust(),
        "Networks of proxies whose headers are believed: 10.0.0.0/8,::1; `unix`: Unix sockets.",
        MESSAGES,
        unit="trust",
        shown="nobody",
        example="10.0.0.0/8,::1",
        counts="networks",
    )
    proxy_protocol: bool = option(
        False,
        "Expect a PROXY protocol header, version 1 or 2, at the start of each connection.",
        MESSAGES,
        detail="A connection that begins with anything else is closed.",
    )
    request_id: bool = option(
        False, "Add a Faucet-Request-Uuid to requests that have none; it is in the log, too.", MESSAGES
    )
    otel_endpoint: str | None = option(
        None,
        "Send traces and metrics to this OpenTelemetry collector, by OTLP over HTTP.",
        LOG,
        unit="otlp",
        shown="off, or as OTEL_EXPORTER_OTLP_ENDPOINT says",
        example="http://localhost:4318",
        detail="It needs two packages: [operations.md](operations.md#traces-by-opentelemetry).",
    )
    max_body: int | None = option(
        None, "Longest request body; a longer one gets 413.", MESSAGES, unit="size", shown="none", example="50MiB"
    )
