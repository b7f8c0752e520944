"""Whether the proxy runs as Python, or compiled by mypyc (see docs/benchmarks.md)."""

from __future__ import annotations

from typing import Final

COMPILED: Final = not __file__.endswith(".py")
"""The hot modules are compiled: all of them or none, this one included."""

BUILD: Final = "compiled by mypyc" if COMPILED else "pure Python"
