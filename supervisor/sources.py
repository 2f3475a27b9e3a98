"""The machine's side of a sample: every collector asked at once, each as often as it is worth.

Memory is read each time, process lists and health when they are due or something is odd. A
source that is late delays nobody: its last reading counts while it is fresh, then its pools
are blind. What was read earlier is kept with its age, and let go when it is too old.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from collectors.machine import Machine, fold, said_once
from collectors.owner import Owner
from collectors.reading import (
    Blind,
    Bytes,
    Health,
    Holder,
    Incident,
    PoolId,
    Process,
    Reading,
    Releasable,
    Sample,
    Seconds,
    Tier,
)
from collectors.suspend import Suspension

# An unexplained change of free memory this large is a reason to list processes at once.
SUSPICIOUS = 256 * 1024**2

# Whoever has not answered after this long is left to answer later. Drivers take 20 ms.
SOON = Seconds(0.1)

# After the kernel's alarm for want of memory: RAM itself is read in a tenth of a millisecond.
AT_ONCE = Seconds(0.02)

PERIODS = 3  # a reading is fresh for so many of its periods


@dataclass(slots=True)
class SourceHealth:
    """How one source did the last time it was asked. Times on the monotonic clock.

    `late`: it did not answer in time.
    """

    answered_at: Seconds | None = None
    took: Seconds = Seconds(0)
    fault: str | None = None
    failures: int = 0
    late: bool = False

    def after(
        self, at: Seconds, took: Seconds, fault: str | None, *, late: bool = False
    ) -> SourceHealth:
        """How it does once it was asked again, at `at`."""
        answered_at = at if fault is None else self.answered_at
        failures = self.failures + (fault is not None)
        return SourceHealth(answered_at, took, fault, failures, late)


@dataclass(slots=True)
class _Kept:
    """What one collector said last, tier by tier, and when."""

    reading: Reading | None = None
    answered: Reading | None = None  # the last one with data in it
    pools: frozenset[PoolId] = frozenset()
    holders: tuple[Holder, ...] = ()
    unlisted: tuple[PoolId, ...] = ()
    processes: tuple[Process, ...] | None = None
    health: dict[str, Health] = field(default_factory=dict)
    taken: dict[str, Bytes] = field(default_factory=dict)  # Carveout.used, by device
    asked: dict[Tier, Seconds] = field(default_factory=dict)
    at: dict[Tier, Seconds] = field(default_factory=dict)  # of the tiers that it can tell
    pending: asyncio.Task[Reading] | None = None
    late: bool = False  # somebody has waited for `pending` in vain
    odd: bool = False


@dataclass(slots=True)
class Sources:
    """`incident` is told of each incident once, as soon as it is read."""

    owners: tuple[Owner, ...]
    processes_interval: Seconds = Seconds(10)
    health_interval: Seconds = Seconds(5)
    fresh: Seconds = Seconds(3)
    soon: Seconds = SOON
    suspension: Suspension = field(default_factory=Suspension)
    clock: Callable[[], float] = time.monotonic
    incident: Callable[[Incident], None] = lambda incident: None
    state: dict[str, SourceHealth] = field(default_factory=dict)
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _holders: tuple[Holder, ...] = ()  # everybody's; the same tuple until somebody lists anew
    _free: dict[PoolId, Bytes] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Reading]] = field(default_factory=set)

    async def read(self, *, thorough: bool, urgent: bool = False) -> Machine:
        """The machine now. `thorough` lists processes too, and waits for everybody's deadline;
        `urgent` waits for hardly anybody."""
        if self.suspension.happened():
            # By a clock that stood still meanwhile, what is old looks fresh.
            thorough = True
            for kept in self._kept.values():
                kept.asked.clear()
                kept.at.clear()
        asked: dict[asyncio.Task[Reading], _Kept] = {}
        patient = thorough
        odd = any(k.odd for k in self._kept.values())
        for owner in self.owners:
            kept = self._kept.setdefault(owner.collector.name, _Kept())
            kept.odd = False
            if kept.reading is not None and getattr(owner.collector, "absent", False):
                continue  # a thread would be woken to say what it said before
            task = kept.pending
            if task is None or task.done() or thorough:
                # What is under way may be of a moment before the one that we want to see.
                task = self._begin(owner, kept, self._due(kept, thorough, odd))
            elif kept.late:
                continue
            asked[task] = kept
            patient = patient or kept.reading is None  # the first time, there is nothing else
        if asked:
            soon = min(self.soon, AT_ONCE) if urgent else self.soon
            await asyncio.wait(asked, timeout=None if patient else soon)
        for task, kept in asked.items():
            if task is kept.pending:
                kept.late = not task.done()
        return self._machine()

    def ages(self) -> dict[tuple[str, Tier], Seconds]:
        """How old the numbers of each collector are, tier by tier."""
        now = self.clock()
        return {
            (name, tier): Seconds(now - at)
            for name, kept in self._kept.items()
            for tier, at in kept.at.items()
        }

    def release(self, until: Seconds) -> list[str]:
        """Let go of devices until then, at the next read. The names of those who hold any."""
        found = self._releasable()
        for collector in found:
            collector.release(until)
        return [c.name for c in found]

    def resume(self) -> list[str]:
        """Take them back, at the next read. The names of those who had let go."""
        found = [c for c in self._releasable() if c.released_until is not None]
        for collector in found:
            collector.resume()
        return [c.name for c in found]

    def _releasable(self) -> list[Releasable]:
        found = (o.collector for o in self.owners if isinstance(o.collector, Releasable))
        return [c for c in found if getattr(c, "holds", True)]

    def wake(self) -> None:
        """Devices that rest will soon be used."""
        for collector in self._releasable():
            collector.wake()

    def still_open(self) -> list[str]:
        """Who was told to let go and has a device open yet."""
        return [c.name for c in self._releasable() if c.released_until is not None and not c.closed]

    async def close(self) -> None:
        """Wait for nobody any more. The collectors themselves are their owners' to close."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- asking

    def _begin(self, owner: Owner, kept: _Kept, tiers: Tier) -> asyncio.Task[Reading]:
        name = f"read {owner.collector.name}"
        task = asyncio.create_task(self._ask(owner, tiers, kept.pending), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        kept.pending, kept.late = task, False
        return task

    def _due(self, kept: _Kept, thorough: bool, odd: bool) -> Tier:
        now, tiers = self.clock(), Tier.MEMORY
        for tier, interval in (
            (Tier.PROCESSES, self.processes_interval),
            (Tier.HEALTH, self.health_interval),
        ):
            at = kept.asked.get(tier)
            if at is None or now - at >= interval:
                tiers |= tier
        return tiers | Tier.PROCESSES if thorough or odd else tiers

    async def _ask(
        self, owner: Owner, tiers: Tier, before: asyncio.Task[Reading] | None
    ) -> Reading:
        if before is not None and not before.done():
            await asyncio.wait([before])
        started = self.clock()
        name, deadline = owner.collector.name, owner.collector.deadline
        try:
            async with asyncio.timeout(deadline):
                reading = await asyncio.wrap_future(owner.ask(tiers))
                if Tier.PROCESSES not in tiers and self._is_back(reading):
                    self._tell(reading)
                    tiers |= Tier.PROCESSES
                    reading = await asyncio.wrap_future(owner.ask(tiers))
        except TimeoutError:
            took = Seconds(self.clock() - started)
            fault = f"no answer within {deadline:g} s"
            reading = Reading(name, Seconds(started), took, fault=fault, late=True)
        self._keep(reading, tiers)
        return reading

    def _is_back(self, reading: Reading) -> bool:
        """Could some of what it read not be read before? Who came meanwhile is in no list yet."""
        before = self._kept[reading.collector].reading
        if before is None or reading.sample is None:
            return False
        if before.sample is None:
            return True
        late = reading.took > self.soon and self.clock() - before.taken_at > self.fresh
        return late or not {b.pool for b in before.sample.blind}.isdisjoint(
            p.id for p in reading.sample.pools
        )

    def _keep(self, reading: Reading, tiers: Tier) -> None:
        name, sample = reading.collector, reading.sample
        before = self.state.get(name, SourceHealth())
        self.state[name] = before.after(
            reading.taken_at, reading.took, reading.fault, late=reading.late
        )
        kept = self._kept.setdefault(name, _Kept())
        kept.reading = reading
        if sample is None:
            return
        # What accelerators hold of RAM is dear to ask on some systems, and not asked each time.
        kept.taken |= {c.device: c.used for c in sample.carveouts if c.used is not None}
        carveouts = tuple(
            replace(c, used=kept.taken.get(c.device)) if c.used is None else c
            for c in sample.carveouts
        )
        if carveouts:
            sample = replace(sample, carveouts=carveouts)
            reading = replace(reading, sample=sample)
        kept.reading = kept.answered = reading
        kept.pools = frozenset(p.id for p in sample.pools) | {b.pool for b in sample.blind}
        kept.odd = self._is_odd(sample)
        if sample.holders is not None:
            unseen = {b.pool for b in sample.blind} | set(sample.unlisted)
            unseen -= {h.pool for h in sample.holders}
            # What a model holds of a pool that cannot be read now has not moved elsewhere.
            remembered = (h for h in kept.holders if h.pool in unseen)
            kept.holders = (*sample.holders, *remembered)
            self._holders = said_once(h for k in self._kept.values() for h in k.holders)
        if Tier.PROCESSES in tiers:
            kept.unlisted = sample.unlisted
        if sample.processes is not None:
            kept.processes = sample.processes
        if sample.health is not None:
            kept.health = dict(sample.health)
        kept.asked |= dict.fromkeys(tiers, reading.taken_at)
        told = {
            Tier.MEMORY: bool(sample.pools or sample.blind or sample.host),
            Tier.PROCESSES: sample.holders is not None or sample.processes is not None,
            Tier.HEALTH: bool(sample.health),
        }
        kept.at |= {tier: reading.taken_at for tier in tiers if told[tier]}
        self._tell(reading)

    def _tell(self, reading: Reading) -> None:
        for incident in reading.sample.incidents if reading.sample else ():
            self.incident(incident)

    def _is_odd(self, sample: Sample) -> bool:
        """Has free memory moved, and nobody listed processes since?"""
        listed = sample.holders is not None or sample.processes is not None
        free = {p.id: p.free for p in sample.pools}
        moved = any(abs(n - self._free.get(pool, n)) > SUSPICIOUS for pool, n in free.items())
        self._free.update(free)
        return moved and not listed

    # -- what is known

    def _machine(self) -> Machine:
        now = self.clock()
        known = [kept for kept in self._kept.values() if kept.reading is not None]
        machine = fold(reading for kept in known for reading in self._as_of(now, kept))
        blind = {b.pool: b for b in machine.blind}
        for name, kept in self._kept.items():
            if name in machine.faults:
                why = f"{name}: {machine.faults[name]}"
                # Where it never said what it has, something is there that nobody can judge.
                pools = kept.pools or {PoolId(name)} & self._unheard()
                blind |= {pool: Blind(pool, why) for pool in pools}
        read = {p.id for p in machine.pools}
        told = [k.processes for k in self._kept.values() if k.processes is not None]
        lists = [k.at.get(Tier.PROCESSES) for k in known if k.reading and k.reading.sample]
        listed_at = min((at for at in lists if at is not None), default=None)
        oldest = PERIODS * self.health_interval
        health = {
            uuid: health
            for kept in self._kept.values()
            if now - kept.at.get(Tier.HEALTH, now) <= oldest
            for uuid, health in kept.health.items()
        }
        return replace(
            machine,
            blind=tuple(b for b in blind.values() if b.pool not in read),
            holders=self._holders,
            listed_at=listed_at,
            unlisted=tuple(p for kept in known for p in kept.unlisted),
            processes=told[0] if told else None,  # one collector reads RAM, and lists them
            health=health,
            incidents=(),
        )

    def _unheard(self) -> set[PoolId]:
        """Names for the memory of those that may have some, and could never be read."""
        return {
            PoolId(o.collector.name) for o in self.owners if getattr(o.collector, "unheard", False)
        }

    def _as_of(self, now: float, kept: _Kept) -> Iterator[Reading]:
        """The latest reading of one collector; a fault where it is too old to be believed.

        Devices that cannot be read are there all the same. What they have of RAM counts as it
        was last read, so that nobody is evicted for it, and they may take no more.
        """
        assert kept.reading is not None
        reading, last = kept.reading, kept.answered
        late = kept.pending is not None and not kept.pending.done()
        if late and now - reading.taken_at > self.fresh:
            fault = f"has not answered for {now - (last or reading).taken_at:.0f} s"
            reading = Reading(reading.collector, reading.taken_at, Seconds(0), fault=fault)
        yield reading
        if reading.sample is None and last is not None and last.sample is not None:
            parts = tuple(
                c if c.limit is None else replace(c, used=Bytes(c.limit + c.free))
                for c in last.sample.carveouts
            )
            yield replace(last, sample=Sample(devices=last.sample.devices, carveouts=parts))


def hidden(machine: Machine, pool: PoolId, why: str) -> Machine:
    """The machine with one pool that cannot be judged."""
    if pool not in {p.id for p in machine.pools}:
        return machine
    return replace(
        machine,
        pools=tuple(p for p in machine.pools if p.id != pool),
        blind=(*machine.blind, Blind(pool, why)),
    )
