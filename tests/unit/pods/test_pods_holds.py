"""A hold is on a pod, not on an address: it survives a record that is lost for a moment, and nothing more."""

from __future__ import annotations

from typing import Any, cast

import pytest

from faucet.net.connect import connect_tcp
from faucet.net.service_url import parse_service_url
from faucet.pods import fleet as pods_module
from faucet.pods.discovery.endpoints import Endpoint, Found
from faucet.pods.fleet import Pods
from faucet.proxy.server import Proxy
from faucet.settings import K8sSettings

A, B = Endpoint("10.0.0.1", 8000), Endpoint("10.0.0.2", 8000)


@pytest.fixture
async def pods() -> Pods:
    url = parse_service_url("http://plumber:8000")
    settings = K8sSettings(service_url=url)
    proxy = Proxy(settings, lambda record: None)
    return Pods(url, settings, proxy, connect_tcp, cast("Any", None), cast("Any", None))


def resolve(pods: Pods, *endpoints: Endpoint) -> None:
    pods._apply(Found(endpoints))


def states(pods: Pods) -> dict[str, str]:
    return {row.name: row.state for row in pods.statuses()}


async def test_a_pod_whose_record_is_lost_for_a_moment_is_still_held(pods: Pods) -> None:
    resolve(pods, A, B)
    pods.hold("10.0.0.1", "a test")
    resolve(pods, B)
    resolve(pods, A, B)
    assert states(pods) == {"10.0.0.1": "held", "10.0.0.2": "ready"}
    pods.resume("10.0.0.1", "a test")
    resolve(pods, B)
    resolve(pods, A, B)
    assert states(pods) == {"10.0.0.1": "ready", "10.0.0.2": "ready"}


async def test_an_address_that_comes_back_later_is_another_pods(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods_module, "HOLD_KEPT", 0.0)
    resolve(pods, A, B)
    pods.hold("10.0.0.1", "a test")
    resolve(pods, B)
    resolve(pods, A, B)
    assert states(pods) == {"10.0.0.1": "ready", "10.0.0.2": "ready"}


async def test_another_name_at_the_address_is_another_pod(pods: Pods) -> None:
    resolve(pods, A._replace(name="plumber-1"), B)
    pods.hold("plumber-1", "a test")
    resolve(pods, A._replace(name="plumber-2"), B)
    assert states(pods) == {"plumber-2": "ready", "10.0.0.2": "ready"}


async def test_holds_of_pods_that_never_return_are_forgotten(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods_module, "HOLD_KEPT", 0.0)
    for number in range(50):
        endpoint = Endpoint(f"10.0.1.{number}", 8000)
        resolve(pods, endpoint)
        pods.hold(endpoint.host, "a test")
        resolve(pods, B)
    assert len(pods._absent_holds) <= 1
