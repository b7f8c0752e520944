"""The certificate that a service shows to its clients, and its renewal while the service runs.

Both files are looked at every few seconds, and at once after SIGHUP. A new pair is used when two looks in a row find
the same contents, so that one that is half written is never used. A pair that cannot be used is reported, and the one
before it stays in use. Connections that are open are not touched. The contents decide, not the times of the files: a
Secret of Kubernetes is renewed by another link to another directory.

A certificate that has expired does not keep a service from starting: a restart that nobody watches would be an outage,
also for the clients that do not look at the date. It never takes the place of one that is valid.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator
from time import monotonic

from faucet import tasks
from faucet.net.server_certificate import (
    CertificateChanged,
    CertificateError,
    Files,
    Pair,
    TlsVersion,
    day,
    digest,
    load,
)
from faucet.settings import ServeSettings
from faucet.status.notices import CertificateState

_log = logging.getLogger("faucet")

LOOK_SECONDS = 5.0
"""Seconds between two looks, which read some KiB in a thread."""

AGREE_SECONDS = 1.0
"""Seconds from the look that has found something new to the one that has to agree."""


class ServedCertificate:
    """The pair in use."""

    def __init__(self, files: Files, minimum: TlsVersion, look: float = LOOK_SECONDS, agree: float = AGREE_SECONDS):
        """Load the pair. Raises CertificateError."""
        self.files = files
        self.pair: Pair = load(files, minimum)
        if self.pair.expired:
            _log.error("%s; clients refuse it until it is renewed", self._expiry(self.pair))
        self._minimum = minimum
        self._intervals = (look, agree)
        self._seen: bytes | str = self.pair.digest  # what the last look has found: a digest, or an error
        self._judged: bytes | str = self.pair.digest  # what was loaded or refused last
        self._refused = ("", 0.0)  # why the pair on disk is not used, and since when
        self._hurry = asyncio.Event()

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings for the next handshake."""
        return self.pair.context

    def state(self) -> CertificateState:
        """Return what notices and metrics say of the certificate."""
        expires = self.pair.certificate.not_after
        return CertificateState(expires - time.time(), day(expires), *self._refused)

    def hurry(self) -> None:
        """Look at the files at once."""
        self._hurry.set()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Renew the certificate meanwhile."""
        task = tasks.start(self._watch(), "certificate")
        try:
            yield
        finally:
            await tasks.end(task)

    async def _watch(self) -> None:
        look, agree = self._intervals
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), look if self._seen == self._judged else agree)
            self._hurry.clear()
            await self.look()

    async def look(self) -> None:
        """Look at the files once. Use what they contain if the look before has found the same."""
        before = self._seen
        try:
            self._seen = await asyncio.to_thread(digest, self.files)
        except CertificateError as error:
            self._seen = str(error)
        if self._seen != before or self._seen == self._judged:
            return
        self._judged = self._seen
        if isinstance(self._seen, str):
            self._refuse(self._seen)
        elif self._seen == self.pair.digest:
            self._refused = ("", 0.0)
            _log.info("the certificate in use is on disk again")
        else:
            await self._renew()

    async def _renew(self) -> None:
        try:
            found = await asyncio.to_thread(load, self.files, self._minimum)
        except CertificateChanged:
            self._judged = self.pair.digest  # look again
            return
        except CertificateError as error:
            self._refuse(str(error))
            return
        if found.expired and not self.pair.expired:
            self._refuse(f"{self._expiry(found)}; renew it")
            return
        self.pair = found
        self._seen = self._judged = self.pair.digest
        self._refused = ("", 0.0)
        _log.info("new connections get the certificate from %s, valid until %s",
                  self.files.certificate, day(self.pair.certificate.not_after))  # fmt: skip

    def _expiry(self, pair: Pair) -> str:
        return f"the certificate in {self.files.certificate} expired on {day(pair.certificate.not_after)}"

    def _refuse(self, why: str) -> None:
        self._refused = (why, monotonic())
        _log.error("the certificate on disk is not used: %s", why)


def certificate_of(settings: ServeSettings) -> ServedCertificate | None:
    """Return the certificate that the options name; None without. Raises CertificateError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return ServedCertificate(Files(settings.tls_cert, settings.tls_key), settings.tls_min)
