"""FAUCET_… variables of the environment: those that mean something, slips, and what Kubernetes puts there.

Kubernetes sets variables for each service of a pod's namespace. For one that is called `faucet`, or `faucet-admin`,
they begin as ours do: FAUCET_PORT=tcp://10.0.0.1:80, FAUCET_SERVICE_HOST, FAUCET_ADMIN_PORT_3839_TCP_ADDR.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, MutableMapping

from faucet.cli.synonyms import NOT_NEEDED
from faucet.settings import AttachSettings, K8sSettings, LocalSettings
from faucet.text import closest

OTHERS = {"FAUCET_PORT", "FAUCET_WORKER_ID", "FAUCET_INSTANCE", "FAUCET_OWNER", "FAUCET_SECRETS", "FAUCET_ASCII"}
"""Set for workers (Faucet may be a worker's child), by a monitor for its runtime, or read by the monitor."""

_LINK_NAME = re.compile(
    r"FAUCET(_[A-Z0-9_]+?)??_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK_PORT = re.compile(r"FAUCET(_[A-Z0-9_]+)?_PORT")
_LINK_URL = re.compile(r"(tcp|udp|sctp)://\S+")


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes has put it there."""
    return bool(_LINK_NAME.fullmatch(name) or (_LINK_PORT.fullmatch(name) and _LINK_URL.fullmatch(value)))


def drop_service_links(environment: MutableMapping[str, str]) -> None:
    """Remove those that would be taken for an option: a service `faucet-child` makes FAUCET_CHILD_PORT."""
    for name, value in list(environment.items()):
        if name in _known() and name not in OTHERS and is_service_link(name, value):
            del environment[name]


def _known() -> set[str]:
    """Return the variables of all options. What is only a word on the command line has none."""
    kinds = (LocalSettings, K8sSettings, AttachSettings)
    fields = (field for kind in kinds for field in dataclasses.fields(kind))
    return {f"FAUCET_{field.name.upper()}" for field in fields if field.metadata["option"].positional != "only"}


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A remark for each FAUCET_… variable that means nothing: most likely a slip that would go unnoticed."""
    known = _known() | OTHERS
    remarks = []
    for name in sorted(environment):
        if name.startswith("FAUCET_") and name not in known and not is_service_link(name, environment[name]):
            # Without what all of them begin with: that alone makes FAUCET_DIR like FAUCET_WHICH.
            own = {other.removeprefix("FAUCET_"): other for other in known}
            close = closest(name.removeprefix("FAUCET_"), own)
            why = NOT_NEEDED.get("--" + name.removeprefix("FAUCET_").lower().replace("_", "-"), "")
            hint = f": {why}" if why else f"; did you mean {own[close]}?" if close else ""
            remarks.append(f"unknown variable {name} (ignored){hint}")
    return remarks
