"""What `faucet k8s` needs: a service whose pods can be found, and CAs to trust. No pod is connected to."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from faucet.doctor.findings import Finding
from faucet.net.tls import misplaced, tls_context
from faucet.pods.discovery.choose import CannotResolve, choose
from faucet.pods.discovery.endpoints import Answer, Found, Missing
from faucet.settings import K8sSettings
from faucet.units import counted

SUBJECT = "service"

NAME_IT = "faucet k8s --service-url http://plumber:8000"


def service(settings: K8sSettings) -> list[Finding]:
    """Resolve the service once, as `faucet k8s` would. A bastion is not logged in to."""
    if not settings.service_url:
        if settings.via_ssh:
            return [Finding("unused", SUBJECT, "none is named: `faucet k8s` lists those of the cluster to choose from")]
        return [Finding("broken", SUBJECT, "none is named", NAME_IT)]
    if settings.via_ssh:
        found = f"{settings.service_url} is resolved on {settings.via_ssh[0]}, which was not logged in to"
        return [Finding("unused", SUBJECT, found)]
    try:
        described, answer = asyncio.run(_first_answer(settings))
    except CannotResolve as error:
        what, _, advice = str(error).partition(". ")
        return [Finding("broken", SUBJECT, what, advice)]
    return [_said(settings, described, answer)]


async def _first_answer(settings: K8sSettings) -> tuple[str, Answer]:
    """How the service is resolved, and the first answer. Raises CannotResolve."""
    assert settings.service_url is not None
    resolver = await choose(settings.service_url, settings.resolve, settings.dns, settings.resolve_interval)
    async with aclosing(resolver.answers()) as answers:
        async for answer in answers:
            return resolver.described, answer
    raise CannotResolve("no answer. Is the name right?")


def _said(settings: K8sSettings, described: str, answer: Answer) -> Finding:
    if not isinstance(answer, Found):
        advice = "is the name right, and is this machine inside the cluster? From outside: --via-ssh, or --dns"
        level = "name not found" if isinstance(answer, Missing) else "not resolved"
        return Finding("warning", SUBJECT, f"{level} by {described}: {answer.text}", advice)
    if not answer.endpoints:
        return Finding("warning", SUBJECT, f"no pods, by {described}", "kubectl get pods: are there any, and ready?")
    count = counted(len(answer.endpoints), "pod")
    if answer.remark:
        return Finding("warning", SUBJECT, f"{count}, by {described}: {answer.remark}")
    return Finding("ok", SUBJECT, f"{settings.service_url}: {count}, by {described}")


def tls(settings: K8sSettings) -> list[Finding]:
    """Whether the options for https fit the service, and the file of CAs can be read."""
    scheme = settings.service_url.scheme if settings.service_url else "https"
    if problem := misplaced(scheme, settings.ca_file, settings.insecure_skip_verify):
        return [Finding("broken", "TLS", problem)]
    if settings.insecure_skip_verify:
        return [Finding("warning", "TLS", "certificates of pods are not checked (--insecure-skip-verify)")]
    if settings.ca_file is None:
        return []
    try:
        tls_context(settings.ca_file)
    except OSError as error:
        why = error.strerror or str(error)
        return [Finding("broken", "TLS", f"--ca-file {settings.ca_file}: {why}", "name a file of certificates in PEM")]
    return [Finding("ok", "TLS", f"CAs in {settings.ca_file}")]
