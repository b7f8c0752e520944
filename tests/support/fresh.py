"""README's first command on a machine that has never seen it: a clean Debian, made by debootstrap.

    just fresh trixie             (or bookworm) the demo, all its workers, restarts, the monitor; then the tests with R
    just fresh trixie -k layouts  only those tests
    just fresh --clean            forget the base systems that were made

Everything happens in a mount and a process namespace of its own, on an overlay in memory: when it ends, however it
ends, there is nothing left to unmount, to stop or to delete. Only the base system is kept, for a week, in a cache
outside the checkout. The mirror, certificates and pip's settings are the machine's; the network is, too.
Standard library only: it runs with the system's Python, before there is an environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or ("/var/cache" if os.getuid() == 0 else "~/.cache")).expanduser()

SUITES = ("trixie", "bookworm")

KEPT_SECONDS = 7 * 24 * 3600
"""Age at which a base system is made again: Debian has moved on."""

THERE = Path("/root/faucet")
"""Where the checkout is, as the stranger sees it."""

CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

BUNDLE = "/etc/machine-certificates.pem"

PASSED_ON = re.compile(r"PIP_.*|.*_proxy", re.IGNORECASE)
"""Variables of the machine that the stranger's machine would have in its own way."""


class Failed(Exception):
    """A step did not succeed. The text says which."""


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Print what is done, and how long it took."""
    began = time.monotonic()
    print(f"-- {name}", flush=True)
    yield
    print(f"   {time.monotonic() - began:.0f} s", flush=True)


# -- the base system ----------------------------------------------------------------------------------------------


def base_system(suite: str) -> Path:
    """The directory of a clean Debian, made now or within the last week. Raises Failed."""
    base = CACHE / "faucet-fresh" / suite
    if base.is_dir() and time.time() - base.stat().st_mtime < KEPT_SECONDS:
        return base
    if shutil.which("debootstrap") is None:
        raise Failed("debootstrap is missing: apt-get install debootstrap")
    shutil.rmtree(base, ignore_errors=True)
    base.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{suite}-", dir=base.parent))
    try:
        with phase(f"debootstrap {suite}"):
            run("debootstrap", "--variant=minbase", suite, str(partial / "root"), mirror())
        (partial / "root").rename(base)
        os.utime(base)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return base


def mirror() -> str:
    """The mirror that this machine uses for Debian itself; empty: debootstrap's own choice."""
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        text = path.read_text() if path.is_file() else ""
        for line in text.splitlines():
            words = line.split("#")[0].split()
            if words[:1] in (["URIs:"], ["deb"]):
                url = next((word for word in words if re.fullmatch(r"https?://\S+/debian/?", word)), None)
                if url is not None:
                    return url
    return ""


def run(*words: str, **more: object) -> None:
    """Run a program; what it printed is shown if it fails. Raises Failed."""
    result = subprocess.run(
        [word for word in words if word], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        stdin=subprocess.DEVNULL, **more,  # type: ignore[call-overload]
    )  # fmt: skip
    if result.returncode:
        print(result.stdout, flush=True)
        raise Failed(f"{' '.join(words)}: exit code {result.returncode}")


# -- in namespaces of their own -----------------------------------------------------------------------------------


def mount_all(base: Path, root: Path) -> Path:
    """Mount a writable copy of `base` below `root`, in memory, with what every system has. Returns where it is."""
    mount("-t", "tmpfs", "-o", "size=80%", "tmpfs", str(root))
    system, upper, work = root / "system", root / "upper", root / "work"
    for path in (system, upper, work):
        path.mkdir()
    try:
        mount("-t", "overlay", "-o", f"lowerdir={base},upperdir={upper},workdir={work}", "overlay", str(system))
    except Failed:  # no overlays here: a plain copy will do
        run("cp", "-a", f"{base}/.", str(system))
    mount("-t", "proc", "proc", str(system / "proc"))
    mount("--rbind", "/sys", str(system / "sys"))
    mount("--rbind", "/dev", str(system / "dev"))
    mount("-t", "tmpfs", "tmpfs", str(system / "tmp"))
    mount("-t", "tmpfs", "tmpfs", str(system / "run"))
    return system


def mount(*words: str) -> None:
    """Raises Failed."""
    run("mount", *words)


def settle_in(system: Path) -> dict[str, str]:
    """Give the system what it needs to reach Debian's mirror and Python's index. Returns its environment."""
    for name in ("resolv.conf", "hosts", "pip.conf"):
        if (source := Path("/etc") / name).is_file():
            shutil.copyfile(source, system / "etc" / name)
    for path in Path("/etc/apt/apt.conf.d").glob("*"):
        if "Acquire" in path.read_text(errors="replace"):
            shutil.copyfile(path, system / "etc/apt/apt.conf.d" / path.name)
    environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    for name in CERTIFICATES:
        bundle = Path(os.environ.get(name, ""))
        if bundle.is_file():
            shutil.copyfile(bundle, system / BUNDLE.lstrip("/"))
            environment[name] = BUNDLE
    for word in os.environ.get("PIP_FIND_LINKS", "").split():
        if Path(word).is_dir():
            (system / word.lstrip("/")).mkdir(parents=True)
            mount("--bind", word, str(system / word.lstrip("/")))
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return environment | {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "xterm-256color"}


def clone(system: Path) -> None:
    """A fresh clone, with what is not committed yet."""
    there = system / THERE.relative_to("/")
    git = ("git", "-c", f"safe.directory={CHECKOUT}", "-c", f"safe.directory={CHECKOUT / '.git'}", "-C", str(CHECKOUT))
    run(*git, "clone", "--quiet", "--no-hardlinks", str(CHECKOUT), str(there))
    listed = subprocess.run(
        [*git, "ls-files", "--modified", "--others", "--exclude-standard", "-z"], capture_output=True, check=True
    )
    names = [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    if names:
        print(f"   with {len(names)} files that are not committed", flush=True)
    for name in names:
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / name).exists():
            shutil.copy2(CHECKOUT / name, there / name)
        else:
            (there / name).unlink(missing_ok=True)


def inside(base: Path, root: Path, chosen: Sequence[str]) -> None:
    """The whole story, as process 1 of the new namespace. Raises Failed."""
    system = mount_all(base, root)
    environment = settle_in(system)

    def there(*words: str, **more: str) -> None:
        chroot = ["chroot", str(system), "/usr/bin/env", "-C", str(THERE), *words]
        if subprocess.run(chroot, env=environment | more, stdin=subprocess.DEVNULL, check=False).returncode:
            raise Failed(f"{' '.join(words)} failed")

    with phase("a clone of the checkout"):
        clone(system)
    with phase(".ci/prepare run"):
        there(".ci/prepare", "run")
    with phase("faucet demo, as a stranger"):
        there(".venv/bin/python", "tests/support/stranger.py")
    with phase(".ci/prepare r"):
        there(".ci/prepare", "r")
    with phase("the tests that need R"):
        there(".venv/bin/python", "-m", "pytest", "-q", "-m", "r", "-p", "no:cacheprovider", *chosen, CI="true")


# -- the command --------------------------------------------------------------------------------------------------


def main(words: Sequence[str]) -> int:
    """The exit code."""
    if words[:1] == ["--inside"]:
        inside(Path(words[1]), Path(words[2]), words[3:])
        return 0
    if words[:1] == ["--clean"]:
        shutil.rmtree(CACHE / "faucet-fresh", ignore_errors=True)
        return 0
    if not words or words[0] not in SUITES:
        print(f"usage: just fresh {'|'.join(SUITES)} [options of pytest]; just fresh --clean", file=sys.stderr)
        return 2
    if os.getuid() != 0:
        print("a clean Debian needs root: sudo just fresh ...", file=sys.stderr)
        return 1
    base = base_system(words[0])
    with tempfile.TemporaryDirectory(prefix="faucet-fresh-") as root:
        spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        result = subprocess.run(
            [*spaces, sys.executable, __file__, "--inside", str(base), root, *words[1:]], check=False
        )
    return result.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as error:
        print(f"fresh: {error}", file=sys.stderr)
        sys.exit(1)
