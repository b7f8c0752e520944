"""The Lease as an object of Kubernetes (coordination.k8s.io/v1), and as a Record. No I/O.

Values without a field in the API are stored as JSON in one annotation, `faucet/lease`. The annotation is valid only for
the holder and the epoch that it names, since other clients may change the fields. Without a valid annotation, the
cautious interpretation is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from math import ceil, isfinite
from typing import Any

from faucet.ha.record import Lease, Record
from faucet.ha.timing import Timing
from faucet.pods.discovery.endpoints import Unusable

API_VERSION = "coordination.k8s.io/v1"

ANNOTATION = "faucet/lease"

Json = dict[str, Any]


def record_of(found: Mapping[str, Any], timing: Timing) -> Lease:
    """Return the content of a Lease object. Raises Unusable if the object is invalid."""
    try:
        meta, spec = found["metadata"], found.get("spec") or {}
        version = str(meta["resourceVersion"])
        holder, epoch = str(spec.get("holderIdentity") or ""), int(spec.get("leaseTransitions") or 0)
        duration = float(spec.get("leaseDurationSeconds") or ceil(timing.lease_duration))
        notes = _notes((meta.get("annotations") or {}).get(ANNOTATION), holder, epoch)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unusable(f"invalid Lease: {str(found)[:200]}") from error
    if found.get("kind") != "Lease" or not version:
        raise Unusable(f"invalid Lease: {str(found)[:200]}")
    if notes is None:
        return Lease(Record(holder, epoch, duration, timing.outage_limit), version)
    return Lease(notes, version)


def _notes(text: str | None, holder: str, epoch: int) -> Record | None:
    """Return the annotation as a record if it belongs to this holder and epoch, otherwise None."""
    try:
        notes = json.loads(text or "")
        record = Record(
            holder=str(notes["holder"]), epoch=int(notes["epoch"]), lease_duration=_seconds(notes["lease_duration"]),
            outage_limit=_seconds(notes["outage_limit"]), beat=int(notes["beat"]),
            members={str(key): str(address) for key, address in notes["members"].items()},
            quarantine=None if notes["quarantine"] is None else _seconds(notes["quarantine"]),
            released_by=str(notes["released_by"]), busy=frozenset(map(str, notes["busy"])),
            unknown_for=_seconds(notes["unknown_for"]), address=str(notes["address"]), token=str(notes["token"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return record if (record.holder, record.epoch) == (holder, epoch) else None


def _seconds(value: Any) -> float:
    """Return a duration in seconds. Raises ValueError if it is negative or not finite."""
    seconds = float(value)
    if not (isfinite(seconds) and seconds >= 0):
        raise ValueError(f"invalid number of seconds {value!r}")
    return seconds


def object_of(record: Record, name: str, before: Mapping[str, Any] | None, now: datetime | None = None) -> Json:
    """Return the object to write. `before`: the one that it replaces, None to create it.

    What is not ours in it stays: labels, owners, others' annotations. `now` is only for people who look at it.
    """
    time = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    meta: Json = dict(before["metadata"]) if before is not None else {"name": name}
    meta.pop("managedFields", None)
    meta["annotations"] = {**(meta.get("annotations") or {}), ANNOTATION: _text_of(record)}
    spec = dict(before.get("spec") or {}) if before is not None else {}
    if record.holder and spec.get("holderIdentity") != record.holder:
        spec["acquireTime"] = time
    spec |= {
        "leaseDurationSeconds": ceil(record.lease_duration), "leaseTransitions": record.epoch, "renewTime": time,
        "holderIdentity": record.holder,
    }  # fmt: skip
    if not record.holder:
        del spec["holderIdentity"]
    return {"apiVersion": API_VERSION, "kind": "Lease", "metadata": meta, "spec": spec}


def _text_of(record: Record) -> str:
    fields = {**asdict(record), "busy": sorted(record.busy), "members": dict(record.members)}
    return json.dumps(fields, separators=(",", ":"), sort_keys=True)
