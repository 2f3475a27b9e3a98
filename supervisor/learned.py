"""What each model held, written down for the next time: loaded, at its height, and asleep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from collectors.reading import NONE, RAM, Bytes, PoolId

from .core.footprint import Moment
from .core.snapshot import ModelRef, Resident, Share, Snapshot, State
from .journal import Journal

# What a model holds is written down again when it has grown by this much.
GROWN = 1.01


@dataclass(slots=True)
class _Ascent:
    """A load under way. Bytes by pool: the most that was free since it began, what strangers held
    then, and the most that has been taken since."""

    free: dict[PoolId, int] = field(default_factory=dict)
    strangers: dict[PoolId, int] = field(default_factory=dict)
    taken: dict[PoolId, int] = field(default_factory=dict)


@dataclass(slots=True)
class Learned:
    journal: Journal
    _sizes: dict[tuple[ModelRef, Moment], Bytes] = field(default_factory=dict)
    _ascents: dict[ModelRef, _Ascent] = field(default_factory=dict)

    def see(self, snapshot: Snapshot) -> None:
        """Remember the largest footprint of each model that is loaded, load by load: the journal
        forgets what was not seen for long."""
        there = {r.ref for r in snapshot.residents}
        self._sizes = {key: size for key, size in self._sizes.items() if key[0] in there}
        self._climb(snapshot)
        for resident in snapshot.residents:
            if resident.state is State.LOADED:
                self._note(snapshot, resident, Moment.LOADED, resident.pools)
            elif resident.state is State.SLEEPING:
                own = resident.pools - {RAM}
                self._note(snapshot, resident, Moment.ASLEEP, own)

    def _note(
        self, snapshot: Snapshot, resident: Resident, moment: Moment, pools: Iterable[PoolId]
    ) -> None:
        shares = tuple(Share(p, resident.holds(p)) for p in sorted(pools))
        size = Bytes(sum(s.size for s in shares))
        known = self._sizes.get((resident.ref, moment))
        if known is not None and size <= known * GROWN:
            return
        if moment is Moment.LOADED and not size:
            return
        if snapshot.blind:  # what it holds where nobody can look is not nothing
            read = {p.id for p in snapshot.pools}
            before = self.journal.footprint(resident.ref, moment) or ()
            if not read.issuperset({*resident.pools, *(s.pool for s in before)}):
                return
        self._sizes[resident.ref, moment] = size
        self.journal.remember(resident.ref, shares, moment, resident.context or 0)

    # -- loads under way

    def _climb(self, snapshot: Snapshot) -> None:
        """Follow what each load takes. Of an accelerator it is what was free and is not any more,
        for most engines list a model only once it is there; RAM is too lively for that, and there
        the model's own process says it."""
        under_way = {r.ref: r for r in snapshot.reservations}
        for ref, reservation in under_way.items():
            ascent = self._ascents.setdefault(ref, _Ascent())
            for pool in (p for p in snapshot.pools if p.id != RAM):
                if any(s.pool == pool.id for s in reservation.shares):
                    strangers = sum(
                        f.size for f in snapshot.foreign if f.pool == pool.id and f.engine is None
                    )
                    ascent_free = ascent.free.get(pool.id, -1)
                    if pool.free > ascent_free:  # others may still be leaving for it
                        ascent.free[pool.id], ascent.strangers[pool.id] = pool.free, strangers
                    grown = max(0, strangers - ascent.strangers[pool.id])
                    taken = ascent.free[pool.id] - pool.free - grown
                    ascent.taken[pool.id] = max(ascent.taken.get(pool.id, 0), taken)
            resident = snapshot.resident(ref)
            if resident is not None:
                ascent.taken[RAM] = max(ascent.taken.get(RAM, 0), resident.holds(RAM))
        for ref in self._ascents.keys() - under_way.keys():
            self._arrived(snapshot, ref, self._ascents.pop(ref))

    def _arrived(self, snapshot: Snapshot, ref: ModelRef, ascent: _Ascent) -> None:
        resident = snapshot.resident(ref)
        if resident is None or resident.state is not State.LOADED or snapshot.blind:
            return  # it failed, or who knows: nothing is learned from that
        shares = tuple(
            Share(pool, Bytes(max(taken, resident.holds(pool))))
            for pool, taken in sorted(ascent.taken.items())
            if taken > NONE
        )
        if shares:
            self.journal.remember(ref, shares, Moment.PEAK, resident.context or 0)
