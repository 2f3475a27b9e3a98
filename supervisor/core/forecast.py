"""Who grows, and when a pool would fall below its line if that went on.

Memory goes up and down with every request, and whoever is evicted for nothing has to be read
again: so nothing is said before a dozen and more looks agree, nor of a pool whose models came and
went meanwhile, nor if nobody knows whose growth it is. Of all slopes between any two looks the one
in the middle counts (Theil and Sen).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from statistics import median

from collectors.reading import Bytes, MemoryPool, PoolId, Seconds, mib

from .lines import beyond_soft
from .policy import Amount, Policy
from .snapshot import ModelRef, Resident, Snapshot, Source, State

SPACING = Seconds(2.0)
POINTS = 30
LEAST = 15  # of pure noise, one window in two thousand looks like growth to so many
AGREE = 0.8  # of all pairs of looks the later one shows more: what moves in one jump does not
WORTH = mib(64)
# It must be going on: over the last looks by at least this part of what it is on the whole.
RECENT, STILL = 10, 0.5
# The models of a pool must explain at least this part of its fall.
THEIRS = 0.5
# A leak is slow, and a model at rest is quiet: it is looked at seldom, for ten minutes.
LEAK_SPACING = Seconds(20.0)
# What is further off than this is not worth a word.
FAR = Seconds(600.0)

KNOWN = frozenset({Source.MEASURED, Source.REPORTED})


@dataclass(slots=True)
class Series:
    """Bytes over time, the latest POINTS of them, `spacing` seconds apart."""

    spacing: Seconds = SPACING
    _points: deque[tuple[Seconds, int]] = field(default_factory=lambda: deque(maxlen=POINTS))

    def add(self, at: Seconds, size: int) -> bool:
        """False: it is too soon after the last one."""
        if self._points and at - self._points[-1][0] < self.spacing:
            return False
        self._points.append((at, size))
        return True

    @property
    def moved(self) -> int:
        """Bytes between the first and the last."""
        return self._points[-1][1] - self._points[0][1] if self._points else 0

    @property
    def span(self) -> Seconds:
        return Seconds(self._points[-1][0] - self._points[0][0]) if self._points else Seconds(0)

    def since(self, now: Seconds) -> Seconds:
        """How long ago its first look was."""
        return Seconds(now - self._points[0][0]) if self._points else Seconds(0)

    def growth(self) -> float | None:
        """Bytes a second, as long as there is every reason to think that it goes on. None: not."""
        if len(self._points) < LEAST or self.moved < WORTH:
            return None
        slopes = _slopes(self._points)
        if sum(s > 0 for s in slopes) < AGREE * len(slopes):
            return None
        whole, now = median(slopes), median(_slopes([*self._points][-RECENT:]))
        return min(whole, now) if now >= STILL * whole else None

    def climb(self) -> float | None:
        """The same of one whose bytes are read now and then, so that it goes up in steps: enough to
        say whose growth it is, where it is known that there is any."""
        steps = [(at, b - a) for (_, a), (at, b) in pairwise(self._points) if a != b]
        if self.moved < WORTH or any(step < 0 for _, step in steps):
            return None
        between = steps[-1][0] - steps[0][0]
        return sum(step for _, step in steps[1:]) / between if between else self.moved / self.span


def _slopes(points: Iterable[tuple[float, int]]) -> list[float]:
    return [(b - a) / (end - begin) for (begin, a), (end, b) in combinations(points, 2)]


@dataclass(frozen=True, slots=True)
class Growing:
    """A model that takes `rate` bytes a second more."""

    ref: ModelRef
    rate: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """A pool that falls by `rate` bytes a second, and in how many seconds it meets its soft line
    if that goes on. `models`: whose growth it is, the fastest first."""

    pool: PoolId
    rate: float
    within: Seconds
    models: tuple[Growing, ...]


@dataclass(slots=True)
class Forecast:
    """Changed by whoever owns it, once a snapshot; all times are the snapshots'."""

    outlooks: Mapping[PoolId, Outlook] = field(default_factory=dict)
    leaks: Mapping[ModelRef, float] = field(default_factory=dict)  # bytes a second
    _falls: dict[PoolId, Series] = field(default_factory=dict)  # of headroom, so less is more
    _grows: dict[tuple[ModelRef, PoolId], Series] = field(default_factory=dict)
    _rests: dict[ModelRef, Series] = field(default_factory=dict)
    _there: dict[PoolId, set[tuple[ModelRef, State]]] = field(default_factory=dict)

    def see(
        self, snapshot: Snapshot, policy: Policy, headrooms: Mapping[PoolId, int] | None = None
    ) -> None:
        """`headrooms`: beyond their soft lines, where that is known already."""
        now = snapshot.taken_at
        headrooms = beyond_soft(snapshot, policy) if headrooms is None else headrooms
        self._begin_anew(snapshot, headrooms)
        for pool, headroom in headrooms.items():
            self._falls.setdefault(pool, Series()).add(now, -headroom)
        for resident in snapshot.residents:
            self._follow(resident, now)
        found = (self._outlook(pool, headroom) for pool, headroom in headrooms.items())
        self.outlooks = {o.pool: o for o in found if o is not None}

    def _begin_anew(self, snapshot: Snapshot, pools: Iterable[PoolId]) -> None:
        """Where a model came, went, or fell asleep, what was before says nothing any more."""
        there: dict[PoolId, set[tuple[ModelRef, State]]] = {pool: set() for pool in pools}
        for resident in snapshot.residents:
            for pool in resident.pools:
                if pool in there:
                    there[pool].add((resident.ref, resident.state))
        for pool in [p for p, models in there.items() if models != self._there.get(p)]:
            self._falls.pop(pool, None)
        self._there = there
        present = {r.ref: r for r in snapshot.residents if r.state is State.LOADED}
        self._falls = {p: s for p, s in self._falls.items() if p in pools}
        self._grows = {k: s for k, s in self._grows.items() if k[0] in present}
        self._rests = {r: s for r, s in self._rests.items() if r in present}
        if self.leaks:
            self.leaks = {r: n for r, n in self.leaks.items() if r in self._rests}

    def _follow(self, resident: Resident, now: Seconds) -> None:
        ref = resident.ref
        if resident.state is not State.LOADED:
            return
        known = [s for s in resident.shares if s.source in KNOWN]
        for share in known:
            self._grows.setdefault((ref, share.pool), Series()).add(now, share.size)
        rest = self._rests.get(ref)
        if resident.busy or (rest is not None and resident.idle_for < rest.since(now)):
            self._rests.pop(ref, None)
            if ref in self.leaks:
                self.leaks = {r: n for r, n in self.leaks.items() if r != ref}
        if resident.busy:
            return
        rest = self._rests.setdefault(ref, Series(LEAK_SPACING))
        if rest.add(now, sum(s.size for s in known)):
            rate = rest.growth()
            if rate is not None:
                self.leaks = {**self.leaks, ref: rate}
            elif ref in self.leaks:
                self.leaks = {r: n for r, n in self.leaks.items() if r != ref}

    def _outlook(self, pool: PoolId, headroom: int) -> Outlook | None:
        fall = self._falls[pool]
        if headroom < 0 or fall.moved * FAR < headroom * fall.span:
            return None  # short already, or far from it at any rate
        rate = fall.growth()
        if rate is None or headroom > rate * FAR:
            return None
        models = tuple(
            sorted(
                (
                    Growing(ref, own)
                    for (ref, where), series in self._grows.items()
                    if where == pool and (own := series.growth() or series.climb()) is not None
                ),
                key=lambda g: (-g.rate, g.ref),
            )
        )
        if sum(g.rate for g in models) < THEIRS * rate:
            return None
        return Outlook(pool, rate, Seconds(headroom / rate), models)

    def due(self, policy: Policy) -> tuple[PoolId, ...]:
        """The pools that would meet their soft line within the horizon."""
        horizon = policy.growth_horizon
        return tuple(sorted(p for p, o in self.outlooks.items() if o.within <= horizon))

    def foreseen(self, snapshot: Snapshot, policy: Policy) -> tuple[Snapshot, Policy]:
        """The world as it would be when the horizon is reached, of pools for which that is due."""
        drops = {
            pool: Bytes(int(self.outlooks[pool].rate * policy.growth_horizon))
            for pool in self.due(policy)
        }
        budgets = {
            p.id: replace(policy.pools[p.id], budget=Amount(Bytes(max(1, budget - drops[p.id]))))
            for p in snapshot.pools
            if p.id in drops and (budget := policy.budget_of(p)) is not None
        }
        pools = tuple(_fallen(p, drops[p.id]) if p.id in drops else p for p in snapshot.pools)
        changed = replace(policy, pools={**policy.pools, **budgets}) if budgets else policy
        return replace(snapshot, pools=pools), changed


def _fallen(pool: MemoryPool, drop: int) -> MemoryPool:
    used = pool.device_used
    return replace(
        pool,
        free=Bytes(max(0, pool.free - drop)),
        device_used=None if used is None else Bytes(used + drop),
    )
