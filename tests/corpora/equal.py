"""Mutants that behave as the program does, each with the reason: no test could notice them."""

from __future__ import annotations

EQUAL: dict[str, dict[str, str]] = {
    "faucet.proxy.locks": {},
    "faucet.proxy.failures": {},
}
"""By module: the name of the mutant, and why it changes nothing."""
