"""Service discovery by the Kubernetes API: EndpointSlices with pod names, listed and then watched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic

from faucet import pauses
from faucet.backoff import Backoff
from faucet.net.commands import Programs
from faucet.net.connect import why_not
from faucet.pods.discovery.endpoint_slices import GONE, ROLE, ApiError, ServiceName, SliceSet, parse_object
from faucet.pods.discovery.endpoints import Answer, Denied, Missing, Resolver, Trouble, Unusable
from faucet.pods.discovery.in_cluster import Source
from faucet.pods.discovery.silence import with_silence

_log = logging.getLogger("faucet")

BACKOFF = Backoff(0.5, 15.0, jitter=0.25)
"""Pauses after a failure, in seconds; with jitter, so that not all clients of an API server retry at once."""

STEADY_AFTER = 5.0
"""Seconds that a watch has to last to reset the back-off."""

FIRST_TRIES = 4
"""Failures at the start after which the fallback is used."""

KUBECTL_PATIENCE = 15.0

KUBECTL_LOOK_AFTER = 30.0
"""Seconds of a silent watch before its objects are listed again: each time starts a program, perhaps on a bastion."""

UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404


class Slices:
    """A Resolver: lists the EndpointSlices of a service, then watches them."""

    by_name = False

    def __init__(self, source: Source, service: ServiceName, port: int | None, scheme: str) -> None:
        self.service = service
        self.described = f"EndpointSlices of {service}, by {source.described}"
        self._source = source
        self._set = SliceSet(port, scheme)
        self._hurry = asyncio.Event()
        self._listed = False
        self._watched = False
        self._failures = 0

    def hurry(self) -> None:
        """List again at once, if a retry is pending."""
        self._hurry.set()

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """See Resolver. Raises Denied if the first list or watch is denied, or if all FIRST_TRIES fail."""
        failures = 0
        while True:
            self._hurry.clear()
            began = monotonic()
            try:
                async with aclosing(self._list_and_watch()) as found:
                    async for answer in found:
                        yield answer
            except ApiError as error:
                if error.status in self._denials():
                    raise Denied(self._denied(error)) from error
                if error.status != GONE:
                    yield self._trouble(self._refused(error))
            except (OSError, TimeoutError, Unusable) as error:
                yield self._trouble(f"{self._source.described}: {why_not(error)}")
            if monotonic() - began > STEADY_AFTER:
                failures = 0
            failures += 1
            await self._wait(BACKOFF.pause(failures))

    async def _list_and_watch(self) -> AsyncGenerator[Answer, None]:
        self._set = await self._list()
        if not self._listed and self._set.is_empty:
            yield Missing(f"there are no EndpointSlices of {self.service}: is that the name of a service?")
        else:
            yield self._answer()
        self._listed = True
        try:
            async with aclosing(self._watch()) as answers:
                async for answer in answers:
                    yield answer
        except OSError:
            self._watched = True  # the watch was accepted, then broke
            raise
        self._watched = True

    async def _list(self) -> SliceSet:
        listing = SliceSet(self._set.port, self._set.scheme)
        listing.load(parse_object(await self._source.get(self.service.path())))
        return listing

    async def _watch(self) -> AsyncGenerator[Answer, None]:
        """Watch from the version of the list, until the server ends the watch, or another list proves it deaf."""
        source = self._source
        async with (
            aclosing(source.watch(self.service.path(self._set.version))) as lines,
            aclosing(with_silence(lines, source.look_after, f"watch of {self.service}")) as heard,
        ):
            async for line in heard:
                if line is None:
                    answer, goes_on = await self._look()
                    yield answer
                    if not goes_on:
                        return
                else:
                    self._watched = True
                    self._set.apply(parse_object(line))
                    yield self._answer()  # after a bookmark, too: it confirms the known endpoints

    async def _look(self) -> tuple[Answer, bool]:
        """List while the watch is silent. Return the answer, and whether the watch can still be right.

        Raises OSError or TimeoutError if the API is silent as well. One that refuses may yet tell the watch.
        """
        try:
            async with pauses.timeout(self._source.look_patience):
                listing = await self._list()
        except ApiError as error:
            return Trouble(self._refused(error)), True
        except Unusable as error:
            return Trouble(f"{self._source.described}: {error}"), True
        agrees = listing.agrees(self._set)
        self._set = listing
        return self._answer(), agrees

    def _refused(self, error: ApiError) -> str:
        return f"{self._source.described} refused with {error.status}: {error}"

    def _denials(self) -> tuple[int, ...]:
        """Return the statuses that are final. None are once list and watch have worked, since a retry may succeed."""
        return (UNAUTHORIZED, FORBIDDEN, NOT_FOUND) if not (self._listed and self._watched) else ()

    def _trouble(self, text: str) -> Trouble:
        """Return the answer for a failure. Raises Denied if no list has worked after FIRST_TRIES, for the fallback."""
        self._failures += 1
        if not self._listed and self._failures >= FIRST_TRIES:
            raise Denied(f"{text}; giving up after {self._failures} attempts.")
        return Trouble(text)

    def _answer(self) -> Answer:
        try:
            return self._set.found()
        except Unusable as error:
            return Trouble(str(error))

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _denied(self, error: ApiError) -> str:
        text = f"{self._source.described} refused with {error.status}: {error}."
        if error.status == FORBIDDEN:
            role = ROLE.format(namespace=self.service.namespace)
            text += f" The service account needs this Role, and a RoleBinding to it:\n{role}"
        elif error.status == UNAUTHORIZED:
            text += " The token is not accepted: is automountServiceAccountToken off, or the account deleted?"
        return text


class Kubectl:
    """A Source that uses kubectl, with the cluster and user it is configured for."""

    look_after, look_patience = KUBECTL_LOOK_AFTER, KUBECTL_PATIENCE

    def __init__(self, commands: Programs) -> None:
        self._commands = commands
        self.described = f"kubectl {commands.where}" if commands.where == "here" else f"kubectl on {commands.where}"

    async def namespace(self) -> str:
        """Return the default namespace of kubectl."""
        argv = ["kubectl", "config", "view", "--minify", "-o", "jsonpath={..namespace}"]
        with contextlib.suppress(OSError, TimeoutError):
            result = await self._commands.run(argv, KUBECTL_PATIENCE)
            if result.code == 0 and result.output.strip():
                return result.output.strip()
        return "default"

    async def get(self, path: str) -> bytes:
        """See Source."""
        result = await self._commands.run(["kubectl", "get", "--raw", path], KUBECTL_PATIENCE)
        if result.code:
            raise ApiError(_status_of(result.said), result.said)
        return result.output.encode()

    async def watch(self, path: str) -> AsyncGenerator[bytes, None]:
        """See Source."""
        async with aclosing(self._commands.lines(["kubectl", "get", "--raw", path])) as lines:
            async for line in lines:
                yield line

    async def delete(self, pod: str, namespace: str) -> str:
        """Delete a pod and return kubectl's output. Raises OSError with it on failure."""
        argv = ["kubectl", "delete", "pod", pod, "--namespace", namespace, "--wait=false"]
        result = await self._commands.run(argv, KUBECTL_PATIENCE)
        if result.code:
            raise OSError(result.said or f"kubectl ended with code {result.code}")
        return result.said


def _status_of(said: str) -> int:
    """Return the HTTP status for the reason that kubectl prints in parentheses."""
    reasons = {"(Forbidden)": FORBIDDEN, "(NotFound)": NOT_FOUND, "(Unauthorized)": UNAUTHORIZED, "(Expired)": GONE}
    found = next((status for reason, status in reasons.items() if reason in said), None)
    return found or (UNAUTHORIZED if "must be logged in" in said else 500)


class Fallback:
    """A Resolver that uses `first`, and `second` once `first` is denied for good."""

    def __init__(self, first: Resolver, second: Resolver) -> None:
        self._current = first
        self._second = second

    @property
    def described(self) -> str:
        """The description of the resolver in use."""
        return self._current.described

    @property
    def by_name(self) -> bool:
        """`by_name` of the resolver in use."""
        return self._current.by_name

    def hurry(self) -> None:
        """See Resolver."""
        self._current.hurry()

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """See Resolver."""
        try:
            async with aclosing(self._current.answers()) as answers:
                async for answer in answers:
                    yield answer
        except Denied as error:
            _log.warning("%s\nUsing %s instead.", error, self._second.described)
        self._current = self._second
        async with aclosing(self._current.answers()) as answers:
            async for answer in answers:
                yield answer
