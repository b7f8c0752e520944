"""Certificates for tests: an authority that nobody else trusts, and what it issues, in files as programs want them."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import NamedTuple

import trustme


class Certificate(NamedTuple):
    """Paths of PEM files."""

    chain: Path
    key: Path


class Authority:
    """Issues server certificates; its own is `ca_file`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self._issued = 0
        self.ca_file = directory / "ca.crt"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, *names: str, not_after: dt.datetime | None = None) -> Certificate:
        """A certificate for host names and IP addresses. With a `not_after` in the past it has expired."""
        self._issued += 1
        leaf = self._ca.issue_cert(*names, common_name=names[0], not_after=not_after)
        chain = self._directory / f"server{self._issued}.crt"
        key = self._directory / f"server{self._issued}.key"
        key.touch(mode=0o600)
        leaf.private_key_pem.write_to_path(str(key))
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return Certificate(chain, key)

    def server_context(self, *names: str, not_after: dt.datetime | None = None) -> ssl.SSLContext:
        """For a server known by `names`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.issue(*names, not_after=not_after))
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.ca_file))


def make_ca(directory: Path) -> Authority:
    """A new authority that keeps its files in `directory`, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    return Authority(directory)
