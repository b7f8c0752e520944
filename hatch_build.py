"""Compiles the hot modules by mypyc while a wheel is built, if FAUCET_COMPILE=1 asks for it; does nothing otherwise.

FAUCET_COMPILE=quick leaves out what the C compiler does for speed: for tests, which ask only what the modules do.

The sources stay in the wheel beside what is made of them, and Python prefers the latter. Nothing is written into the
checkout: a compiled module there would hide what you change in its source. That is why an editable install is refused.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED = (
    "faucet/log/formats.py",
    "faucet/http1/*.py",
    "faucet/proxy/*.py",
    # They have subclasses of compiled classes, which have to be compiled themselves.
    "faucet/ha/lanes.py",
    "faucet/ha/relayed.py",
    "faucet/pods/gate.py",
    "faucet/workers/health_lock.py",
)
"""What a request goes through. tests/rigs/test_compiled.py checks that no subclass is missing."""


class CompileHook(BuildHookInterface[Any]):
    """Hatchling calls it for each wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling. A pure build needs nothing."""
        return ["mypy[mypyc]>=2.4"] if _wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled modules to the wheel. Raises RuntimeError for an editable install."""
        if not _wanted():
            return
        if version == "editable":
            raise RuntimeError("FAUCET_COMPILE=1 cannot be used with an editable install, which runs the sources as "
                               "they are. Install without --editable, or run `just test-compiled`.")  # fmt: skip
        self._place = tempfile.TemporaryDirectory(prefix="faucet-compile-")
        build_data["force_include"].update(_compile(Path(self._place.name)))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled: it is in the wheel."""
        if _wanted():
            self._place.cleanup()


def _wanted() -> bool:
    return os.environ.get("FAUCET_COMPILE", "") not in ("", "0")


def _compile(place: Path) -> dict[str, str]:
    """Compile into `place`; where each library is, and where it belongs in the wheel."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    files = sorted(str(path) for pattern in COMPILED for path in Path().glob(pattern) if path.name != "__init__.py")
    # The options of pyproject.toml are for the checkout, where all dependencies are installed.
    options = ["--config-file=", f"--cache-dir={place / 'cache'}", "--ignore-missing-imports"]
    quick = os.environ["FAUCET_COMPILE"] == "quick"
    levels = {"opt_level": "0", "debug_level": "0"} if quick else {}
    extensions = mypycify([*options, *files], group_name="faucet", target_dir=str(place / "c"), **levels)
    for extension in extensions:
        # Another compiler than ours warns of other things in what mypyc writes.
        extension.extra_compile_args = [word for word in extension.extra_compile_args if word != "-Werror"]
    command = build_ext(Distribution({"name": "faucet", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(place / "lib"), str(place / "objects")
    command.ensure_finalized()
    command.parallel = os.cpu_count()  # one file is large; the others, one for each module, are compiled beside it
    command.run()
    return {str(path): str(path.relative_to(place / "lib")) for path in (place / "lib").rglob("*.so")}
