"""The pods of a service, and the way to them through SSH."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faucet.net.address import Address
from faucet.net.service_url import ServiceUrl
from faucet.settings.control import Which
from faucet.settings.option import MONITOR, PODS, REPLICAS, SSH, option
from faucet.settings.serving import MonitorSettings, ServeSettings
from faucet.settings.ssh import SshSettings


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """Which pods there are, and how they are reached."""

    service_url: ServiceUrl | None = option(
        None,
        "URL of the headless service: http://plumber:8000; https, too. Without a port: as its SRV records or "
        "EndpointSlices say.",
        PODS,
        unit="url",
        shown="required",
        example="http://plumber:8000",
    )
    resolve: Literal["auto", "dns", "kubernetes"] = option(
        "auto",
        "How pods are found: by DNS, or by the Kubernetes API. auto: the API inside a cluster.",
        PODS,
        example="dns",
        detail="What follows from each: [kubernetes.md](kubernetes.md#where-the-pods-come-from).",
    )
    dns: Address | None = option(
        None,
        "DNS server to use: an address, or address:port.",
        PODS,
        unit="dns",
        shown="as the system does",
        example="10.96.0.10",
    )
    resolve_interval: float = option(
        5.0,
        "Time between two DNS queries; shorter if the answer's TTL is shorter.",
        PODS,
        unit="duration",
        minimum=1,
        example="10s",
    )
    connect_timeout: float = option(
        2.0, "How long a pod may take to accept a connection.", PODS, unit="duration", minimum=0.1, example="5s"
    )
    lock_grace: float = option(
        60.0,
        "How long a pod stays locked that may still be computing a response that no client waits for.",
        PODS,
        unit="duration",
        example="5m",
    )
    ca_file: Path | None = option(
        None,
        "https: file of CA certificates to trust, in PEM.",
        PODS,
        shown="the system's CAs",
        example="/etc/faucet/ca.pem",
    )
    insecure_skip_verify: bool = option(False, "https: accept any certificate.", PODS)


@dataclass(frozen=True, kw_only=True)
class LinkSettings(SshSettings):
    """What is asked of the link while it carries requests."""

    ssh_wait: float = option(
        10.0,
        "How long a request waits while the SSH connection is down; then it gets 503.",
        SSH,
        unit="duration",
        example="30s",
    )


@dataclass(frozen=True, kw_only=True)
class ReplicaSettings:
    """Several Faucets for one service."""

    ha: bool = option(
        False,
        "Share the service with other Faucets: one has the queue and the locks, the others relay to it, and one of "
        "them takes over when it ends.",
        REPLICAS,
        detail="How, and when to use it: [kubernetes.md](kubernetes.md#several-faucets).",
    )
    lease: str | None = option(
        None,
        "Name of the Lease that says which Faucet is the active.",
        REPLICAS,
        shown="faucet-SERVICE",
        example="faucet-plumber",
    )
    lease_duration: float = option(
        10.0,
        "How long the Lease must be unchanged before another Faucet takes it.",
        REPLICAS,
        unit="duration",
        minimum=2,
        example="15s",
    )
    renew_deadline: float = option(
        6.0,
        "How long the active goes on without a renewal of the Lease; shorter than --lease-duration.",
        REPLICAS,
        unit="duration",
        minimum=1,
        example="10s",
    )
    peer_host: Address = option(
        Address("", 3840),
        "Address on which this Faucet listens for the others.",
        REPLICAS,
        unit="admin",
        shown=":3840",
        example=":3841",
    )
    fencing: bool = option(
        False,
        "Tell pods the epoch of the active with each request; they must be `faucet local --fencing`.",
        REPLICAS,
        detail="For pods that keep to one request themselves, whatever the Faucets in front of them do: "
        "[kubernetes.md](kubernetes.md#strict-pods).",
    )
    ha_on_partition: Literal["stop", "serve"] = option(
        "stop",
        "What the active does when it reaches neither the Kubernetes API nor all other Faucets: stop using pods, or "
        "serve, though another may be the active by then.",
        REPLICAS,
        detail="`serve` belongs to [strict pods](kubernetes.md#strict-pods); others may get two requests at once.",
        example="serve",
    )


@dataclass(frozen=True, kw_only=True)
class TopSettings(MonitorSettings, SshSettings):
    """`faucet top`: monitors of services that run already."""

    read_only: bool = option(False, "Look only: no key changes anything.", MONITOR)


@dataclass(frozen=True, kw_only=True)
class AttachSettings(TopSettings):
    """`faucet attach`: the monitor of one of them."""

    which: Which | None = option(
        None,
        "Port, or path of the control socket, if several run.",
        MONITOR,
        unit="which",
        shown="the only one",
        positional="only",
        example="3838",
    )
    active: bool = option(
        False,
        "With --ha: show the active, whichever Faucet this is, and the next one when that changes.",
        MONITOR,
    )
    once: bool = option(False, "Print the screen once as text, and exit. It needs no terminal.", MONITOR)
    svg: Path | None = option(
        None, "With --once: write the screen to this file as a picture, in SVG.", MONITOR, shown="none",
        example="incident.svg",
    )  # fmt: skip
    view: Literal["log", "requests", "queue", "events", "lanes", "endpoints", "heat"] = option(
        "log", "With --once: what is shown below the workers.", MONITOR, example="queue"
    )
    size: tuple[int, int] = option(
        (120, 36), "With --once: columns and lines of the screen.", MONITOR, unit="screen", shown="120x36",
        example="160x50",
    )  # fmt: skip
    web: Address | None = option(
        None,
        "Serve the monitor to browsers on this address, instead of opening it here. Read only, without --web-write.",
        MONITOR,
        unit="admin",
        shown="off",
        example="127.0.0.1:8081",
        detail="It needs the extra `web`, and has no TLS: [monitor.md](monitor.md#in-a-browser).",
    )
    web_token: str | None = option(
        None,
        "What a browser has to know, at least 16 characters; `auto` makes one, and prints it. Needed if other machines "
        "can reach --web.",
        MONITOR,
        shown="none",
        example="auto",
    )
    web_write: bool = option(False, "Let keys in the browser change something.", MONITOR)
    record: Path | None = option(
        None,
        "Record to this new file what the monitor is told; `faucet replay FILE` shows it again.",
        MONITOR,
        shown="off",
        example="incident.jsonl",
        detail="It grows by 1 to 30 kB a second, and has the addresses of clients and the targets of requests in it.",
    )


@dataclass(frozen=True, kw_only=True)
class ReplaySettings(MonitorSettings):
    """`faucet replay`: the monitor of a recording."""

    file: Path | None = option(
        None,
        "A recording of `faucet attach --record`, or of `--black-box`.",
        MONITOR,
        shown="required",
        positional="only",
        example="incident.jsonl",
    )
    begin: str | None = option(
        None,
        "Begin at this time of day, paused: `03:00`, `03:00:30`.",
        MONITOR,
        shown="its beginning",
        example="03:00",
    )


@dataclass(frozen=True, kw_only=True)
class K8sSettings(ServeSettings, PodSettings, ReplicaSettings, LinkSettings):
    """`faucet k8s`."""
