"""Turns a snapshot, a policy and a wish into a plan. Does nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from collectors.reading import Blind, Bytes, PoolId

from .actions import Action, Evict, Load, Note, Plan, Trigger, Why
from .experience import NONE_YET, Experience
from .headroom import Tally, rooms
from .limits import Slots
from .policy import Policy
from .rank import rank
from .snapshot import Demand, ModelRef, Resident, Share, Snapshot, State
from .ways import Ways

__all__ = [
    "Action",
    "Evict",
    "Load",
    "Note",
    "Plan",
    "Trigger",
    "Why",
    "dismiss",
    "limit",
    "plan",
    "relieve",
]

NO_LIMITS = Policy()  # relief is about bytes; the limits have a plan of their own


def plan(
    snapshot: Snapshot, policy: Policy, demand: Demand, experience: Experience = NONE_YET
) -> Plan:
    """Make `demand` fit, exactly as much as it needs, at the least cost to who is resident."""
    ref = demand.ref
    there = snapshot.resident(ref) if ref is not None else None
    if there is not None and there.state in (State.LOADED, State.LOADING):
        return Plan(Trigger.DEMAND, notes=(Note(there.ref, Why.THERE),))
    # What was promised to this very demand is not in its way.
    others = tuple(r for r in snapshot.reservations if r.ref != ref)
    snapshot = replace(snapshot, reservations=others)
    slots = Slots(snapshot, policy, newcomer=ref)
    wanted = demand.shares
    if there is not None:  # asleep: what it has kept need not be found again
        wanted = tuple(replace(s, size=Bytes(max(0, s.size - there.holds(s.pool)))) for s in wanted)
    room = _make_room(snapshot, policy, wanted, slots, experience, ref)
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
    experience: Experience = NONE_YET,
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
    room = _make_room(snapshot, policy, wanted, Slots(snapshot, NO_LIMITS), experience)
    return Plan(Trigger.RELIEF, room.victims, room.notes, room.unmet)


def limit(snapshot: Snapshot, policy: Policy, experience: Experience = NONE_YET) -> Plan:
    """Bring the number of active models down to what the operator allows."""
    room = _make_room(snapshot, policy, (), Slots(snapshot, policy), experience)
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
    ways = Ways(snapshot, policy, even_busy=even_busy)
    leaving: list[Resident] = []
    notes: list[Note] = []
    for resident in sorted(snapshot.residents, key=lambda r: r.ref):
        if resident.ref in asked:
            spared = ways.spared(resident)
            notes.append(Note(resident.ref, spared or why))
            if spared is None:
                leaving.append(resident)
    asleep = ways.sleepers(leaving, ())
    if trigger is not Trigger.IDLE:  # whoever is told to go does not stay in RAM
        asleep = ways.only_sleepers(asleep)
    awake = ways.without_bed(leaving, asleep)
    notes = [replace(n, why=Why.NO_BED) if n.ref in awake else n for n in notes]
    leaving = [r for r in leaving if r.ref not in awake]
    return Plan(trigger, ways.evictions(leaving, asleep, why), tuple(notes))


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
    experience: Experience,
    newcomer: ModelRef | None = None,
) -> _Room:
    ways = Ways(snapshot, policy, experience.distrusted)
    tally = Tally(snapshot, policy, wanted)
    unmet, full = tally.missing(), slots.full()
    notes: dict[ModelRef, Why] = {}
    candidates: list[Resident] = []
    for resident in snapshot.residents:
        if resident.ref == newcomer:
            continue
        if not unmet and not full:
            notes[resident.ref] = Why.NOT_NEEDED
            continue
        spared = ways.spared(resident)
        if spared is None and not tally.helps(resident) and not (full and slots.helps(resident)):
            spared = Why.WRONG_POOL
        if spared is None:
            candidates.append(resident)
        else:
            notes[resident.ref] = spared
    candidates.sort(key=rank)
    asleep = ways.sleepers(candidates, wanted)
    if awake := ways.without_bed(candidates, asleep):
        notes |= dict.fromkeys(awake, Why.NO_BED)
        candidates = [r for r in candidates if r.ref not in awake]
    chosen, lacks = _choose(candidates, asleep, tally, slots)
    if asleep and lacks[0]:  # asleep they keep too much: whoever can has to go for good
        for resident in chosen:
            slots.stay(resident)
        tally = Tally(snapshot, policy, wanted)
        asleep = ways.only_sleepers(asleep)
        chosen, lacks = _choose(candidates, asleep, tally, slots)

    victims = ways.evictions(chosen, asleep, Why.MAKES_ROOM)
    leaving = {v.ref for v in victims}
    for resident in candidates:
        notes[resident.ref] = Why.MAKES_ROOM if resident.ref in leaving else Why.NOT_NEEDED
    ordered = tuple(Note(ref, notes[ref]) for ref in sorted(notes))
    return _Room(victims, ordered, tally.missing(), lacks[1])


Lacks = tuple[Mapping[PoolId, int], tuple[str, ...]]


def _choose(
    candidates: list[Resident],
    asleep: Mapping[ModelRef, Resident],
    tally: Tally,
    slots: Slots,
) -> tuple[list[Resident], Lacks]:
    """The first of `candidates` that are enough, less those who turn out not to be needed, and
    what is still missing then. The tally and the slots are left as if they were gone."""
    chosen: list[Resident] = []
    for resident in candidates:
        if tally.fits and not slots.full():
            break
        chosen.append(resident)
        tally.leave(asleep.get(resident.ref, resident))
        slots.leave(resident)
    best = tally.lacking, slots.full()
    spare: set[ModelRef] = set()
    for resident in reversed(chosen):  # give back whoever turned out not to be needed
        tally.stay(asleep.get(resident.ref, resident))
        slots.stay(resident)
        if (tally.lacking, slots.full()) == best:
            spare.add(resident.ref)
        else:
            tally.leave(asleep.get(resident.ref, resident))
            slots.leave(resident)
    return [r for r in chosen if r.ref not in spare], best


def _in_vain(why: Why) -> Why:
    return Why.NOT_ENOUGH if why in (Why.MAKES_ROOM, Why.NOT_NEEDED) else why
