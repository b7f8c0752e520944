"""Lets the user choose one of the services of a remote cluster, as kubectl on the bastion lists them."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from faucet.fleet import StartFailed
from faucet.net.connect import NoWay
from faucet.service.ssh_login import login_of
from faucet.settings import K8sSettings
from faucet.ssh.commands import RemotePrograms
from faucet.ssh.link import Link
from faucet.ssh.secrets import Secrets, can_ask

PATIENCE = 20.0

LIST = ("kubectl", "get", "services", "--all-namespaces", "--output", "json")


class NoChoice(StartFailed):
    """There is no service to choose from, or no terminal to choose on. The text is for the user."""


def headless_urls(services: dict[str, Any]) -> list[str]:
    """The URLs of the headless services in a ServiceList, one for each port."""
    urls = []
    for item in services.get("items") or ():
        spec, meta = item.get("spec") or {}, item["metadata"]
        if spec.get("clusterIP") == "None":
            host = f"{meta['name']}.{meta['namespace']}.svc.cluster.local"
            urls += [f"http://{host}{_port(port)}" for port in spec.get("ports") or ()]
    return sorted(urls)


def _port(port: dict[str, Any]) -> str:
    """Return the pods' own port, since pods are connected to directly; a named one is in the SRV records."""
    target = port.get("targetPort", port["port"])
    return f":{target}" if isinstance(target, int) else ""


def choose_service(settings: K8sSettings, secrets: Secrets) -> str:
    """The URL that the user chooses. Raises NoChoice."""
    urls = asyncio.run(_list(settings, secrets))
    listed = "\n".join(f"  {number}  {url}" for number, url in enumerate(urls, 1))
    if not urls:
        raise NoChoice("kubectl knows no headless service there: name one with --service-url")
    if not can_ask():
        raise NoChoice(f"which service? Name one with --service-url; there are:\n{listed}")
    print(f"Headless services:\n{listed}", file=sys.stderr)
    return urls[_ask_number(len(urls)) - 1]


def _ask_number(most: int) -> int:
    """Raises NoChoice if nothing is chosen."""
    print(f"Which one? 1 to {most}: ", end="", file=sys.stderr, flush=True)
    text = sys.stdin.readline().strip()
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= most):
        raise NoChoice("no service chosen")
    return int(text)


async def _list(settings: K8sSettings, secrets: Secrets) -> list[str]:
    link = Link(list(settings.via_ssh), login_of(settings, secrets))
    try:
        await link.open()
        result = await RemotePrograms(link).run(LIST, PATIENCE)
        if result.code:
            raise NoChoice(f"kubectl on {link.target} lists no services: {result.said}; name one with --service-url")
        return headless_urls(json.loads(result.output))
    except (NoWay, OSError, TimeoutError, ValueError) as error:
        raise NoChoice(
            f"{error or 'no answer'}\nWhich service? Name one with --service-url http://plumber:8000"
        ) from error
    finally:
        await link.close()
