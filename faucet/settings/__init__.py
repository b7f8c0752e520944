"""Each option once: its name, default, unit, range and help; a file for each kind of service and part.

The command line, the environment variables and the help texts are made from these dataclasses (`cli/parameters.py`);
the rest of the program only reads them. A field `queue_limit` is the flag `--queue-limit` and the variable
FAUCET_QUEUE_LIMIT. Values are parsed once, by the command line: an address is an Address here, not its text.
Standard library only, since the proxy reads them too.

A name that is imported from here has its file imported then: `faucet ctl` needs few of them, and they take longer than
its answer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faucet.settings.control import Which, parse_control, parse_which
    from faucet.settings.limit import Limit, differing, parse_limit
    from faucet.settings.option import ACTIONS, CONFIG_NAME, KIB, MIB, MOST_WORKERS, Option
    from faucet.settings.pods import AttachSettings, K8sSettings, ReplaySettings, TopSettings
    from faucet.settings.proxy import ProxySettings
    from faucet.settings.serving import LogSettings, MonitorSettings, ServeSettings
    from faucet.settings.ssh import SshSettings
    from faucet.settings.warmup import Warmup, parse_warmup
    from faucet.settings.workers import (
        DemoSettings,
        LocalSettings,
        PackageApi,
        Span,
        WorkerSettings,
        parse_api,
        parse_span,
    )
else:  # so that a type checker still knows which names there are

    def __getattr__(name: str) -> Any:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
        return value


_NAMES = {
    "control": ("Which", "parse_control", "parse_which"),
    "limit": ("Limit", "differing", "parse_limit"),
    "option": ("ACTIONS", "CONFIG_NAME", "KIB", "MIB", "MOST_WORKERS", "Option"),
    "pods": ("AttachSettings", "K8sSettings", "ReplaySettings", "TopSettings"),
    "proxy": ("ProxySettings",),
    "serving": ("LogSettings", "MonitorSettings", "ServeSettings"),
    "ssh": ("SshSettings",),
    "warmup": ("Warmup", "parse_warmup"),
    "workers": (
        "DemoSettings", "LocalSettings", "PackageApi", "Span", "WorkerSettings", "parse_api", "parse_span",
    ),
}  # fmt: skip
_FILES = {name: file for file, names in _NAMES.items() for name in names}

__all__ = [
    "ACTIONS", "CONFIG_NAME", "KIB", "MIB", "MOST_WORKERS", "AttachSettings", "DemoSettings", "K8sSettings",
    "Limit", "LocalSettings", "LogSettings", "MonitorSettings", "Option", "PackageApi", "ProxySettings",
    "ReplaySettings", "ServeSettings", "Span", "SshSettings", "TopSettings", "Warmup", "Which", "WorkerSettings",
    "differing", "parse_api", "parse_control", "parse_limit", "parse_span", "parse_warmup", "parse_which",
]  # fmt: skip
