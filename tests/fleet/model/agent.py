"""An agent made of values: it places by the pure functions, in the ledger's order of steps.

Each step that the order names can be left out, to see that the checks notice.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.reading import Bytes, Seconds
from supervisor.fleet import ledger
from supervisor.fleet.decided import Answer, Asking, Decision, Placement, Queued, Rules, Why, Wish
from supervisor.fleet.explain import of_choice
from supervisor.fleet.hosts import Directory, HostId, Offer, Promise, PromiseId, Word
from supervisor.fleet.liveness import Delays, Roll, troubles
from supervisor.fleet.place import choose_hosts, place
from supervisor.fleet.words import offer_row, read_offer, read_word, word_row
from tests.fleet.model.head import Head
from tests.fleet.model.host import VALID, Daemon
from tests.fleet.model.kernel import Being, Kernel, Network, Process

PERIOD = 1.0
RULES = Rules(offers=3)
DELAYS = Delays()
SETTLING = ledger.Settling(Seconds(VALID), DELAYS.lost)
LONG = 40.0  # a claim lasts so long at most


@dataclass(frozen=True)
class Steps:
    """Which of the steps are kept."""

    verify: bool = True  # a host looks whether the claim stands
    tell: bool = True  # it first tells the directory that the model is coming
    look: bool = True  # whoever claimed looks at the directory again
    settle: bool = True  # a directory that began anew is waited for
    release: bool = True  # claims are given up


ALL = Steps()


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
    rules: Rules = RULES
    number: int = 0
    roll: Roll = field(default_factory=Roll)
    claims: list[dict[str, Any]] = field(default_factory=list)
    claims_at: float = 0.0
    coming: dict[str, int] = field(default_factory=dict)  # accepted, and not known to have begun
    held: set[PromiseId] = field(default_factory=set)  # claims of its own that it has not given up
    young: float = 99.0  # how much longer the directory is not complete
    heard_head: float = -99.0

    @property
    def name(self) -> str:
        return self.being.name

    def boot(self) -> None:
        """A process begins with nothing known; its daemon's words count on."""
        self.roll, self.coming, self.claims, self.heard_head = Roll(DELAYS), {}, [], -99.0
        self.held = set()
        self.being.start(self._speak())
        self.being.start(self.daemon.tidy())

    # -- words

    def _speak(self) -> Process:
        while True:
            yield from self._tell()
            yield PERIOD

    def _tell(self) -> Process:
        before = dict(self.coming)
        word = self.daemon.word(0)
        self.number += 1
        coming = before | self.coming if self.steps.tell else {}
        models = tuple(
            replace(m, status="loading") if m.name in coming and m.status == "local" else m
            for m in word.models
        )
        row = word_row(replace(word, number=self.number, models=models))
        size = ledger.capacity(word)
        told = yield self._ask_head(
            lambda: self.head.tell(self.name, self.being.life, _through(row), size)
        )
        if told is not None:
            self._hear(told)
        return told is not None

    def _hear(self, told: dict[str, Any]) -> None:
        now = Seconds(self.daemon.mono)
        for row in told["words"]:
            self.roll.hear(read_word(row), now)
        for host in told["dead"]:
            if host != self.name:
                self.roll.dead(HostId(host))
        self.claims, self.claims_at, self.heard_head = told["claims"], now, now
        if self.steps.release:
            for id in ledger.strays(self.directory().promises, HostId(self.name), self.held):
                self._ask_head(lambda i=id: self.head.release(i))  # type: ignore[misc]
        self.young = SETTLING.wait(Seconds(told["age"]))

    def directory(self) -> Directory:
        now = Seconds(self.daemon.mono)
        return self.roll.directory(now, [_promise(c, self.claims_at) for c in self.claims])

    def connected(self) -> bool:
        return self.daemon.mono - self.heard_head < DELAYS.silent

    def trouble(self) -> list[str]:
        return troubles(self.directory(), self.daemon.wall + self.kernel.now)

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
        id = ledger.promise_id(HostId(self.name), str(self.kernel.dice.getrandbits(40)))
        life = self.being.life
        self.held.add(id)
        yield from self._stumble("claim")
        words = {h: host.word for h, host in self.directory().hosts.items()}
        bundles = {str(o.host): ledger.charge(o.takes, words[o.host]) for o in first.offers}
        claimed = yield self._ask_head(
            lambda: self.head.claim(self.name, life, id, name, bundles, LONG)
        )
        if claimed != "claimed":
            if claimed is None:  # it may have been done
                self._give_up(id)
            return Queued(wish.model, first.notes)
        if self.steps.look:
            told = yield self._ask_head(self.head.read)
            if told is None or (self.steps.settle and SETTLING.wait(Seconds(told["age"])) > 0):
                self._give_up(id)
                return Queued(wish.model, first.notes)
            self._hear(told)
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
            self.being.start(self._hold(id, final, LONG))
            return final
        for host in said:
            self._ask(host, lambda h=host: self.others[h].serve_withdraw(id))  # type: ignore[misc]
        unknown = any(s is None for s in said.values())
        over = max(answers[o.host].at + o.valid for o in final.offers) - self.daemon.mono
        self.being.start(self._hold(id, final, max(0.0, over) if unknown else 0.0))
        notes = tuple(n._replace(why=Why.NO_OFFER) if n.host in said else n for n in final.notes)
        return Queued(final.model, notes)

    def _hold(self, id: PromiseId, final: Placement, most: float) -> Process:
        """The claim is kept until all have the model, or for `most` seconds."""
        until = self.daemon.mono + most
        while self.daemon.mono < until and not self._all_have(final):
            yield 0.5
        self._give_up(id)

    def _all_have(self, final: Placement) -> bool:
        hosts = self.directory().hosts
        return all(
            host in hosts
            and any(m.ready and m.name == final.model for m in hosts[host].word.models)
            for host in final.members
        )

    def _give_up(self, id: PromiseId) -> None:
        self.held.discard(id)
        if self.steps.release:
            self.being.start(self._release(id))

    def _release(self, id: PromiseId) -> Process:
        yield self._ask_head(lambda: self.head.release(id))  # if it is lost: it is a stray

    # -- what others ask of this host

    def serve_offer(self, model: str) -> Process:
        yield 0.001
        offer = self.daemon.offer(model)
        return None if offer is None else _through(offer_row(offer))

    def serve_accept(self, offer: Offer, claim: str) -> Process:
        model = offer.model.partition("/")[2]
        coming = self.coming
        coming[model] = coming.get(model, 0) + 1
        try:
            if self.steps.tell and not (yield from self._tell()):
                return "the directory cannot be told"
            yield from self._stumble("verify")
            if self.steps.verify:
                stands = yield self._ask_head(lambda: self.head.stands(claim))
                if stands != "stands":
                    return "the claim is gone"
            yield from self._stumble("begin")
            return self.daemon.accept(offer.id, claim)
        finally:
            coming[model] -= 1
            if not coming[model]:
                del coming[model]

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


def _promise(row: dict[str, Any], at: float) -> Promise:
    until = Seconds(at + row["left"])
    return Promise(
        PromiseId(row["id"]), row["model"], HostId(row["host"]), Bytes(row["size"]), until
    )


def _through(row: dict[str, Any]) -> dict[str, Any]:
    """All that crosses the network is JSON."""
    found: dict[str, Any] = json.loads(json.dumps(row))
    return found


def words_of(agent: Agent) -> dict[str, Word]:
    return {h: host.word for h, host in agent.directory().hosts.items()}
