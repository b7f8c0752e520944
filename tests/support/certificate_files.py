"""A certificate and a key where a service reads them, and their renewal."""

from __future__ import annotations

from pathlib import Path

from tests.support.certificates import Authority, make_ca


class CertificateFiles:
    """`tls.crt` and `tls.key` in a directory, and the authority that issues them."""

    def __init__(self, directory: Path) -> None:
        self.authority: Authority = make_ca(directory / "ca")
        self.certificate, self.key = directory / "tls.crt", directory / "tls.key"
        self.renew("localhost", "127.0.0.1")

    @property
    def options(self) -> list[str]:
        """For the command line."""
        return ["--tls-cert", str(self.certificate), "--tls-key", str(self.key)]

    def renew(self, *names: str) -> None:
        """Put a new pair in place, each file at once."""
        pair = self.authority.issue(*names)
        for issued, place in ((pair.chain, self.certificate), (pair.key, self.key)):
            beside = place.with_suffix(".new")
            beside.write_bytes(issued.read_bytes())
            beside.rename(place)
