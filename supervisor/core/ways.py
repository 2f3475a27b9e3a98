"""How each resident could be made to go, and why it may not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from collectors.reading import RAM

from .actions import Evict, Loss, Why
from .groups import Units
from .headroom import releases, rooms
from .ladder import ASLEEP, Rung, asleep, ladder, weights
from .policy import Policy
from .snapshot import Ability, ModelRef, Resident, Share, Snapshot, State

SLEEPS = frozenset({Ability.SLEEP, Ability.DEEP_SLEEP})
NOBODY: frozenset[ModelRef] = frozenset()
NO_LOSSES: Mapping[ModelRef, Loss] = {}

LOADED = State.LOADED  # by this name quickly found: it is asked for a thousand times in a plan

_STATES = {
    State.LOADING: Why.LOADING,
    State.LEAVING: Why.LEAVING,
    State.UNKNOWN: Why.UNKNOWN,
}


class Ways:
    """How each resident could be made to go, and why it may not be."""

    def __init__(
        self,
        snapshot: Snapshot,
        policy: Policy,
        distrusted: Collection[ModelRef] = NOBODY,
        *,
        even_busy: bool | None = None,
        even_young: bool = False,
    ) -> None:
        """`even_busy`: may models go that are at work? None: as the policy says of each.
        `even_young`: may they go although they have not been there for as long as they should?"""
        self._snapshot, self._policy = snapshot, policy
        self._distrusted, self._even_busy = distrusted, even_busy
        self._engines = {e.id: e for e in snapshot.engines}
        self._even_young = even_young or not policy.says("min_residency")
        self._units = Units(policy.groups, snapshot)
        self._grouped = bool(self._units)
        self._deep: set[ModelRef] = set()
        self._may_be_pinned = policy.may_pin
        self._scoped = bool(policy.models or policy.engines)
        # Whose models can all be unloaded: no need to look at the ladder of each.
        every = not self._scoped and Rung.UNLOAD in (policy.ladder or ())
        can = (e.id for e in snapshot.engines if every and Ability.UNLOAD in e.abilities)
        self._unload = frozenset(can)
        self._leased = frozenset(lease.ref for lease in snapshot.leases)
        # There are many models and few kinds of them: by engine, and what else a ladder turns on.
        self._ladders: dict[tuple[object, ...], tuple[Rung, ...]] = {}
        self._sleepy = any(not SLEEPS.isdisjoint(e.abilities) for e in snapshot.engines)
        # Who has to stay, and so has its engine; also beside one whose requests may be cut short.
        self._staying: dict[ModelRef, Why] = {}
        able = {e.id for e in snapshot.engines if e.up and e.abilities}
        plain = self._even_young and not self._may_be_pinned and not self._leased
        for resident in snapshot.residents:
            rests = not resident.busy and resident.state is LOADED
            if plain and rests and resident.ref.engine in able:
                continue  # as nearly all of them do
            if (why := self._held_back(resident, None)) is not None:
                self._staying[resident.ref] = why
        self._of_engine = Counter(ref.engine for ref in self._staying)

    @property
    def staying(self) -> Mapping[ModelRef, Why]:
        """Who stays however it could be made to go, and why."""
        return self._staying

    def spared(self, resident: Resident) -> Why | None:
        """Why `resident` stays, whoever needs its bytes. None: it may go."""
        why = self._spared_alone(resident)
        if why is None and self._grouped:
            for other in self._units.of(resident.ref):
                held = self._spared_alone(other)
                # One that sleeps and cannot do more has gone as far as it goes.
                gone = held is Why.UNABLE and other.state is State.SLEEPING
                if held not in (None, Why.LEAVING) and not gone:
                    return Why.STAYS_TOGETHER
        return why

    def whole(self, chosen: Sequence[Resident]) -> list[Resident]:
        """`chosen`, and behind them whoever has to go with one of them."""
        return self._units.whole(chosen, lambda other: self._spared_alone(other) is None)

    def units(self, candidates: Sequence[Resident]) -> dict[ModelRef, tuple[Resident, ...]]:
        """Those of whom none goes without the others, by the first of them in `candidates`."""
        found: dict[ModelRef, tuple[Resident, ...]] = {}
        seen: set[ModelRef] = set()
        for resident in candidates if self._grouped else ():
            if resident.ref in seen or len(unit := self.whole([resident])) == 1:
                continue
            refs = {r.ref for r in unit}
            # By patterns one may take another along that goes alone as well: those stay apart.
            if all({r.ref for r in self.whole([other])} == refs for other in unit[1:]):
                found[resident.ref] = tuple(unit)
                seen |= refs
        return found

    def _spared_alone(self, resident: Resident) -> Why | None:
        if self._even_busy is None:
            why = self._staying.get(resident.ref)
        else:
            why = self._held_back(resident, self._even_busy)
        if why is None and resident.ref.engine not in self._unload and not self.ladder(resident):
            return Why.UNABLE
        if why is None and resident.ref in self._distrusted:
            return Why.DISTRUSTED
        return why

    def _held_back(self, resident: Resident, even_busy: bool | None) -> Why | None:
        if self._may_be_pinned and self._policy.is_pinned(resident.ref):
            return Why.PINNED
        if resident.state not in (State.LOADED, State.SLEEPING):
            return _STATES[resident.state]
        engine = self._engines.get(resident.engine)
        if engine is not None and not engine.up:
            return Why.UNKNOWN
        if engine is None or not engine.abilities:
            return Why.UNABLE
        if resident.busy or resident.ref in self._leased:
            if even_busy is None:
                even_busy = self._policy.force_when_busy_of(resident.ref)
            return None if even_busy else Why.BUSY if resident.busy else Why.LEASED
        return None if self._even_young or not self._is_young(resident.ref) else Why.TOO_YOUNG

    def _is_young(self, ref: ModelRef) -> bool:
        since = self._snapshot.since.get(ref)
        least = self._policy.said(ref, "min_residency")
        return since is not None and bool(least) and self._snapshot.taken_at - since < least

    def ladder(self, resident: Resident) -> tuple[Rung, ...]:
        ref = resident.ref
        beside = self._of_engine.get(ref.engine, 0)
        if beside and ref in self._staying:
            beside -= 1
        awake = resident.state is LOADED
        allowed = self._policy.ladder_of(ref) if self._scoped else self._policy.ladder
        # By identity, which is quick: the policy keeps them all.
        key = (ref.engine, id(allowed), beside == 0, awake, bool(resident.pids))
        known = self._ladders.get(key)
        if known is None:
            engine = self._engines.get(ref.engine)
            alone = beside == 0
            known = () if engine is None else ladder(resident, engine, allowed or (), alone=alone)
            self._ladders[key] = known
        return known

    def sleepers(
        self, candidates: Iterable[Resident], wanted: tuple[Share, ...]
    ) -> dict[ModelRef, Resident]:
        """Those who would sleep rather than leave, as what they give back by it. Weights that
        stay in RAM need room there, besides what is `wanted`."""
        if not self._sleepy:
            return {}
        able = [r for r in candidates if not ASLEEP.isdisjoint(self.ladder(r))]
        room = next((r.headroom for r in rooms(self._snapshot, self._policy, (RAM,))), 0)
        room -= sum(s.size for s in wanted if s.pool == RAM)
        found: dict[ModelRef, Resident] = {}
        for resident in able:
            rungs = self.ladder(resident)
            gives = asleep(resident, self._snapshot)
            if gives is None:
                continue
            size = weights(resident, self._snapshot)
            if Rung.SLEEP in rungs and size <= room:
                room -= size
                found[resident.ref] = gives
            elif Rung.DEEP_SLEEP in rungs:
                found[resident.ref] = gives
                self._deep.add(resident.ref)
        return found

    def only_sleepers(self, found: Mapping[ModelRef, Resident]) -> dict[ModelRef, Resident]:
        """Of those, who cannot go but by sleeping."""
        return {r: gives for r, gives in found.items() if self._only_sleeps(gives)}

    def without_bed(
        self, residents: Iterable[Resident], asleep: Collection[ModelRef]
    ) -> frozenset[ModelRef]:
        """Who cannot go but by sleeping, and is not among those who can."""
        return frozenset(r.ref for r in residents if r.ref not in asleep and self._only_sleeps(r))

    def bound(
        self, residents: Iterable[Resident], staying: Collection[ModelRef]
    ) -> frozenset[ModelRef]:
        """Who of `residents` would take one of `staying` along, and is none of them."""
        if not self._grouped or not staying:
            return NOBODY
        return frozenset(
            r.ref
            for r in residents
            if r.ref not in staying and any(o.ref in staying for o in self._units.of(r.ref))
        )

    def _only_sleeps(self, resident: Resident) -> bool:
        return self._sleepy and ASLEEP.issuperset(self.ladder(resident))

    def evictions(
        self,
        victims: Sequence[Resident],
        asleep: Mapping[ModelRef, Resident],
        why: Why,
        chosen: Collection[ModelRef] | None = None,
        losses: Mapping[ModelRef, Loss] = NO_LOSSES,
    ) -> tuple[Evict, ...]:
        """`chosen` are those of `victims` that go for `why`; the others go with one of them."""
        promises = releases(self._snapshot, [asleep.get(v.ref, v) for v in victims])
        first = [v.ref for v in victims if chosen is None or v.ref in chosen]
        alone = frozenset(first)
        return tuple(
            Evict(
                v.ref,
                back,
                why if v.ref in alone else Why.TOGETHER,
                self._from(v, v.ref in asleep),
                losses.get(v.ref),
                None if v.ref in alone else self._units.mate(v.ref, first),
            )
            for v, back in zip(victims, promises, strict=True)
        )

    def _from(self, resident: Resident, sleeps: bool) -> tuple[Rung, ...]:
        """The ladder that it is put on: without sleep, unless it is to sleep or can do no other."""
        rungs = self.ladder(resident)
        if not self._sleepy:
            return rungs
        if sleeps:
            return tuple(r for r in rungs if r is not Rung.SLEEP or resident.ref not in self._deep)
        return tuple(r for r in rungs if r not in ASLEEP) or rungs
