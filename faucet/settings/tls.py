"""TLS towards clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faucet.settings.option import SERVICE, option


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """TLS towards clients."""

    tls_cert: Path | None = option(
        None,
        "Serve HTTPS with this certificate, in PEM: the server's own first, then the intermediate ones.",
        SERVICE,
        shown="plain HTTP",
        example="/etc/ssl/my-api/fullchain.pem",
        detail="It needs `--tls-key`. A renewed file is used without a restart: [tls.md](tls.md#renewal)."
        " Unix sockets and the admin pages stay plain.",
    )
    tls_key: Path | None = option(
        None,
        "Private key of --tls-cert, in PEM, without a passphrase.",
        SERVICE,
        shown="none",
        example="/etc/ssl/my-api/privkey.pem",
    )
    tls_min: Literal["1.2", "1.3"] = option(
        "1.2", "Oldest version of TLS that clients may speak.", SERVICE, example="1.3"
    )

    @property
    def tls_problem(self) -> str:
        """An error message if one of the two files is missing; empty otherwise."""
        if (self.tls_cert is None) == (self.tls_key is None):
            return ""
        given, missing = ("--tls-cert", "--tls-key") if self.tls_key is None else ("--tls-key", "--tls-cert")
        return f"{given} needs {missing}: name the certificate and its private key, or neither for plain HTTP"
