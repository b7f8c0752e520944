"""A request that warms a worker up before it serves: `/health`, or `POST /predict @body.json`."""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path
from typing import NamedTuple

EXAMPLE = "POST /predict @body.json"

_REQUEST = re.compile(r"(?:([A-Z]+) +)?(/[!-~]*)(?: +@(.+))?")


class Warmup(NamedTuple):
    """One request."""

    method: str
    target: str
    body: Path | None = None
    """The file with its body, from the directory of the API on."""

    @property
    def line(self) -> str:
        """`POST /predict`."""
        return f"{self.method} {self.target}"

    def request(self, body: bytes) -> bytes:
        """Return it as it is sent. The type of its body is told by the name of the file."""
        fields = ["Host: localhost", "User-Agent: Faucet (warm-up)", "Connection: close"]
        if self.body is not None:
            kind = mimetypes.guess_type(self.body.name)[0] or "application/octet-stream"
            fields += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        return "\r\n".join([f"{self.line} HTTP/1.1", *fields, "", ""]).encode() + body

    def __str__(self) -> str:
        return self.line if self.body is None else f"{self.line} @{self.body}"


def parse_warmup(text: str) -> Warmup:
    """Return the request that `text` describes. Raises ValueError."""
    match = _REQUEST.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"invalid warm-up {text!r}; expected a path, or a method, a path and a file: {EXAMPLE}")
    method, target, file = match.groups()
    return Warmup(method or ("POST" if file else "GET"), target, Path(file) if file else None)
