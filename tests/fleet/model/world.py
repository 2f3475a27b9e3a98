"""A whole fleet made of values, its requests, what befalls it, and what has to stay true of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from supervisor.agent.directory import Directory as Shared
from supervisor.fleet.decided import Decision, Placement, Rules, Why
from supervisor.fleet.hosts import Directory, HostId, Presence
from tests.fleet.model.agent import ALL, Agent, Steps
from tests.fleet.model.head import Claim, Head, Kind
from tests.fleet.model.host import TOTAL, VALID, Daemon
from tests.fleet.model.kernel import Being, Kernel, Network, Process

HOSTS = ("alpha", "beta", "gamma", "delta")
SIZES = {"a": 10.0, "b": 9.0, "c": 12.0, "d": 18.0}
LOADS = {"a": 2.0, "b": 3.0, "c": 6.0, "d": 4.0}
PATIENCE = 45.0
RULES = Rules(offers=3)
# A second copy is meant where the one there is of no use to whoever asks.
OF_NO_USE = {Why.OVERLOADED, Why.DRAINED, Why.AVOIDED, Why.RESTS}


@dataclass
class World:
    seed: int
    steps: Steps = ALL
    fenced: bool = True
    unique: bool = True
    atomic: bool = True
    valid: float = VALID
    kind: Kind = Shared
    wrong: list[str] = field(default_factory=list)
    ends: Counter[int] = field(default_factory=Counter)  # of each request how often it ended
    how: Counter[str] = field(default_factory=Counter)
    begun: int = 0  # loads that a placement began
    asked: int = 0
    stumbles: float = 0.0  # how likely something happens between two steps of a placement

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.kernel = Kernel(self.dice, after=self._check)
        self.network = Network(self.kernel)
        head = Being("head", self.kernel)
        self.head = Head(head, self.kernel, self.unique, self.atomic, self.kind)
        self.agents: dict[str, Agent] = {}
        for name in HOSTS:
            being = Being(name, self.kernel)
            daemon = Daemon(being, self.kernel, SIZES, LOADS, self.fenced, self.valid)
            daemon.loss = lambda: self.dice.uniform(0, 5)
            self.agents[name] = Agent(
                being, self.kernel, self.network, daemon, self.head, self.agents, self.steps,
                self._decided, self._mishap, RULES,
            )  # fmt: skip
        self.head.boot()
        self._decisions: dict[str, tuple[Directory, Placement]] = {}
        self._claims: list[Claim] = []
        self._seen: set[tuple[str, str, str, float]] = set()
        for agent in self.agents.values():
            agent.daemon.boot()
            agent.boot()

    # -- requests

    def request(self, host: str, model: str) -> None:
        """Somebody asks `host`'s gateway for `model`. It ends once, whatever happens."""
        self.asked += 1
        number, agent = self.asked, self.agents[host]
        life = agent.being.life
        if not agent.being.alive:
            self._end(number, "refused: nobody listens")
            return
        agent.being.start(self._served(agent, number, model))

        def at_last() -> None:
            if not self.ends[number]:
                gone = agent.being.life != life
                self._end(number, "refused: its host died" if gone else "refused: it waited long")

        self.kernel.at(PATIENCE + 20.0, at_last)

    def _served(self, agent: Agent, number: int, model: str) -> Process:
        began, avoid = self.kernel.now, frozenset[HostId]()
        while self.kernel.now - began < PATIENCE:
            if not agent.connected():  # there is no fleet: this host decides alone
                if (yield from self._here(agent, model)):
                    self._end(number, "served by its own host")
                    return
                yield 1.0
                continue
            found: Decision = yield from agent.settle(model, avoid)
            if isinstance(found, Placement):
                host = found.host
                answer = yield self.network.ask(
                    agent.being,
                    self.agents[host].being,
                    lambda h=host: self._work(self.agents[h], model),  # type: ignore[misc]
                    20.0 if host == agent.name else 5.0,
                )
                if answer:
                    self._end(number, "served")
                    return
                lost = agent.directory().hosts[host].presence is not Presence.HERE
                avoid = frozenset({host}) if answer is None and lost else frozenset()
            yield self.dice.uniform(0.2, 1.0)
        self._end(number, "queued")

    def _here(self, agent: Agent, model: str) -> Process:
        agent.daemon.load(model)
        return (yield from self._work(agent, model))

    def _work(self, agent: Agent, model: str) -> Process:
        """A request at work on a host, where the model is there or coming."""
        until = self.kernel.now + 4.0
        while not agent.daemon._ready(model):
            if self.kernel.now >= until:
                return False
            yield 0.3
        there = agent.daemon.there[model]
        there.work += 1
        yield self.dice.uniform(0.1, 1.5)
        there.work -= 1
        there.used = self.kernel.now
        return True

    def _end(self, number: int, how: str) -> None:
        self.ends[number] += 1
        self.how[how] += 1

    # -- what befalls it

    def kill(self, host: str) -> None:
        self.agents[host].being.die()

    def restart(self, host: str) -> None:
        agent = self.agents[host]
        if not agent.being.alive:
            agent.being.alive = True
            agent.being.paused_until = 0.0
            agent.daemon.boot()
            agent.boot()

    def restart_agent(self, host: str) -> None:
        """The agent alone: its daemon goes on, and what that has stays."""
        agent = self.agents[host]
        if agent.being.alive:
            agent.being.die()
            agent.being.alive = True
            for there in agent.daemon.there.values():
                there.work = 0  # whom it was relaying for has gone
            agent.boot()

    def kill_head(self) -> None:
        self.head.being.die()

    def restart_head(self) -> None:
        if not self.head.being.alive:
            self.head.being.alive = True
            self.head.boot()

    def pause(self, host: str, seconds: float) -> None:
        self.agents[host].being.paused_until = self.kernel.now + seconds

    def still(self, host: str, seconds: float) -> None:
        """Its agent alone: its daemon goes on, and its actor."""
        self.agents[host].still_until = self.kernel.now + seconds

    def part(self, hosts: list[str], head: bool) -> None:
        self.network.parts = dict.fromkeys([*hosts, *(["head"] if head else [])], 1)

    def cut(self, one: str, other: str, lasts: float) -> None:
        """These two, and nobody else."""
        pair = frozenset({one, other})
        self.network.cuts.add(pair)
        self.kernel.at(lasts, lambda: self.network.cuts.discard(pair))

    def step_clock(self, host: str, by: float) -> None:
        self.agents[host].daemon.wall += by

    def heal(self) -> None:
        """All faults end; nobody does anything else."""
        self.network.cuts.clear()
        self.stumbles = 0.0
        self.network.parts, self.network.loss, self.network.slow = {}, 0.0, 0.0
        self.restart_head()
        for host in HOSTS:
            self.restart(host)
            self.agents[host].daemon.drained = False

    def _mishap(self, agent: Agent, before: str) -> float:
        """Between two steps of a placement, where it hurts."""
        if before == "hear":  # each second, and not once
            if self.dice.random() < self.stumbles / 10:
                self.still(agent.name, self.dice.uniform(0.1, 8.0))
            return 0.0
        if self.dice.random() >= self.stumbles:
            return 0.0
        lasts = self.dice.uniform(0.1, 11.0)
        kind = self.dice.choice(["late", "late", "pause", "pause", "cut", "head", "agent"])
        if kind == "pause":
            self.pause(agent.name, lasts)
        elif kind == "cut":
            self.cut(agent.name, "head", lasts)
            return self.dice.uniform(0.1, lasts)
        elif kind == "head":
            self.kill_head()
            self.kernel.at(self.dice.uniform(0.01, 0.5), self.restart_head)
        elif kind == "agent":
            self.kernel.at(0.01, lambda: self.restart_agent(agent.name))
        return lasts

    # -- what has to stay true

    def _decided(self, agent: Agent, claim: str, seen: Directory, made: Decision) -> None:
        assert isinstance(made, Placement)
        if {n.host for n in made.notes} != {*seen.hosts}:
            self.wrong.append("a host was considered and has no note")
        self._decisions[claim] = (seen, made)

    def _check(self) -> None:
        self._check_ledger()
        for host, agent in self.agents.items():
            for late in agent.daemon.begun:
                self.wrong.append(f"{host} began a load {late[2]:.1f} s after its offer was made")
            agent.daemon.begun.clear()
            if agent.daemon.free < -1e-9:
                self.wrong.append(f"{host} has more than it can hold")
            for model, there in agent.daemon.there.items():
                if there.claim is not None:
                    key = (host, model, there.claim, there.since)
                    if key not in self._seen:
                        self._seen.add(key)
                        self.begun += 1
                        self._check_begun(host, model, there.claim, there.since)

    def _check_ledger(self) -> None:
        if self.head.claims == self._claims:
            return
        self._claims = [*self.head.claims]
        names = Counter(c.model for c in self.head.claims)
        if any(n > 1 for n in names.values()):
            self.wrong.append(f"two claims of one model at once: {names}")
        for host in HOSTS:
            promised = sum(c.bundles.get(host, 0) for c in self.head.claims)
            if promised > TOTAL * 2**30:
                self.wrong.append(f"{host} has promised {promised / 2**30:.0f} GiB of {TOTAL:.0f}")

    def _check_begun(self, host: str, model: str, claim: str, since: float) -> None:
        """A load that a placement began: who had the model then was known to whoever placed it."""
        seen, made = self._decisions[claim]
        notes = {n.host: n.why for n in made.notes}
        for other, agent in self.agents.items():
            there = agent.daemon.there.get(model)
            if other == host or there is None or there.claim in (None, claim):
                continue
            why = notes.get(HostId(other))
            if why is Why.LOST or HostId(other) not in seen.hosts:
                continue  # somebody who was no longer, or not yet, in the fleet
            if agent.being.alive and why not in OF_NO_USE:
                self.wrong.append(
                    f"{self.kernel.now:.2f}: {model} placed on {host} by {claim},"
                    f" and on {other} by {there.claim} at {there.since:.2f} ({why})"
                )

    def check_quiet(self) -> None:
        """Long after all faults have ended."""
        if self.head.claims:
            self.wrong.append(f"claims never ended: {self.head.claims}")
        if kept := self.head.directory.read()["kept"]:
            self.wrong.append(f"still told to come: {kept}")
        for number in range(1, self.asked + 1):
            if self.ends[number] != 1:
                self.wrong.append(f"request {number} ended {self.ends[number]} times")
        for host, agent in self.agents.items():
            made = agent.daemon.made.values()
            if any(not m.used and agent.daemon.mono < m.until for m in made):
                self.wrong.append(f"an offer of {host} still stands")
            here = {h.id: h.presence for h in agent.directory().hosts.values()}
            missing = [h for h in HOSTS if here.get(HostId(h)) is not Presence.HERE]
            if missing or not agent.connected():
                self.wrong.append(f"{host} does not hear of {missing} again")
