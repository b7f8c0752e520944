"""The certificate for clients: whether the pair can be used, for which names, and for how long."""

from __future__ import annotations

import contextlib
import stat
import time

from faucet.doctor.findings import Finding
from faucet.net.server_certificate import CertificateError, Files, day, load
from faucet.settings import ServeSettings
from faucet.status.notices import EXPIRES_SOON
from faucet.units import counted

SUBJECT = "certificate"

NAMES_SHOWN = 3
"""The most names of a certificate that are listed."""


def certificate(settings: ServeSettings) -> list[Finding]:
    """Check --tls-cert and --tls-key, if given."""
    if settings.tls_problem:
        what, _, advice = settings.tls_problem.partition(": ")
        return [Finding("broken", SUBJECT, what, advice)]
    if settings.tls_cert is None or settings.tls_key is None:
        return []
    files = Files(settings.tls_cert, settings.tls_key)
    try:
        pair = load(files, settings.tls_min)
    except CertificateError as error:
        what, _, advice = str(error).partition("; ")
        return [Finding("broken", SUBJECT, what, advice)]
    found = pair.certificate
    if pair.expired:
        what = f"the certificate in {files.certificate} expired on {day(found.not_after)}"
        return [Finding("broken", SUBJECT, what, "renew it: clients refuse it, though Faucet starts with it")]
    left = found.not_after - time.time()
    names = ", ".join(found.names[:NAMES_SHOWN]) or "no name, which no client accepts"
    more = len(found.names) - NAMES_SHOWN
    until = f"for {names}{f' and {more} more' if more > 0 else ''}, valid until {day(found.not_after)}"
    if left < EXPIRES_SOON:
        return [Finding("warning", SUBJECT, until, f"renew it: it expires in {counted(int(left // 86400), 'day')}")]
    if not found.names:
        return [Finding("warning", SUBJECT, until, "issue one with subjectAltName")]
    return [Finding("ok", SUBJECT, until), *_key_of_all(files)]


def _key_of_all(files: Files) -> list[Finding]:
    with contextlib.suppress(OSError):
        if files.key.stat().st_mode & stat.S_IROTH:
            return [Finding("warning", SUBJECT, f"every user can read the key in {files.key}", f"chmod o= {files.key}")]
    return []
