"""Hours in minutes: `python -m tests.load.hours [STEPS]`.

The loop, the gateway's admission, alerts and the feed on a stepped clock, with a machine made of
values. Everybody comes but once: models, clients, leases, alerts and wishes have names that are
never heard again. What holds more in the end than half way through is kept for ever.
"""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from collectors.reading import Seconds, gib
from supervisor import clients, feed, timeline, traffic, watcher
from supervisor.alerting import Alerting, ledger
from supervisor.claims import Claims
from supervisor.config.alerted import Kind
from supervisor.core import company, history
from supervisor.core.snapshot import ModelId
from supervisor.demo.clock import run
from supervisor.demo.engines import DemoModel
from supervisor.demo.machine import GPU0, GPU1, OutOfMemory
from supervisor.door import DoorError
from supervisor.feed import Feed
from supervisor.gateway import counts, sessions, told
from supervisor.gateway import gate as front
from supervisor.gateway.counts import Counts
from supervisor.gateway.told import Told
from supervisor.journal import audit, findings, holdings, journal, trail
from supervisor.keeping import pins
from supervisor.timeline import Timeline
from supervisor.watcher import Watcher
from tests.alerting.post import Post, action, config
from tests.load.census import census, grown
from tests.scenarios.gate import FREE, LOAD, Gate, gate, models

MODELS = 8  # of each of two engines
STEP = 10.0  # seconds
REQUESTS = 3  # in a step
GROWN = 12  # entries more from the middle to the end: what is there for a moment
# Bytes that a step may add in the second half: names that are kept up to numbers which six hours do
# not reach add 10 to 12 KiB. A run whose first half is shorter than FILLED steps is not judged.
TRACED, FILLED = 16 * 2**10, 400

# What is kept up to a number, by the attribute that holds it, and that number.
BOUNDS = {
    "Audit._rows": audit.IN_MEMORY,
    "Clients._using": clients.MOST,
    "Company._recent": company.RECENT,
    "Company._visits": history.MOST,
    "Counts._models": counts.MOST_MODELS,
    "Feed._events": feed.KEPT,
    "Findings._rows": findings.KEPT,
    "Gate._told": front.MODELS,
    "History._pasts": history.MOST,
    "Holdings._known": holdings.MOST,  # and for ninety days, by the clock
    "Journal._decisions": journal.IN_MEMORY,
    "Journal._departures": journal.IN_MEMORY,
    "Journal._outcomes": journal.IN_MEMORY,
    "Ledger._firing": ledger.KEPT,
    "Ledger._latest": ledger.KEPT,
    "Ledger._rows": ledger.KEPT,
    "Odds._habits": history.MOST,
    "Odds._turns": history.MOST,
    "Pins.lapsed": int(pins.LAPSED / STEP),  # for a day, and a step sets one at most
    "Sessions._heard": sessions.MOST,
    "Sessions._names": sessions.MOST,
    "Shelf._kept": history.MOST,  # the largest of them
    "Timeline._marks": timeline.MARKS,
    "Told._asked": told.MOST_MODELS,
    "Told._clients": told.MOST_CLIENTS,
    "Traffic._lanes": int(REQUESTS * traffic.KEPT / STEP),
    "Trail._latest": trail.IN_MEMORY,
    "Trail._numbers": trail.IN_MEMORY,
    "Watcher._causes": watcher.CAUSES,
}


@dataclass
class Hours:
    """What a run has come to. `traced` are bytes, half way through and in the end; `wrong` are
    requests that were let through to who was not there, or was to go."""

    steps: int = 0
    decisions: int = 0
    requests: int = 0
    names: int = 0
    middle: Counter[str] = field(default_factory=Counter)
    end: Counter[str] = field(default_factory=Counter)
    traced: tuple[int, int] = (0, 0)
    wrong: list[str] = field(default_factory=list)

    @property
    def a_step(self) -> float:
        """Bytes that each step of the second half has added."""
        return (self.traced[1] - self.traced[0]) / max(1, self.steps - self.steps // 2)

    @property
    def grows(self) -> bool:
        """More is held in the end than what is bounded can explain."""
        return self.steps >= 2 * FILLED and self.a_step > TRACED

    @property
    def kept(self) -> dict[str, tuple[int, int]]:
        """What grows without end: how much half way through, and how much in the end."""
        found = grown(self.middle, self.end, GROWN)
        return {k: v for k, v in found.items() if v[1] > BOUNDS.get(k, 0)}


def live(steps: int, seed: int = 1, trace: bool = False) -> Hours:
    """So many steps of STEP seconds."""
    hours = Hours()

    async def lived() -> None:
        async with gate(
            models([f"a{i}" for i in range(MODELS)], 5.0), _second(), interval=5.0
        ) as at:
            life = Life(at, hours, random.Random(seed))
            if trace:
                tracemalloc.start()
            before = 0
            for i in range(steps):
                await life.step()
                if i == steps // 2:
                    hours.middle = await life.counted()
                    before = tracemalloc.get_traced_memory()[0] if trace else 0
            hours.end = await life.counted()
            hours.traced = before, tracemalloc.get_traced_memory()[0] if trace else 0
            await life.end()

    run(lived())
    return hours


def _second() -> list[DemoModel]:
    return models([f"b{i}" for i in range(MODELS)], 4.0, GPU1)


class Life:
    def __init__(self, at: Gate, hours: Hours, dice: random.Random) -> None:
        self.at, self.hours, self.dice = at, hours, dice
        self.door = at.world.door
        self.claims = Claims(self.door)
        self.watcher = Watcher(at.world.loop, Feed(at.clock.wall), Timeline())
        self.watcher.listen()
        self.alerting = Alerting(
            config(action(Kind.EVICT), action(Kind.PIN, "keep")), self.door, self.watcher.feed
        )
        self.alerting.start()
        self.post = Post(self.alerting)
        self.told, self.counts = Told(at.world.loop), Counts()
        self._numbers = iter(range(10**9))
        self._went: set[str] = set()  # by itself, and nobody has looked since

    def fresh(self) -> str:
        """A name that nobody had."""
        self.hours.names += 1
        return f"n{next(self._numbers)}"

    def some(self) -> str:
        engine = self.dice.choice(list(self.at.engines.values()))
        return f"{engine.id}/{self.dice.choice(list(engine.models))}"

    async def step(self) -> None:
        dice, hours = self.dice, self.hours
        for _ in range(REQUESTS):
            self.request()
        if dice.random() < 0.8:
            self.rename()
        if dice.random() < 0.5:
            await self.claim()
        if dice.random() < 0.2:
            await self.wish()
        if dice.random() < 0.5:
            await self.alert()
        if dice.random() < 0.05:
            self.trouble()
        if dice.random() < 0.02:
            self.at.clock._epoch += dice.choice((-3600.0, 3600.0))  # somebody sets the clock
        await self.at.clock.advance(STEP)
        self.watcher.look()
        self.tidy()
        self.heed()
        hours.steps += 1

    def heed(self) -> None:
        """Who went by itself could be gone when a request was let through: nobody had looked."""
        self.hours.wrong += [w for w in self.at.wrong if w.partition(" ")[0] not in self._went]
        self.at.wrong.clear()
        self._went.clear()

    def request(self) -> None:
        name = self.some()
        client = self.fresh() if self.dice.random() < 0.5 else "ann"
        guest = self.at.ask(name, service=self.dice.choice((0.5, 2.0, 12.0)), client=client)
        self.told.of(self.at.ref(name), guest.wish, self.at.clock())
        self.counts.answered(self.at.ref(name), "openai", 200, 0.1, 1.0, 100)
        self.counts.answered(None, "openai", 404, None, 0.0, 10)
        self.hours.requests += 1

    def rename(self) -> None:
        """A model that is not loaded is no longer there, and another one is."""
        engine = self.dice.choice(list(self.at.engines.values()))
        idle = [m for m in engine.models.values() if m.state(self.at.clock()) is None]
        if idle:
            old = self.dice.choice(idle)
            self._went.add(f"{engine.id}/{old.id}")
            del engine.models[old.id]
            id = ModelId(self.fresh())
            engine.models[id] = DemoModel(id, old.takes, LOAD, FREE)

    async def claim(self) -> None:
        with suppress(DoorError):
            if self.dice.random() < 0.5:
                lease = await self.claims.lease(self.some(), self.fresh(), Seconds(60), wait=False)
                if self.dice.random() < 0.5 and lease.lease is not None:
                    self.claims.close_lease(lease.lease.id)
            else:
                job = await self.claims.reserve(gib(1), GPU0, self.fresh(), Seconds(30))
                if job.job is not None and self.dice.random() < 0.5:
                    self.claims.close_reservation(job.job.id)

    async def wish(self) -> None:
        name, kind = self.some(), self.dice.randrange(3)
        with suppress(DoorError):
            if kind == 0:
                await self.door.load(name)
            elif kind == 1:
                await self.door.evict([name])
            else:
                await self.door.pin(name, Seconds(30))

    async def alert(self) -> None:
        id, pool = self.fresh(), self.dice.choice((GPU0, GPU1))
        await self.post.fire(id, pool=pool)
        if self.dice.random() < 0.7:
            await self.post.resolve(id, pool=pool)

    def trouble(self) -> None:
        engine = self.dice.choice(list(self.at.engines.values()))
        with suppress(OutOfMemory):
            tenant = self.at.machine.start(self.fresh(), {GPU0: gib(3)}, ramp=1.0)
            self.at.machine.end(tenant, 30.0)
        for model in list(engine.models.values())[:2]:
            if model.tenant is not None:
                self._went.add(f"{engine.id}/{model.id}")
                self.at.machine.end(model.tenant)

    def tidy(self) -> None:
        """Of what the stand-ins keep for tests."""
        now = self.at.clock()
        self.at.guests = [g for g in self.at.guests if g.done_at is None and g.why is None]
        for engine in self.at.engines.values():
            engine.loads.clear()
            engine.unloads.clear()
            for model in engine.models.values():
                model.requests = [r for r in model.requests if r[1] > now - 60]

    async def counted(self) -> Counter[str]:
        await self.at.clock.advance(60.0)
        self.tidy()
        self.hours.decisions = sum(self.at.world.loop.counts.decisions.values())
        found = census(
            self.at.world,
            self.at.admission,
            self.alerting,
            self.watcher,
            self.told,
            self.counts,
            self.claims,
        )
        return found.entries

    async def end(self) -> None:
        await self.alerting.stop()
        self.heed()


def main(words: list[str]) -> int:
    """The long run: six hours, unless said otherwise. 1: something is kept for ever, or somebody
    was let through to who was not there."""
    hours = live(int(words[0]) if words else 2160, trace=True)
    before, after = (size / 2**20 for size in hours.traced)
    print(
        f"{hours.steps} steps of {STEP:g} s: {hours.requests} requests, "
        f"{hours.decisions} decisions, {hours.names} names; "
        f"{before:.1f} MiB half way, {after:.1f} at last"
    )
    for name, (then, now) in sorted(hours.kept.items()):
        print(f"kept: {name}: {then}, then {now}")
    said = f"{TRACED // 2**10} may be" if hours.steps >= 2 * FILLED else "too short to be judged"
    print(f"a step of the second half adds {hours.a_step / 2**10:.1f} KiB; {said}")
    for let_through in hours.wrong[:20]:
        print(f"wrong: {let_through}")
    return 1 if hours.kept or hours.grows or hours.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
