"""The certificate and the key with which Faucet speaks TLS to its clients: loaded from two files, and checked.

A pair is accepted only if a server can use it: the files can be read, the key belongs to the certificate and is not
encrypted. One that has expired can be used; whoever loads it decides about that. Every error says what to do.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import time
from pathlib import Path
from typing import Literal, NamedTuple

from faucet.net.x509 import Certificate, read_certificate

TlsVersion = Literal["1.2", "1.3"]

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_ENCRYPTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)


class CertificateError(Exception):
    """A pair that cannot be used. The message is shown to the user."""


class CertificateChanged(CertificateError):
    """A pair that was changed while it was read."""


class Files(NamedTuple):
    """The paths of a pair."""

    certificate: Path
    key: Path


class Pair(NamedTuple):
    """A loaded pair."""

    context: ssl.SSLContext
    certificate: Certificate
    digest: bytes
    """Of the contents of both files."""

    @property
    def expired(self) -> bool:
        """Whether clients refuse the certificate for its age."""
        return self.certificate.not_after <= time.time()


def load(files: Files, minimum: TlsVersion) -> Pair:
    """Read, check and load a pair. Raises CertificateError. It blocks for as long as the file system does."""
    chain, key = _read("--tls-cert", files.certificate), _read("--tls-key", files.key)
    certificate = _certificate(files.certificate, chain)
    _check_key(files.key, key)
    context = _context(minimum)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise CertificateError(_why(files, error)) from error
    after = digest(files)
    if after != _digest(chain, key):
        raise CertificateChanged(f"{files.certificate} or {files.key} was changed while it was read; try again")
    return Pair(context, certificate, after)


def digest(files: Files) -> bytes:
    """Return a digest of both files. Raises CertificateError."""
    return _digest(_read("--tls-cert", files.certificate), _read("--tls-key", files.key))


def day(moment: float) -> str:
    """Return the day of `moment` (seconds since the epoch), in UTC: `2027-03-01`."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _digest(chain: bytes, key: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(chain).digest() + key).digest()


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        advice = ""
        if isinstance(error, PermissionError):
            advice = f"; let the user {os.geteuid()} read it, for example by its group"
        elif isinstance(error, FileNotFoundError):
            advice = "; name a file of PEM, for example fullchain.pem or privkey.pem"
        raise CertificateError(f"cannot read {option} {path}: {error.strerror}{advice}") from error


def _certificate(path: Path, chain: bytes) -> Certificate:
    """Return the first certificate of a file, which is that of the server (RFC 8446, 4.4.2)."""
    found = _CERTIFICATE.search(chain)
    if found is None:
        raise CertificateError(
            f"--tls-cert {path} has no certificate in PEM (-----BEGIN CERTIFICATE-----); convert one in DER with "
            "`openssl x509 -inform der`"
        )
    try:
        return read_certificate(ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")))
    except ValueError as error:
        raise CertificateError(f"--tls-cert {path}: the first certificate is damaged ({error})") from error


def _check_key(path: Path, key: bytes) -> None:
    if _ENCRYPTED.search(key):
        raise CertificateError(
            f"the key in {path} is encrypted, and Faucet cannot ask for its passphrase; decrypt it with "
            f"`openssl pkey -in {path} -out plain.key`, readable for Faucet only"
        )
    if not _KEY.search(key):
        raise CertificateError(f"--tls-key {path} has no private key in PEM (-----BEGIN PRIVATE KEY-----)")


def _context(minimum: TlsVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A client could start renegotiations without end, and no client of HTTP/1.1 needs one.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # The end of a connection without close_notify is an error, as RFC 8446 has it.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context


def _no_password() -> str:
    """Called by OpenSSL for an encrypted key, which it would ask the terminal for otherwise."""
    raise ValueError("the key is encrypted")


def _why(files: Files, error: Exception) -> str:
    reason = getattr(error, "reason", "") or ""
    if reason == "KEY_VALUES_MISMATCH":
        return (
            f"the key in {files.key} does not belong to the first certificate in {files.certificate}; the server's "
            "certificate comes first, then the intermediate ones"
        )
    if reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        what = reason.lower().replace("_", " ").replace("ee key", "key").replace("ca md", "signature of a CA")
        return f"OpenSSL refuses the certificate in {files.certificate}: {what}; issue one with a stronger key"
    said = reason.lower().replace("_", " ") or str(error)
    return f"OpenSSL cannot use {files.certificate} with {files.key}: {said}"
