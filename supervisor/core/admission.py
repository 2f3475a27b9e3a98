"""Requests that are held: which model is loaded for them next, and what is in its way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

from collectors.reading import Bytes, MemoryPool, PoolId, Seconds

from .actions import Note, Plan, Trigger, Why
from .experience import Experience
from .headroom import held, rooms, shortfall, without
from .plan import plan
from .policy import EnginePolicy, ModelPolicy, Policy
from .snapshot import Demand, ModelRef, Snapshot

LONG_HELD = Seconds(120.0)  # goes before those for whom more wait
DRAIN_AFTER = Seconds(60.0)  # held for longer: models at work take no more requests
AGING = Seconds(30.0)  # held for so long, it counts as of the next higher priority
AT_LEAST = 1e-6  # seconds of loading, for it is divided by

MOST_TOLD = 8  # of those who hold what is missing

# They may go by themselves, or be made to go, before long.
PASSING = frozenset(
    {
        Why.BUSY,
        Why.LEASED,
        Why.LOADING,
        Why.LEAVING,
        Why.UNKNOWN,
        Why.DISTRUSTED,
        Why.TOO_YOUNG,
        Why.STAYS_TOGETHER,
        Why.NO_BED,
        Why.NOT_ENOUGH,
    }
)


class Held(NamedTuple):
    """The requests that wait for one model: since when the oldest does, how many there are, how
    many seconds it takes to load, and the highest priority of them."""

    ref: ModelRef
    since: float
    waiters: int
    load: float
    priority: int = 0


def order(
    waiting: Iterable[Held], now: float, first: Collection[ModelRef] = frozenset()
) -> list[Held]:
    """Who is loaded next, and after that. Whoever has been held for long goes first, the longest
    before the others; then by priority; then most waiters by the seconds it takes to load.

    Those `first` for whom others have stopped taking requests are overtaken by nobody. A lower
    priority grows with the time, up to the highest that there is.
    """
    waiting = list(waiting)
    top = max((h.priority for h in waiting), default=0)

    def weight(one: Held) -> tuple[float, ...]:
        age = now - one.since
        if age > LONG_HELD:
            return 0.0, one.since
        level = one.priority
        if level < top:
            level = min(top, level + int(max(0.0, age) / AGING))
        return 1.0, -level, -one.waiters / max(one.load, AT_LEAST), one.since

    waiting.sort(key=weight)
    if first:
        waiting.sort(key=lambda one: one.ref not in first)
    return waiting


def eta(seconds: Iterable[float | None]) -> Seconds | None:
    """When all that comes before, and itself, has been loaded. None: of one nobody knows."""
    total = 0.0
    for part in seconds:
        if part is None:
            return None
        total += max(0.0, part)
    return Seconds(total)


# -- whoever is at work


def patient(policy: Policy) -> Policy:
    """`policy`, by which nobody is cut short."""
    return _forced(policy, False) if policy.says("force_when_busy") else policy


def draining(policy: Policy, leased: Collection[ModelRef] = frozenset()) -> Policy:
    """`policy`, by which models at work may be chosen, so that they take no more requests; those
    that are leased may not."""
    forced = _forced(policy, True)
    if not leased:
        return forced
    models = dict(forced.models)
    for ref in leased:
        own = models.get(str(ref)) or ModelPolicy()
        models[str(ref)] = replace(own, force_when_busy=False)
    return replace(forced, models=models)


def _forced(policy: Policy, force: bool) -> Policy:
    engines, models = policy.engines, policy.models
    if any(e.force_when_busy is not None for e in engines.values()):
        engines = {id: _without_own(own) for id, own in engines.items()}
    if any(m.force_when_busy is not None for m in models.values()):
        models = {name: replace(own, force_when_busy=None) for name, own in models.items()}
    return replace(policy, force_when_busy=force, engines=engines, models=models)


def _without_own(own: EnginePolicy) -> EnginePolicy:
    return replace(own, force_when_busy=None)


def drain(
    snapshot: Snapshot, policy: Policy, demand: Demand, experience: Experience
) -> tuple[ModelRef, ...] | None:
    """The cheapest set that has to go for `demand`, at work or not. None: there is none."""
    leased = {lease.ref for lease in snapshot.leases}
    found = plan(snapshot, draining(policy, leased), demand, experience)
    return tuple(e.ref for e in found.evictions) if found.works else None


# -- what is in the way


class Hope(Enum):
    """What there is for a wish that cannot be fulfilled now."""

    SOME = "some"  # whoever is in the way may be made to go sooner or later
    STRANGERS = "strangers"  # only if they leave who are none of our models
    NONE = "none"


def hope(
    snapshot: Snapshot, policy: Policy, demand: Demand, made: Plan, experience: Experience
) -> Hope:
    """For `demand`, for which the plan `made` does not work. Those whom the operator keeps, and
    reserves, are there to stay; whoever is at work, or leased, or has just come, is not."""
    if made.works or made.blind:
        return Hope.SOME
    if made.barred:
        return Hope.NONE if all(b.wait is None for b in made.barred) else Hope.SOME
    passing = {n.ref for n in made.notes if n.why in PASSING}
    passing -= {d.ref for d in (demand, *demand.beside) if d.ref is not None}
    promised = tuple(r for r in snapshot.reservations if r.ref is None)
    alone = replace(without(snapshot, passing), reservations=promised)
    best = plan(alone, policy, demand, experience)
    if best.works or best.blind:
        return Hope.SOME
    holdings = held(alone)
    cleared = tuple(_cleared(p, holdings.get(p.id, Bytes(0))) for p in alone.pools)
    ours = plan(replace(alone, pools=cleared), policy, demand, experience)
    return Hope.STRANGERS if ours.works else Hope.NONE


def _cleared(pool: MemoryPool, ours: Bytes) -> MemoryPool:
    """A pool as it would be without strangers."""
    used = None if pool.device_used is None else min(pool.device_used, ours)
    return replace(pool, free=Bytes(max(0, pool.total - ours)), device_used=used)


class Tight(NamedTuple):
    """The pool in which most is missing for a wish, in bytes; who holds it, the most first. Nothing
    is needed by a model of which nobody knows what it takes: the reserve is what is missing."""

    pool: PoolId
    needed: Bytes
    free: Bytes
    holders: tuple[tuple[str, Bytes], ...]

    @property
    def is_short(self) -> bool:
        return self.free < self.needed or not (self.free or self.needed)


def tight(snapshot: Snapshot, policy: Policy, demand: Demand) -> Tight | None:
    """None: bytes are not what is missing, and never will be."""
    wanted = tuple(s for d in (demand, *demand.beside) for s in d.shares)
    missing = shortfall(snapshot, policy, wanted)
    if not missing:
        missing = wanted
    if not missing:
        return None
    pool = max(missing, key=lambda s: s.size).pool
    room = next(iter(rooms(snapshot, policy, (pool,))), None)
    free = Bytes(0 if room is None else max(0, room.headroom))
    needed = Bytes(sum(s.size for s in wanted if s.pool == pool))
    return Tight(pool, needed, free, tuple(_holders(snapshot, pool, demand))[:MOST_TOLD])


def _holders(snapshot: Snapshot, pool: PoolId, demand: Demand) -> Sequence[tuple[str, Bytes]]:
    found: list[tuple[str, Bytes]] = []
    for resident in snapshot.residents:
        if resident.ref != demand.ref and (size := resident.holds(pool)):
            found.append((str(resident.ref), size))
    strangers: dict[str, int] = {}
    for other in snapshot.foreign:
        if other.pool == pool:
            strangers[other.name] = strangers.get(other.name, 0) + other.size
    found += ((name, Bytes(size)) for name, size in strangers.items())
    for promise in snapshot.reservations:
        size = Bytes(sum(s.size for s in promise.shares if s.pool == pool))
        if size and promise.ref is None:
            found.append((f"kept free for {promise.job}", size))
    if not strangers:
        found += _unnamed(snapshot, pool)
    return sorted(found, key=lambda one: (-one[1], one[0]))


def _unnamed(snapshot: Snapshot, pool: PoolId) -> Iterator[tuple[str, Bytes]]:
    """What is used and held by nobody who is known by name."""
    here = snapshot.pool(pool)
    if here is not None:
        rest = here.used - held(snapshot).get(pool, 0)
        if rest > 0:
            yield "other programs", Bytes(rest)


def taken_back(snapshot: Snapshot, ref: ModelRef, why: Why = Why.NOT_NEEDED) -> Plan:
    """What is left of a plan for `ref` when nobody waits for it any more: nobody goes."""
    refs = sorted({ref, *(r.ref for r in snapshot.residents)})
    return Plan(Trigger.DEMAND, notes=tuple(Note(r, why) for r in refs))
