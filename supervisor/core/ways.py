"""How each resident could be made to go, and why it may not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from collectors.reading import RAM

from .actions import Evict, Why
from .headroom import releases, rooms
from .ladder import ASLEEP, Rung, asleep, ladder, weights
from .policy import Policy
from .snapshot import Ability, ModelRef, Resident, Share, Snapshot, State

SLEEPS = frozenset({Ability.SLEEP, Ability.DEEP_SLEEP})
NOBODY: frozenset[ModelRef] = frozenset()

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
    ) -> None:
        """`even_busy`: may models go that are at work? None: as the policy says of each."""
        self._snapshot, self._policy = snapshot, policy
        self._distrusted, self._even_busy = distrusted, even_busy
        self._engines = {e.id: e for e in snapshot.engines}
        self._deep: set[ModelRef] = set()
        # There are many models and few kinds of them: by engine, and what else a ladder turns on.
        self._ladders: dict[tuple[object, ...], tuple[Rung, ...]] = {}
        self._sleepy = any(not SLEEPS.isdisjoint(e.abilities) for e in snapshot.engines)
        # Who has to stay, and so has its engine; also beside one whose requests may be cut short.
        found = ((r.ref, self._held_back(r, None)) for r in snapshot.residents)
        self._staying = {ref: why for ref, why in found if why is not None}
        self._of_engine = Counter(ref.engine for ref in self._staying)

    def spared(self, resident: Resident) -> Why | None:
        """Why `resident` stays, whoever needs its bytes. None: it may go."""
        if self._even_busy is None:
            why = self._staying.get(resident.ref)
        else:
            why = self._held_back(resident, self._even_busy)
        if why is None and not self.ladder(resident):
            return Why.UNABLE
        if why is None and resident.ref in self._distrusted:
            return Why.DISTRUSTED
        return why

    def _held_back(self, resident: Resident, even_busy: bool | None) -> Why | None:
        if self._policy.is_pinned(resident.ref):
            return Why.PINNED
        if resident.state not in (State.LOADED, State.SLEEPING):
            return _STATES[resident.state]
        engine = self._engines.get(resident.engine)
        if engine is not None and not engine.up:
            return Why.UNKNOWN
        if engine is None or not engine.abilities:
            return Why.UNABLE
        if resident.busy:
            if even_busy is None:
                even_busy = self._policy.force_when_busy_of(resident.ref)
            return None if even_busy else Why.BUSY
        return None

    def ladder(self, resident: Resident) -> tuple[Rung, ...]:
        beside = self._of_engine[resident.engine] - (resident.ref in self._staying)
        awake = resident.state is State.LOADED
        allowed = self._policy.ladder_of(resident.ref)
        key = (resident.engine, allowed, beside == 0, awake, bool(resident.pids))
        known = self._ladders.get(key)
        if known is None:
            engine = self._engines.get(resident.engine)
            known = () if engine is None else ladder(resident, engine, allowed, alone=beside == 0)
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

    def _only_sleeps(self, resident: Resident) -> bool:
        return self._sleepy and ASLEEP.issuperset(self.ladder(resident))

    def evictions(
        self, victims: list[Resident], asleep: Mapping[ModelRef, Resident], why: Why
    ) -> tuple[Evict, ...]:
        promises = releases(self._snapshot, [asleep.get(v.ref, v) for v in victims])
        return tuple(
            Evict(v.ref, back, why, self._from(v, v.ref in asleep))
            for v, back in zip(victims, promises, strict=True)
        )

    def _from(self, resident: Resident, sleeps: bool) -> tuple[Rung, ...]:
        """The ladder that it is put on: without sleep, unless it is to sleep or can do no other."""
        rungs = self.ladder(resident)
        if sleeps:
            return tuple(r for r in rungs if r is not Rung.SLEEP or resident.ref not in self._deep)
        return tuple(r for r in rungs if r not in ASLEEP) or rungs
