"""How R is started: which Rscript, and with `launch.R`, which starts every kind of API."""

from __future__ import annotations

import shutil
from pathlib import Path

from faucet.workers.layouts import Kind, Layout

LAUNCH_R = Path(__file__).with_name("launch.R")


def find_rscript(rscript: str) -> str | None:
    """Return the absolute path of the Rscript to start; None if there is none.

    A relative path is meant from where the user is, and workers run in the directory of their API. Links are kept: what
    looks after several versions of R often is one.
    """
    found = shutil.which(Path(rscript).expanduser() if rscript.startswith("~") else rscript)
    return None if found is None else str(Path(found).absolute())


def layout_arguments(rscript: str, layout: Layout) -> tuple[str, ...]:
    """Return the command line that serves what is in the directory in which it is run."""
    engine = (layout.engine,) if layout.kind is Kind.SERVER else ()
    return (rscript, str(LAUNCH_R), layout.kind.value, layout.file, *engine)


def package_arguments(rscript: str, package: str, name: str) -> tuple[str, ...]:
    """Return the command line that serves the API `name` of an installed package."""
    return (rscript, str(LAUNCH_R), "package", package, name)
