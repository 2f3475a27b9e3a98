"""Turns a snapshot, a policy and a wish into a plan. Does nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from collectors.reading import RAM, Blind, Bytes, PoolId

from .actions import Action, Barred, Cancel, Evict, Load, Loss, Note, Plan, Trigger, Why
from .brake import brake
from .choose import Chosen
from .experience import NONE_YET, Experience
from .groups import coming
from .headroom import Tally, jobs, rooms
from .limits import Slots
from .lines import for_relief, too_small
from .places import best, places
from .policy import Policy
from .rank import Weighing
from .retention import is_at_rest
from .short import shorts
from .snapshot import Demand, ModelRef, Reservation, Resident, Share, Snapshot, is_sized
from .ways import Ways

__all__ = [
    "DISMISSED",
    "Action",
    "Cancel",
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

# Why they go whom no want of memory makes go, by what asks for it.
DISMISSED = {
    Trigger.IDLE: Why.IDLE,
    Trigger.BUSY: Why.STUCK,
    Trigger.UNUSED: Why.UNUSED,
    Trigger.SWITCH: Why.SWITCHED,
    Trigger.TOGETHER: Why.TOGETHER,
    Trigger.ALERT: Why.ALERTED,
}

NEXT = 20  # of those who are spared so many are told what their leaving would have cost

NO_LIMITS = Policy(npu_most=0)  # relief is about bytes; the limits have a plan of their own


def plan(
    snapshot: Snapshot, policy: Policy, demand: Demand, experience: Experience = NONE_YET
) -> Plan:
    """Make `demand` fit, exactly as much as it needs, at the least cost to who is resident. Where
    several accelerators would do, on the one where that costs least."""
    return _relying(experience, lambda known: _somewhere(snapshot, policy, demand, known))


def _relying(experience: Experience, make: Callable[[Experience], Plan]) -> Plan:
    """What is made without those who are doubted, or, where that does not suffice, with them."""
    made = make(experience)
    if experience.doubted and (made.unmet or made.full):
        trusted = experience.distrusted - experience.doubted
        return make(replace(experience, distrusted=trusted, doubted=frozenset()))
    return made


def _somewhere(snapshot: Snapshot, policy: Policy, demand: Demand, experience: Experience) -> Plan:
    there = places(snapshot, policy, demand)
    if len(there) == 1:
        return _plan(snapshot, policy, there[0], experience)
    made = [(place, _plan(snapshot, policy, place, experience)) for place in there]
    return best(made, {r.pool: r for r in rooms(snapshot, policy)}, snapshot)


def _plan(snapshot: Snapshot, policy: Policy, demand: Demand, experience: Experience) -> Plan:
    missing = coming(snapshot, demand)
    if missing is None:
        assert demand.ref is not None
        return Plan(Trigger.DEMAND, notes=(Note(demand.ref, Why.THERE),))
    newcomers = {d.ref: d for d in (missing, *missing.beside) if d.ref is not None}
    needed = {s.pool for d in newcomers.values() for s in d.shares}
    if shut := tuple(ref for ref in newcomers if policy.drain_of(ref.engine) is not None):
        engines, pool = sorted({ref.engine for ref in shut}), min(needed, default=RAM)
        held = tuple(Barred(pool, f"nothing is loaded into {e}: it is drained") for e in engines)
        return Plan(Trigger.DEMAND, notes=tuple(Note(r, Why.DRAINED) for r in shut), barred=held)
    if silent := tuple(ref for ref in newcomers if _is_silent(snapshot, ref)):
        engines, pool = sorted({ref.engine for ref in silent}), min(needed, default=RAM)
        held = tuple(Barred(pool, f"nothing can be loaded: {e} does not answer") for e in engines)
        return Plan(Trigger.DEMAND, notes=tuple(Note(r, Why.SILENT) for r in silent), barred=held)
    strangers = experience.barred
    if barred := tuple(Barred(p, strangers[p]) for p in sorted(needed & {*strangers})):
        notes = tuple(Note(ref, Why.BARRED) for ref in newcomers)
        return Plan(Trigger.DEMAND, notes=notes, barred=barred)
    # What was promised to this very demand is not in its way.
    there = snapshot  # with that promise, of which a part may be in use by now
    if snapshot.reservations:
        kept = (r for r in snapshot.reservations if r.ref not in newcomers and not _own(r, demand))
        snapshot = replace(snapshot, reservations=tuple(kept))
    if demand.job:  # a budget is what models may hold
        policy = policy.without_budgets()
    slots = Slots(snapshot, policy if newcomers else NO_LIMITS, missing)
    all_of_them = (missing, *missing.beside)
    wanted = tuple(s for d in all_of_them for s in _beyond_what_it_keeps(d, there))
    asked = [d.ref for d in (demand, *demand.beside) if d.ref is not None]
    room = _make_room(snapshot, policy, wanted, slots, experience, asked)
    notes = (*room.notes, *(Note(ref, Why.WANTED) for ref in newcomers))
    unmet = room.unmet or _unread(snapshot, [s for d in all_of_them for s in d.shares])
    if unmet or room.full:
        notes = tuple(Note(n.ref, _in_vain(n.why)) for n in notes)
        unread = ((s.pool, snapshot.blind.get(s.pool)) for s in unmet)
        blind = tuple(Blind(pool, why) for pool, why in unread if why is not None)
        short = shorts(snapshot, policy, wanted, unmet, notes)
        return Plan(
            Trigger.DEMAND,
            notes=notes,
            unmet=unmet,
            full=room.full,
            blind=blind,
            short=short,
        )
    if newcomers and (held := brake(room.victims, experience.braked)):
        notes = tuple(Note(ref, Why.BRAKED) for ref in newcomers)
        return Plan(Trigger.DEMAND, notes=notes, barred=held)
    loads = tuple(Load(ref, d.shares) for ref, d in newcomers.items())
    ranking = policy.ranking.name
    return Plan(Trigger.DEMAND, (*room.victims, *loads), notes, ranking=ranking)


def _is_silent(snapshot: Snapshot, ref: ModelRef) -> bool:
    """Its engine is down, and nobody knows how it could be started."""
    engine = snapshot.engine(ref.engine)
    return engine is not None and not engine.serves


def _unread(snapshot: Snapshot, shares: Collection[Share]) -> tuple[Share, ...]:
    """Where one would come of which nobody knows what it takes, and nobody can look."""
    if is_sized(shares):
        return ()
    return tuple(s for s in shares if s.pool in snapshot.blind)


def _own(reservation: Reservation, demand: Demand) -> bool:
    return bool(demand.job) and reservation.job == demand.job


def _beyond_what_it_keeps(demand: Demand, snapshot: Snapshot) -> tuple[Share, ...]:
    """What a model that sleeps has kept need not be found again, nor what the processes of a job
    hold that runs already."""
    if demand.ref is None:
        pools = {s.pool for s in demand.shares}
        mine = ((p, used) for p in pools for r, _, used in jobs(snapshot, p) if _own(r, demand))
        kept: dict[PoolId, Bytes] = {**dict.fromkeys(pools, Bytes(0)), **dict(mine)}
    elif (there := snapshot.resident(demand.ref)) is not None:
        kept = {s.pool: there.holds(s.pool) for s in demand.shares}
    else:
        return demand.shares
    return tuple(replace(s, size=Bytes(max(0, s.size - kept[s.pool]))) for s in demand.shares)


def relieve(
    snapshot: Snapshot,
    policy: Policy,
    pools: Collection[PoolId] | None = None,
    experience: Experience = NONE_YET,
    *,
    begun: bool = False,
) -> Plan:
    """Bring `pools` (default: every pool below its soft line) up to their restore line. Once that
    was `begun`, also those that are between the two.

    By what is measured alone. A load under way may look as if it took its bytes twice, once
    promised and once used, until its process is listed; nobody leaves for that. Nor does anybody
    whose bytes would be next to nothing of what stays missing.
    """
    return _relying(experience, lambda known: _relieve(snapshot, policy, pools, known, begun=begun))


def _relieve(
    snapshot: Snapshot,
    policy: Policy,
    pools: Collection[PoolId] | None,
    experience: Experience,
    *,
    begun: bool,
) -> Plan:
    snapshot = replace(snapshot, reservations=())
    policy, beyond = for_relief(snapshot, policy)
    found = rooms(snapshot, policy, pools)
    needy = {r.pool for r in found if r.headroom < (beyond[r.pool] if begun else 0)}
    wanted = tuple(Share(p.id, beyond[p.id]) for p in snapshot.pools if p.id in needy)
    none = Slots(snapshot, NO_LIMITS)
    room = _make_room(snapshot, policy, wanted, none, experience, relief=True)
    ranking = policy.ranking.name
    return Plan(Trigger.RELIEF, room.victims, room.notes, room.unmet, ranking=ranking)


def limit(snapshot: Snapshot, policy: Policy, experience: Experience = NONE_YET) -> Plan:
    """Bring the number of active models down to what the operator allows."""
    return _relying(experience, lambda known: _limit(snapshot, policy, known))


def _limit(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
    slots = Slots(snapshot, policy, tolerated=experience.tolerated)
    room = _make_room(snapshot, policy, (), slots, experience)
    ranking = policy.ranking.name
    return Plan(Trigger.LIMIT, room.victims, room.notes, full=room.full, ranking=ranking)


def dismiss(
    snapshot: Snapshot,
    policy: Policy,
    refs: Iterable[ModelRef],
    trigger: Trigger,
    *,
    even_busy: bool = False,
) -> Plan:
    """Unload just these models, because a person or a watchdog says so."""
    why = DISMISSED.get(trigger, Why.ASKED)
    asked = set(refs)
    even_young = trigger in (Trigger.OPERATOR, Trigger.BUSY, Trigger.ALERT)
    ways = Ways(snapshot, policy, even_busy=even_busy, even_young=even_young)
    leaving: list[Resident] = []
    notes: list[Note] = []
    for resident in sorted(snapshot.residents, key=lambda r: r.ref):
        if resident.ref in asked:
            spared = ways.spared(resident)
            if spared is None and trigger is Trigger.IDLE:  # all that go together have to be
                others = {r.ref for r in ways.whole([resident]) if not is_at_rest(r, policy)}
                spared = None if others <= asked else Why.STAYS_TOGETHER
            notes.append(Note(resident.ref, spared or why))
            if spared is None:
                leaving.append(resident)
    whole = ways.whole(leaving)
    if trigger is Trigger.IDLE:  # who sleeps already has done what they are to do
        whole = [r for r in whole if r.ref in asked or not is_at_rest(r, policy)]
    notes += [Note(r.ref, Why.TOGETHER) for r in whole if r.ref not in asked]
    leaving = whole
    asleep = ways.sleepers(leaving, ())
    if trigger is not Trigger.IDLE:  # whoever is told to go does not stay in RAM
        asleep = ways.only_sleepers(asleep)
    awake = ways.without_bed(leaving, asleep)
    bound = ways.bound(leaving, awake)
    stay = dict.fromkeys(awake, Why.NO_BED) | dict.fromkeys(bound, Why.STAYS_TOGETHER)
    notes = [n._replace(why=stay.get(n.ref, n.why)) for n in notes]
    leaving = [r for r in leaving if r.ref not in stay]
    return Plan(trigger, ways.evictions(leaving, asleep, why, asked), tuple(notes))


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
    kept: Collection[ModelRef] = (),
    *,
    relief: bool = False,
) -> _Room:
    """`kept` are those for whom the room is, and whoever has to be beside them. `relief` does
    what it can where it cannot do enough, and spares nobody for being young."""
    ways = Ways(snapshot, policy, experience.distrusted, even_young=relief)
    tally = Tally(snapshot, policy, wanted)
    lacking = tally.lacking
    unmet, full = tally.missing(), slots.full()
    not_needed, elsewhere, staying = Why.NOT_NEEDED, Why.WRONG_POOL, ways.staying
    others = [r for r in snapshot.residents if r.ref not in kept] if kept else snapshot.residents
    # In the order of the snapshot, which may well be that of the notes.
    whys = {r.ref: not_needed for r in others}
    candidates: list[Resident] = []
    for resident in others if unmet or full else ():
        why = staying.get(resident.ref)
        if why is None and not tally.helps(resident) and not (full and slots.helps(resident)):
            why = elsewhere
        why = why or ways.spared(resident)
        if why is None:
            candidates.append(resident)
        else:
            whys[resident.ref] = why
    weighing = Weighing(snapshot, policy, experience)
    choose = policy.ranking.choose
    candidates = policy.ranking.order(weighing, candidates)
    crowd = ways.whole(candidates)  # with whoever goes beside one of them
    asleep = ways.sleepers(crowd, wanted)
    if awake := ways.without_bed(crowd, asleep):
        stay = dict.fromkeys(ways.bound(candidates, awake), Why.STAYS_TOGETHER)
        stay |= {r.ref: Why.NO_BED for r in candidates if r.ref in awake}
        whys |= stay
        candidates = [r for r in candidates if r.ref not in stay]
    # Who go together are one candidate, with what all of them give and cost.
    units = ways.units(candidates)
    beside = {r.ref for head, unit in units.items() for r in unit if r.ref != head}
    heads = [r for r in candidates if r.ref not in beside] if units else candidates
    slots.units = units
    if units:
        weighing.units = {h: [(r, r.ref in asleep) for r in u] for h, u in units.items()}
        heads = policy.ranking.order(weighing, heads)

    def chosen_of(asleep: Mapping[ModelRef, Resident], instead: Sequence[Resident] = ()) -> Chosen:
        nonlocal tally
        if instead:
            for resident in instead:
                slots.stay(resident)
            tally = Tally(snapshot, policy, wanted)
        weighing.units = {h: [(r, r.ref in asleep) for r in u] for h, u in units.items()}
        return choose(weighing, heads, gives_of(asleep), tally, slots)

    def gives_of(asleep: Mapping[ModelRef, Resident]) -> dict[ModelRef, Resident]:
        return {**asleep, **{head: _as_one(unit, asleep) for head, unit in units.items()}}

    chosen, lacks = chosen_of(asleep)
    if asleep and lacks[0]:  # asleep they keep too much: whoever can has to go for good
        asleep = ways.only_sleepers(asleep)
        chosen, lacks = chosen_of(asleep, chosen)
    elif len(chosen) > 1 and any(r.ref in asleep for r in chosen):
        # Asleep they keep some, for which others have to go: it may cost less that they do not.
        cost, first = weighing.cost(chosen, asleep), chosen
        for_good = ways.only_sleepers(asleep)
        chosen, lacks = chosen_of(for_good, first)
        if not lacks[0] and weighing.cost(chosen, for_good) < cost:
            asleep = for_good
        else:
            chosen, lacks = chosen_of(asleep, chosen)

    whole = ways.whole(chosen)
    # Who takes others along and is no unit with them cannot be told apart.
    if relief and lacks[0] and len(whole) == sum(len(units.get(r.ref, (r,))) for r in chosen):
        small = too_small(tally, chosen, gives_of(asleep), lacking)
        chosen = [r for r in chosen if r.ref not in small]
        small = {r.ref for head in small for r in units.get(head, ())} | small
        whys |= dict.fromkeys(small, Why.TOO_SMALL)
        candidates = [r for r in candidates if r.ref not in small]
        whole = ways.whole(chosen)
    loss = {r.ref: weighing.loss(r, r.ref in asleep) for r in whole}
    victims = ways.evictions(whole, asleep, Why.MAKES_ROOM, {r.ref for r in chosen}, loss)
    whys |= {v.ref: v.why for v in victims}
    told: dict[ModelRef, Loss | None] = {v.ref: v.loss for v in victims}
    spare = (r for r in candidates if r.ref not in loss)
    for resident in islice(spare, NEXT):
        told[resident.ref] = weighing.known(resident, resident.ref in asleep)
    refs = sorted(whys)
    notes = tuple(map(Note, refs, map(whys.__getitem__, refs), map(told.get, refs)))
    return _Room(victims, notes, tally.missing(), lacks[1])


def _as_one(unit: Sequence[Resident], asleep: Mapping[ModelRef, Resident]) -> Resident:
    """What they give, as if it were one's. The first is who it is."""
    gives = [asleep.get(r.ref, r) for r in unit]
    sizes: dict[PoolId, int] = {}
    for share in (s for r in gives for s in r.shares):
        sizes[share.pool] = sizes.get(share.pool, 0) + share.size
    shares = tuple(Share(pool, Bytes(size)) for pool, size in sizes.items())
    return replace(unit[0], shares=shares, mapped=tuple(m for r in gives for m in r.mapped))


def _in_vain(why: Why) -> Why:
    return Why.NOT_ENOUGH if why in (Why.MAKES_ROOM, Why.NOT_NEEDED) else why
