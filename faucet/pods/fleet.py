"""The pods of a service as a fleet: one pod per endpoint that discovery reports, each with one lock.

A pod is kept by its address for as long as anything holds its lock. So a record that comes and goes cannot give a
second lock to a busy pod, and a pod that leaves finishes its request in progress.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from time import monotonic
from typing import Any, NamedTuple, Protocol

from faucet import tasks
from faucet.fleet import Action, Fault, Faults, Origin, Refused, StartFailed, WorkerDetails, WorkerStatus
from faucet.net.commands import Programs
from faucet.net.connect import Connector, LinkDown, NoWay, ProtocolFactory
from faucet.net.service_url import ServiceUrl
from faucet.pods.discovery.choose import CannotResolve
from faucet.pods.discovery.endpoint_slices import service_of
from faucet.pods.discovery.endpoints import Answer, Denied, Endpoint, Found, Resolver
from faucet.pods.discovery.kubernetes import Kubectl
from faucet.pods.endpoint_set import EndpointSet
from faucet.pods.gate import Gate
from faucet.pods.pod import Pod, unreachable_pods
from faucet.proxy.server import Proxy
from faucet.proxy.upstream import Backend
from faucet.settings import K8sSettings
from faucet.units import counted, format_duration

_log = logging.getLogger("faucet")

LINK_AGAIN = 1.0
"""Seconds between two attempts to choose a resolver while the SSH link is down."""

FOLLOW_AGAIN = 5.0
"""Seconds before a resolver is used again after it failed for good or through a bug."""

ONE_ADDRESS = """\
%s resolves to one address, %s. If there should be several pods, the service is not headless: set `clusterIP: None`, \
so that its name resolves to the pods themselves. Behind the service's one address they share one lock."""


HOLD_KEPT = 60.0
"""Seconds after a held pod has left in which it is still held if it returns: DNS may have lost it for a moment. Later,
or under another name, it counts as another pod with the same address."""


NOT_OFFERED = {
    name: f"Faucet does not start or stop pods; use: {instead}"
    for name, instead in {
        "rolling-restart": "kubectl rollout restart deployment/…",
        "scale": "kubectl scale deployment/… --replicas {count}",
        "kill": "restart {worker} (which deletes it), or drop {worker} (which cuts the connection to it)",
    }.items()
}


class _Hold(NamedTuple):
    """A hold on a pod that has left."""

    name: str
    until: float


class LinkLike(Protocol):
    """The part of faucet.ssh.link.Link that is used here; this file must not import it."""

    on_change: Callable[[], None]
    state: Any
    since: float

    @property
    def target(self) -> object:
        """The bastion."""
        ...

    @property
    def is_up(self) -> bool:
        """Whether the link can be used now."""
        ...

    async def open(self) -> None:
        """Make the first connection. Raises NoWay."""
        ...

    async def close(self) -> None:
        """Close the connection for good."""
        ...

    def described(self) -> str:
        """Return the state of the link, and why it is not up."""
        ...

    def detail(self) -> str:
        """Return cipher and round-trip time, as text."""
        ...

    async def connect(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Connect to `host` and `port` through the link, as a Connector does."""
        ...


class Pods:
    """The Fleet of pods of one service. `find_resolver` is called when the fleet starts."""

    def __init__(
        self, url: ServiceUrl, settings: K8sSettings, proxy: Proxy, connector: Connector, programs: Programs,
        find_resolver: Callable[[], Awaitable[Resolver]], link: LinkLike | None = None, gate: Gate | None = None,
    ) -> None:  # fmt: skip
        self.url = url
        self.settings = settings
        self.proxy = proxy
        self.endpoint_set = EndpointSet()
        self.resolver: Resolver | None = None
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.actions: Mapping[str, Action] = {
            "restart": lambda command: self.restart(command.worker, command.who),
            "hold": lambda command: self.hold(command.worker, command.who),
            "resume": lambda command: self.resume(command.worker, command.who),
            "drop": lambda command: self.drop(command.worker, command.who),
            "retry": lambda command: self.retry(command.worker, command.who),
        }
        self.not_offered: Mapping[str, str] = NOT_OFFERED
        self._connector = connector
        self._find_resolver = find_resolver
        self._pods: dict[tuple[str, int], Pod] = {}
        self._leaving: dict[Pod, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None
        self._programs = programs
        self._link = link
        self._gate = gate
        self._absent_holds: dict[tuple[str, int], _Hold] = {}  # of pods that have left and may return
        self._was_down = False  # whether the link was down before its latest change of state
        self._warned = False
        self._began = monotonic()

    # -- life cycle --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start service discovery."""
        self._following = tasks.start(self._follow(), f"resolution of {self.url.host}")

    def prepare_to_end(self) -> None:
        """Do nothing: pods keep running, and their requests in progress are finished."""

    async def leave(self, seconds: float) -> bool:
        """See Fleet."""
        return False

    async def stop(self) -> None:
        """Stop discovery, close the link, and disconnect from all pods."""
        if self._following is not None:
            await tasks.end(self._following)
        if self._link is not None:
            await self._link.close()
        for task in self._leaving.values():
            task.cancel()
        for pod in self._pods.values():
            pod.close()

    async def _follow(self) -> None:
        try:
            if self._link is not None:
                self._link.on_change = self._link_changed
                await self._link.open()
                self._link_changed()
            self.resolver = await self._resolver_when_there_is_a_way()
        except (CannotResolve, NoWay) as error:
            self.first_ready.set_exception(StartFailed(str(error)))
            return
        except Exception as error:
            _log.exception("service discovery of %s could not start", self.url.host)
            self.first_ready.set_exception(StartFailed(f"{self.url}: {error}"))
            return
        _log.info("discovering pods of %s via %s", self.url, self.resolver.described)
        while True:
            try:
                async with aclosing(self.resolver.answers()) as answers:
                    async for answer in answers:
                        self._apply(answer)
                        if not self.first_ready.done():
                            await self._try_forwarding(answer)
                            self.first_ready.set_result(None)
            except (StartFailed, Denied) as error:
                if not self.first_ready.done():
                    self.first_ready.set_exception(StartFailed(str(error)))
                    return
                _log.error("%s", error)
            except Exception:  # a bug must not freeze the set of pods for ever
                _log.exception("service discovery of %s failed unexpectedly; retrying", self.url.host)
            await asyncio.sleep(FOLLOW_AGAIN)

    # -- the SSH link ------------------------------------------------------------------------------------------

    async def _try_forwarding(self, answer: Answer) -> None:
        """Detect at the start a bastion that forbids TCP forwarding. Raises StartFailed."""
        if self._link is None or not isinstance(answer, Found) or not answer.endpoints:
            return
        first = answer.endpoints[0]
        try:
            transport, _ = await self._link.connect(
                asyncio.Protocol, first.host, first.port, self.settings.connect_timeout
            )
        except PermissionError as error:
            raise StartFailed(str(error)) from error
        except (OSError, TimeoutError):
            return  # a problem of the pod, or one that the next request will report
        transport.close()

    def _link_changed(self) -> None:
        assert self._link is not None
        link = self._link
        up = link.is_up
        for pod in self._pods.values():
            pod.linked = up
            pod.settle()
            if up and self._was_down:
                pod.retry()  # the link may have caused the failure
        self._was_down = link.state.value == "down"
        if up:
            self.proxy.pool.resume_after_interruption()
            self._hurry()
        else:
            self.proxy.pool.interrupt(
                self.settings.ssh_wait, lambda: f"The workers are unreachable: the ssh link is {link.described()}."
            )

    async def _resolver_when_there_is_a_way(self) -> Resolver:
        """Return the resolver, once the SSH link is up if there is one. Raises CannotResolve."""
        while True:
            try:
                return await self._find_resolver()
            except LinkDown:
                if not self.first_ready.done():
                    self.first_ready.set_result(None)  # requests are answered with the reason
                await asyncio.sleep(LINK_AGAIN)

    # -- the set of pods ---------------------------------------------------------------------------------------

    def _apply(self, answer: Answer) -> None:
        before, known_since = self.endpoint_set.trouble, self.endpoint_set.known_since
        changed = self.endpoint_set.apply(answer, monotonic())
        trouble = self.endpoint_set.trouble
        if trouble and trouble != before:
            age = f"; keeping the pods known {format_duration(monotonic() - known_since)} ago" if known_since else ""
            _log.warning("%s%s", trouble, "" if changed else age)
        elif before and not trouble:
            _log.info("service discovery of %s works again", self.url.host)
        if isinstance(answer, Found):
            self._remark(answer)
        if changed:
            self._sync()

    def _remark(self, answer: Found) -> None:
        if self._warned:
            return
        self._warned = True
        if answer.remark:
            _log.warning("%s", answer.remark)
        if self.resolver is not None and self.resolver.by_name and len(answer.endpoints) == 1:
            only = answer.endpoints[0]
            if not only.host.startswith("127.") and only.host != "::1":
                _log.warning(ONE_ADDRESS, self.url.host, only.host)

    def _sync(self) -> None:
        """Make the pods match the endpoint set."""
        ready = {endpoint.key: endpoint for endpoint in self.endpoint_set.ready}
        for key, pod in list(self._pods.items()):
            endpoint = ready.get(key)
            if endpoint is None:
                if pod.listed:
                    self._leave(pod, self._why_not(key))
            elif endpoint.name != pod.endpoint.name:
                if pod.listed:
                    self._leave(pod, f"replaced by {endpoint.name or 'another'}")
            elif not pod.listed:
                self._return(pod)
        for key, endpoint in ready.items():
            if key not in self._pods:
                self._join(endpoint)

    def _why_not(self, key: tuple[str, int]) -> str:
        """Return why a pod is no longer among the ready endpoints."""
        endpoint = self.endpoint_set.endpoints.get(key)
        return "gone" if endpoint is None else "terminating" if endpoint.terminating else "not ready"

    def _join(self, endpoint: Endpoint) -> None:
        settings = self.settings
        pod = Pod(
            endpoint, self._name_for(endpoint), self.proxy, self._connector, settings.connect_timeout,
            settings.lock_grace, self._hurry, self._gate,
        )  # fmt: skip
        self._pods[endpoint.key] = pod
        pod.log.info("joined at %s", endpoint)
        pod.held = self._was_held(endpoint)
        pod.linked = self._link is None or self._link.is_up
        pod.settle()

    def _was_held(self, endpoint: Endpoint) -> bool:
        """Whether this pod was held when it left, less than HOLD_KEPT ago."""
        hold = self._absent_holds.pop(endpoint.key, None)
        return hold is not None and hold.name == endpoint.name and monotonic() < hold.until

    def _name_for(self, endpoint: Endpoint) -> str:
        taken = {str(pod) for pod in self._pods.values()}
        names = (endpoint.name, endpoint.host, str(endpoint))
        return next(name for name in names if name and (name not in taken or name == names[-1]))

    def _return(self, pod: Pod) -> None:
        """List a pod again that has not finished leaving."""
        leaving = self._leaving.pop(pod, None)
        if leaving is not None:
            leaving.cancel()
        pod.log.info("is back")
        pod.listed, pod.why = True, ""
        pod.settle()

    def _leave(self, pod: Pod, why: str) -> None:
        """Give a pod no new requests; its request in progress is finished."""
        pod.listed, pod.why = False, why
        pod.settle()
        pod.log.info("leaving (%s)%s", pod.why, " after its request in progress" if pod.lease else "")
        if pod.lease:
            self._leaving[pod] = tasks.start(self._retire(pod), f"end of pod {pod}")
        else:
            self._forget(pod)

    async def _retire(self, pod: Pod) -> None:
        await self.proxy.pool.retire(pod.backend)
        self._forget(pod)
        self._sync()  # another pod may have the same address by now

    def _forget(self, pod: Pod) -> None:
        leaving = self._leaving.pop(pod, None)
        if leaving is not None and leaving is not asyncio.current_task():
            leaving.cancel()
        pod.close()
        now = monotonic()
        self._absent_holds = {key: hold for key, hold in self._absent_holds.items() if now < hold.until}
        if pod.held:
            self._absent_holds[pod.endpoint.key] = _Hold(pod.endpoint.name, now + HOLD_KEPT)
        if self._pods.get(pod.endpoint.key) is pod:
            del self._pods[pod.endpoint.key]
        self.proxy.stats.forget(str(pod))

    def settle(self) -> None:
        """Resume or hold each pod, after a gate may have opened or closed."""
        for pod in self._pods.values():
            pod.settle()

    def busy(self) -> dict[str, Backend]:
        """Return the pods whose locks are held, by address."""
        return {str(pod.endpoint): pod.backend for pod in self._pods.values() if pod.lease}

    def _hurry(self) -> None:
        """Resolve again soon, since the endpoints may have changed."""
        if self.resolver is not None:
            self.resolver.hurry()

    # -- status ------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """The number of pods."""
        return len(self._pods)

    @property
    def failing(self) -> bool:
        """See Fleet. Always False: Faucet does not start pods."""
        return False

    def described(self) -> str:
        """Return the number of pods as text: `3 pods`."""
        return counted(self.count, "pod")

    def origin(self) -> Origin:
        """Return how pods are discovered, and when they were last resolved."""
        described = self.resolver.described if self.resolver is not None else "service discovery"
        origin = Origin(described, self.endpoint_set.known_since, self.endpoint_set.trouble)
        if self._link is None:
            return origin
        link = self._link
        return origin._replace(
            link=str(link.target), link_state=link.state.value, link_since=link.since, link_detail=link.detail()
        )

    def notice(self) -> str:
        """Return what is wrong with the link or with discovery; empty if both work."""
        if self._link is not None and not self._link.is_up:
            return f"ssh link to {self._link.target}: {self._link.described()}"
        return self.endpoint_set.trouble

    def faults(self) -> Faults:
        """Return why pods are unreachable or unknown. A link that is down explains all other faults."""
        since = self.endpoint_set.known_since or self._began
        if self._link is not None and not self._link.is_up:
            return Faults(unreachable=Fault(self._link.since, self.notice(), self.count))
        if self.endpoint_set.trouble:
            return Faults(unreachable=Fault(since, self.endpoint_set.trouble, self.count))
        return Faults(unreachable=unreachable_pods(list(self._pods.values())))

    def statuses(self) -> list[WorkerStatus]:
        """Return the status of all pods, sorted by name."""
        return [pod.status() for pod in sorted(self._pods.values(), key=str)]

    def details(self, worker: str) -> WorkerDetails:
        """Return all details of one pod. Raises Refused if there is no such pod."""
        return self._find(worker).details()

    # -- commands ----------------------------------------------------------------------------------------------

    def hold(self, worker: str, who: str) -> str:
        """Give a pod no more requests until it is resumed. Raises Refused."""
        pod = self._find(worker)
        if not pod.held:
            pod.log.info("held by %s", who)
            pod.held = True
            pod.settle()
        return f"pod {pod} gets no more requests until it is resumed"

    def resume(self, worker: str, who: str) -> str:
        """Give a held pod requests again. Raises Refused."""
        pod = self._find(worker)
        if not pod.held:
            raise Refused(f"pod {pod} is not held")
        pod.log.info("resumed by %s", who)
        pod.held = False
        pod.settle()
        return f"pod {pod} serves again"

    def drop(self, worker: str, who: str) -> str:
        """Drop the connection to a pod. Its request in progress is retried on another pod if that is safe, else
        answered with 502; the lock stays for a while, since the pod may still be busy with it. Raises Refused."""
        pod = self._find(worker)
        busy = pod.lease
        if not pod.backend.drop():
            raise Refused(f"pod {pod} has no open connection")
        pod.log.warning("connection dropped by %s", who)
        return f"connection to pod {pod} dropped" + ("; it stays locked while it may be busy" if busy else "")

    def retry(self, worker: str, who: str) -> str:
        """Retry an unreachable pod now. Raises Refused."""
        pod = self._find(worker)
        if not pod.retry():
            raise Refused(f"pod {pod} is not waiting for a retry")
        pod.log.info("retry requested by %s", who)
        return f"retrying pod {pod} now"

    def restart(self, worker: str, who: str) -> asyncio.Future[str]:
        """Delete a pod, so that its controller starts another; the future has kubectl's output. Raises Refused."""
        if worker == "all":
            raise Refused(NOT_OFFERED["rolling-restart"])
        pod = self._find(worker)
        if not pod.endpoint.name:
            raise Refused(
                f"the name of the pod at {pod.endpoint} is unknown; use --resolve kubernetes, or find it with: "
                f"kubectl get pods --output wide | grep {shlex.quote(pod.endpoint.host)}"
            )
        return self._act(self._delete(pod, who), f"deletion of pod {pod}")

    async def _delete(self, pod: Pod, who: str) -> str:
        if not await self._programs.find("kubectl"):
            raise Refused("restarting a pod means deleting it with kubectl, which is not installed here")
        kubectl = Kubectl(self._programs)
        labels = self.url.host.split(".")
        namespace = labels[1] if len(labels) > 1 else await kubectl.namespace()
        pod.log.warning("deleted by %s", who)
        try:
            return await kubectl.delete(pod.endpoint.name, service_of(self.url.host, namespace).namespace)
        except TimeoutError:
            raise Refused("kubectl did not answer in time; try again") from None
        except OSError as error:
            pod.log.error("could not be deleted: %s", error)
            raise Refused(str(error)) from error

    def _act(self, coroutine: Coroutine[Any, Any, str], name: str) -> asyncio.Future[str]:
        """Run `coroutine` as a task. The requester gets its result, or its Refused."""
        task = asyncio.ensure_future(coroutine)
        task.set_name(name)
        return task

    def reload(self, why: str) -> None:
        """Resolve again at once. Faucet does not restart pods, but the caller wants a fresh state."""
        _log.info("%s: resolving pods again", why)
        self._hurry()

    def _find(self, worker: str) -> Pod:
        for pod in self._pods.values():
            if worker in (str(pod), str(pod.endpoint), pod.endpoint.host):
                return pod
        names = ", ".join(sorted(str(pod) for pod in self._pods.values())) or "none"
        raise Refused(f"no pod {worker}; known pods: {names}")
