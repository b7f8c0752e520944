"""Recognize failed starts of which the machine is the cause: no memory, processes or file descriptors are left."""

from __future__ import annotations

import errno

_RESOURCES = {
    errno.EMFILE: "descriptors",
    errno.ENFILE: "descriptors",
    errno.EAGAIN: "processes",
    errno.ENOMEM: "memory",
}

_REMEDIES = {
    "descriptors": "no file descriptors are left; raise the limit (ulimit -n, LimitNOFILE= in a systemd unit)",
    "processes": "no process can be added; raise the limit (ulimit -u, TasksMax= in a unit, pids of a container)",
    "memory": "no memory is left; have fewer workers (-w), or give this machine more",
}

RESOURCES = tuple(_REMEDIES)
"""The names of the resources in the metrics."""


def shortage(error: OSError) -> str:
    """Return the name of the resource that is exhausted; empty if the error has another reason."""
    return _RESOURCES.get(error.errno or 0, "")


def remedy(resource: str) -> str:
    """Return which resource is missing, and the next step."""
    return _REMEDIES[resource]
