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
    "log", "requests", "queue", "events", "help", "quit",
)  # fmt: skip
"""What keys can be given to. The same as in the monitor, which is too heavy to be asked."""


@dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """What the proxy holds itself and others to."""

    queue_limit: int = _option(
        1024, "Requests that may wait for a worker; more get 503.", QUEUE, unit="count", minimum=0
    )
    queue_timeout: float = _option(
        60.0, "How long a request may wait for a worker; then it gets 503. 0: for ever.", QUEUE, unit="duration"
    )
    request_timeout: float = _option(
        300.0,
        "From the lock to the end of the response; then the client gets 504 and the worker is restarted. 0: none.",
        QUEUE,
        unit="duration",
    )
    client_timeout: float = _option(
        60.0,
        "Silence of a client within a request, or of one that does not read its answer. 0: none.",
        QUEUE,
        unit="duration",
    )
    keep_alive: float = _option(
        75.0, "How long an idle client connection is kept. 0: for ever.", QUEUE, unit="duration"
    )
    buffer_request: int = _option(
        MIB, "Body bytes read before a worker is locked; more is streamed under the lock.", MESSAGES, unit="size"
    )
    buffer_response: int = _option(
        8 * MIB,
        "Response bytes a slow reader may leave with us before the worker is slowed down.",
        MESSAGES,
        unit="size",
        minimum=KIB,
    )
    retry: Literal["safe", "none", "always"] = _option(
        "safe",
        "Send a request again whose worker ended the connection without an answer. safe: unless it may have crashed "
        "the worker; none; always: all that HTTP allows (GET, PUT…), once.",
        MESSAGES,
    )
    buffer_total: int | None = _option(
        None,
        "What all such buffers together may take; then workers are read more slowly, and bodies wait.",
        MESSAGES,
        unit="size",
        minimum=64 * KIB,
        shown="1/16 of the memory",
    )
    max_clients: int | None = _option(
        None,
        "Connections of clients; beyond them idle ones are closed, or new ones get 503.",
        QUEUE,
        unit="count",
        minimum=1,
        shown="as open files allow",
    )
    min_rate: int = _option(
        240,
        "Bytes a second that a client must send of its body, or read of its answer, on average over --client-timeout. "
        "0: none.",
        QUEUE,
        unit="size",
    )
    forwarded: bool = _option(
        False, "Tell workers who the client is: X-Forwarded-For, X-Forwarded-Proto and Forwarded.", MESSAGES
    )
    ip_from: Literal["client", "x-forwarded-for", "x-real-ip"] = _option(
        "client", "Which address the log shows, if a proxy in front is trusted.", MESSAGES
    )
    trust: Trust = _option(
        Trust(),
        "Networks of proxies that are believed: 10.0.0.0/8,::1; `unix`.",
        MESSAGES,
        unit="trust",
        shown="nobody",
    )
    proxy_protocol: bool = _option(False, "Connections begin with a PROXY protocol header, version 1 or 2.", MESSAGES)
    request_id: bool = _option(
        False, "Give requests that have none a Faucet-Request-Uuid; it is in the log, too.", MESSAGES
    )
    max_body: int | None = _option(
        None, "The longest request body; a longer one gets 413.", MESSAGES, unit="size", shown="none"
    )


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What is written, how, and where to."""

    log_level: Literal["debug", "info", "warning", "error"] = _option(
        "info", "The least important lines to write. Requests and workers' output are `info`.", LOG
    )
    log_format: Literal["text", "json"] = _option("text", "Lines for people, or one JSON object a line.", LOG)
    log_file: Path | None = _option(
        None, "Append the log to this file. SIGUSR1: open it anew.", LOG, shown="standard error"
    )
    log_max_size: int = _option(
        0, "When the file has this size, it becomes FILE.1, and so on. 0: it grows for ever.", LOG, unit="size"
    )
    log_keep: int = _option(5, "Files FILE.1 to FILE.N that are kept.", LOG, unit="count", minimum=0)
    log_redact: tuple[str, ...] = _option(
        (),
        "Hide the values of these query parameters in the log: `token,api_key` makes `/x?token=***`. Repeat it, or "
        "separate names by commas.",
        LOG,
        unit="names",
        shown="none",
    )


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    """How the monitor looks and behaves."""

    refresh: float = _option(2.0, "Pictures a second.", MONITOR, minimum=0.1, maximum=10, shown="2")
    slow: float = _option(10.0, "A lock that is held for longer is marked.", MONITOR, unit="duration")
    confirm: bool = _option(
        True, "Ask before a worker is killed, and before leaving.", MONITOR, negative="--no-confirm"
    )
    keys: Mapping[str, str] | None = _option(
        None,
        "Other keys for actions, e.g. `restart=f5,quit=x`; the names are in the palette.",
        MONITOR,
        unit="keys",
        shown="none",
    )


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ProxySettings, LogSettings, MonitorSettings):
    """What every way of serving has."""

    host: tuple[Address | UnixAddress, ...] = _option(
        (Address("127.0.0.1", DEFAULT_PORT),),
        "Address to listen on: `:8080` (all interfaces), `localhost:80` (both its addresses), `[::1]:3838`, port 0 "
        "(any), `unix:/run/faucet.sock?mode=660`. Again: another one.",
        SERVICE,
        unit="address",
        shown="127.0.0.1:3838, or systemd's sockets",
    )
    admin: Address | None = _option(
        None,
        "Answer /livez, /readyz, /metrics and /status on this address, e.g. 127.0.0.1:3839.",
        SERVICE,
        unit="admin",
        shown="off",
    )
    admin_names: tuple[str, ...] = _option(
        (),
        "Answer admin pages under these host names, too. Addresses, this machine's name, names without a dot and "
        "`.local`, `.internal`, `.svc` always work. `*`: any name.",
        SERVICE,
        unit="names",
        shown="its own",
    )
    config: Path | None = _option(
        None, "File with options: the same names, in TOML.", SERVICE, shown="faucet.toml in the directory"
    )
    shutdown_timeout: float = _option(30.0, "How long requests in hand may take at the end.", SERVICE, unit="duration")
    control: str | None = _option(
        None,
        "Path of the control socket, for `faucet attach` and `faucet ctl`; `none`: no such socket.",
        SERVICE,
        shown="in your runtime directory, by port",
    )
    headless: bool = _option(False, "The service alone, without the monitor.", SERVICE)


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
        "Number of workers; `2..8`: as many as are needed.",
        WORKERS,
        unit="span",
        short="-w",
        shown="CPUs of this process",
    )
    scale_up_after: float = _option(
        1.0, "With `-w 2..8`: one more, when the queue has waited for so long.", WORKERS, unit="duration"
    )
    scale_down_after: float = _option(
        60.0, "With `-w 2..8`: one less, when not all were needed for so long.", WORKERS, unit="duration", minimum=1
    )
    roll_batch: int = _option(
        1, "Workers that a rolling restart replaces at the same time.", WORKERS, unit="count", minimum=1
    )
    max_requests: int = _option(
        0, "A worker that has served so many is replaced. 0: never.", WORKERS, unit="count", minimum=0
    )
    max_age: float = _option(0.0, "A worker that is so old is replaced. 0: never.", WORKERS, unit="duration")
    max_rss: int = _option(0, "A worker whose process is so large is replaced. 0: never.", WORKERS, unit="size")
    health_path: str = _option(
        "",
        "Idle workers are asked for this, e.g. /health; three failures in a row replace one.",
        WORKERS,
        unit="target",
        shown="none",
    )
    health_interval: float = _option(
        10.0, "How often a worker is asked how it is.", WORKERS, unit="duration", minimum=1
    )
    reload: bool = _option(False, "Rolling restart when code in the directory changes.", WORKERS)
    reload_include: tuple[str, ...] = _option(
        (),
        "With --reload: files that count, too: `*.txt`, `models/*.rds`. Repeat it, or separate them by commas.",
        WORKERS,
        unit="globs",
        shown="none",
    )
    reload_exclude: tuple[str, ...] = _option(
        (),
        "With --reload: files and directories that do not count: `state.json`, `cache/`.",
        WORKERS,
        unit="globs",
        shown="none",
    )
    log_worker_rate: int = _option(
        1000,
        "Lines that a worker may log a second. Of more, a sample is kept and the rest counted; the worker is read more "
        "slowly. 0: all are kept.",
        LOG,
        unit="count",
        minimum=0,
    )
    child_port: int = _option(
        0,
        "First port of the workers; worker i gets the i-th. 0: free ports. plumber takes 1024 to 49151.",
        WORKERS,
        unit="count",
        minimum=0,
        maximum=65535,
    )
    startup_timeout: float = _option(
        60.0, "A worker that does not listen by then is stopped and tried again.", WORKERS, unit="duration", minimum=0.1
    )
    stop_signal: str = _option(
        "auto",
        "What a worker is asked to end with: INT, TERM, QUIT, HUP, USR1, USR2. auto: INT for R, which runs its exit "
        "hooks then, TERM for other programs.",
        WORKERS,
        unit="signal",
    )
    max_restarts: int = _option(
        5, "Failed starts in a row after which a worker is tried only once a minute.", WORKERS, unit="count", minimum=1
    )
    keep_trying: bool = _option(False, "Do not give up if no worker can be started at first.", WORKERS)
    rscript: str = _option("Rscript", "The Rscript to start R with; a path is relative to where you are.", WORKERS)


@dataclass(frozen=True, kw_only=True)
class DemoSettings(ServeSettings, WorkerSettings):
    """`faucet demo`: what any service with local workers needs to know."""


@dataclass(frozen=True, kw_only=True)
class LocalSettings(DemoSettings):
    """`faucet local`."""

    dir: Path = _option(
        Path(), "Directory of the API.", SERVICE, unit="directory", short="-d", positional="also", shown="."
    )
    command: str | None = _option(
        None,
        "Any program that serves HTTP on the port in FAUCET_PORT; `{port}` is replaced; no shell.",
        WORKERS,
        shown="entrypoint.R, else plumber.R, else _server.yml",
    )
    api: PackageApi | None = _option(
        None,
        "Serve this API of an installed R package instead: PACKAGE::NAME, as plumber::plumb_api() finds it.",
        WORKERS,
        unit="api",
        shown="what is in the directory",
    )


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """Which pods there are, and how they are reached."""

    service_url: ServiceUrl | None = _option(
        None,
        "The headless service: http://plumber:8000; https, too. Without a port: as its SRV records or slices say.",
        PODS,
        unit="url",
        shown="required",
    )
    resolve: Literal["auto", "dns", "kubernetes"] = _option(
        "auto", "Where its pods are told: by DNS, or by the Kubernetes API. auto: the API inside a cluster.", PODS
    )
    dns: Address | None = _option(
        None, "Ask this DNS server: an address, or address:port.", PODS, unit="dns", shown="as the system does"
    )
    resolve_interval: float = _option(
        5.0, "How often DNS is asked; more often if the answer's TTL is shorter.", PODS, unit="duration", minimum=1
    )
    connect_timeout: float = _option(
        2.0, "How long a pod may take to accept a connection.", PODS, unit="duration", minimum=0.1
    )
    lock_grace: float = _option(
        60.0,
        "How long a pod stays locked that may still compute what nobody waits for any more.",
        PODS,
        unit="duration",
    )
    ca_file: Path | None = _option(
        None, "https: certificates of the CAs to trust, in PEM.", PODS, shown="the system's CAs"
    )
    insecure_skip_verify: bool = _option(False, "https: accept any certificate.", PODS)


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """Whether to go through a bastion, and how to log in there."""

    via_ssh: tuple[Target, ...] = _option(
        (),
        "Go over SSH to this host, a bastion or where Faucet runs: [user@]host[:port]. Again: another, if that fails.",
        SSH,
        unit="ssh",
        shown="none",
    )
    ssh_config: Path | None = _option(None, "The ssh config to read.", SSH, shown="~/.ssh/config")
    ssh_key: Path | None = _option(None, "The private key to log in with.", SSH, shown="as the config says")
    ssh_known_hosts: Path | None = _option(
        None, "The file of host keys that are trusted.", SSH, shown="~/.ssh/known_hosts"
    )


@dataclass(frozen=True, kw_only=True)
class LinkSettings(SshSettings):
    """What is asked of the link while it carries requests."""

    ssh_wait: float = _option(
        10.0, "How long a request waits for the link, if that is lost; then 503.", SSH, unit="duration"
    )


@dataclass(frozen=True, kw_only=True)
class AttachSettings(MonitorSettings, SshSettings):
    """`faucet attach`."""

    which: str | None = _option(
        None, "Port, or path of the control socket, if several run.", MONITOR, positional="only"
    )
    read_only: bool = _option(False, "Only look: no key changes anything.", MONITOR)


@dataclass(frozen=True, kw_only=True)
class K8sSettings(ServeSettings, PodSettings, LinkSettings):
    """`faucet k8s`."""
