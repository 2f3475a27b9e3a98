"""A simulated fleet: hosts of several pools, each a simulated host of its own, and requests that
come to any of them.

Where they are sent is decided by the same functions as in earnest, over a directory that is a
second old; or by a naive rule.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from time import thread_time

from collectors.reading import Bytes, PoolId, Seconds
from supervisor.core.snapshot import ModelRef, Share
from supervisor.fleet.decided import Answer, Asking, Placement, Queued, Rules, Wish
from supervisor.fleet.hosts import (
    Directory,
    Host,
    HostId,
    Housed,
    Offer,
    OfferId,
    Promise,
    PromiseId,
    Space,
    Word,
)
from supervisor.fleet.index import Index
from supervisor.fleet.place import USUAL, choose_hosts, place

from .figures import Figures
from .host import Host as Pool
from .machine import Machine
from .rules import Queue, Rule
from .trace import Model, Request, Trace

PERIOD = 1.0  # seconds from word to word
AGAIN = 1.0  # seconds after which a request that waits asks again
TRIES = 30  # so many times; then it waits on the least loaded of its hosts
SLOTS = 4
VALID = Seconds(10.0)


class Way(Enum):
    """How a request finds its host, among those that have its model on disk."""

    PLACED = "placed"  # as Ullage does
    ROUND_ROBIN = "round robin"
    LEAST_LOADED = "least loaded"  # the fewest requests, whatever is resident


@dataclass(slots=True)
class Shown:
    """What it came to. `ready`: sent to where the model was; `queued`: asked more than once.
    `decisions` and `dry_runs` are seconds of CPU time, one by one."""

    figures: Figures = field(default_factory=Figures)
    sent: int = 0
    ready: int = 0
    queued: int = 0
    offers: int = 0
    decisions: list[float] = field(default_factory=list)
    dry_runs: list[float] = field(default_factory=list)
    words: int = 0  # that changed something


class Site:
    """One host: its pools, and which of them has or gets which model."""

    def __init__(
        self, name: HostId, has: Mapping[ModelRef, Model], pools: Sequence[Bytes], rule: Rule
    ) -> None:
        self.name, self.has = name, has
        self.pools: list[Pool] = []
        for size in pools:
            fit = {ref: m for ref, m in has.items() if m.size <= size}
            machine = Machine(fit, size, rule.policy(fit, size), rule.learns)
            self.pools.append(Pool(Trace(name, (), fit), machine, rule.queue or Queue.WAITERS))
        self.number = 0

    def until(self, at: float) -> None:
        for pool in self.pools:
            pool._until(at)
            pool.now = max(pool.now, at)

    @property
    def due(self) -> float | None:
        return min((p._events[0][0] for p in self.pools if p._events), default=None)

    def where(self, ref: ModelRef) -> Pool | None:
        """Which pool has it, or will."""
        for pool in self.pools:
            if ref in pool.machine.slots or ref in pool.held:
                return pool
        return None

    def work(self) -> int:
        return sum(s.in_flight for p in self.pools for s in p.machine.slots.values()) + sum(
            len(q) for p in self.pools for q in p.held.values()
        )

    def ready(self, ref: ModelRef) -> bool:
        return any(
            (slot := p.machine.slots.get(ref)) is not None and not slot.loading for p in self.pools
        )

    def offer(self, ref: ModelRef, now: float) -> tuple[Offer, Pool | None]:
        """What it would cost, by the core's own plan, on the pool where that is least."""
        best: tuple[float, int] | None = None
        for i, pool in enumerate(self.pools):
            machine = pool.machine
            if ref not in machine.models or machine.hopeless(ref):
                continue
            if machine.room_for(ref, now) is not None:
                loss = sum(e.loss.expected for e in machine._chosen if e.loss is not None)
                busy = 0.0 if pool.loading is None else machine.models[pool.loading].load
                if best is None or (loss + busy, i) < best:
                    best = (loss + busy, i)
        model = self.has[ref]
        wait = Seconds(model.load)
        takes = (Share(PoolId(f"gpu:{best[1]}"), model.size),) if best else ()
        offer = Offer(
            OfferId(f"{self.name}/{ref.model}/{now}"), self.name, str(ref), VALID, False,
            best is not None, best[0] if best else 0.0, wait, takes, slots=SLOTS,
        )  # fmt: skip
        return offer, self.pools[best[1]] if best else None

    def serve(self, request: Request, now: float) -> None:
        """It comes here, ready or not: then this host loads it by its own decision. What it has
        waited elsewhere is a part of its wait."""
        pool = self.where(request.ref)
        if pool is None:
            pool = self.offer(request.ref, now)[1]
        if pool is None:
            fit = [p for p in self.pools if request.ref in p.machine.models]
            pool = min(fit, key=lambda p: sum(map(len, p.held.values())))
        pool.now = now
        pool._arrive(request)

    def word(self, at: float) -> Word:
        self.number += 1
        return Word(
            self.name, f"epoch of {self.name}", self.number, "1.0", at, f"http://{self.name}:11500",
            tuple(self._space(i, p) for i, p in enumerate(self.pools)),
            tuple(self._housed(ref, model) for ref, model in self.has.items()),
        )  # fmt: skip

    def _space(self, i: int, pool: Pool) -> Space:
        machine = pool.machine
        free = Bytes(max(0, machine.capacity - machine.used))
        return Space(PoolId(f"gpu:{i}"), machine.capacity, free, free)

    def _housed(self, ref: ModelRef, model: Model) -> Housed:
        for pool in self.pools:
            slot, held = pool.machine.slots.get(ref), len(pool.held.get(ref, ()))
            if slot is not None:
                status = "loading" if slot.loading else "loaded"
                return Housed(
                    ref.model, ref.engine, status, not slot.loading, model.size, slot.in_flight,
                    held, SLOTS,
                )  # fmt: skip
            if held:
                return Housed(ref.model, ref.engine, "loading", False, model.size, 0, held, SLOTS)
        return Housed(ref.model, ref.engine, "local", False, model.size, slots=SLOTS)


class Fleet:
    def __init__(
        self, trace: Trace, has: Sequence[Sequence[ModelRef]], pools: Sequence[Bytes], rule: Rule,
        way: Way = Way.PLACED, rules: Rules = USUAL, *, indexed: bool = True, seed: int = 1,
    ) -> None:  # fmt: skip
        self.trace, self.way, self.rules, self.shown = trace, way, rules, Shown()
        self.dice = random.Random(seed)
        self.sites = [
            Site(HostId(f"host-{i:04}"), {r: trace.models[r] for r in refs}, pools, rule)
            for i, refs in enumerate(has)
        ]
        self.by_id = {s.name: s for s in self.sites}
        self.on: dict[ModelRef, list[Site]] = {}
        for site in self.sites:
            for ref in site.has:
                self.on.setdefault(ref, []).append(site)
        self.told: list[tuple[Word, Word]] = []  # what changed in the latest second
        self.hosts: dict[HostId, Host] = {}
        self.index = Index() if indexed else None
        self.promises: list[Promise] = []
        self.sent_since: dict[tuple[HostId, ModelRef], int] = {}
        self._due: list[tuple[float, int]] = []
        self._dirty: set[int] = set()
        self._again: list[tuple[float, int, Request, int]] = []
        self._looked, self._turn = -PERIOD, 0
        self._place = {site.name: i for i, site in enumerate(self.sites)}

    def warm(self) -> None:
        """As after days of use: the models that are asked for most are there, each once."""
        often: dict[ModelRef, int] = {}
        for request in self.trace.requests:
            often[request.ref] = often.get(request.ref, 0) + 1
        for ref in sorted(often, key=lambda r: (-often[r], r)):
            for site in self.on[ref]:
                if pool := next((p for p in site.pools if self._room(p, ref)), None):
                    pool.machine.load(ref, 0.0)
                    break
        for i in range(len(self.sites)):
            self._dirty.add(i)
        self._look(0.0)

    def run(self) -> Shown:
        for number, request in enumerate(self.trace.requests):
            self._pass(request.at)
            self._one(request, number, 0)
        self._pass(self.trace.requests[-1].at + TRIES * AGAIN + 1.0 if self.trace.requests else 0.0)
        for site in self.sites:
            for pool in site.pools:
                pool._until(None)
                self.shown.figures.loads += pool.figures.loads
                self.shown.figures.waits += pool.figures.waits
                self.shown.figures.requests += pool.figures.requests
                self.shown.figures.refused += pool.figures.refused
        return self.shown

    # -- time

    def _pass(self, until: float) -> None:
        """All that happens before `until`: words, work that ends, requests that ask again."""
        while True:
            look = self._looked + PERIOD
            again = self._again[0][0] if self._again else until
            at = min(look, again, until)
            while self._due and self._due[0][0] < at:
                _, i = heapq.heappop(self._due)
                self._touch(i, at)
            if at >= until:
                return
            if look <= again:
                self._look(look)
            else:
                _, number, request, tries = heapq.heappop(self._again)
                self._one(request, number, tries)

    def _touch(self, i: int, at: float) -> None:
        site = self.sites[i]
        site.until(at)
        self._dirty.add(i)
        if (due := site.due) is not None:
            heapq.heappush(self._due, (due, i))

    def _look(self, at: float) -> None:
        """Every host says what it is like; only those where something happened say anything new."""
        self._looked = at
        self.told = []
        for i in sorted(self._dirty):
            site = self.sites[i]
            word, before = site.word(at), self.hosts.get(site.name)
            if before is not None:
                self.told.append((before.word, word))
            self.hosts[site.name] = Host(word, Seconds(at))
            if self.index is not None:
                self.index.told(word)
        self.shown.words += len(self._dirty)
        self._dirty.clear()
        self.sent_since.clear()
        self.promises = [p for p in self.promises if at < p.until and not self._seen(p)]
        self.looked(at)

    def looked(self, at: float) -> None:
        """For whoever measures."""

    def _seen(self, promise: Promise) -> bool:
        """Its load is in its host's word by now."""
        models = self.hosts[promise.host].word.models
        return any(m.name == promise.model and m.status != "local" for m in models)

    # -- one request

    def _one(self, request: Request, number: int, tries: int) -> None:
        now = request.at + tries * AGAIN
        site = self._site(request, now, number, tries)
        if site is None:
            self.shown.queued += tries == 0
            heapq.heappush(self._again, (now + AGAIN, number, request, tries + 1))
            return
        i = self._place[site.name]
        site.until(now)
        self.shown.sent += 1
        self.shown.ready += site.ready(request.ref)
        site.serve(request, now)
        key = (site.name, request.ref)
        self.sent_since[key] = self.sent_since.get(key, 0) + 1
        self._touch(i, now)

    def _site(self, request: Request, now: float, number: int, tries: int) -> Site | None:
        there = self.on[request.ref]
        if self.way is Way.ROUND_ROBIN:
            self._turn += 1
            return there[self._turn % len(there)]
        if self.way is Way.LEAST_LOADED or tries >= TRIES:
            return min(there, key=lambda s: (s.work(), s.name))
        own = self.sites[number % len(self.sites)].name  # the gateway that it came to
        return self._placed(request.ref, own, now)

    def _placed(self, ref: ModelRef, own: HostId, now: float) -> Site | None:
        directory = Directory(Seconds(now), self.hosts, tuple(self.promises))
        sent = {s.name: n for s in self.on[ref] if (n := self.sent_since.get((s.name, ref), 0))}
        wish = Wish(ref.model, own, sent=sent)
        begun = thread_time()
        found = choose_hosts(directory, wish, self.rules, self.index)
        took = thread_time() - begun
        if isinstance(found, Asking):
            answers = {}
            for host in found.hosts:
                begun = thread_time()
                site = self.by_id[host]
                site.until(now)
                offer, _ = site.offer(ref, now)
                self.shown.dry_runs.append(thread_time() - begun)
                answers[host] = Answer(offer, Seconds(now))
            self.shown.offers += len(answers)
            begun = thread_time()
            decided: Placement | Queued = place(directory, wish, answers, self.rules, self.index)
            took += thread_time() - begun
        else:
            decided = found
        self.shown.decisions.append(took)
        if isinstance(decided, Queued):
            return None
        for offer in decided.offers:
            id = PromiseId(f"{own}:{len(self.shown.decisions)}")
            until = Seconds(now + VALID)
            self.promises.append(Promise(id, ref.model, decided.host, offer.size, until))
        return self.by_id[decided.host]

    @staticmethod
    def _room(pool: Pool, ref: ModelRef) -> bool:
        machine = pool.machine
        return ref in machine.models and machine.used + machine.models[ref].size <= machine.capacity
