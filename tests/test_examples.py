"""The files that `faucet example` prints: real tools accept them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from faucet import __version__
from faucet.cli.main import main
from faucet.cli.tools import EXAMPLES
from tests.support.kubeapi import KubeApi


def printed(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["example", name]) == 0
    return capsys.readouterr().out


def test_the_manifests_fit_the_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    objects = list(yaml.safe_load_all(printed("kubernetes", capsys)))
    for found in objects:
        kubernetes_validate.validate(found, "1.32", strict=True)
    by_kind = {(found["kind"], found["metadata"]["name"]): found for found in objects}
    assert by_kind["Service", "plumber"]["spec"]["clusterIP"] == "None"
    assert by_kind["Deployment", "faucet"]["spec"]["strategy"] == {"type": "Recreate"}
    for name in ("faucet", "plumber"):
        labels = by_kind["Deployment", name]["spec"]["template"]["metadata"]["labels"]
        assert by_kind["Service", name]["spec"]["selector"] == labels


async def test_kubectl_would_apply_them(
    tool: Callable[[str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kubectl = tool("kubectl")
    (tmp_path / "faucet.yaml").write_text(printed("kubernetes", capsys))
    async with KubeApi(tmp_path / "api") as api:
        environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(api.kubeconfig(tmp_path / "config"))}
        # Validation against the server's own schemas would need a server that has them.
        words = [kubectl, "apply", "--dry-run=client", "--validate=false", "-f", str(tmp_path / "faucet.yaml")]
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("created (dry run)") == 7


def test_the_command_in_the_manifests_is_understood(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    objects = list(yaml.safe_load_all(printed("kubernetes", capsys)))
    faucet = next(found for found in objects if found["metadata"]["name"] == "faucet" and found["kind"] == "Deployment")
    arguments = faucet["spec"]["template"]["spec"]["containers"][0]["args"]
    words = [sys.executable, "-m", "faucet", *arguments, "--log-level", "nonsense"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "nonsense" in done.stderr
    assert "log-level" in done.stderr, "all else was understood"


def test_completions_are_of_the_shells_language(tool: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        text = capsys.readouterr().out
        assert "queue-limit" in text
        assert "rolling-restart" in text
    main(["completion", "bash"])
    done = subprocess.run(
        [tool("bash"), "-n"], input=capsys.readouterr().out, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_versions_of_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"faucet {__version__}\nPython 3.")
    assert "uvloop" in said


def test_the_unit_is_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    unit = printed("systemd", capsys)
    command = unit.partition("ExecStart=")[2].partition("\nExecReload")[0].replace("\\\n", " ").split()[1:]
    words = [sys.executable, "-m", "faucet", *command, "--log-level", "nonsense"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "log-level" in done.stderr, "all else was understood"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # what it would have found, nobody here can find
    (tmp_path / "faucet.service").write_text(unit.replace("/opt/faucet/bin/faucet", sys.executable))
    verified = subprocess.run(
        [analyze, "verify", str(tmp_path / "faucet.service")], capture_output=True, text=True, check=False
    )
    assert "Unknown" not in verified.stderr


def test_each_example_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for name in EXAMPLES:
        assert len(printed(name, capsys)) > 500
