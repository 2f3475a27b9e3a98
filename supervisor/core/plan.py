"""Turns a snapshot, a policy and a wish into a plan. Does nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from collectors.reading import Blind, Bytes, PoolId

from .headroom import Tally, releases, rooms
from .limits import Slots
from .policy import Policy
from .rank import rank
from .snapshot import (
    Ability,
    Demand,
    EngineId,
    EngineState,
    ModelRef,
    Resident,
    Share,
    Snapshot,
    State,
)


class Why(Enum):
    """One word per model considered; core/explain.py turns it into a sentence."""

    MAKES_ROOM = "makes room"
    WANTED = "wanted"
    THERE = "already there"
    ASKED = "asked for"
    IDLE = "idle for too long"
    STUCK = "busy for too long"
    PINNED = "pinned"
    BUSY = "busy"
    LOADING = "still loading"
    LEAVING = "already leaving"
    UNKNOWN = "its engine does not answer"
    UNABLE = "its engine cannot unload"
    DISTRUSTED = "its last unload gave too little back"
    WRONG_POOL = "holds nothing where room is needed"
    NOT_NEEDED = "not needed"
    NOT_ENOUGH = "would not be enough"


class Trigger(Enum):
    """What made the daemon plan."""

    DEMAND = "demand"  # a model, or a foreign job, wants memory
    RELIEF = "relief"  # a pool is below its reserve or beyond its budget
    LIMIT = "limit"  # more models are active than the operator allows
    IDLE = "idle"  # the idle watchdog
    BUSY = "busy"  # the busy watchdog
    OPERATOR = "operator"  # somebody asked


@dataclass(frozen=True, slots=True)
class Evict:
    """Unload one model. `frees` is the promise that the verdict is measured against."""

    ref: ModelRef
    frees: tuple[Share, ...]
    why: Why


@dataclass(frozen=True, slots=True)
class Load:
    ref: ModelRef
    takes: tuple[Share, ...]


Action = Evict | Load


@dataclass(frozen=True, slots=True)
class Note:
    ref: ModelRef
    why: Why


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in order, and a note for every model that was considered.

    `unmet` and `full` say what is missing: bytes, and the limits ("host" or an engine) that
    stay exceeded; `blind` the pools of those bytes that cannot be read. For a demand either
    `actions` makes it fit, or something is missing and `actions` is empty: a plan that cannot
    succeed evicts nobody. Relief gives what it can.
    """

    trigger: Trigger
    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    unmet: tuple[Share, ...] = ()
    full: tuple[str, ...] = ()
    blind: tuple[Blind, ...] = ()

    @property
    def evictions(self) -> tuple[Evict, ...]:
        return tuple(a for a in self.actions if isinstance(a, Evict))

    @property
    def works(self) -> bool:
        return not self.unmet and not self.full

    @property
    def waits_for(self) -> tuple[ModelRef, ...]:
        """The busy models that could make it work, were they idle."""
        return (
            ()
            if self.works or self.blind
            else tuple(n.ref for n in self.notes if n.why is Why.BUSY)
        )


NOBODY: frozenset[ModelRef] = frozenset()
NO_LIMITS = Policy()  # relief is about bytes; the limits have a plan of their own


def plan(
    snapshot: Snapshot, policy: Policy, demand: Demand, distrusted: Collection[ModelRef] = NOBODY
) -> Plan:
    """Make `demand` fit, at the least cost to those who are resident: exactly as much as it needs.

    `distrusted` are models whose last unload did not give back what it promised.
    """
    ref = demand.ref
    there = snapshot.resident(ref) if ref is not None else None
    if there is not None and there.state in (State.LOADED, State.LOADING):
        return Plan(Trigger.DEMAND, notes=(Note(there.ref, Why.THERE),))
    # What was promised to this very demand is not in its way.
    others = tuple(r for r in snapshot.reservations if r.ref != ref)
    snapshot = replace(snapshot, reservations=others)
    slots = Slots(snapshot, policy, newcomer=ref)
    room = _make_room(snapshot, policy, demand.shares, slots, distrusted, ref)
    notes = room.notes if ref is None else (*room.notes, Note(ref, Why.WANTED))
    if room.unmet or room.full:
        notes = tuple(Note(n.ref, _in_vain(n.why)) for n in notes)
        unread = ((s.pool, snapshot.blind.get(s.pool)) for s in room.unmet)
        blind = tuple(Blind(pool, why) for pool, why in unread if why is not None)
        return Plan(Trigger.DEMAND, notes=notes, unmet=room.unmet, full=room.full, blind=blind)
    load = () if ref is None else (Load(ref, demand.shares),)
    return Plan(Trigger.DEMAND, (*room.victims, *load), notes)


def relieve(
    snapshot: Snapshot,
    policy: Policy,
    pools: Collection[PoolId] | None = None,
    distrusted: Collection[ModelRef] = NOBODY,
) -> Plan:
    """Give `pools` (default: every pool in need) their reserve back, and the restore margin.

    By what is measured alone. A load under way may look as if it took its bytes twice, once
    promised and once used, until its process is listed; nobody leaves for that.
    """
    snapshot = replace(snapshot, reservations=())
    needy = {r.pool for r in rooms(snapshot, policy) if r.headroom < 0}
    if pools is not None:
        needy &= set(pools)
    wanted = tuple(
        Share(p.id, Bytes(min(policy.restore_margin, p.total)))
        for p in snapshot.pools
        if p.id in needy
    )
    room = _make_room(snapshot, policy, wanted, Slots(snapshot, NO_LIMITS), distrusted)
    return Plan(Trigger.RELIEF, room.victims, room.notes, room.unmet)


def limit(snapshot: Snapshot, policy: Policy, distrusted: Collection[ModelRef] = NOBODY) -> Plan:
    """Bring the number of active models down to what the operator allows."""
    room = _make_room(snapshot, policy, (), Slots(snapshot, policy), distrusted)
    return Plan(Trigger.LIMIT, room.victims, room.notes, full=room.full)


def dismiss(
    snapshot: Snapshot,
    policy: Policy,
    refs: Iterable[ModelRef],
    trigger: Trigger,
    *,
    even_busy: bool = False,
) -> Plan:
    """Unload just these models, because a person or a watchdog says so."""
    why = {Trigger.IDLE: Why.IDLE, Trigger.BUSY: Why.STUCK}.get(trigger, Why.ASKED)
    asked = set(refs)
    engines = {e.id: e for e in snapshot.engines}
    leaving: list[Resident] = []
    notes: list[Note] = []
    for resident in sorted(snapshot.residents, key=lambda r: r.ref):
        if resident.ref in asked:
            spared = _protected(resident, engines, policy, NOBODY, even_busy=even_busy)
            notes.append(Note(resident.ref, spared or why))
            if spared is None:
                leaving.append(resident)
    return Plan(trigger, _evictions(snapshot, leaving, why), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Room:
    victims: tuple[Evict, ...]
    notes: tuple[Note, ...]
    unmet: tuple[Share, ...]
    full: tuple[str, ...]


def _make_room(
    snapshot: Snapshot,
    policy: Policy,
    wanted: tuple[Share, ...],
    slots: Slots,
    distrusted: Collection[ModelRef],
    newcomer: ModelRef | None = None,
) -> _Room:
    tally = Tally(snapshot, policy, wanted)
    unmet, full = tally.missing(), slots.full()
    notes: dict[ModelRef, Why] = {}
    candidates: list[Resident] = []
    engines = {e.id: e for e in snapshot.engines}
    for resident in snapshot.residents:
        if resident.ref == newcomer:
            continue
        if not unmet and not full:
            notes[resident.ref] = Why.NOT_NEEDED
            continue
        spared = _protected(resident, engines, policy, distrusted, even_busy=policy.force_when_busy)
        if spared is None and not tally.helps(resident) and not (full and slots.helps(resident)):
            spared = Why.WRONG_POOL
        if spared is None:
            candidates.append(resident)
        else:
            notes[resident.ref] = spared
    candidates.sort(key=rank)

    chosen: list[Resident] = []
    for resident in candidates:
        if tally.fits and not slots.full():
            break
        chosen.append(resident)
        tally.leave(resident)
        slots.leave(resident)
    best = tally.lacking, slots.full()
    spare: set[ModelRef] = set()
    for resident in reversed(chosen):  # give back whoever turned out not to be needed
        tally.stay(resident)
        slots.stay(resident)
        if (tally.lacking, slots.full()) == best:
            spare.add(resident.ref)
        else:
            tally.leave(resident)
            slots.leave(resident)

    victims = _evictions(snapshot, [r for r in chosen if r.ref not in spare], Why.MAKES_ROOM)
    leaving = {v.ref for v in victims}
    for resident in candidates:
        notes[resident.ref] = Why.MAKES_ROOM if resident.ref in leaving else Why.NOT_NEEDED
    ordered = tuple(Note(ref, notes[ref]) for ref in sorted(notes))
    return _Room(victims, ordered, tally.missing(), best[1])


_STATES = {
    State.LOADING: Why.LOADING,
    State.LEAVING: Why.LEAVING,
    State.UNKNOWN: Why.UNKNOWN,
}


def _protected(
    resident: Resident,
    engines: Mapping[EngineId, EngineState],
    policy: Policy,
    distrusted: Collection[ModelRef],
    *,
    even_busy: bool,
) -> Why | None:
    """Why `resident` stays, whoever needs its bytes. None: it may go."""
    if policy.is_pinned(resident.ref):
        return Why.PINNED
    if resident.state not in (State.LOADED, State.SLEEPING):
        return _STATES[resident.state]
    engine = engines.get(resident.engine)
    if engine is not None and not engine.up:
        return Why.UNKNOWN
    if engine is None or Ability.UNLOAD not in engine.abilities:
        return Why.UNABLE
    if resident.busy and not even_busy:
        return Why.BUSY
    if resident.ref in distrusted:
        return Why.DISTRUSTED
    return None


def _evictions(snapshot: Snapshot, victims: list[Resident], why: Why) -> tuple[Evict, ...]:
    promises = releases(snapshot, victims)
    return tuple(Evict(v.ref, back, why) for v, back in zip(victims, promises, strict=True))


def _in_vain(why: Why) -> Why:
    return Why.NOT_ENOUGH if why in (Why.MAKES_ROOM, Why.NOT_NEEDED) else why
