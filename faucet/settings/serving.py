"""What every way of serving has: the log, the monitor, addresses, the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faucet.net.address import DEFAULT_PORT, Address, UnixAddress
from faucet.settings.control import ControlPath
from faucet.settings.option import LOG, MIB, MONITOR, SERVICE, option
from faucet.settings.proxy import ProxySettings
from faucet.settings.tls import TlsSettings


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What is written, how, and where to."""

    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info", "Least important lines to write. Requests and the output of workers are `info`.", LOG, example="warning"
    )
    log_format: Literal["text", "json"] = option(
        "text", "`text` for people, or `json`: one object a line.", LOG, example="json"
    )
    log_file: Path | None = option(
        None,
        "Append the log to this file. SIGUSR1 reopens it.",
        LOG,
        shown="standard error",
        example="/var/log/faucet/faucet.log",
        detail="The directory has to exist.",
    )
    log_max_size: int = option(
        0, "Rotate the log file at this size: FILE.1, FILE.2, … 0: never.", LOG, unit="size", example="10MiB"
    )
    log_keep: int = option(
        5, "Rotated log files that are kept.", LOG, unit="count", minimum=0, example="10", counts="files"
    )
    log_redact: tuple[str, ...] = option(
        (),
        "Hide the values of these query parameters in the log: `token,api_key` makes `/x?token=***`. Repeat it, or "
        "separate names by commas.",
        LOG,
        unit="names",
        shown="none",
        example="token,api_key",
    )
    black_box: Path | None = option(
        None,
        "Keep the last hour of the service in this file, for `faucet replay FILE`: all that the monitor shows.",
        LOG,
        shown="off",
        example="/var/lib/faucet/my-api.box",
        detail="Older parts are FILE.1 to FILE.8. The directory has to exist. `--log-redact` hides values in it, too.",
    )
    black_box_size: int = option(
        64 * MIB, "Bytes that all parts of the black box take at most; then it is less than an hour.", LOG,
        unit="size", minimum=MIB, example="256MiB", shown="64MiB",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    """How the monitor looks and behaves."""

    refresh: float = option(
        2.0,
        "Updates of the screen a second.",
        MONITOR,
        minimum=0.1,
        maximum=10,
        shown="2",
        example="4",
        counts="updates a second",
    )
    slow: float = option(
        10.0, "Highlight a lock that has been held for longer.", MONITOR, unit="duration", example="30s"
    )
    confirm: bool = option(
        True,
        "Ask before keys of the monitor restart, remove or kill a worker, and before leaving.",
        MONITOR,
        negative="--no-confirm",
    )
    keys: Mapping[str, str] | None = option(
        None,
        "Other keys for actions, e.g. `restart=f5,quit=x`; ctrl+p shows the names of all actions.",
        MONITOR,
        unit="keys",
        shown="none",
        example="restart=f5,quit=x",
        detail="In `faucet.toml` it may also be a table, `[keys]`.",
    )


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ProxySettings, LogSettings, MonitorSettings, TlsSettings):
    """What every way of serving has."""

    host: tuple[Address | UnixAddress, ...] = option(
        (Address("127.0.0.1", DEFAULT_PORT),),
        "Address to listen on: `:8080` (all interfaces), `localhost:80` (both its addresses), `[::1]:3838`, "
        "port 0 (any), `unix:/run/faucet.sock?mode=660`. Can be repeated.",
        SERVICE,
        unit="address",
        shown="127.0.0.1:3838, or systemd's sockets",
        example=":8080",
        detail="A name stands for all its addresses on this machine: [operations.md](operations.md#where-it-listens).",
    )
    admin: Address | None = option(
        None,
        "Serve /livez, /readyz, /metrics and /status on this address, e.g. 127.0.0.1:3839.",
        SERVICE,
        unit="admin",
        shown="off",
        example="127.0.0.1:3839",
        detail="These pages answer while every worker is busy.",
    )
    admin_names: tuple[str, ...] = option(
        (),
        "Other host names under which the admin pages answer. Addresses, this machine's name, names without a"
        " dot and `.local`, `.internal`, `.svc` always work. `*`: any name.",
        SERVICE,
        unit="names",
        shown="its own",
        example="metrics.example.com",
    )
    endpoint_metrics: bool = option(
        True,
        "Count requests by endpoint on /metrics: at most 100 endpoints, with numbers and ids folded.",
        SERVICE,
        negative="--no-endpoint-metrics",
    )
    config: Path | None = option(
        None,
        "File with options: the same names, in TOML.",
        SERVICE,
        shown="faucet.toml in the directory",
        example="/etc/faucet/my-api.toml",
    )
    shutdown_timeout: float = option(
        30.0,
        "How long requests in flight may take at shutdown.",
        SERVICE,
        unit="duration",
        example="2m",
        detail="Give systemd, Docker or Kubernetes more time than this before they send SIGKILL.",
    )
    control: ControlPath | None = option(
        None,
        "Path of the control socket, for `faucet attach` and `faucet ctl`. `none`: no control socket.",
        SERVICE,
        unit="control",
        shown="in your runtime directory, by port",
        example="/run/faucet/my-api.sock",
    )
    headless: bool = option(False, "Serve without the monitor.", SERVICE)
