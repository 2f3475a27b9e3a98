"""Arithmetic on pools. The only file that subtracts bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from collectors.reading import NONE, Bytes, MemoryPool, PoolId

from .policy import Policy
from .snapshot import ModelRef, Resident, Share, Snapshot, Source

Wanted = tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Room:
    """One pool, seen by whoever decides. All in bytes; `headroom` may be negative.

    `free` and `headroom` leave the mapped weights of loaded models alone; `hard` is the headroom
    if the kernel dropped those, at the price of reading them back at every token.
    """

    pool: PoolId
    total: Bytes
    free: Bytes
    reserve: Bytes  # never handed out
    budget: Bytes | None  # what models may hold of it, all together
    held: Bytes  # what models hold of it
    promised: Bytes  # granted, and not yet measured as used
    foreign: Bytes  # used, and held by no model
    headroom: int
    hard: int
    device_spare: int | None = None  # what accelerators may still take of a unified pool


def held(snapshot: Snapshot) -> dict[PoolId, Bytes]:
    """What all residents hold of each pool; a file that several have mapped counts once."""
    own: dict[PoolId, int] = {}
    files: dict[tuple[PoolId, str], int] = {}
    for resident in snapshot.residents:
        for share in resident.shares:
            own[share.pool] = own.get(share.pool, 0) + share.size
        for mapping in resident.mapped:
            files[mapping.pool, mapping.file] = mapping.size
    for (pool, _), size in files.items():
        own[pool] = own.get(pool, 0) + size
    return {pool: Bytes(size) for pool, size in own.items()}


def promised(snapshot: Snapshot, pool: PoolId) -> Bytes:
    """What is granted and not yet measured. What a loading model already holds is no promise."""
    total = 0
    for reservation in snapshot.reservations:
        resident = snapshot.resident(reservation.ref)
        there = NONE if resident is None else resident.holds(pool)
        granted = sum(s.size for s in reservation.shares if s.pool == pool)
        total += max(0, granted - there)
    return Bytes(total)


def rooms(
    snapshot: Snapshot, policy: Policy, pools: Collection[PoolId] | None = None
) -> tuple[Room, ...]:
    """The rooms of `pools`, by default of all that could be read."""
    holdings = held(snapshot)
    return tuple(
        _room(snapshot, policy, p, holdings.get(p.id, NONE))
        for p in snapshot.pools
        if pools is None or p.id in pools
    )


def _room(snapshot: Snapshot, policy: Policy, pool: MemoryPool, used_by_models: Bytes) -> Room:
    """Headroom = free bytes, less the reserve and what is promised; and within the budget."""
    reserve = policy.reserve_of(pool)
    budget = policy.budget_of(pool)
    granted = promised(snapshot, pool.id)
    bounds = []
    if budget is not None:
        bounds.append(budget - used_by_models)
    device_spare = None
    if pool.device_limit is not None and pool.device_used is not None:
        device_spare = pool.device_limit - pool.device_used
        bounds.append(device_spare)
    spare = pool.free - reserve
    mapped = snapshot.mapped.get(pool.id, NONE)
    return Room(
        pool=pool.id,
        total=pool.total,
        free=pool.free,
        reserve=reserve,
        budget=budget,
        held=used_by_models,
        promised=granted,
        foreign=Bytes(max(0, pool.used - used_by_models)),
        headroom=min([spare, *bounds]) - granted,
        hard=min([spare + mapped, *bounds]) - granted,
        device_spare=device_spare,
    )


def shortfall(snapshot: Snapshot, policy: Policy, wanted: Wanted) -> Wanted:
    """What is missing, pool by pool, before `wanted` fits. Empty when it fits."""
    return Tally(snapshot, policy, wanted).missing()


def frees(snapshot: Snapshot, victims: Collection[ModelRef], pool: PoolId) -> Bytes:
    """What `pool` gets back when all of `victims` are gone.

    Pages of a file that a survivor has mapped too do not come back.
    """
    mappers = _mappers(snapshot)
    leaving = set(victims)
    back = 0
    for resident in snapshot.residents:
        if resident.ref in leaving:
            back += _leave(resident, pool, mappers)
    return Bytes(back)


def releases(snapshot: Snapshot, victims: Sequence[Resident]) -> list[tuple[Share, ...]]:
    """What each of `victims` gives back, pool by pool, when they leave in this order."""
    mappers = _mappers(snapshot)
    promises = []
    for victim in victims:
        source = {s.pool: s.source for s in victim.shares}
        back = {p: _leave(victim, p, mappers) for p in sorted(victim.pools)}
        promises.append(
            tuple(
                Share(p, Bytes(size), source.get(p, Source.MEASURED))
                for p, size in back.items()
                if size > 0
            )
        )
    return promises


class Tally:
    """What is still missing for `wanted`, while residents are tried as victims one by one.

    The same arithmetic as `room`, kept up to date in steps that do not depend on how many
    residents there are: a plan over a thousand of them tries thousands of sets.

    A pool that could not be read has nothing to give, and evicting cannot change that: so
    nobody is ever evicted on the strength of a reading we do not have.
    """

    def __init__(self, snapshot: Snapshot, policy: Policy, wanted: Wanted) -> None:
        self._wanted = _by_pool(wanted)
        self._rooms = {r.pool: r for r in rooms(snapshot, policy, self._wanted)}
        self._freed: dict[PoolId, int] = dict.fromkeys(self._rooms, 0)
        self._mappers = _mappers(snapshot)
        self._lacking: dict[PoolId, int] = {}  # only what is missing, so empty when all fits
        for pool in self._wanted:
            self._weigh(pool)

    def leave(self, resident: Resident) -> None:
        for share in resident.shares:
            self._give(share.pool, share.size)
        for mapping in resident.mapped:
            self._mappers[mapping.pool, mapping.file] -= 1
            if self._mappers[mapping.pool, mapping.file] == 0:
                self._give(mapping.pool, mapping.size)

    def stay(self, resident: Resident) -> None:
        for share in resident.shares:
            self._give(share.pool, -share.size)
        for mapping in resident.mapped:
            if self._mappers[mapping.pool, mapping.file] == 0:
                self._give(mapping.pool, -mapping.size)
            self._mappers[mapping.pool, mapping.file] += 1

    def _give(self, pool: PoolId, size: int) -> None:
        if pool in self._freed:
            self._freed[pool] += size
            self._weigh(pool)

    @property
    def lacking(self) -> dict[PoolId, int]:
        """Bytes missing by pool, of the pools that lack any; a copy."""
        return dict(self._lacking)

    @property
    def fits(self) -> bool:
        return not self._lacking

    def missing(self) -> Wanted:
        return tuple(Share(p, Bytes(n)) for p in self._wanted if (n := self._lacking.get(p)))

    def helps(self, resident: Resident) -> bool:
        """Does it hold anything where something is missing?"""
        return any(s.size > 0 and s.pool in self._lacking for s in resident.shares) or any(
            m.size > 0 and m.pool in self._lacking for m in resident.mapped
        )

    def _weigh(self, pool: PoolId) -> None:
        lack = self._wanted[pool] - self._spare(pool)
        if lack > 0:
            self._lacking[pool] = lack
        else:
            self._lacking.pop(pool, None)

    def _spare(self, pool: PoolId) -> int:
        known = self._rooms.get(pool)
        if known is None:
            return 0
        freed = self._freed[pool]
        spare = min(known.total, known.free + freed) - known.reserve
        if known.budget is not None:
            spare = min(spare, known.budget - known.held + freed)
        if known.device_spare is not None:
            spare = min(spare, known.device_spare + freed)
        return spare - known.promised


def without(snapshot: Snapshot, victims: Collection[ModelRef]) -> Snapshot:
    """The snapshot as it would be with those residents gone."""
    pools = tuple(_given_back(p, frees(snapshot, victims, p.id)) for p in snapshot.pools)
    leaving = set(victims)
    kept = tuple(r for r in snapshot.residents if r.ref not in leaving)
    return replace(snapshot, pools=pools, residents=kept)


def _given_back(pool: MemoryPool, size: Bytes) -> MemoryPool:
    used = pool.device_used
    return replace(
        pool,
        free=Bytes(min(pool.total, pool.free + size)),
        device_used=None if used is None else Bytes(max(0, used - size)),
    )


def _by_pool(wanted: Iterable[Share]) -> dict[PoolId, Bytes]:
    sizes: dict[PoolId, Bytes] = {}
    for share in wanted:
        sizes[share.pool] = Bytes(sizes.get(share.pool, NONE) + share.size)
    return sizes


def _mappers(snapshot: Snapshot) -> dict[tuple[PoolId, str], int]:
    """How many residents have each file mapped."""
    return dict(Counter((m.pool, m.file) for r in snapshot.residents for m in r.mapped))


def _leave(resident: Resident, pool: PoolId, mappers: dict[tuple[PoolId, str], int]) -> int:
    back: int = sum(s.size for s in resident.shares if s.pool == pool)
    for mapping in resident.mapped:
        if mapping.pool == pool:
            mappers[pool, mapping.file] -= 1
            if mappers[pool, mapping.file] == 0:
                back += mapping.size
    return back
