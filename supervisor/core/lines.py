"""How far a pool may fall: where relief begins, where it begins at once, and how far it goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from collectors.reading import Bytes, MemoryPool, PoolId, Seconds

from .headroom import Tally, rooms
from .policy import Policy, PoolPolicy
from .snapshot import ModelRef, Resident, Snapshot

# Where a line cannot be met whoever leaves, nobody is made to who holds less than this of what is
# missing: it costs a reload and changes nothing.
TOO_SMALL = 0.05


@dataclass(frozen=True, slots=True)
class Lines:
    """Of one pool, in free bytes: `hard` <= `soft` <= `restore`.

    Below `soft` for `grace` seconds, or below `hard`, memory is made free until `restore` is met.
    The soft line is never above the reserve: a load may fill the pool down to that, and whoever
    was let in must not have to leave for it.
    """

    soft: Bytes
    hard: Bytes
    restore: Bytes
    grace: Seconds


def lines_of(pool: MemoryPool, policy: Policy) -> Lines:
    """As the operator says of `pool`; else the reserve, half of it, and the restore margin
    beyond it. Bytes and shares may contradict each other only once the pool is known: then the
    soft line gives way to the reserve, the hard one to the soft, and the restore line to neither.
    """
    own = policy.pools.get(pool.id, PoolPolicy())
    reserve = policy.reserve_of(pool)
    soft = reserve if own.soft is None else min(reserve, own.soft.of(pool.total))
    hard = Bytes(soft // 2) if own.hard is None else min(soft, own.hard.of(pool.total))
    far = soft + min(policy.restore_margin, pool.total)
    restore = far if own.restore is None else max(soft, own.restore.of(pool.total))
    return Lines(Bytes(soft), Bytes(hard), Bytes(restore), policy.grace_of(pool.id))


def for_relief(snapshot: Snapshot, policy: Policy) -> tuple[Policy, dict[PoolId, Bytes]]:
    """The policy with each pool's soft line for its reserve, and how far relief goes beyond it."""
    lines = {pool.id: lines_of(pool, policy) for pool in snapshot.pools}
    beyond = {id: Bytes(line.restore - line.soft) for id, line in lines.items()}
    lowered = {
        pool.id: replace(policy.pools[pool.id], reserve=policy.pools[pool.id].soft)
        for pool in snapshot.pools
        if pool.id in policy.pools
        and policy.pools[pool.id].soft is not None
        and lines[pool.id].soft < policy.reserve_of(pool)
    }
    if lowered:
        policy = replace(policy, pools={**policy.pools, **lowered})
    return policy, beyond


def beyond_soft(snapshot: Snapshot, policy: Policy) -> dict[PoolId, int]:
    """The headroom of each pool beyond its soft line, by what is measured alone."""
    measured = replace(snapshot, reservations=()) if snapshot.reservations else snapshot
    eased, _ = for_relief(measured, policy)
    return {room.pool: room.headroom for room in rooms(measured, eased)}


def too_small(
    tally: Tally,
    leaving: Iterable[Resident],
    asleep: Mapping[ModelRef, Resident],
    lacking: Mapping[PoolId, int],
) -> set[ModelRef]:
    """Who of `leaving` stays after all, where they cannot bring enough together. `lacking`: what
    was missing by pool before anybody left. `tally` is told that they stay.

    Judged by what would be missing more if it alone stayed: bytes of a file that several of them
    have mapped come back only when all of them leave.
    """
    left = [asleep.get(r.ref, r) for r in leaving]
    vain: set[ModelRef] = set()
    while left:
        kept = []
        for resident in left:
            before = tally.lacking
            tally.stay(resident)
            after = tally.lacking
            if any(after.get(p, 0) - before.get(p, 0) >= TOO_SMALL * n for p, n in lacking.items()):
                tally.leave(resident)
                kept.append(resident)
            else:
                vain.add(resident.ref)
        if len(kept) == len(left):
            break
        left = kept
    return vain
