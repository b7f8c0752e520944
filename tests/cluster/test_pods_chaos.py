"""The pods of a service under torment, directly and through a bastion: `just corpora pods ssh-pods`, for a while."""

from __future__ import annotations

import pytest

from tests.corpora.pods import recipe
from tests.corpora.rig import Missing
from tests.support.needs import IN_CI, need

SECONDS = 20 if IN_CI else 8


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["pods", "ssh-pods"])
def test_pods_chaos(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    try:
        row = recipe(name, name == "ssh-pods", SECONDS)
    except Missing as error:
        need(False, str(error))
    with capsys.disabled():
        print(f"\n{name}, {row.said}")
    assert row.wrong == []
