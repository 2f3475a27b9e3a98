"""An agent made of values: it places by the pure functions, in the ledger's order of steps.

Each step that the order names can be left out, to see that the checks notice.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from collectors.reading import Seconds
from supervisor.agent.backend import Heard
from supervisor.agent.view import View
from supervisor.core.status import Status
from supervisor.fleet import ledger
from supervisor.fleet.decided import Answer, Asking, Decision, Placement, Queued, Rules, Why, Wish
from supervisor.fleet.explain import of_choice
from supervisor.fleet.hosts import Directory, HostId, Housed, Offer, PromiseId
from supervisor.fleet.liveness import Delays
from supervisor.fleet.place import choose_hosts, place
from supervisor.fleet.words import offer_row, read_offer, word_row
from tests.fleet.model.head import Head, Row
from tests.fleet.model.host import Daemon
from tests.fleet.model.kernel import Being, Kernel, Network, Process

PERIOD = 1.0
SIGN = 0.5  # seconds between two signs of a node's life
DELAYS = Delays()
STRAY = 5.0  # seconds after which a claim that the agent does not know of is nobody's


@dataclass(frozen=True)
class Steps:
    """Which of the steps are kept."""

    verify: bool = True  # a host looks whether the claim stands
    tell: bool = True  # first the directory is told that the model is coming
    look: bool = True  # whoever claimed looks at the directory again
    settle: bool = True  # a directory that began anew is waited for
    release: bool = True  # claims are given up
    date: bool = True  # a word is as old as what was known when it was asked for


ALL = Steps()


class Promised(NamedTuple):
    model: str
    shares: dict[str, int]  # bytes by host
    until: float


class Turn:
    """Whose turn it is: of two who tell, one waits."""

    taken = False


@dataclass
class Agent:
    being: Being
    kernel: Kernel
    network: Network
    daemon: Daemon
    head: Head
    others: dict[str, Agent]
    steps: Steps = ALL
    decided: Callable[[Agent, str, Directory, Decision], None] = lambda *_: None
    mishap: Callable[[Agent, str], float] = lambda *_: 0.0  # how long the next step is off
    rules: Rules = Rules(offers=3)
    view: View = field(init=False)
    word: tuple[Row, str] | None = None  # and what was known of the fleet before it was asked for
    held: dict[PromiseId, Promised] = field(default_factory=dict)  # that it has not given up
    heard_head: float = -99.0
    still_until: float = 0.0  # true time: its host goes on, and it alone does not
    turn: Turn = field(default_factory=Turn)
    turns: int = 0

    @property
    def name(self) -> str:
        return self.being.name

    @property
    def settling(self) -> ledger.Settling:
        return ledger.Settling(Seconds(self.daemon.valid), DELAYS.lost)

    def boot(self) -> None:
        """A process begins with nothing known; its daemon's words count on."""
        self.view, self.word, self.held = View(HostId(self.name), DELAYS), None, {}
        self.heard_head, self.still_until, self.turn = -99.0, 0.0, Turn()
        self.being.start(self._live())
        self.being.start(self._listen())
        self.being.start(self._speak())
        self.being.start(self.daemon.tidy())

    # -- words

    def _live(self) -> Process:
        """The node's doing, not the agent's."""
        while True:
            size, life = ledger.capacity(self.daemon.word(0)), self.being.life
            self._ask_head(lambda s=size, n=life: self.head.sign(self.name, n, s))  # type: ignore[misc]
            yield SIGN

    def _listen(self) -> Process:
        """What the daemon says may be old by the time that it is read."""
        while True:
            basis, row = self.view.since, _through(word_row(self.daemon.word(0)))
            yield from self._stumble("hear")
            yield from self._stand()
            self.view.speak(row, Seconds(self.daemon.mono))
            self.word = (row, basis)
            yield PERIOD

    def _speak(self) -> Process:
        while True:
            yield from self._stand()
            yield from self._tell()
            yield from self._settle_claims()
            yield PERIOD

    def _stand(self) -> Process:
        while self.kernel.now < self.still_until:
            yield self.still_until - self.kernel.now

    def _tell(self) -> Process:
        """Tell, and hear. Was there an answer?"""
        turn = self.turn
        while turn.taken:
            yield 0.01
        if self.word is None:
            return False
        turn.taken = True
        try:
            row, basis = self.word
            if not self.steps.date:
                basis = self.view.since
            self.turns += 1
            given = (self.being.life, self.turns, row, self._kept(), self.view.since, basis)
            asked = Seconds(self.daemon.mono)
            told = yield self._ask_head(lambda: self.head.tell(self.name, *given))
            yield from self._stand()
            if told is not None:
                self._hear(told, asked)
            return told is not None
        finally:
            turn.taken = False

    def _kept(self) -> list[Row]:
        return [
            {"id": id, "model": p.model, "shares": p.shares, "left": p.until - self.daemon.mono}
            for id, p in self.held.items()
            if p.until > self.daemon.mono
        ]

    def _hear(self, told: Row, asked: Seconds) -> None:
        now = Seconds(self.daemon.mono)
        self.view.take(
            Heard(
                told["version"],
                told["up"],
                told["ages"],
                tuple(_through(t["word"]) for t in told["told"]),
                tuple(told["kept"]),
                dead=tuple(h for h in told["dead"] if h != self.name),
            ),
            asked,
            now,
        )
        self.heard_head = now
        if self.steps.release:
            for id, age in told["mine"].items():
                if id not in self.held and age > STRAY:
                    self._ask_head(lambda i=id: self.head.release(i))  # type: ignore[misc]

    def directory(self) -> Directory:
        return self.view.directory(Seconds(self.daemon.mono), self.connected())

    def connected(self) -> bool:
        return self.daemon.mono - self.heard_head < DELAYS.silent

    def trouble(self) -> list[str]:
        wall = self.daemon.wall + self.kernel.now
        return self.view.trouble(self.directory(), wall)

    # -- placing

    def settle(self, model: str, avoid: frozenset[HostId]) -> Process:
        """Where `model` is served, and if need be its load is begun."""
        wish = Wish(model, HostId(self.name), avoid)
        seen = self.directory()
        choice = choose_hosts(seen, wish, self.rules)
        assert [n.host for n in choice.notes] == sorted(seen.hosts)
        if not isinstance(choice, Asking):
            return choice
        answers: dict[HostId, Answer] = {}
        for host in choice.hosts:
            asked = Seconds(self.daemon.mono)
            row = yield self._ask(host, lambda h=host: self.others[h].serve_offer(model))  # type: ignore[misc]
            answers[host] = Answer(None if row is None else read_offer(row), asked)
        first = place(self.directory(), wish, answers, self.rules)
        if not isinstance(first, Placement) or not first.offers:
            return first
        return (yield from self._carry_out(choice.claim, wish, answers, first))

    def _carry_out(
        self, name: str, wish: Wish, answers: dict[HostId, Answer], first: Placement
    ) -> Process:
        id = PromiseId(f"{self.name}:{self.kernel.dice.getrandbits(40)}")
        life = self.being.life
        yield from self._stumble("claim")
        words = {h: host.word for h, host in self.directory().hosts.items()}
        bundles: dict[str, int] = {
            str(o.host): ledger.charge(o.takes, words[o.host]) for o in first.offers
        }
        until = self.daemon.mono + self.daemon.valid
        claimed = yield self._ask_head(lambda: self.head.claim(self.name, life, id, name, bundles))
        if claimed != "claimed":  # it may have been done: then it is a stray
            return Queued(wish.model, first.notes)
        self.held[id] = Promised(name, bundles, until)
        if self.steps.look:
            told = yield from self._tell()
            age = Seconds(self.daemon.mono - self.view.began)
            if not told or (self.steps.settle and self.settling.wait(age) > 0):
                self._give_up(id)
                return Queued(wish.model, first.notes)
        yield from self._stumble("look")
        mine = replace(wish, mine=id)
        seen = self.directory()
        final = place(seen, mine, answers, self.rules) if self.steps.look else first
        if not isinstance(final, Placement) or {*final.members} != {*first.members} or final.ready:
            self._give_up(id)
            return Queued(wish.model, final.notes) if final.notes else final
        self.decided(self, id, seen, final)
        assert of_choice(final)
        return (yield from self._accept(id, final, answers))

    def _accept(self, id: PromiseId, final: Placement, answers: dict[HostId, Answer]) -> Process:
        said: dict[HostId, str | None] = {}
        yield from self._stumble("send")
        for offer in final.offers:
            said[offer.host] = yield self._ask(
                offer.host,
                lambda o=offer: self.others[o.host].serve_accept(o, id),  # type: ignore[misc]
            )
        if all(s == "begun" for s in said.values()):
            return final
        if len(said) > 1:  # a part of it is of no use
            for host in said:
                self._ask(host, lambda h=host: self.others[h].serve_withdraw(id))  # type: ignore[misc]
        if all(s is not None for s in said.values()):  # else it may begin until its time is over
            self._give_up(id)
        notes = tuple(n._replace(why=Why.NO_OFFER) if n.host in said else n for n in final.notes)
        return Queued(final.model, notes)

    def _settle_claims(self) -> Process:
        """Give up what is over, and what all hosts say is there."""
        for id, promised in [*self.held.items()]:
            here = [self.view.index.who(promised.model).get(HostId(h), ()) for h in promised.shares]
            if self.daemon.mono >= promised.until or all(map(_has, here)):
                self._give_up(id)
        yield 0.0

    def _give_up(self, id: PromiseId) -> None:
        if self.held.pop(id, None) is not None and self.steps.release:
            self._ask_head(lambda: self.head.release(id))  # if that is lost: it is a stray

    # -- what others ask of this host

    def serve_offer(self, model: str) -> Process:
        yield 0.001
        offer = self.daemon.offer(model)
        return None if offer is None else _through(offer_row(offer))

    def serve_accept(self, offer: Offer, claim: str) -> Process:
        model = offer.model.partition("/")[2]
        yield from self._stumble("accept")
        if self.steps.tell:
            bar = (self.name, claim, model, offer.valid, DELAYS.lost)
            if (yield self._ask_head(lambda: self.head.bar(*bar))) is None:
                return "the directory cannot be told"
        yield from self._stumble("verify")
        if self.steps.verify:
            stands = yield self._ask_head(lambda: self.head.stands(claim))
            if stands is None:
                return "whether the claim stands cannot be told"
            if stands != "stands":
                self._unbar(claim)
                return "the claim is gone"
        yield from self._stumble("begin")
        said = self.daemon.accept(offer.id, claim)
        if said != "begun":
            self._unbar(claim)
        return said

    def _unbar(self, claim: str) -> None:
        def unbar() -> str:
            self.head.directory.unbar(self.name, claim)
            return "told"

        self._ask_head(unbar)

    def serve_withdraw(self, claim: str) -> Process:
        yield 0.001
        self.daemon.withdraw(claim)
        return "withdrawn"

    # -- asking

    def _stumble(self, before: str) -> Process:
        """Anything may happen, and anything take long, between any two steps."""
        if delay := self.mishap(self, before):
            yield delay

    def _ask(self, host: str, serve: Callable[[], Process]) -> Any:
        return self.network.ask(self.being, self.others[host].being, serve, 1.5)

    def _ask_head(self, what: Callable[[], Any]) -> Any:
        def serve() -> Process:
            yield 0.0002
            return what()

        return self.network.ask(self.being, self.head.being, serve, 1.0)


def _has(housed: tuple[Housed, ...]) -> bool:
    return any(h.ready or h.status == Status.LOADING.value for h in housed)


def _through(row: dict[str, Any]) -> dict[str, Any]:
    """All that crosses the network is JSON."""
    found: dict[str, Any] = json.loads(json.dumps(row))
    return found
