"""What each model held, written down for the next time: loaded, at its height, and asleep."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from collectors.reading import NONE, RAM, Bytes, PoolId

from .core.footprint import Moment, better, expect, is_guessed
from .core.header import UNTOLD
from .core.policy import Policy
from .core.snapshot import (
    Demand,
    EngineId,
    ModelRef,
    Resident,
    Share,
    Snapshot,
    Source,
    State,
)
from .journal.holdings import WINDOW
from .journal.journal import Journal
from .tally import ERROR_BUCKETS, Durations

# What a model holds is written down again when it has grown by this much.
GROWN = 1.01
# Seconds for which one that was on an accelerator must hold nothing there until it counts as moved:
# an engine may die between its answer and the look at who holds what.
MOVED = 10.0


@dataclass(slots=True)
class _Ascent:
    """A load under way. Bytes by pool: what it was counted with, the most that was free since it
    began, what strangers held then, and the most that has been taken since."""

    promised: dict[PoolId, int]

    free: dict[PoolId, int] = field(default_factory=dict)
    strangers: dict[PoolId, int] = field(default_factory=dict)
    taken: dict[PoolId, int] = field(default_factory=dict)
    shared: set[PoolId] = field(default_factory=set)  # where another load was under way, too


class _Noted(NamedTuple):
    size: Bytes = Bytes(-1)
    at: float = 0.0
    where: frozenset[PoolId] = frozenset()


@dataclass(slots=True)
class Learned:
    """`errors`: by how much loads were counted wrong, as shares of what they took, by engine."""

    journal: Journal
    wall: Callable[[], float] = time.time
    errors: dict[EngineId, Durations] = field(default_factory=dict)
    # The most of each stay so far, on which accelerators, and when it was written down.
    _sizes: dict[tuple[ModelRef, Moment], _Noted] = field(default_factory=dict)
    _ascents: dict[ModelRef, _Ascent] = field(default_factory=dict)
    # Since when those who are loaded hold nothing of the accelerators that they were on.
    _bare: dict[ModelRef, float] = field(default_factory=dict)

    def see(self, snapshot: Snapshot) -> None:
        """Remember the largest footprint of each model that is loaded, load by load: the journal
        forgets what was not seen for long."""
        there = {r.ref for r in snapshot.residents}
        self._sizes = {key: size for key, size in self._sizes.items() if key[0] in there}
        self._bare = {ref: at for ref, at in self._bare.items() if ref in there}
        self._climb(snapshot)
        self.glance(snapshot)

    def glance(self, snapshot: Snapshot) -> None:
        """The same of a snapshot that is not the loop's own: the last that is seen of a model which
        leaves as soon as it has come."""
        for resident in snapshot.residents:
            if resident.state is State.LOADED:
                if resident.ref not in snapshot.newcomers:
                    self._note(snapshot, resident, Moment.LOADED, resident.pools)
            elif resident.state is State.SLEEPING:
                own = resident.pools - {RAM}
                self._note(snapshot, resident, Moment.ASLEEP, own)

    def _note(
        self, snapshot: Snapshot, resident: Resident, moment: Moment, pools: Iterable[PoolId]
    ) -> None:
        shares = tuple(Share(p, resident.holds(p)) for p in sorted(pools))
        size = Bytes(sum(s.size for s in shares))
        known, at, there = self._sizes.get((resident.ref, moment), _Noted())
        where, now = frozenset(s.pool for s in shares if s.size and s.pool != RAM), self.wall()
        # One that is not listed just now where it was has not left it.
        if where <= there and 0 <= size <= known * GROWN and 0 <= now - at < WINDOW:
            return
        if moment is Moment.LOADED and (not size or is_guessed(resident)):
            return  # a guess does not come true by being remembered
        before = {s.pool for s in self.journal.footprint(resident.ref, moment) or ()}
        if snapshot.blind:  # what it holds where nobody can look is not nothing
            read = {p.id for p in snapshot.pools}
            if not read.issuperset({*resident.pools, *before}):
                return
        if moment is Moment.LOADED and not self._is_where_it_was(snapshot, resident, where, before):
            return
        if before - {RAM} and not where <= before and _is_only_told(resident, where):
            return  # an engine's word is how much it is, and not on which of several
        self._sizes[resident.ref, moment] = _Noted(size, now, where)
        context, slots = resident.context or 0, resident.slots or 0
        self.journal.remember(resident.ref, shares, moment, context, slots)

    def _is_where_it_was(
        self,
        snapshot: Snapshot,
        resident: Resident,
        where: Collection[PoolId],
        before: Collection[PoolId],
    ) -> bool:
        """On some accelerator, or on none as before, or on none for long enough to have moved."""
        if where or not set(before) - {RAM}:
            self._bare.pop(resident.ref, None)
            return True
        since = self._bare.setdefault(resident.ref, snapshot.taken_at)
        return snapshot.taken_at - since >= MOVED

    # -- what is made of it

    def expect(self, snapshot: Snapshot, policy: Policy, ref: ModelRef) -> Demand | None:
        """What loading `ref` will take, by the best source there is. None: nobody knows."""
        entry = snapshot.entry(ref)
        setup = UNTOLD if entry is None else entry.setup
        how = (setup.context, setup.slots)
        kept = self.journal.footprint(ref, Moment.LOADED, *how)
        within = None if kept is None else {s.pool for s in kept}
        peak = self.journal.footprint(ref, Moment.PEAK, *how, within=within)
        otherwise = self.journal.footprint(ref) if kept is None else None
        return expect(snapshot, policy, ref, kept, peak, otherwise)

    def fill(self, snapshot: Snapshot, policy: Policy) -> Snapshot:
        """`snapshot` with what was learned or declared of those whose bytes nobody tells."""
        if not any(is_guessed(r) for r in snapshot.residents):
            return snapshot
        residents = tuple(
            better(snapshot, policy, r, self.journal.footprint(r.ref)) if is_guessed(r) else r
            for r in snapshot.residents
        )
        return replace(snapshot, residents=residents)

    # -- loads under way

    def _climb(self, snapshot: Snapshot) -> None:
        """Follow what each load takes. Of an accelerator it is what was free and is not any more,
        for most engines list a model only once it is there; RAM is too lively for that, and there
        the model's own process says it."""
        under_way = {r.ref: r for r in snapshot.reservations if r.ref is not None}
        for ref, reservation in under_way.items():
            ascent = self._ascents.get(ref)
            if ascent is None:
                ascent = self._ascents[ref] = _Ascent(_sizes(reservation.shares))
            for pool in (p for p in snapshot.pools if p.id != RAM):
                takers = sum(any(s.pool == pool.id for s in r.shares) for r in under_way.values())
                if any(s.pool == pool.id for s in reservation.shares):
                    if takers > 1:
                        ascent.shared.add(pool.id)
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
        guessed = is_guessed(resident)
        self._judge(resident, ascent, guessed)
        shares = tuple(
            Share(pool, Bytes(taken if guessed else max(taken, resident.holds(pool))))
            for pool, taken in sorted(ascent.taken.items())
            if taken > NONE and pool not in ascent.shared
        )
        if shares:
            context, slots = resident.context or 0, resident.slots or 0
            self.journal.remember(ref, shares, Moment.PEAK, context, slots)

    def _judge(self, resident: Resident, ascent: _Ascent, guessed: bool) -> None:
        """How far off was what it was counted with? What is in the wrong pool counts twice: it is
        missing in one, and too much in the other."""
        promised, taken = dict(ascent.promised), dict(ascent.taken)
        if not any(promised.values()) or (guessed and not ascent.shared.isdisjoint(promised)):
            return  # nothing was said, or nobody can tell whose is whose
        for pool in ascent.shared:
            taken.pop(pool, None)
        if guessed:  # of RAM nobody says anything
            taken.pop(RAM, None)
            promised.pop(RAM, None)
        else:
            for pool in resident.pools:
                taken[pool] = max(taken.get(pool, 0), resident.holds(pool))
        measured = sum(taken.values())
        if measured > 0:
            wrong = sum(abs(taken.get(p, 0) - promised.get(p, 0)) for p in {*taken, *promised})
            errors = self.errors.setdefault(resident.engine, Durations(ERROR_BUCKETS))
            errors.add(wrong / measured)


def _is_only_told(resident: Resident, where: Collection[PoolId]) -> bool:
    """Is what it holds there nobody's measurement?"""
    return all(s.source is not Source.MEASURED for s in resident.shares if s.pool in where)


def _sizes(shares: Iterable[Share]) -> dict[PoolId, int]:
    sizes: dict[PoolId, int] = {}
    for share in shares:
        sizes[share.pool] = sizes.get(share.pool, 0) + share.size
    return sizes
