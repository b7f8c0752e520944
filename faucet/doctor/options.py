"""Where the options in force come from: `faucet.toml` and variables, by name."""

from __future__ import annotations

from collections.abc import Mapping

from faucet.doctor.findings import Finding
from faucet.settings import CONFIG_NAME, K8sSettings, LocalSettings


def in_force(settings: LocalSettings | K8sSettings, sources: Mapping[str, str]) -> Finding:
    """Return what a file and variables set; `sources` has the flag, variable or file of each option that is set."""
    by_variable = sorted(source for source in sources.values() if source.startswith("FAUCET_"))
    files = {source for source in sources.values() if not source.startswith(("FAUCET_", "-"))}
    by_file = sorted(name for name, source in sources.items() if source in files)
    said = [f"{files.pop()}: {', '.join(by_file)}"] if by_file else []
    said += [f"variables: {', '.join(by_variable)}"] if by_variable else []
    return Finding("ok", "options", "; ".join(said) or _none_set(settings))


def _none_set(settings: LocalSettings | K8sSettings) -> str:
    if settings.config is not None:
        return f"{settings.config} sets none"
    if isinstance(settings, K8sSettings):
        return "no --config, no variables: flags and defaults"
    path = settings.dir / CONFIG_NAME
    return f"{path} sets none" if path.is_file() else f"no {CONFIG_NAME}, no variables: flags and defaults"
