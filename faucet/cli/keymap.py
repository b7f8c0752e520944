"""The value of --keys: other keys for the monitor's actions."""

from __future__ import annotations

from faucet.settings import ACTIONS
from faucet.text import did_you_mean


def parse_keymap(text: str) -> dict[str, str]:
    """Return the keys by action of `restart=f5,quit=x`. Raises ValueError."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    for name, equals, key in pairs:
        if not (name.strip() and equals and key.strip()):
            raise ValueError("write a list like restart=f5,quit=x")
        if name.strip() not in ACTIONS:
            hint = did_you_mean(name.strip(), ACTIONS) or f"; there are {', '.join(ACTIONS)}"
            raise ValueError(f"unknown action {name.strip()!r}{hint}")
    _refuse_twice([name.strip() for name, _, _ in pairs], "action")
    _refuse_twice([key.strip() for _, _, key in pairs], "key")
    return {name.strip(): key.strip() for name, _, key in pairs}


def _refuse_twice(words: list[str], what: str) -> None:
    """Raises ValueError."""
    twice = next((word for word in words if words.count(word) > 1), None)
    if twice is not None:
        raise ValueError(f"the {what} {twice!r} is in the list twice")
