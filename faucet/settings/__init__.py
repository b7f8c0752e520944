"""Each option once: its name, default, unit, range and help; a file for each kind of service and part.

The command line, the environment variables and the help texts are made from these dataclasses (`cli/parameters.py`);
the rest of the program only reads them. A field `queue_limit` is the flag `--queue-limit` and the variable
FAUCET_QUEUE_LIMIT. Values are parsed once, by the command line: an address is an Address here, not its text.
Standard library only, since the proxy reads them too.
"""

from __future__ import annotations

from faucet.settings.control import Which, parse_control, parse_which
from faucet.settings.limit import Limit, differing, parse_limit
from faucet.settings.option import ACTIONS, CONFIG_NAME, KIB, MIB, MOST_WORKERS, Option
from faucet.settings.pods import AttachSettings, K8sSettings, ReplaySettings, SshSettings, TopSettings
from faucet.settings.proxy import ProxySettings
from faucet.settings.serving import LogSettings, MonitorSettings, ServeSettings
from faucet.settings.warmup import Warmup, parse_warmup
from faucet.settings.workers import DemoSettings, LocalSettings, PackageApi, Span, WorkerSettings, parse_api, parse_span

__all__ = [
    "ACTIONS", "CONFIG_NAME", "KIB", "MIB", "MOST_WORKERS", "AttachSettings", "DemoSettings", "K8sSettings",
    "Limit", "LocalSettings", "LogSettings", "MonitorSettings", "Option", "PackageApi", "ProxySettings",
    "ReplaySettings", "ServeSettings", "Span", "SshSettings", "TopSettings", "Warmup", "Which", "WorkerSettings",
    "differing", "parse_api", "parse_control", "parse_limit", "parse_span", "parse_warmup", "parse_which",
]  # fmt: skip
