"""What a browser shows first: the pages of the demo and of `faucet init`, through Faucet, by R and without."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from faucet.net.address import parse_listen
from faucet.templates.demo import demo_hints
from faucet.templates.starter import write_starter
from tests.support.checkout import ROOT
from tests.support.running import Faucet

Start = Callable[..., Faucet]

VOID = {"meta", "link", "br", "input", "path"}
"""Elements without an end."""


class Page(HTMLParser):
    """The addresses in a page; its elements have to be closed in the order in which they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.others: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser."""
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name == "href" and tag == "a":
                self.links.append(str(value))
            elif name in ("href", "src", "action", "data"):
                self.others.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        """Called by the parser."""
        if tag not in VOID:
            assert self._open.pop() == tag


def look_around(service: Faucet) -> str:
    """Follow all that the page at / names; the text of the page."""
    base = f"http://127.0.0.1:{service.port}/"
    found = requests.get(base, timeout=10)
    assert (found.status_code, found.headers["Content-Type"].lower()) == (200, "text/html; charset=utf-8")
    page = Page(found.text)
    assert {"hello?name=you", "__docs__/"} <= set(page.links)
    for link in page.links:
        answer = requests.get(urljoin(base, link), timeout=20)
        assert answer.status_code == (500 if link == "error" else 200), link
    icon = requests.get(base + "favicon.ico", timeout=10)
    assert (icon.status_code, icon.headers["Content-Type"]) == (200, "image/svg+xml")
    assert icon.text.startswith("<svg ")
    assert not re.search(r'"GET \S+ HTTP/1.1" 404', service.output)
    return found.text


def says_who(service: Faucet, text: str) -> bool:
    """Whether a page names one of the workers."""
    pid = re.search(r"<b>process (\d+)</b>", text)
    return pid is not None and int(pid[1]) in service.worker_pids.values()


def test_the_demo_by_python(faucet: Start) -> None:
    service = faucet("demo", "-w", "2", "--rscript", "there-is-no-such-program")
    service.wait_workers(2)
    text = look_around(service)
    assert says_who(service, text)
    assert f"Python {sys.version.split()[0]}" in text


def test_the_demo_by_plumber(faucet: Start, plumber: str) -> None:
    service = faucet("demo", "-w", "2", "--rscript", plumber)
    service.wait_workers(2)
    text = look_around(service)
    assert says_who(service, text)
    assert re.search(r"R \d+\.\d+\.\d+ with Plumber \d+\.\d+", text)
    shown = {re.search(r"process (\d+)", requests.get(service.url("/"), timeout=10).text)[1] for _ in range(4)}  # type: ignore[index]
    assert len(shown) == 2, "a reload shows that others work, too"
    form = requests.post(service.url("/mean"), data={"x": "1,2,3"}, timeout=10)
    assert form.json()["mean"] == 2, "as the page's own form sends it"


def test_the_starter(faucet: Start, plumber: str, tmp_path: Path) -> None:
    write_starter(tmp_path / "api")
    service = faucet("--dir", "api", "-w", "1", "--rscript", plumber)
    service.wait_workers(1)
    text = look_around(service)
    assert says_who(service, text)
    assert "{{" not in text


@pytest.mark.parametrize("name", ["demo/index.html", "demo/docs.html", "starter/index.html"])
def test_a_page_needs_nothing_from_outside(name: str) -> None:
    text = files("faucet.templates").joinpath(name).read_text("utf-8")
    page = Page(text)
    assert not [found for found in page.links + page.others if "//" in found or found.startswith("/")], "all relative"
    assert not re.search(r"url\(|@import", text)
    assert text.isascii(), "R reads it in any locale"
    assert "color-scheme" in text, "dark, where that is wanted"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:3838", "http://127.0.0.1:3838/"),
        (":8080", "http://localhost:8080/"),
        ("0.0.0.0:80", "http://localhost:80/"),
        ("[::]:3838", "http://localhost:3838/"),
        ("[::1]:3838", "http://[::1]:3838/"),
        ("example:1", "http://example:1/"),
    ],
)
def test_the_address_can_be_clicked(host: str, url: str) -> None:
    hints = demo_hints(parse_listen(host))
    assert f"In a browser: {url}\n" in hints
    assert all(found.startswith(url) for found in re.findall(r"http://[^\s']+", hints))


def test_a_socket_has_no_address_for_browsers() -> None:
    hints = demo_hints(parse_listen("unix:/run/a b.sock"))
    assert "browser" not in hints
    assert "curl --unix-socket '/run/a b.sock' http://localhost/hello" in hints


def test_the_address_is_printed_when_it_is_served() -> None:
    """Also where the kernel has chosen the port, and only when something is there to be seen."""
    words = ["demo", "--headless", "--host", "127.0.0.1:0", "-w", "1", "--rscript", "there-is-no-such-program"]
    with subprocess.Popen(
        [sys.executable, "-m", "faucet", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "browser" in line)
        found = re.fullmatch(r"In a browser: (http://127\.0\.0\.1:[1-9]\d+/)\n", line)
        assert found is not None
        assert requests.get(found[1], timeout=10).status_code == 200
        process.terminate()
        assert process.wait(20) == 0


def test_init_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from faucet.cli.main import main

    assert main(["init", str(tmp_path / "api")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [f"Serve it: faucet {tmp_path / 'api'}", "In a browser, then: http://127.0.0.1:3838/"]


@pytest.mark.parametrize(("name", "command"), [("my-api", "faucet my-api"), ("demo", "faucet ./demo"), (".", "faucet")])
def test_init_names_the_command_that_serves_it(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from faucet.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["init", name]) == 0
    assert f"Serve it: {command}\n" in capsys.readouterr().out


@pytest.mark.parametrize("port", ["tcp://10.96.0.7:80", ""])
def test_the_starter_beside_a_service_with_the_name_faucet(plumber: str, tmp_path: Path, port: str) -> None:
    """Kubernetes sets FAUCET_PORT then. The entrypoint without Faucet takes its own port, and no R is left over."""
    write_starter(tmp_path)
    lines = (tmp_path / "entrypoint.R").read_text().split("\n\npr(")[0]
    code = f"{lines}\nstopifnot(identical(port, 8000L), length(warnings()) == 0)\ncat('port', port)\n"
    (tmp_path / "only.R").write_text(code)
    environment = {"PATH": "/usr/bin:/bin", **({"FAUCET_PORT": port} if port else {})}
    done = subprocess.run(
        [plumber, "only.R"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "port 8000"), done.stderr
    assert "NAs introduced" not in done.stderr
