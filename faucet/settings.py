"""Each option once: its name, default, unit, range and help.

The command line, the environment variables and the help texts are made from these dataclasses (`cli/parameters.py`);
the rest of the program only reads them. A field `queue_limit` is the flag `--queue-limit` and the variable
FAUCET_QUEUE_LIMIT. Values are parsed once, by the command line: an address is an Address here, not its text.
Standard library only, since the proxy reads them too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from faucet.http1.forwarded import Trust
from faucet.net.address import DEFAULT_PORT, Address, UnixAddress
from faucet.net.service_url import ServiceUrl
from faucet.ssh.target import Target

Unit = Literal[
    "duration",
    "size",
    "address",
    "keys",
    "span",
    "target",
    "url",
    "dns",
    "ssh",
    "trust",
    "admin",
    "count",
    "api",
    "directory",
    "globs",
    "names",
    "signal",
    "plain",
]


@dataclass(frozen=True, slots=True)
class Option:
    """What the command line has to know of a field."""

    help: str
    group: str
    unit: Unit = "plain"
    example: str = ""
    """A value, as it is written on the command line. Switches have none."""
    counts: str = ""
    """What a number counts: `requests`, `bytes a second`."""
    detail: str = ""
    """What docs/reference.md says besides, in Markdown. `--help` leaves it out."""
    short: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    positional: Literal["no", "only", "also"] = "no"
    """Whether it is given as a word without a flag: `also` means that it has a flag, too."""
    negative: str | None = None
    """The flag that turns it off, where it is on by default."""
    shown: str | None = None
    """The default as help shows it, where the value itself would not tell."""


def _option(default: Any, help: str, group: str, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(help, group, **more)})


QUEUE, MESSAGES, WORKERS, SERVICE = "Queue and time limits", "Messages", "Workers", "Service"
LOG, MONITOR = "Log", "Monitor"
PODS, SSH = "Pods", "Through SSH"

KIB, MIB = 1 << 10, 1 << 20

MOST_WORKERS = 1000

CONFIG_NAME = "faucet.toml"
"""The file with options in the directory of an API."""

ACTIONS = (
    "details", "restart", "rolling-restart", "scale-up", "scale-down", "hold", "kill", "drop", "retry",
    "filter", "follow", "only", "source", "wrap", "mark", "clear", "copy", "save", "sort", "pause",
    "log", "requests", "queue", "events", "lanes", "endpoints", "longer", "shorter", "help", "quit",
)  # fmt: skip
"""What keys can be given to. The same as in the monitor, which is too heavy to be asked."""


@dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """What the proxy holds itself and others to."""

    queue_limit: int = _option(
        1024,
        "Requests that may wait in the queue; any more get 503.",
        QUEUE,
        unit="count",
        minimum=0,
        example="200",
        counts="requests",
    )
    queue_timeout: float = _option(
        60.0,
        "How long a request may wait in the queue; then it gets 503. 0: no limit.",
        QUEUE,
        unit="duration",
        example="30s",
    )
    request_timeout: float = _option(
        300.0,
        "From the lock to the end of the response; then the client gets 504 and the worker is restarted. 0: no limit.",
        QUEUE,
        unit="duration",
        example="10m",
        detail="A pod cannot be restarted: it stays locked, up to `--lock-grace`.",
    )
    client_timeout: float = _option(
        60.0,
        "How long a client may be silent within a request, or not read its response. 0: no limit.",
        QUEUE,
        unit="duration",
        example="30s",
        detail="A sender gets 408; a reader's connection is cut. A request head has to arrive within it as a whole.",
    )
    keep_alive: float = _option(
        75.0, "How long an idle client connection is kept open. 0: no limit.", QUEUE, unit="duration", example="2m"
    )
    buffer_request: int = _option(
        MIB,
        "Bytes of a request body that are kept in memory; a longer one goes to a temporary file.",
        MESSAGES,
        unit="size",
        example="4MiB",
    )
    buffer_response: int = _option(
        8 * MIB,
        "Bytes of a response that are kept in memory for a slow client; more of it goes to a temporary file.",
        MESSAGES,
        unit="size",
        minimum=KIB,
        example="32MiB",
    )
    spool_dir: Path | None = _option(
        None,
        "Directory for temporary files with what is longer than a buffer, so that no worker waits for a client.",
        MESSAGES,
        shown="/var/tmp, or TMPDIR",
        example="/srv/spool",
        detail="A default that is in memory (tmpfs) or cannot be written is not used.",
    )
    spool_limit: int = _option(
        1024 * MIB,
        "Bytes that these files may take together; beyond that, bodies and responses are streamed under the lock. "
        "0: no files.",
        MESSAGES,
        unit="size",
        example="10GiB",
    )
    retry: Literal["safe", "none", "always"] = _option(
        "safe",
        "Retry a request whose worker closed the connection without a response. safe: unless it may have "
        "crashed the worker; none; always: whatever HTTP allows (GET, PUT…), once.",
        MESSAGES,
        example="none",
        detail="What each of them means for a request: [workers.md](workers.md#which-requests-are-retried).",
    )
    buffer_total: int | None = _option(
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
    max_clients: int | None = _option(
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
    min_rate: int = _option(
        240,
        "Bytes a second that a client must send of its body, or read of its response, on average over "
        "--client-timeout. 0: no limit.",
        QUEUE,
        unit="size",
        example="1KiB",
        counts="bytes a second",
        detail="With `--client-timeout 0` the average is over one minute.",
    )
    forwarded: bool = _option(
        False,
        "Add X-Forwarded-For, X-Forwarded-Proto and Forwarded to requests.",
        MESSAGES,
        detail="What is added, and what is left out: [operations.md](operations.md#who-the-client-is).",
    )
    ip_from: Literal["client", "x-forwarded-for", "x-real-ip"] = _option(
        "client",
        "Where the client address in the log comes from: the connection, or a header that a trusted proxy sets.",
        MESSAGES,
        example="x-forwarded-for",
        detail="A header counts only if it comes from a network in `--trust`.",
    )
    trust: Trust = _option(
        Trust(),
        "Networks of proxies whose headers are believed: 10.0.0.0/8,::1; `unix`: Unix sockets.",
        MESSAGES,
        unit="trust",
        shown="nobody",
        example="10.0.0.0/8,::1",
        counts="networks",
    )
    proxy_protocol: bool = _option(
        False,
        "Expect a PROXY protocol header, version 1 or 2, at the start of each connection.",
        MESSAGES,
        detail="A connection that begins with anything else is closed.",
    )
    request_id: bool = _option(
        False, "Add a Faucet-Request-Uuid to requests that have none; it is in the log, too.", MESSAGES
    )
    max_body: int | None = _option(
        None, "Longest request body; a longer one gets 413.", MESSAGES, unit="size", shown="none", example="50MiB"
    )


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What is written, how, and where to."""

    log_level: Literal["debug", "info", "warning", "error"] = _option(
        "info", "Least important lines to write. Requests and the output of workers are `info`.", LOG, example="warning"
    )
    log_format: Literal["text", "json"] = _option(
        "text", "`text` for people, or `json`: one object a line.", LOG, example="json"
    )
    log_file: Path | None = _option(
        None,
        "Append the log to this file. SIGUSR1 reopens it.",
        LOG,
        shown="standard error",
        example="/var/log/faucet/faucet.log",
        detail="The directory has to exist.",
    )
    log_max_size: int = _option(
        0, "Rotate the log file at this size: FILE.1, FILE.2, … 0: never.", LOG, unit="size", example="10MiB"
    )
    log_keep: int = _option(
        5, "Rotated log files that are kept.", LOG, unit="count", minimum=0, example="10", counts="files"
    )
    log_redact: tuple[str, ...] = _option(
        (),
        "Hide the values of these query parameters in the log: `token,api_key` makes `/x?token=***`. Repeat it, or "
        "separate names by commas.",
        LOG,
        unit="names",
        shown="none",
        example="token,api_key",
    )


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    """How the monitor looks and behaves."""

    refresh: float = _option(
        2.0,
        "Updates of the screen a second.",
        MONITOR,
        minimum=0.1,
        maximum=10,
        shown="2",
        example="4",
        counts="updates a second",
    )
    slow: float = _option(
        10.0, "Highlight a lock that has been held for longer.", MONITOR, unit="duration", example="30s"
    )
    confirm: bool = _option(True, "Ask before killing a worker, and before leaving.", MONITOR, negative="--no-confirm")
    keys: Mapping[str, str] | None = _option(
        None,
        "Other keys for actions, e.g. `restart=f5,quit=x`; ctrl+p shows the names of all actions.",
        MONITOR,
        unit="keys",
        shown="none",
        example="restart=f5,quit=x",
        detail="In `faucet.toml` it may also be a table, `[keys]`.",
    )


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ProxySettings, LogSettings, MonitorSettings):
    """What every way of serving has."""

    host: tuple[Address | UnixAddress, ...] = _option(
        (Address("127.0.0.1", DEFAULT_PORT),),
        "Address to listen on: `:8080` (all interfaces), `localhost:80` (both its addresses), `[::1]:3838`, "
        "port 0 (any), `unix:/run/faucet.sock?mode=660`. Can be repeated.",
        SERVICE,
        unit="address",
        shown="127.0.0.1:3838, or systemd's sockets",
        example=":8080",
        detail="A name stands for all its addresses on this machine: [operations.md](operations.md#where-it-listens).",
    )
    admin: Address | None = _option(
        None,
        "Serve /livez, /readyz, /metrics and /status on this address, e.g. 127.0.0.1:3839.",
        SERVICE,
        unit="admin",
        shown="off",
        example="127.0.0.1:3839",
        detail="These pages answer while every worker is busy.",
    )
    admin_names: tuple[str, ...] = _option(
        (),
        "Other host names under which the admin pages answer. Addresses, this machine's name, names without a"
        " dot and `.local`, `.internal`, `.svc` always work. `*`: any name.",
        SERVICE,
        unit="names",
        shown="its own",
        example="metrics.example.com",
    )
    endpoint_metrics: bool = _option(
        True,
        "Count requests by endpoint on /metrics: at most 100 endpoints, with numbers and ids folded.",
        SERVICE,
        negative="--no-endpoint-metrics",
    )
    config: Path | None = _option(
        None,
        "File with options: the same names, in TOML.",
        SERVICE,
        shown="faucet.toml in the directory",
        example="/etc/faucet/my-api.toml",
    )
    shutdown_timeout: float = _option(
        30.0,
        "How long requests in flight may take at shutdown.",
        SERVICE,
        unit="duration",
        example="2m",
        detail="Give systemd, Docker or Kubernetes more time than this before they send SIGKILL.",
    )
    control: str | None = _option(
        None,
        "Path of the control socket, for `faucet attach` and `faucet ctl`. `none`: no control socket.",
        SERVICE,
        shown="in your runtime directory, by port",
        example="/run/faucet/my-api.sock",
    )
    headless: bool = _option(False, "Serve without the monitor.", SERVICE)


class Span(NamedTuple):
    """How many workers there may be."""

    least: int
    most: int

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}..{self.most}"


def parse_span(text: str) -> Span:
    """`4`, or `2..8`. Raises ValueError."""
    least, dots, most = text.strip().partition("..")
    if not (least.isascii() and least.isdigit() and (most.isascii() and most.isdigit() if dots else True)):
        raise ValueError(f"{text!r} is no number of workers: write 4, or 2..8")
    span = Span(int(least), int(most if dots else least))
    if not 1 <= span.least <= span.most <= MOST_WORKERS:
        raise ValueError(f"{text!r} is no number of workers: from 1 to {MOST_WORKERS}, the smaller one first")
    return span


class PackageApi(NamedTuple):
    """An API in an installed R package."""

    package: str
    name: str

    def __str__(self) -> str:
        return f"{self.package}::{self.name}"


_API = re.compile(r"([A-Za-z][A-Za-z0-9.]*)::([^:\s]+)")


def parse_api(text: str) -> PackageApi:
    """Return package and name of `PKG::NAME`. Raises ValueError."""
    match = _API.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} does not name an API in a package; expected PACKAGE::NAME, e.g. plumber::01-append")
    return PackageApi(match[1], match[2])


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How many local workers there are, and how each is started."""

    workers: Span | None = _option(
        None,
        "Number of workers; `2..8`: between 2 and 8, as needed.",
        WORKERS,
        unit="span",
        short="-w",
        shown="CPUs of this process",
        example="4",
        counts="workers",
        detail="The default counts CPU affinity and the quota of the cgroup.",
    )
    scale_up_after: float = _option(
        1.0,
        "With `-w 2..8`: start another worker when a request has been queued for this long.",
        WORKERS,
        unit="duration",
        example="500ms",
    )
    scale_down_after: float = _option(
        60.0,
        "With `-w 2..8`: end a worker when not all were needed for this long.",
        WORKERS,
        unit="duration",
        minimum=1,
        example="5m",
    )
    roll_batch: int = _option(
        1,
        "Workers that a rolling restart replaces at the same time.",
        WORKERS,
        unit="count",
        minimum=1,
        example="2",
        counts="workers",
    )
    max_requests: int = _option(
        0,
        "Replace a worker that has served this many requests. 0: never.",
        WORKERS,
        unit="count",
        minimum=0,
        example="10000",
        counts="requests",
        detail="One worker at a time, and never while more requests wait than there are workers.",
    )
    max_age: float = _option(0.0, "Replace a worker of this age. 0: never.", WORKERS, unit="duration", example="24h")
    max_rss: int = _option(
        0, "Replace a worker whose process has this much memory. 0: never.", WORKERS, unit="size", example="1GiB"
    )
    health_path: str = _option(
        "",
        "Check idle workers with a GET of this path, e.g. /health; three failures in a row replace a worker.",
        WORKERS,
        unit="target",
        shown="none",
        example="/health",
        detail="The check takes the worker's lock, so it never runs beside a request.",
    )
    health_interval: float = _option(
        10.0, "Time between two health checks of a worker.", WORKERS, unit="duration", minimum=1, example="30s"
    )
    reload: bool = _option(
        False,
        "Rolling restart when code in the directory changes.",
        WORKERS,
        detail="It needs the package watchfiles. Which files count: [workers.md](workers.md#reload).",
    )
    reload_include: tuple[str, ...] = _option(
        (),
        "With --reload: other files that count: `*.txt`, `models/*.rds`. Can be repeated, or separated by commas.",
        WORKERS,
        unit="globs",
        shown="none",
        example="models/*.rds",
    )
    reload_exclude: tuple[str, ...] = _option(
        (),
        "With --reload: files and directories that do not count: `state.json`, `cache/`. Can be repeated, or "
        "separated by commas.",
        WORKERS,
        unit="globs",
        shown="none",
        example="cache/,state.json",
    )
    log_worker_rate: int = _option(
        1000,
        "Lines that a worker may log a second. Of any more, a sample is kept and the rest counted; the "
        "worker's output is read more slowly. 0: all lines are kept.",
        LOG,
        unit="count",
        minimum=0,
        example="5000",
        counts="lines a second",
    )
    child_port: int = _option(
        0,
        "First port of the workers; worker i gets the i-th. 0: free ports. plumber takes 1024 to 49151.",
        WORKERS,
        unit="count",
        minimum=0,
        maximum=65535,
        example="21000",
        counts="port",
        detail="By default, free ports from 20000 to 32767. While a worker is replaced, its successor takes a "
        "port behind those of all workers.",
    )
    startup_timeout: float = _option(
        60.0,
        "How long a worker may take until it listens; then it is stopped and started again.",
        WORKERS,
        unit="duration",
        minimum=0.1,
        example="3m",
    )
    stop_signal: str = _option(
        "auto",
        "Signal that asks a worker to end: INT, TERM, QUIT, HUP, USR1, USR2. auto: INT for R, which then runs"
        " its exit hooks; TERM for other programs.",
        WORKERS,
        unit="signal",
        example="TERM",
        detail="What follows if the worker does not end: [workers.md](workers.md#how-a-worker-ends).",
    )
    max_restarts: int = _option(
        5,
        "Failed starts in a row after which a worker is started only once a minute.",
        WORKERS,
        unit="count",
        minimum=1,
        example="10",
        counts="failed starts",
    )
    keep_trying: bool = _option(False, "Keep running if no worker can be started at first.", WORKERS)
    rscript: str = _option(
        "Rscript",
        "Rscript to run R with; a path is relative to where you start Faucet.",
        WORKERS,
        example="/opt/R/4.4.1/bin/Rscript",
    )


@dataclass(frozen=True, kw_only=True)
class DemoSettings(ServeSettings, WorkerSettings):
    """`faucet demo`: what any service with local workers needs to know."""


@dataclass(frozen=True, kw_only=True)
class LocalSettings(DemoSettings):
    """`faucet local`."""

    dir: Path = _option(
        Path(),
        "Directory of the API.",
        SERVICE,
        unit="directory",
        short="-d",
        positional="also",
        shown=".",
        example="my-api",
        detail="`faucet my-api` is `faucet --dir my-api`. A command of that name wins: `faucet ./demo`.",
    )
    command: str | None = _option(
        None,
        "Program that serves HTTP on the port in FAUCET_PORT; `{port}` is replaced; no shell.",
        WORKERS,
        shown="entrypoint.R, else plumber.R, else _server.yml",
        example="python3 app.py {port}",
        detail="No shell is used: `sh -c '…'` starts one.",
    )
    api: PackageApi | None = _option(
        None,
        "Serve an API of an installed R package: PACKAGE::NAME, as plumber::plumb_api() finds it.",
        WORKERS,
        unit="api",
        shown="what is in the directory",
        example="plumber::01-append",
    )


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """Which pods there are, and how they are reached."""

    service_url: ServiceUrl | None = _option(
        None,
        "URL of the headless service: http://plumber:8000; https, too. Without a port: as its SRV records or "
        "EndpointSlices say.",
        PODS,
        unit="url",
        shown="required",
        example="http://plumber:8000",
    )
    resolve: Literal["auto", "dns", "kubernetes"] = _option(
        "auto",
        "How pods are found: by DNS, or by the Kubernetes API. auto: the API inside a cluster.",
        PODS,
        example="dns",
        detail="What follows from each: [kubernetes.md](kubernetes.md#where-the-pods-come-from).",
    )
    dns: Address | None = _option(
        None,
        "DNS server to use: an address, or address:port.",
        PODS,
        unit="dns",
        shown="as the system does",
        example="10.96.0.10",
    )
    resolve_interval: float = _option(
        5.0,
        "Time between two DNS queries; shorter if the answer's TTL is shorter.",
        PODS,
        unit="duration",
        minimum=1,
        example="10s",
    )
    connect_timeout: float = _option(
        2.0, "How long a pod may take to accept a connection.", PODS, unit="duration", minimum=0.1, example="5s"
    )
    lock_grace: float = _option(
        60.0,
        "How long a pod stays locked that may still be computing a response that no client waits for.",
        PODS,
        unit="duration",
        example="5m",
    )
    ca_file: Path | None = _option(
        None,
        "https: file of CA certificates to trust, in PEM.",
        PODS,
        shown="the system's CAs",
        example="/etc/faucet/ca.pem",
    )
    insecure_skip_verify: bool = _option(False, "https: accept any certificate.", PODS)


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """Whether to go through a bastion, and how to log in there."""

    via_ssh: tuple[Target, ...] = _option(
        (),
        "Connect through SSH to this host, a bastion or where Faucet runs: [user@]host[:port]. Can be "
        "repeated: the next one is used if that fails.",
        SSH,
        unit="ssh",
        shown="none",
        example="ops@bastion",
    )
    ssh_config: Path | None = _option(
        None, "SSH client configuration to read.", SSH, shown="~/.ssh/config", example="~/.ssh/config-work"
    )
    ssh_key: Path | None = _option(
        None, "Private key to log in with.", SSH, shown="as the config says", example="~/.ssh/id_deploy"
    )
    ssh_known_hosts: Path | None = _option(
        None, "File of trusted host keys.", SSH, shown="~/.ssh/known_hosts", example="/etc/ssh/known_hosts_faucet"
    )


@dataclass(frozen=True, kw_only=True)
class LinkSettings(SshSettings):
    """What is asked of the link while it carries requests."""

    ssh_wait: float = _option(
        10.0,
        "How long a request waits while the SSH connection is down; then it gets 503.",
        SSH,
        unit="duration",
        example="30s",
    )


@dataclass(frozen=True, kw_only=True)
class AttachSettings(MonitorSettings, SshSettings):
    """`faucet attach`."""

    which: str | None = _option(
        None,
        "Port, or path of the control socket, if several run.",
        MONITOR,
        shown="the only one",
        positional="only",
        example="3838",
    )
    read_only: bool = _option(False, "Look only: no key changes anything.", MONITOR)


@dataclass(frozen=True, kw_only=True)
class K8sSettings(ServeSettings, PodSettings, LinkSettings):
    """`faucet k8s`."""
