"""How the package is built: without an environment made for it, if this one has what the build needs.

To make that environment, and to fill it from the network, takes longer than the build.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

_HERE = find_spec("hatchling") is not None

BUILD = [sys.executable, "-m", "build", *(["--no-isolation", "--skip-dependency-check"] if _HERE else [])]

PIP_INSTALL = [sys.executable, "-m", "pip", "install", *(["--no-build-isolation"] if _HERE else [])]
