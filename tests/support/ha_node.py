"""A simulated Faucet: the rules of faucet/ha, driven as the real one drives them, over links that break."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from faucet.ha.decisions import AskAll, Began, Decision, Ended, Read, Write
from faucet.ha.election import Election
from faucet.ha.member import Member
from faucet.ha.messages import Ask, Freed, Promise, Refusal, Stopped
from faucet.ha.record import Identity
from faucet.ha.timing import Timing
from faucet.proxy.locks import Dispatcher, Lease
from tests.support.ha_forwarding import Forwarding
from tests.support.ha_messages import Answer, Forward, Hello, NotActive, NotBegun, Welcome
from tests.support.ha_modes import Mode
from tests.support.ha_world import FASTEST, QUARANTINE, SLOWEST, Api, Pod, Request, Violation, World

TIMING = Timing(outage_limit=20.0)
LOCK_GRACE = 8.0
AGAIN = 0.5
"""Seconds after which a pod is used again that has refused a request itself."""

FIRST_WORD = 1.0
"""Seconds after which a connection without a word from the other end is given up."""


class Link:
    """A connection from a relay to the active: messages arrive in order, or it breaks, for each end in its time."""

    def __init__(self, cluster: Cluster, relay: Node, active: Node) -> None:
        self.ends = (relay, active)
        self.up = True
        self.broken = False
        """Nothing passes any more, though nobody has noticed."""
        self.answered = False
        self.welcome = False
        self.partner: Hello | None = None
        self._cluster = cluster
        self._last = [0.0, 0.0]

    def other(self, node: Node) -> Node:
        """The other end."""
        return self.ends[0] if node is self.ends[1] else self.ends[1]

    def send(self, sender: Node, message: object) -> None:
        """It arrives, unless the link is cut or breaks on its way."""
        world, to = self._cluster.world, self.other(sender)
        if not self.up or self.broken:
            return
        way = self.ends.index(sender)
        self._last[way] = max(self._last[way], world.now + world.random.uniform(0.0001, self._cluster.link_delay))
        world.at(self._last[way], lambda: to.post(lambda: self._arrive(to, message)))

    def _arrive(self, to: Node, message: object) -> None:
        if self.up:
            self.answered = self.answered or to is self.ends[0]
            to.received(self, message)

    def close(self) -> None:
        """Both ends learn of it; what is on its way is lost."""
        if self.up:
            self.up = False
            for end in self.ends:
                self._cluster.world.after(self._cluster.world.random.uniform(0, 0.01), self._teller(end))

    def _teller(self, end: Node) -> Callable[[], None]:
        return lambda: end.post(lambda: end.link_lost(self))


Ticket = tuple[Link | None, Request]


class Node:
    """One process."""

    def __init__(self, cluster: Cluster, name: str, uid: str, boot: str) -> None:
        world = cluster.world
        self.cluster, self.world = cluster, world
        self.alive = True
        self.frozen_until = 0.0
        self._rate = cluster.clock_rate()
        self._offset = world.random.uniform(0, 1000)
        self._deferred: list[Callable[[], None]] = []
        me = Identity(name, uid, boot)
        self.key = me.key
        self.election = Election(
            me, TIMING, address=name, token="t", chance=world.random.random, serve_partitioned=cluster.mode.serve
        )
        self.member = Member(self.election, LOCK_GRACE)
        self.relay: Forwarding[Request] = Forwarding()
        self.dispatcher: Dispatcher[Ticket, str] = Dispatcher(10_000)
        self.links: list[Link] = []
        self.own_requests: set[Request] = set()
        self.leaving = False
        self._left_alone: dict[str, float] = {}  # pods that have refused a request, and until when
        self._call_number = 0
        self._timer = inf
        for pod in cluster.pods:
            self.dispatcher.add(pod, 0.0, held=True)
        self.arm()

    # -- clock and events --------------------------------------------------------------------------------------

    def clock(self) -> float:
        """This member's own reading."""
        return self._offset + self._rate * self.world.now

    def allowed_epoch(self) -> int:
        """See Process."""
        return self.election.term.epoch if self.election.term and self.election.may_grant(self.clock()) else 0

    def post(self, event: Callable[[], None]) -> None:
        """An event for this process: later if it is frozen, never if it is dead."""
        if not self.alive:
            return
        if self.frozen_until > self.world.now:
            self._deferred.append(event)
        else:
            event()
            self.after_event()

    def freeze(self, seconds: float) -> None:
        """As SIGSTOP."""
        self.frozen_until = max(self.frozen_until, self.world.now + seconds)
        self.world.at(self.frozen_until, self._thaw)

    def _thaw(self) -> None:
        if self.frozen_until <= self.world.now and self.alive:
            deferred, self._deferred = self._deferred, []
            for event in deferred:
                self.post(event)
            self.post(lambda: None)

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """After so many seconds of this member's clock."""
        self.world.after(seconds / self._rate, lambda: self.post(event))

    def after_event(self) -> None:
        """What the driver does after each event: tick, connect, hand over, grant."""
        now = self.clock()
        self.member.set_longest(QUARANTINE / 2, now)
        self.do(self.election.tick(now))
        for freed in self.member.freed_pods(now):
            self._tell_active(freed)
        self._settle_pods()
        self._find_active()
        self._hand_over()
        self._close_unused()
        self.member.forget_members(now)
        self.arm()

    def arm(self) -> None:
        """Wake up when the rules want it."""
        now = self.clock()
        wake = max(min(self.election.wake_at(), self.member.wake_at(now)), now) + 0.0005
        if wake < self._timer - 1e-9 or self._timer <= now:
            self._timer = wake
            self.later(wake - now, self._woken)

    def _woken(self) -> None:
        self._timer = inf

    # -- decisions ---------------------------------------------------------------------------------------------

    def do(self, decisions: list[Decision]) -> None:
        """Carry them out."""
        for decision in decisions:
            self.member.follow(decision, self.clock())
            if isinstance(decision, Read | Write):
                self._call(decision)
            elif isinstance(decision, Began):
                self._began()
            elif isinstance(decision, Ended):
                self._ended()
            elif isinstance(decision, AskAll):
                self._send_all(1, decision.ask)
            else:
                self._send_all(0, decision.message)

    def _send_all(self, end: int, message: object) -> None:
        """On all connections of which this member is that end: 0 the relay, 1 the active."""
        for link in self.links:
            if link.ends[end] is self:
                link.send(self, message)

    def _call(self, call: Read | Write) -> None:
        self._call_number += 1
        number = self._call_number

        def answer(kind: str, what: object) -> None:
            self.post(lambda: self._answered(number, kind, what))

        self.cluster.api.call(self.cluster.api_key(self), call, answer)
        self.later(TIMING.call_timeout, lambda: self._answered(number, "failed", None))

    def _answered(self, number: int, kind: str, what: object) -> None:
        if number != self._call_number:
            return
        self._call_number += 1
        now, election = self.clock(), self.election
        if kind == "read":
            self.do(election.was_read(now, what))  # type: ignore[arg-type]
        elif kind == "written":
            self.do(election.was_written(now, str(what)))
        else:
            self.do(election.was_refused(now) if kind == "refused" else election.call_failed(now))

    def _began(self) -> None:
        self.cluster.takeovers.append((self.world.now, self))

    def _ended(self) -> None:
        self.cluster.endings.append((self.world.now, self))
        for pod in self.cluster.pods:
            self.dispatcher.hold(pod)
        for ticket in self.dispatcher.clear():
            self._not_begun(ticket)
        # Behind what is given back, so that a relay goes on in order.
        self._send_all(1, self.member.stopped(self.clock()))

    def _not_begun(self, ticket: Ticket) -> None:
        link, request = ticket
        if link is None:
            self.relay.not_begun(request)
        else:
            link.send(self, NotBegun(self.election.epoch, request))

    # -- the active's side -------------------------------------------------------------------------------------

    def _settle_pods(self) -> None:
        now = self.clock()
        for pod in self.cluster.pods:
            shunned = now < self._left_alone.get(pod, -inf)
            if self.election.is_active and self.member.quarantine.allows(pod, now) and not shunned:
                lease = self.dispatcher.resume(pod, now)
                if lease is not None:
                    self._granted(lease.holder, lease.worker)
            elif self.dispatcher.lease(pod) is None:
                self.dispatcher.hold(pod)

    def _accept(self, link: Link | None, request: Request) -> None:
        lease = self.dispatcher.acquire((link, request), self.clock())
        if lease is not None:
            self._granted(lease.holder, lease.worker)

    def _granted(self, ticket: Ticket, pod: str) -> None:
        """First look; a new connection takes a while, and then there is a second one."""
        self.member.granted(pod)
        if not self.member.may_use(pod, self.clock()):
            self._give_back(ticket, pod)
        elif self.world.chance(0.3):
            self.later(self.world.random.uniform(0.001, 2.0), lambda: self._connected(ticket, pod))
        else:
            self._send(ticket, pod)

    def _connected(self, ticket: Ticket, pod: str) -> None:
        if self.look_again(pod):
            self._send(ticket, pod)
        else:
            self._give_back(ticket, pod)

    def look_again(self, pod: str) -> bool:
        """When a connection that had to be opened is there."""
        return self.member.may_use(pod, self.clock())

    def _give_back(self, ticket: Ticket, pod: str) -> None:
        """The grant is not used. The request is the next again, or another's."""
        self.dispatcher.hold(pod)
        self._release(ticket, pod)
        self._unlocked(pod)
        if not self.election.is_active:
            self._not_begun(ticket)
            return
        now = self.clock()
        other = self.dispatcher.reacquire(ticket, now, now)
        if other is not None:
            self._granted(ticket, other.worker)

    def _release(self, ticket: Ticket, pod: str) -> Lease[Ticket, str] | None:
        lease = self.dispatcher.lease(pod)
        assert lease is not None
        assert lease.holder == ticket
        return self.dispatcher.release(lease, self.clock())

    def _send(self, ticket: Ticket, pod: str) -> None:
        """At once, or late: this process is frozen between its look at the clock and the write of the kernel."""
        epoch = self.election.epoch
        if self.cluster.mode.late_writes and self.world.chance(0.01):
            seconds = self.world.random.uniform(1.0, 30.0)
            self.freeze(seconds)
            self.world.after(seconds, lambda: self._write(ticket, pod, epoch))
        else:
            self._write(ticket, pod, epoch)

    def _write(self, ticket: Ticket, name: str, epoch: int) -> None:
        if not self.alive:
            return
        pod = self.cluster.pod[name]
        if pod.strict and pod.refuses(epoch):
            self.world.after(0.001, lambda: self.post(lambda: self._refused(ticket, name)))
            return
        ticket[1].begin()
        pod.begin(self, epoch, self.cluster.figure(), lambda: self.post(lambda: self._served(ticket, name)))

    def _refused(self, ticket: Ticket, pod: str) -> None:
        """The pod has not begun it, and never will: another pod, whatever the method; this one again in a moment."""
        self._left_alone[pod] = self.clock() + AGAIN
        self.later(AGAIN, lambda: None)
        self._give_back(ticket, pod)

    def _served(self, ticket: Ticket, pod: str) -> None:
        following = self._release(ticket, pod)
        self._unlocked(pod)
        link, request = ticket
        if link is None:
            self._settle(request, "answered")
        else:
            link.send(self, Answer(self.election.epoch, request))
        if following is not None:
            self._granted(following.holder, following.worker)

    def _unlocked(self, pod: str) -> None:
        for freed in self.member.released(pod, self.clock()):
            self._tell_active(freed)

    def _tell_active(self, message: Freed) -> None:
        self._send_all(0, message)  # behind Hello, which had the pods that were busy then

    # -- the relay's side --------------------------------------------------------------------------------------

    def _settle(self, request: Request, outcome: str) -> None:
        self.relay.done(request)
        self.own_requests.discard(request)
        request.settle(outcome, self.world.now)

    def _find_active(self) -> None:
        """Keep one connection to whom the Lease names."""
        seen = self.election.seen
        record = seen.record if seen is not None else None
        if self.election.is_active or record is None or not record.holder or record.holder == self.member.identity:
            return
        other = self.cluster.by_identity(record.holder)
        if other is None or any(self._leads_to(link, other) for link in self.links):
            return
        if not self.cluster.may_dial(self, other):
            return
        link = Link(self.cluster, self, other)
        self.links.append(link)
        other.links.append(link)
        link.send(self, self.hello())
        self.later(FIRST_WORD, lambda: None if link.answered else link.close())

    def _leads_to(self, link: Link, other: Node) -> bool:
        return link.ends == (self, other) and link.up and (link.welcome or not link.answered)

    def _close_unused(self) -> None:
        for link in self.links:
            if link.ends[0] is self and link.answered and not link.welcome and not self.relay.at(link):
                link.close()

    def hello(self) -> Hello:
        """The first message to an active."""
        stopped = self.member.stopped(self.clock())
        return Hello(self.election.epoch, self.key, self.member.identity, self.election.me.name, stopped)

    def _hand_over(self) -> None:
        if self.election.is_active and self.election.may_grant(self.clock()):
            while (request := self.relay.next(None)) is not None:
                self.cluster.check_order(self, request)
                self._accept(None, request)
            return
        for link in self.links:
            if link.ends[0] is self and link.up and link.welcome:
                while (request := self.relay.next(link)) is not None:
                    self.cluster.check_order(self, request)
                    link.send(self, Forward(self.election.epoch, request))
                return

    # -- messages ----------------------------------------------------------------------------------------------

    def received(self, link: Link, message: object) -> None:
        """One message, in either role."""
        if isinstance(message, Hello):
            self._greeted(link, message)
        elif isinstance(message, Welcome):
            self._welcomed(link, message)
        elif isinstance(message, NotActive):
            self.do(self.election.heard(self.clock(), message.epoch))
            link.close()
        elif isinstance(message, Forward):
            self._forwarded(link, message)
        elif isinstance(message, NotBegun):
            self.relay.not_begun(message.request)
        elif isinstance(message, Answer):
            self._settle(message.request, "answered")
        else:
            self._heard(link, message)

    def _heard(self, link: Link, message: object) -> None:
        """What the rules are for."""
        now, election = self.clock(), self.election
        if isinstance(message, Ask):
            self.do(election.asked(now, message))
        elif isinstance(message, Promise):
            self.do(election.promised(now, message))
        elif isinstance(message, Refusal):
            self.do(election.refused(now, message))
        elif isinstance(message, Stopped):
            link.welcome = False
            self.do(self.member.heard_stopped(message, now, reports=False))
        elif isinstance(message, Freed):
            self.member.heard_freed(message)

    def _welcomed(self, link: Link, message: Welcome) -> None:
        """Requests go to one active only, the one of the newest epoch."""
        self.do(self.election.heard(self.clock(), message.epoch))
        if not self.election.is_active and message.epoch == self.election.epoch:
            for other in self.links:
                other.welcome = other.welcome and other.ends[1] is self
            link.welcome = True

    def _greeted(self, link: Link, hello: Hello) -> None:
        now, election = self.clock(), self.election
        self.do(election.heard(now, hello.epoch))
        link.partner = hello
        if not election.is_active:
            link.send(self, NotActive(election.epoch))
            return
        if hello.stopped is not None:
            self.do(self.member.heard_stopped(hello.stopped, now, reports=True))
        link.send(self, Welcome(election.epoch))
        self.do(self.member.met(hello.key, hello.address, now))

    def _forwarded(self, link: Link, message: Forward) -> None:
        self.do(self.election.heard(self.clock(), message.epoch))
        if self.election.term is None or message.epoch != self.election.term.epoch:
            self._not_begun((link, message.request))
        else:
            self._accept(link, message.request)

    def link_lost(self, link: Link) -> None:
        """One end has noticed that it broke."""
        if link not in self.links:
            return
        self.links.remove(link)
        if link.ends[0] is self:
            for request in self.relay.lost(link):
                self._settle(request, "failed")
            return
        for ticket, _ in list(self.dispatcher.queue()):
            if ticket[0] is link:
                self.dispatcher.cancel(ticket)
        if link.partner is None:
            return
        others = [other.partner for other in self.links if other.up and other.partner is not None]
        if link.partner.identity not in {other.identity for other in others}:
            self.member.lost(link.partner.identity, self.clock())
        if link.partner.key not in {other.key for other in others}:
            self.member.parted(link.partner.key, self.clock())

    # -- its end -----------------------------------------------------------------------------------------------

    def release(self, leave: bool) -> None:
        """A planned change of the active; with `leave`, its end is near."""
        self.leaving = leave
        if leave:
            self.election.leave()
        self.do(self.member.release(self.clock(), "planned"))

    @property
    def is_done(self) -> bool:
        """Whether it may end: its clients have their answers, and its relays have left it."""
        relays = any(link.ends[1] is self and link.up for link in self.links)
        return not self.own_requests and not self.dispatcher.locked and not self.dispatcher.waiting and not relays

    def die(self) -> None:
        """At once. Its clients' connections are reset."""
        self.alive = False
        for request in self.own_requests:
            request.settle("reset", self.world.now)
        for link in list(self.links):
            link.close()


class Cluster:
    """The members, the API, the pods and the network between them."""

    def __init__(self, world: World, members: int, pods: int, mode: Mode) -> None:
        self.world = world
        self.mode = mode
        world.terms_overlap = mode.serve and mode.strict
        self.skewed = world.chance(0.5)
        self.api = Api(world)
        self.pods = [f"pod{number}" for number in range(pods)]
        self.pod = {name: Pod(world, name, mode.strict) for name in self.pods}
        self.cuts: set[frozenset[str]] = set()
        self.link_delay = 0.01
        self.requests: list[Request] = []
        self.takeovers: list[tuple[float, Node]] = []
        self.endings: list[tuple[float, Node]] = []
        self.nodes: list[Node] = []
        self._boots = 0
        self._dialled: dict[tuple[Node, Node], float] = {}
        for number in range(members):
            self.start(f"f{number}", f"uid-{number}")

    def start(self, name: str, uid: str) -> Node:
        """A new process."""
        self._boots += 1
        node = Node(self, name, uid, f"b{self._boots}")
        self.nodes = [other for other in self.nodes if other.alive] + [node]
        self.world.processes = list(self.nodes)
        return node

    def clock_rate(self) -> float:
        """The rate of a new clock: often one that is as bad as it may be."""
        if self.skewed:
            return self.world.random.choice((SLOWEST, FASTEST))
        return self.world.random.uniform(SLOWEST, FASTEST)

    def api_key(self, node: Node) -> str:
        """What a cut is for: the place, not the process."""
        return node.election.me.name

    def by_identity(self, identity: str) -> Node | None:
        """The process behind an address; None if nothing listens there."""
        return next((node for node in self.nodes if node.member.identity == identity and node.alive), None)

    def may_dial(self, one: Node, other: Node) -> bool:
        """Twice a second, and not through a cut."""
        if self.is_cut(one, other) or self.world.now - self._dialled.get((one, other), -inf) < 0.5:
            return False
        self._dialled[one, other] = self.world.now
        return True

    def is_cut(self, one: Node, other: Node) -> bool:
        """Whether nothing passes between them."""
        return frozenset((one.election.me.name, other.election.me.name)) in self.cuts

    def figure(self) -> float:
        """What the Lease says of quarantine."""
        return QUARANTINE

    def check_order(self, relay: Node, request: Request) -> None:
        """I4: a member lets its requests go in the order of their arrival."""
        for other in relay.own_requests:
            if other.number < request.number and relay.relay.is_waiting(other):
                raise Violation(f"I4: request {request.number} goes before {other.number}")

    def partition(self, one: str, other: str, seconds: float) -> None:
        """Cut two places off from each other; their connections break, sooner or later."""
        cut = frozenset((one, other))
        self.cuts.add(cut)
        self.world.after(seconds, lambda: self.cuts.discard(cut))
        for node in self.nodes:
            for link in node.links:
                if {end.election.me.name for end in link.ends} == cut:
                    link.broken = True
                    self.world.after(self.world.random.uniform(0.2, 5.0), link.close)
