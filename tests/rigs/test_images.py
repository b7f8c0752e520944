"""The images of `faucet example containerfile` and `containerfile-r`, built and run: `just images`.

They take two or three minutes (measured: the base 35 s, each image 30 to 60 s), which is too much for every run of all
tests, so they run when they are asked for. They need no daemon and no registry of images: buildah builds in a chroot,
on a Debian made by debootstrap (or on the one in the directory that FAUCET_BASE_TREE names).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from time import monotonic

import psutil
import pytest
import requests

from faucet import __version__
from faucet.cli.tools import EXAMPLES, ExampleName
from faucet.templates.starter import write_starter
from tests.bench.peers import consecutive_ports, wait_listening
from tests.support.checkout import ROOT

AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

WORLD = """
#* What the API finds around it
#* @get /world
#* @serializer unboxedJSON
function() {
  list(
    locale = Sys.getlocale("LC_CTYPE"), text = "\\u00e9t\\u00e9", temporary = file.access(tempdir(), 2) == 0,
    home = file.access(path.expand("~"), 2) == 0, own = file.access("plumber.R", 2) == 0,
    user = system("id -u", intern = TRUE)
  )
}
"""

pytestmark = [
    pytest.mark.skipif(not os.environ.get("FAUCET_IMAGES"), reason="builds images for minutes: just images"),
    pytest.mark.timeout(900),
    pytest.mark.slow,
]


class Buildah:
    """Images and containers in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        store = ["--root", str(directory / "root"), "--runroot", str(directory / "run"), "--storage-driver", "vfs"]
        self.words = ["buildah", *store]
        self._pip = directory / "pip.conf"
        self._pip.write_text(pip_settings())

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self.words, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def build(self, example: ExampleName, context: Path, name: str) -> None:
        """Build an example as it is; what this machine's network wants is given from outside."""
        containerfile = str(files("faucet.templates.examples").joinpath(EXAMPLES[example].file))
        volumes = ["--volume", f"{self._pip}:/etc/pip.conf:ro"]
        if AUTHORITIES.exists():
            volumes += ["--volume", f"{AUTHORITIES}:/mnt/authorities.crt:ro"]
        self(
            "bud", "--isolation", "chroot", "--network", "host", "--format", "docker", "--build-arg", "BASE=base",
            *volumes, "--tag", name, "--file", containerfile, str(context),
        )  # fmt: skip

    def run(self, container: str, *words: str, env: dict[str, str] | None = None) -> list[str]:
        """The words of the command that runs `words` in a container."""
        variables = [word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")]
        return [*self.words, "run", "--isolation", "chroot", "--network", "host", *variables, container, "--", *words]


def pip_settings() -> str:
    """This machine's settings of pip, for the build: they are nothing that an example should say."""
    shown = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    line = re.compile(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", re.MULTILINE)
    settings = {match[1]: match[2] for match in line.finditer(shown.stdout)}
    kept = {name: value for name, value in settings.items() if name in ("index-url", "extra-index-url", "timeout")}
    if AUTHORITIES.exists():
        kept["cert"] = "/mnt/authorities.crt"
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in kept.items()), ""])


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """With an image `base`, a minimal Debian 13."""
    for needed in ("buildah", "debootstrap"):
        if shutil.which(needed) is None:
            pytest.skip(f"needs {needed}")
    if os.geteuid() != 0:
        pytest.skip("needs root, for a chroot")
    directory = tmp_path_factory.mktemp("images")
    tree = Path(os.environ.get("FAUCET_BASE_TREE") or directory / "tree")
    if not (tree / "bin").exists():
        words = ["debootstrap", "--variant=minbase", "trixie", str(tree)]
        subprocess.run(words, check=True, capture_output=True, text=True)
    tool = Buildah(directory)
    subprocess.run(["tar", "-C", str(tree), "-cf", str(directory / "base.tar"), "."], check=True)
    container = tool("from", "scratch")
    tool("add", container, str(directory / "base.tar"), "/")
    tool("commit", "--quiet", "--rm", container, "base")
    (directory / "base.tar").unlink()
    yield tool
    tool("rm", "--all")
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as docs/containers.md describes it: Faucet's wheel, and an API in api/."""
    place = tmp_path_factory.mktemp("context")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(words, check=True)
    write_starter(place / "api")
    with (place / "api" / "plumber.R").open("a") as file:
        file.write(WORLD)
    return place


def test_faucet_alone(buildah: Buildah, context: Path) -> None:
    buildah.build("containerfile", context, "faucet")
    container = buildah("from", "faucet")
    done = subprocess.run(buildah.run(container, "faucet", "--version"), capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"faucet {__version__}\nPython 3.13")
    words = buildah.run(container, "sh", "-c", "id -u; locale charmap; Rscript; faucet k8s")
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.stdout.split()[:2] == ["65532", "UTF-8"]
    assert "Rscript: not found" in told.stderr, "R is not in this one"
    assert "which service?" in told.stderr


def wait_answer(url: str, process: subprocess.Popen[str]) -> requests.Response:
    """Its first answer of 200."""
    deadline = monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()
        assert monotonic() < deadline, url
        wait_listening(int(url.split(":")[2].partition("/")[0]), 60)
        answer = requests.get(url, timeout=10)
        if answer.status_code == 200:
            return answer


def faucet_in(process: subprocess.Popen[str]) -> psutil.Process:
    """Faucet itself, among the children of what runs the container."""
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in children if child.exe().endswith("python3.13") and child.uids().real == 65532)


def health_check(inspected: str, admin: int) -> list[str]:
    """The command that the image names, for another port than the image's."""
    test = json.loads(inspected)["Docker"]["config"]["Healthcheck"]["Test"]
    assert test[0] == "CMD"
    return [word.replace(":3839/", f":{admin}/") for word in test[1:]]


def test_r_an_api_and_faucet_in_one(buildah: Buildah, context: Path) -> None:
    buildah.build("containerfile-r", context, "my-api")
    container = buildah("from", "my-api")
    port, admin = consecutive_ports(2)
    env = {"FAUCET_HOST": f"127.0.0.1:{port}", "FAUCET_ADMIN": f"127.0.0.1:{admin}"}
    run: Callable[..., list[str]] = buildah.run
    with subprocess.Popen(
        run(container, "faucet", "--workers", "2", env=env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_answer(f"http://127.0.0.1:{admin}/readyz", process)
            url = f"http://127.0.0.1:{port}"
            assert requests.get(f"{url}/hello?name=image", timeout=10).json() == {"hello": "image"}
            assert "<b>process" in requests.get(url, timeout=10).text
            assert requests.get(f"{url}/world", timeout=10).json() == {
                "locale": "C.UTF-8", "text": "été", "temporary": True, "home": True, "own": False, "user": "65532",
            }  # fmt: skip
            check = run(container, *health_check(buildah("inspect", container), admin))
            assert subprocess.run(check, check=False).returncode == 0, "healthy"
            faucet = faucet_in(process)
            workers = faucet.children(recursive=True)
            assert sum(child.name() == "R" for child in workers) == 2
            faucet.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, output
            assert "stopped" in output.splitlines()[-1]
            assert not [child for child in workers if child.is_running()]
            assert subprocess.run(check, check=False, capture_output=True).returncode == 1, "not healthy without it"
        finally:
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
