"""The protocol of the control socket: JSON lines, one object per line, in both directions.

A runtime first sends the greeting `{"faucet": version, "protocol": n, …}`. A client sends `{"id": n, "do": name, …}`
and gets `{"id": n, "ok": …}` or `{"id": n, "error": text}`, in order. After `watch`, the runtime also sends
`{"snapshot": {…}}` once, and then, when something has changed, `{"changes": {…}}`, `{"log": […], "skipped": n}` and
`{"requests": […], "skipped": n}`.
"""

from __future__ import annotations

import json
from typing import Any

PROTOCOL = 9
"""Version of the protocol, which must match on both sides. Increase it with any change of a `status.snapshot` field."""

COMMAND_LIMIT = 64 * 1024
"""Longest line that a runtime accepts from a client, in bytes."""

MESSAGE_LIMIT = 16 * 1024 * 1024
"""Longest line that a client accepts from a runtime, in bytes."""

Message = dict[str, Any]


class ProtocolError(Exception):
    """A line that is not a message. The text is sent back to the client."""


def encode(message: Message) -> bytes:
    """Return `message` as one line of JSON, with its newline."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def decode(line: bytes) -> Message:
    """Return the message in one line of JSON. Raises ProtocolError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("that line is not JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("a message is a JSON object")
    return message
