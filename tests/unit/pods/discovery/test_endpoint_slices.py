"""EndpointSlices: which endpoints follow from them."""

from __future__ import annotations

import pytest

from faucet.pods.discovery.endpoint_slices import ServiceName, SliceSet, service_of
from faucet.pods.discovery.endpoints import Endpoint, Found, Unusable


def slice_set(port: int | None, *slices: dict[str, object]) -> SliceSet:
    found = SliceSet(port)
    items = [{"metadata": {"name": str(number)}, "addressType": "IPv4"} | item for number, item in enumerate(slices)]
    found.load({"items": items})
    return found


def one(host: str, **conditions: bool) -> dict[str, object]:
    return {"addresses": [host], "conditions": conditions, "targetRef": {"kind": "Pod", "name": f"pod-{host[-1]}"}}


def test_conditions() -> None:
    """`ready` may be missing or null, which counts as true; what terminates gets nothing new."""
    ports = [{"name": "", "port": 8000}]
    endpoints = [one("10.0.0.1"), one("10.0.0.2", ready=False), one("10.0.0.3", ready=True, terminating=True)]
    endpoints.append({"addresses": ["10.0.0.4"], "conditions": None})
    found = slice_set(8000, {"endpoints": endpoints, "ports": ports}).found()
    assert [(e.ready, e.terminating, e.name) for e in found.endpoints] == [
        (True, False, "pod-1"), (False, False, "pod-2"), (False, True, "pod-3"), (True, False, ""),
    ]  # fmt: skip


def test_an_address_in_two_slices_and_of_two_kinds_is_one_endpoint() -> None:
    ports = [{"port": 8000}]
    slices = [
        {"endpoints": [one("10.0.0.1", ready=False)], "ports": ports},
        {"endpoints": [one("10.0.0.1", ready=True)], "ports": ports},
        {"endpoints": [one("fd00::1")], "ports": ports, "addressType": "IPv6"},
        {"endpoints": None, "ports": None},
    ]
    assert slice_set(8000, *slices).found() == Found((Endpoint("10.0.0.1", 8000, "pod-1"),))
    only_six = slice_set(8000, slices[2], {"endpoints": [], "ports": ports}).found()
    assert [e.host for e in only_six.endpoints] == ["fd00::1"]


def test_which_port() -> None:
    several = {"endpoints": [one("10.0.0.1")], "ports": [{"name": "http", "port": 8000}, {"name": "m", "port": 9}]}
    single = {"endpoints": [one("10.0.0.1")], "ports": [{"name": "api", "port": 8000}]}
    assert slice_set(9, several).found().endpoints[0].port == 9
    assert slice_set(None, several).found().endpoints[0].port == 8000
    assert slice_set(None, single).found().endpoints[0].port == 8000
    behind_a_service = slice_set(80, single).found()
    assert (behind_a_service.endpoints[0].port, behind_a_service.remark) == (8000, "the pods listen on 8000, not on 80")
    with pytest.raises(Unusable, match=r"several ports \(http 8000, m 9\)"):
        slice_set(80, several).found()
    without = {"endpoints": [one("10.0.0.1")], "ports": []}
    assert slice_set(80, without).found().endpoints[0].port == 80
    with pytest.raises(Unusable, match="has no port"):
        slice_set(None, without).found()


def test_which_service() -> None:
    assert service_of("plumber", "here") == ServiceName("plumber", "here")
    assert service_of("plumber.api.svc.cluster.local.", "here") == ServiceName("plumber", "api")
