"""`faucet --version`."""

from __future__ import annotations

import platform
from importlib import metadata

from faucet import __version__
from faucet.proxy.build import BUILD


def versions() -> str:
    """Of everything that matters in a report."""
    lines = [
        f"faucet {__version__}",
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"proxy: {BUILD}",
    ]
    for name in ("uvloop", "textual", "cyclopts", "psutil", "dnspython", "prometheus-client", "asyncssh",
                 "watchfiles"):  # fmt: skip
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return "\n".join(lines)
