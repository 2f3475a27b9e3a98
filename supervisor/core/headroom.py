"""Arithmetic on pools. The only file that subtracts bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from collectors.reading import NONE, Bytes, MemoryPool, PoolId

from .policy import Policy
from .snapshot import ModelRef, Reservation, Resident, Share, Snapshot, Source, State

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
    jobs: Bytes = NONE  # the part of `promised` that is for foreign jobs, and not of the budget


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
        if reservation.ref is not None:
            resident = snapshot.resident(reservation.ref)
            there = NONE if resident is None else _arrived(snapshot, resident, pool)
            granted = sum(s.size for s in reservation.shares if s.pool == pool)
            total += max(0, granted - there)
    return Bytes(total)


def _arrived(snapshot: Snapshot, resident: Resident, pool: PoolId) -> Bytes:
    """What it holds of `pool`; while it loads only what was measured, for whoever says otherwise
    says what it will hold. So it is as long as it is new: the memory may have been read before its
    engine was asked."""
    if resident.state is not State.LOADING and resident.ref not in snapshot.newcomers:
        return resident.holds(pool)
    later = (s.size for s in resident.shares if s.pool == pool and s.source is not Source.MEASURED)
    return Bytes(resident.holds(pool) - sum(later))


def set_aside(snapshot: Snapshot, pool: PoolId) -> Bytes:
    """What is granted to foreign jobs, less what their processes already hold, where a driver or
    the kernel says so."""
    return Bytes(sum(granted - used for _, granted, used in jobs(snapshot, pool)))


def jobs(snapshot: Snapshot, pool: PoolId) -> list[tuple[Reservation, Bytes, Bytes]]:
    """Foreign jobs, what each was granted of `pool`, and how much of that its processes hold. What
    processes hold that are those of several jobs counts once, for the first."""
    found: list[tuple[Reservation, Bytes, Bytes]] = []
    for reservation in snapshot.reservations:
        if reservation.ref is None:
            granted = Bytes(sum(s.size for s in reservation.shares if s.pool == pool))
            before = sum(used for other, _, used in found if other.pids & reservation.pids)
            there = max(0, taken(snapshot, reservation, pool) - before)
            found.append((reservation, granted, Bytes(min(granted, there))))
    return found


def taken(snapshot: Snapshot, reservation: Reservation, pool: PoolId) -> Bytes:
    """What the processes of a foreign job hold of `pool`, at least. The shared memory of several
    may be the same, mapped by each: as much as one of them has is there, the rest may not be."""
    if not reservation.pids:
        return NONE
    mine = [f for f in snapshot.foreign if f.pool == pool and f.pid in reservation.pids]
    alone = sum(f.size - f.shared for f in mine)
    return Bytes(alone + max((f.shared for f in mine), default=NONE))


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
    jobs = set_aside(snapshot, pool.id) if snapshot.reservations else NONE
    granted = Bytes(promised(snapshot, pool.id) + jobs)
    bounds = []
    if budget is not None:
        bounds.append(budget - used_by_models + jobs)
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
        jobs=jobs,
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
            back += _leave(resident, mappers).get(pool, 0)
    return Bytes(back)


def releases(snapshot: Snapshot, victims: Sequence[Resident]) -> list[tuple[Share, ...]]:
    """What each of `victims` gives back, pool by pool, when they leave in this order."""
    mappers = _mappers(snapshot) if any(v.mapped for v in victims) else {}
    promises: list[tuple[Share, ...]] = []
    for victim in victims:
        shares = victim.shares
        if not victim.mapped and len(shares) == 1:  # as most are, and there may be many
            promises.append(shares if shares[0].size > 0 else ())
            continue
        source = {m.pool: Source.MEASURED for m in victim.mapped}
        source |= {s.pool: s.source for s in shares}
        back = sorted(_leave(victim, mappers).items())
        promises.append(tuple(Share(p, Bytes(n), source[p]) for p, n in back if n > 0))
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
        limited = any(own.budget is not None for own in policy.pools.values())
        held_by_models = held(snapshot) if limited else {}  # nobody else asks for it here
        found = (p for p in snapshot.pools if p.id in self._wanted)
        self._rooms = {
            p.id: _room(snapshot, policy, p, held_by_models.get(p.id, NONE)) for p in found
        }
        # What is left over by each bound on a pool, less what is wanted: it grows with what is
        # freed, but nothing frees more than there is.
        self._over = {p: self._left(p, r) for p, r in self._rooms.items()}
        self._most = {
            p: r.total - r.reserve - r.promised - self._wanted[p] for p, r in self._rooms.items()
        }
        self._snapshot = snapshot
        self._mapped_by: dict[tuple[PoolId, str], int] | None = None  # counted when needed
        self._lacking: dict[PoolId, int] = {}  # only what is missing, so empty when all fits
        for pool, size in self._wanted.items():
            if pool in self._over:
                self._give(pool, 0)
            elif size > 0:
                self._lacking[pool] = size

    @property
    def _mappers(self) -> dict[tuple[PoolId, str], int]:
        if self._mapped_by is None:
            self._mapped_by = _mappers(self._snapshot)
        return self._mapped_by

    def _left(self, pool: PoolId, room: Room) -> int:
        bounds = [room.free - room.reserve]
        if room.budget is not None:
            bounds.append(room.budget - room.held + room.jobs)
        if room.device_spare is not None:
            bounds.append(room.device_spare)
        return min(bounds) - room.promised - self._wanted[pool]

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
        if pool not in self._over:
            return
        over = self._over[pool] = self._over[pool] + size
        over = min(over, self._most[pool])
        if over < 0:
            self._lacking[pool] = -over
        else:
            self._lacking.pop(pool, None)

    def needs(self, resident: Resident) -> bool:
        """Would more be missing if it stayed? Judged by its own bytes: files that it has mapped
        may make it so, too."""
        over, most = self._over, self._most
        for share in resident.shares:
            left = over.get(share.pool)
            if left is not None and share.size > 0:
                without = min(left - share.size, most[share.pool])
                if without < 0 and without < min(left, most[share.pool]):
                    return True
        return False

    @property
    def lacking(self) -> dict[PoolId, int]:
        """Bytes missing by pool, of the pools that lack any; a copy."""
        return dict(self._lacking)

    @property
    def fits(self) -> bool:
        return not self._lacking

    def missing(self) -> Wanted:
        return tuple(Share(p, Bytes(n)) for p in self._wanted if (n := self._lacking.get(p)))

    def gives(self, resident: Resident) -> tuple[tuple[PoolId, int], ...]:
        """What each pool that lacks bytes would get back if it alone left now."""
        lacking, shares = self._lacking, resident.shares
        if not resident.mapped and len(shares) == 1:  # as most are, and there may be many
            share = shares[0]
            return ((share.pool, share.size),) if share.pool in lacking and share.size > 0 else ()
        gives: dict[PoolId, int] = {}
        for share in shares:
            if share.size > 0 and share.pool in lacking:
                gives[share.pool] = gives.get(share.pool, 0) + share.size
        for mapping in resident.mapped:
            if mapping.pool in lacking and self._mappers[mapping.pool, mapping.file] == 1:
                gives[mapping.pool] = gives.get(mapping.pool, 0) + mapping.size
        return tuple(gives.items())

    def helps(self, resident: Resident) -> bool:
        """Does it hold anything where something is missing?"""
        lacking = self._lacking
        for share in resident.shares:
            if share.pool in lacking and share.size > 0:
                return True
        if not resident.mapped:
            return False
        return any(m.pool in lacking and m.size > 0 for m in resident.mapped)


def without(snapshot: Snapshot, victims: Collection[ModelRef]) -> Snapshot:
    """The snapshot as it would be with those residents gone."""
    pools = tuple(given_back(p, frees(snapshot, victims, p.id)) for p in snapshot.pools)
    leaving = set(victims)
    kept = tuple(r for r in snapshot.residents if r.ref not in leaving)
    return replace(snapshot, pools=pools, residents=kept)


def given_back(pool: MemoryPool, size: Bytes) -> MemoryPool:
    """The pool with so many bytes more that are free."""
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
    count: dict[tuple[PoolId, str], int] = {}
    for resident in snapshot.residents:
        for mapping in resident.mapped:
            key = mapping.pool, mapping.file
            count[key] = count.get(key, 0) + 1
    return count


def _leave(resident: Resident, mappers: dict[tuple[PoolId, str], int]) -> dict[PoolId, int]:
    """What each pool gets back, in bytes."""
    back: dict[PoolId, int] = {}
    for share in resident.shares:
        back[share.pool] = back.get(share.pool, 0) + share.size
    for mapping in resident.mapped:
        key = mapping.pool, mapping.file
        mappers[key] -= 1
        if mappers[key] == 0:
            back[mapping.pool] = back.get(mapping.pool, 0) + mapping.size
    return back
