"""A clean Debian in memory, made by debootstrap, in which commands run as on a machine of their own.

Use it in a mount and a process namespace of its own, which `isolated` gives to a program. All that is mounted and all
that runs is gone with its first process, however that ends: there is nothing to unmount, to stop or to delete.

Only the base system is kept, as an archive in CACHE, for a week. Mirror, certificates and pip's settings are those of
the machine; its network is, too. Standard library only: it runs before there is a virtual environment.
"""

from __future__ import annotations

import configparser
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "faucet" / "fresh"

KEPT_SECONDS = 7 * 24 * 3600
"""Age at which a base system is made again: Debian has moved on."""

NEEDED_MEMORY = 3 << 30
"""Bytes. All files of the system are in memory: with R, plumber and the tests' environment, 1.5 GiB."""

BUNDLE = "/etc/ssl/machine.pem"
"""Where the clean system has the certificate authorities of the machine. No package of Debian's writes to it."""

BUNDLE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

PASSED_ON = re.compile(r"PIP_.*|.*_proxy", re.IGNORECASE)
"""Variables that a stranger's machine would have in its own way."""

PIP_CACHE = "/root/.cache/pip"


class Failed(Exception):
    """A step failed. The text says which, and what to do."""


def run(*words: str) -> None:
    """Run a program of the machine. Print its output if it fails, and raise Failed."""
    result = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode:
        print(result.stdout, flush=True)
        raise Failed(f"`{' '.join(words)}` failed with exit code {result.returncode}")


# -- namespaces ---------------------------------------------------------------------------------------------------


def isolated(module: str, words: Sequence[str]) -> int:
    """Run `python3 -m module words` in new namespaces, which end with this process. Return the exit code."""
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return subprocess.run([*argv, sys.executable, "-m", module, *words], check=False).returncode


def as_first_process(work: Callable[[], int]) -> int:
    """Do `work` in a child and return its exit code. Meanwhile reap orphans, as the first process of a machine must."""
    worker = os.fork()
    if worker == 0:
        code = 1
        try:
            code = work()
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child gets it from the terminal as well, and ends
    while True:
        ended, status = os.wait()
        if ended == worker:
            return os.waitstatus_to_exitcode(status) & 0x7F


# -- the base system ----------------------------------------------------------------------------------------------


def archive(suite: str) -> Path:
    """Return the path of the archive of a base system."""
    return CACHE / f"{suite}-{platform.machine()}.tar"


def is_recent(path: Path) -> bool:
    """Return whether an archive exists and is young enough."""
    return path.is_file() and time.time() - path.stat().st_mtime < KEPT_SECONDS


def make_base(suite: str, system: Path) -> None:
    """Make a base system by debootstrap in the directory `system`, and an archive of it."""
    for program, package in (("debootstrap", "debootstrap"), ("wget", "wget")):
        if shutil.which(program) is None:
            raise Failed(f"{program} is missing. Run `.ci/prepare fresh`, or `apt-get install {package}`.")
    words = ["debootstrap", "--variant=minbase", *keyring(), suite, str(system), mirror()]
    run(*[word for word in words if word])
    for package in (system / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    save(system, archive(suite))


def save(system: Path, target: Path) -> None:
    """Write the archive. It gets its name when it is complete; what an interrupted run has left is overwritten."""
    partial = target.with_suffix(".partial")
    try:
        run("tar", "-C", str(system), "--numeric-owner", "-cf", str(partial), ".")
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def keyring() -> list[str]:
    """Return debootstrap's option for Debian's keys. Without the option, another distribution does not verify them."""
    path = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if not path.is_file():
        raise Failed("Debian's keys are missing. Run `.ci/prepare fresh`, or `apt-get install debian-archive-keyring`.")
    return [f"--keyring={path}"]


def mirror() -> str:
    """Return the mirror from which this machine gets Debian itself; if there is none, debootstrap has its own."""
    release = platform.freedesktop_os_release()
    if release.get("ID") == "debian":
        for url, suites in sources():
            if release.get("VERSION_CODENAME", "stable") in suites and url.startswith("http"):
                return url
    return ""


def sources() -> Iterator[tuple[str, list[str]]]:
    """Yield address and suites of apt's sources, in both of their formats."""
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))):
        for line in path.read_text().splitlines() if path.is_file() else []:
            if match := re.match(r"deb\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)\s", line):
                yield match[1], [match[2]]
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^(\w+):[ \t]*(.*)$", paragraph, re.MULTILINE))
            if "URIs" in fields and fields.get("Enabled", "yes") != "no":
                yield fields["URIs"].split()[0], fields.get("Suites", "").split()


# -- the system ---------------------------------------------------------------------------------------------------


class Debian:
    """A clean system below a directory: `open` it, then `run` commands in it."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.memory = CACHE / "machine"
        self.root = self.memory / "system"
        self.environment: dict[str, str] = {}

    def open(self) -> None:
        """Make or unpack the system, mount what every system has, and give it the settings of this machine."""
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + reclaimable_memory()
        if free < NEEDED_MEMORY:
            raise Failed(f"{free >> 20} MiB of memory are free, and a clean Debian needs {NEEDED_MEMORY >> 20} MiB.")
        self.memory.mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "-o", "mode=755,size=80%", "tmpfs", self.memory)
        self.root.mkdir()
        if is_recent(archive(self.suite)):
            run("tar", "-C", str(self.root), "--numeric-owner", "-xpf", str(archive(self.suite)))
        else:
            make_base(self.suite, self.root)
        self._mount()
        self._configure()

    def _mount(self) -> None:
        mount("-t", "proc", "proc", self.root / "proc")
        mount("--rbind", "/sys", self.root / "sys")
        mount("--rbind", "/dev", self.root / "dev")
        for name in ("dev/shm", "tmp", "run"):
            (self.root / name).mkdir(exist_ok=True)
            mount("-t", "tmpfs", "-o", "mode=1777" if name != "run" else "mode=755", "tmpfs", self.root / name)
        (CACHE / "pip").mkdir(exist_ok=True)
        (self.root / PIP_CACHE.lstrip("/")).mkdir(parents=True)
        mount("--bind", CACHE / "pip", self.root / PIP_CACHE.lstrip("/"))

    def _configure(self) -> None:
        for name in ("resolv.conf", "hosts"):
            if (source := Path("/etc") / name).is_file():
                shutil.copyfile(source, self.root / "etc" / name)
        for path in (Path("/etc/apt/apt.conf"), *Path("/etc/apt/apt.conf.d").glob("*")):
            if path.is_file() and "Acquire" in path.read_text(errors="replace"):
                shutil.copyfile(path, self.root / path.relative_to("/"))
        variables = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
        variables.pop("PIP_CONFIG_FILE", None)
        settings = pip_settings(self.root / "etc/pip.conf")
        variables |= self._certificates(settings.get("cert", ""))
        self._share_links(f"{settings.get('find-links', '')} {os.environ.get('PIP_FIND_LINKS', '')}")
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        basics = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "PIP_CACHE_DIR": PIP_CACHE, "PS1": "# "}
        self.environment = variables | basics

    def _certificates(self, chosen_for_pip: str) -> dict[str, str]:
        """Copy the certificate authorities that this machine trusts. Return the variables that name them."""
        usual = "/etc/ssl/certs/ca-certificates.crt"
        for name in (*(os.environ.get(variable, "") for variable in BUNDLE_VARIABLES), chosen_for_pip, usual):
            if name and Path(name).is_file():
                (self.root / "etc/ssl").mkdir(exist_ok=True)
                shutil.copyfile(name, self.root / BUNDLE.lstrip("/"))
                (self.root / "etc/apt/apt.conf.d/99machine").write_text(f'Acquire::https::CAInfo "{BUNDLE}";\n')
                return dict.fromkeys(BUNDLE_VARIABLES, BUNDLE)
        return {}

    def _share_links(self, words: str) -> None:
        """Let the system see the directories in which pip looks for packages."""
        for word in dict.fromkeys(words.replace("file://", "").split()):
            if word.startswith("/") and Path(word).is_dir():
                place = self.root / word.lstrip("/")
                place.mkdir(parents=True, exist_ok=True)
                mount("--bind", word, place)

    def command(self, *words: str, at: str = "/root", env: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs `words` in the system, in the directory `at`."""
        variables = [f"{name}={value}" for name, value in {**self.environment, **(env or {})}.items()]
        return ["chroot", str(self.root), "/usr/bin/env", "-i", "-C", at, *variables, *words]

    def run(self, *words: str, at: str = "/root", env: Mapping[str, str] | None = None) -> None:
        """Run a command in the system. Raises Failed."""
        command = self.command(*words, at=at, env=env)
        if code := subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            raise Failed(f"`{' '.join(words)}` failed with exit code {code}")

    def versions(self) -> str:
        """Return the versions of what matters, as one line."""
        packages = ["r-base-core", "r-cran-plumber", "python3"]
        command = self.command("dpkg-query", "-W", "-f", "${Package} ${Version}  ", *packages)
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def mount(*words: str | Path) -> None:
    """Mount in this namespace. Raises Failed."""
    run("mount", *map(str, words))


def reclaimable_memory() -> int:
    """Return how many bytes of caches the kernel can give back, beyond what is free."""
    text = Path("/proc/meminfo").read_text()
    numbers = {name: int(value) << 10 for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return max(numbers.get("MemAvailable", 0) - numbers.get("MemFree", 0), 0)


def pip_settings(target: Path) -> dict[str, str]:
    """Copy the first of pip's configuration files that exists. Return its global section."""
    own = os.environ.get("PIP_CONFIG_FILE", "")
    for place in map(Path, (own, Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf", "/etc/pip.conf")):
        if place.is_file():
            shutil.copyfile(place, target)
            parser = configparser.RawConfigParser()
            parser.read(place)
            return dict(parser["global"]) if parser.has_section("global") else {}
    return {}
