"""JSON lines: one object a line, each way. What may be said, and how long it may be.

A runtime greets with `{"faucet": version, "protocol": n, …}`. A client says `{"id": n, "do": name, …}` and gets
`{"id": n, "ok": …}` or `{"id": n, "error": text}`, in order. After `watch` the runtime also sends, by itself,
`{"snapshot": {…}}` once, and then, when there is something to tell, `{"changes": {…}}`, `{"log": […], "skipped": n}`
and `{"requests": […], "skipped": n}`.
"""

from __future__ import annotations

import json
from typing import Any

PROTOCOL = 2
"""Both sides must speak the same. It changes with every field of `faucet.status.snapshot`."""

COMMAND_LIMIT = 64 * 1024
"""Bytes of a line that a runtime takes from a client."""

MESSAGE_LIMIT = 16 * 1024 * 1024
"""Bytes of a line that a client takes from a runtime."""

Message = dict[str, Any]


class ProtocolError(Exception):
    """A line that means nothing. The text is for whoever sent it."""


def encode(message: Message) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def decode(line: bytes) -> Message:
    """The object of one line. Raises ProtocolError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("that line is not JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("a message is a JSON object")
    return message
