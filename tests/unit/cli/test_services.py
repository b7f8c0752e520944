"""The list of headless services for somebody who has not named one."""

from __future__ import annotations

import io

import pytest

from faucet.cli import pick_service as services
from faucet.cli.pick_service import NoChoice, choose_service, headless_urls
from faucet.settings import K8sSettings
from faucet.ssh.secrets import Secrets
from faucet.ssh.target import Target


def service(name: str, cluster_ip: str, *ports: dict[str, object]) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "api"}, "spec": {"clusterIP": cluster_ip, "ports": list(ports)}}


LIST = {
    "items": [
        service("plumber", "None", {"port": 80, "targetPort": 8000}, {"port": 81, "targetPort": "http"}),
        service("other", "10.0.0.1", {"port": 80}),
        service("models", "None", {"port": 9000}),
        service("bare", "None"),
    ]
}


def test_ports_are_those_of_the_pods() -> None:
    assert headless_urls(LIST) == [
        "http://models.api.svc.cluster.local:9000",
        "http://plumber.api.svc.cluster.local",
        "http://plumber.api.svc.cluster.local:8000",
    ]
    assert headless_urls({}) == []


@pytest.mark.parametrize(("typed", "chosen"), [("2\n", 1), ("", None), ("4\n", None), ("x\n", None)])
def test_one_is_chosen_on_a_terminal(
    typed: str, chosen: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def listed(*_: object) -> list[str]:
        return headless_urls(LIST)

    monkeypatch.setattr(services, "_list", listed)
    monkeypatch.setattr(services, "can_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    settings = K8sSettings(via_ssh=(Target("bastion"),))
    if chosen is None:
        with pytest.raises(NoChoice, match="no service chosen"):
            choose_service(settings, Secrets())
    else:
        assert choose_service(settings, Secrets()) == headless_urls(LIST)[chosen]
    assert "  1  http://models.api" in capsys.readouterr().err


def test_without_a_terminal_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listed(*_: object) -> list[str]:
        return headless_urls(LIST)

    monkeypatch.setattr(services, "_list", listed)
    monkeypatch.setattr(services, "can_ask", lambda: False)
    with pytest.raises(NoChoice, match=r"(?s)which service\?.*1  http://models"):
        choose_service(K8sSettings(via_ssh=(Target("bastion"),)), Secrets())
