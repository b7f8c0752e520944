"""The certificate that a service shows to its clients."""

from __future__ import annotations

import ssl

from faucet.net.server_certificate import Files, Pair, load
from faucet.settings import ServeSettings


class ServedCertificate:
    """The pair in use."""

    def __init__(self, files: Files, settings: ServeSettings) -> None:
        """Load the pair. Raises CertificateError."""
        self.files = files
        self._minimum = settings.tls_min
        self.pair: Pair = load(files, self._minimum)

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings for the next handshake."""
        return self.pair.context


def certificate_of(settings: ServeSettings) -> ServedCertificate | None:
    """Return the certificate that the options name; None without. Raises CertificateError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return ServedCertificate(Files(settings.tls_cert, settings.tls_key), settings)
