"""The package as a user gets it: an sdist, a wheel, and a new environment without the extras."""

from __future__ import annotations

import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import faucet
from tests.support.building import BUILD
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow


PROGRAM = """
import http.server, os
address = ("127.0.0.1", int(os.environ["FAUCET_PORT"]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with both."""
    place = tmp_path_factory.mktemp("dist")
    subprocess.run([*BUILD, "--outdir", str(place), str(ROOT)], check=True, capture_output=True, text=True)
    return place


def test_what_is_in_them(built: Path) -> None:
    wheel = next(built.glob("*.whl"))
    assert wheel.name.startswith(f"faucet_r-{faucet.__version__}-py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    wanted = (
        "py.typed", "tui/monitor.tcss", "workers/launch.R", "workers/template.R",
        "templates/demo/plumber.R", "templates/demo/index.html",
        "templates/demo/favicon.svg", "templates/starter/plumber.R", "templates/starter/index.html",
        "templates/examples/kubernetes.yaml", "templates/examples/Containerfile.r",
    )  # fmt: skip
    for name in wanted:
        assert f"faucet/{name}" in names
    assert not [name for name in names if name.startswith("tests/")]
    assert [name for name in names if name.endswith(".data/data/share/man/man1/faucet.1")]
    for extra in ("ssh", "reload"):
        assert f"Provides-Extra: {extra}" in metadata
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "docs/ssh.md",
        "tests/rigs/test_package.py",
        "justfile",
        "mkdocs.yml",
    } <= inside


@pytest.mark.timeout(300)
def test_the_wheel_in_a_new_environment(built: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    wheel = next(built.glob("*.whl"))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)], check=True)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(tmp_path / "env" / "bin" / "faucet"), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)

    assert f"faucet {faucet.__version__}\n" in run("--version").stdout
    assert (tmp_path / "env" / "share" / "man" / "man1" / "faucet.1").exists()
    assert "asyncssh is not installed" in run("--version").stdout
    missing = run("k8s", "--service-url", "http://plumber:8000", "--via-ssh", "bastion", "--headless")
    install = f"{python} -m pip install"
    assert (missing.returncode, missing.stderr) == (
        1, f"faucet: --via-ssh needs the package asyncssh. Install it with: {install} asyncssh bcrypt\n",
    )  # fmt: skip
    assert f"{install} watchfiles\n" in run("--reload", "--headless", "--command", "true").stderr
    assert run("ctl", "status", "--via-ssh", "bastion").stderr.endswith(f"{install} asyncssh bcrypt\n")
    (tmp_path / "app.py").write_text(PROGRAM)
    words = [
        str(tmp_path / "env" / "bin" / "faucet"),
        "--headless",
        "--host",
        "127.0.0.1:0",
        "--command",
        f"{python} app.py",
        "-w",
        "1",
    ]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as service:
        assert service.stderr is not None
        serving = next(line for line in service.stderr if "serving" in line)
        url = serving.partition(" on ")[2].split()[0]
        done = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url], capture_output=True, check=True
        )
        assert done.stdout == b"200"
        service.terminate()
        assert service.wait(30) == 0
