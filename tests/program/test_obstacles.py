"""A machine that is in the way: what may not be read or written is one clear line with the next step, no traceback."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faucet.control import neighbours
from faucet.control import paths as places
from faucet.control.protocol import PROTOCOL
from tests.support.checkout import ROOT
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]


@pytest.fixture(scope="session")
def ordinary(tool: Callable[[str], str]) -> list[str]:
    """Words in front of a command that take root's right to read everything; none are needed for others."""
    if os.geteuid():
        return []
    return [tool("setpriv"), "--bounding-set", "-dac_override,-dac_read_search", "--"]


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program of util-linux."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"needs {name}")
        return path

    return find


@pytest.fixture
def denied(tmp_path: Path) -> Iterator[Path]:
    """A directory that its owner may not look into, with an API in it."""
    where = tmp_path / "denied"
    where.mkdir()
    (where / "plumber.R").touch()
    where.chmod(0)
    yield where
    where.chmod(0o700)


@pytest.fixture
def run(ordinary: list[str], tmp_path: Path, denied: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `faucet …` to its end in a directory with good and bad things in it."""
    api = tmp_path / "api"
    api.mkdir()
    (api / "plumber.R").touch()
    (tmp_path / "secret").touch()
    (tmp_path / "secret").chmod(0)

    def start(*arguments: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        return subprocess.run(
            [*ordinary, sys.executable, "-W", "error", "-m", "faucet", *arguments],
            cwd=tmp_path, env={name: text for name, text in environment.items() if text is not None},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return start


def only_line(result: subprocess.CompletedProcess[str], code: int) -> str:
    """What it said: one message, and nothing that Python said."""
    assert result.returncode == code, result.stderr
    assert result.stderr.startswith("faucet: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--headless --dir denied", "denied: permission denied for user "),
        ("local denied", "shows what is in the way"),
        ("denied/api", "denied/api: permission denied"),
        ("--headless --dir denied --command true", "permission denied"),
        ("config denied", "denied: permission denied"),
        ("api --config secret", "secret: permission denied"),
        ("api --config denied/x.toml", "--config: denied/x.toml: permission denied"),
        ("api --headless --command true --log-file api", "Is a directory; name another file with --log-file"),
        (
            "api --headless --host 127.0.0.1:0 --command true --control denied/x.sock",
            "denied/x.sock: Permission denied; choose another",
        ),
        (
            "api --headless --command true --host unix:denied/x.sock",
            "denied; choose another path with --host",
        ),
        ("k8s --headless --host :0 --service-url https://x:80 --ca-file secret", "name a file of certificates in PEM"),
        ("k8s --headless --host :0 --service-url https://x:80 --ca-file api", "--ca-file api: "),
        ("k8s --headless --host :0 --service-url http://x:80 --via-ssh h --ssh-key denied/k", "does not exist"),
        ("k8s --headless --host :0 --service-url http://x:80 --via-ssh h --ssh-config secret", "is not readable"),
        ("ctl status --at denied/x.sock", "cannot connect to denied/x.sock: Permission denied"),
        ("init denied/new", "nothing was written; name another directory"),
    ],
)
def test_what_may_not_be_read_or_written(run: Callable[..., object], typed: str, said: str) -> None:
    if "--via-ssh" in typed:
        pytest.importorskip("asyncssh")
    assert said in only_line(run(*shlex.split(typed)), 1)  # type: ignore[arg-type]


def test_a_file_of_options_that_is_none(run: Callable[..., object], tmp_path: Path) -> None:
    path = tmp_path / "api/faucet.toml"
    for make, said in (
        (path.mkdir, "api/faucet.toml is a directory"),
        (lambda: path.symlink_to("gone.toml"), "api/faucet.toml is a symbolic link to nothing (gone.toml)"),
        (lambda: path.symlink_to(path), "api/faucet.toml cannot be read: Too many levels of symbolic links"),
        (lambda: os.mkfifo(path), "api/faucet.toml is not a regular file"),
        (lambda: path.write_bytes(b"# 1\n# caf\xe9\n"), "api/faucet.toml cannot be read: line 2 is not UTF-8"),
    ):
        make()
        code = 1 if "levels" in said else 2
        result = run("api")
        assert said in result.stderr, result  # type: ignore[attr-defined]
        assert (result.returncode, "Traceback" in result.stderr) == (code, False)  # type: ignore[attr-defined]
        assert said in run("config", "--dir", "api").stderr  # type: ignore[attr-defined]
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def test_doctor_finds_it_broken(run: Callable[..., object]) -> None:
    result = run("doctor", "denied", "--json")
    assert result.returncode == 1  # type: ignore[attr-defined]
    found = {row["subject"]: row for row in json.loads(result.stdout)}  # type: ignore[attr-defined]
    assert (found["options"]["level"], found["API"]["level"]) == ("broken", "broken")
    assert "cannot be read: Permission denied" in found["API"]["found"]


@pytest.mark.parametrize(
    "variables",
    [
        {"HOME": None, "XDG_RUNTIME_DIR": None},
        {"HOME": "denied", "XDG_RUNTIME_DIR": "denied"},
        {"HOME": "/nowhere", "XDG_RUNTIME_DIR": "/nowhere"},
    ],
)
def test_a_home_that_is_of_no_use(
    faucet: Start, run: Callable[..., subprocess.CompletedProcess[str]], ordinary: list[str], tmp_path: Path,
    variables: dict[str, str | None],
) -> None:  # fmt: skip
    """As after `su`: the service runs, is found by `ctl`, and doctor looks at all of it."""
    variables = {name: str(tmp_path / text) if text == "denied" else text for name, text in variables.items()}
    with tempfile.TemporaryDirectory(prefix="fct-") as place:
        given = {**variables, "TMPDIR": place}
        unset = [word for name, text in given.items() if text is None for word in ("-u", name)]
        service = faucet(
            "api", "--command", python_worker("counting"), "-w", "1", wrapper=[*ordinary, "env", *unset],
            env={name: text for name, text in given.items() if text is not None},
        ).wait_ready()  # fmt: skip
        assert "warning" not in service.output
        status = run("ctl", "status", **given)
        assert (status.returncode, status.stderr) == (0, "")
        assert "could not be examined" not in run("doctor", "api", "--rscript", "true", **given).stdout
        assert service.stop() == 0


def test_a_current_directory_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api/plumber.R").touch()
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", script, "sh", sys.executable, "-m", "faucet", *arguments], cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    for words, code in (((), 1), (("--headless", "--command", "true"), 1), (("api",), 2), (("init", "new"), 1)):
        assert "the current directory does not exist any more; cd to another" in only_line(run(*words), code)
    result = run("doctor", "--rscript", "true")
    assert (result.returncode, "the current directory does not exist" in result.stdout) == (1, True)
    assert run("config", "--dir", str(tmp_path / "api")).returncode == 0


READ_ONLY = """
for d in /tmp /var/tmp /dev/shm /run; do
    [ ! -d $d ] || { mount --bind $d $d && mount -o remount,bind,ro $d; } || exit 77
done
exec "$@"
"""


def test_a_machine_where_nothing_can_be_written(
    faucet: Start, tool: Callable[[str], str], tmp_path: Path, ordinary: list[str]
) -> None:
    """A container with a read-only root: the service runs, and says what is lacking."""
    wrapper = [tool("unshare"), "--mount", "sh", "-c", READ_ONLY, "sh"]
    if os.geteuid() or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root, and a mount namespace")
    kept = {"XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    service = faucet("--command", python_worker("counting"), "-w", "1", wrapper=[*wrapper, *ordinary], env=kept)
    service.wait_line("warning: cannot create the control socket /tmp/faucet-.*; choose another path with --control")
    service.wait_ready()
    assert service.stop() == 0


def test_the_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Never the current directory, which Python's tempfile would take."""
    monkeypatch.setattr(places, "_usable", lambda path: False)
    assert places.temporary_directory() == Path("/tmp")
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert places.temporary_directory() == tmp_path
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setenv("TMP", str(tmp_path))
    assert places.temporary_directory() == tmp_path


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from faucet.cli import ctl

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 23456")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("os.geteuid", lambda: 2_345_678)
    assert ctl._who() == "#2345678 (ctl)"


# -- others -----------------------------------------------------------------------------------------------------


def test_others_are_named_with_a_command_that_works(
    faucet: Start, run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """For root at night, when the service runs as another user."""
    with tempfile.TemporaryDirectory(prefix="fct-") as theirs, tempfile.TemporaryDirectory(prefix="fct-") as ours:
        service = faucet("--command", python_worker("counting"), "-w", "1", env={"XDG_RUNTIME_DIR": theirs})
        service.wait_ready()
        for words in (["ctl", "status"], ["ctl", "health", "--at", "9"]):
            result = run(*words, XDG_RUNTIME_DIR=ours)
            assert result.returncode == 1
            line = next(line for line in result.stderr.splitlines() if f"{theirs}/faucet/" in line)
            assert f"pid {service.process.pid}" in line
            command = line.rpartition(": ")[2]
            assert command.startswith("faucet ctl status --at ")
        assert str(tmp_path) in run(*command.split()[1:], XDG_RUNTIME_DIR=ours).stdout
        Path(theirs).chmod(0)
        said = run("ctl", "status", XDG_RUNTIME_DIR=ours).stderr
        Path(theirs).chmod(0o700)
        if sys.platform == "linux":
            path = f"{theirs}/faucet/{service.port}.sock"
            assert f"sudo -u {neighbours.user_name()} faucet ctl status --at {path}" in said
        assert service.stop() == 0


async def test_sockets_that_may_be_anybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing, one that says something strange: neither holds up anything, or steers the terminal."""
    with tempfile.TemporaryDirectory(prefix="fct-") as place:
        silent, liar = (socket.socket(socket.AF_UNIX) for _ in range(2))
        with silent, liar:
            silent.bind(f"{place}/silent.sock")
            liar.bind(f"{place}/liar.sock")
            silent.listen()
            liar.listen()
            greeting = {"faucet": "1", "protocol": PROTOCOL, "port": 1, "pid": 2, "url": "", "mode": ""}
            monkeypatch.setattr(neighbours, "PLACES", (f"{place}/*.sock",))
            monkeypatch.setattr(neighbours, "LISTENING", Path("/nowhere"))
            monkeypatch.setattr(neighbours, "PATIENCE", 0.3)

            async def lie() -> None:
                loop = asyncio.get_running_loop()
                liar.setblocking(False)
                peer, _ = await loop.sock_accept(liar)
                with peer:
                    text = json.dumps({**greeting, "title": "\x1b]0;x\x07"}) + "\n"
                    await loop.sock_sendall(peer, text.encode())

            text, _ = await asyncio.gather(neighbours.others([]), lie())
            assert "silent" not in text
            assert "\\x1b]0;x\\x07 of " in text
            assert "\x1b" not in text


def test_the_kernels_list_of_sockets() -> None:
    table = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0: 00000002 00000000 00010000 0001 01 1 /run/user/998/faucet/3838.sock\n"
        "0: 00000002 00000000 00010000 0001 01 1 /run/faucet/control.sock\n"
        "0: 00000003 00000000 00000000 0001 03 1 /run/user/1/faucet/1.sock\n"
        "0: 00000002 00000000 00010000 0001 01 1 /run/other/x.sock\n"
        "0: 00000003 00000000 00000000 0001 03 1\n"
        "0: 00000002 00000000 00010000 0001 01 1 /tmp/a b/faucet-7/1.sock\n"
    )
    paths = [path for path in neighbours._listening(table) if neighbours._OURS.fullmatch(path)]
    assert paths == ["/run/user/998/faucet/3838.sock", "/run/faucet/control.sock", "/tmp/a b/faucet-7/1.sock"]
