"""How far a pool may fall: where relief begins, where it begins at once, and how far it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from collectors.reading import Bytes, MemoryPool, PoolId, Seconds

from .actions import Evict, Plan, Why
from .headroom import rooms
from .policy import Policy, PoolPolicy
from .snapshot import Share, Snapshot

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


def worthwhile(plan: Plan, lacking: Mapping[PoolId, int]) -> Plan:
    """A relief that cannot be enough, without those who are too small to matter. `lacking`: what
    was missing by pool before anybody left."""
    if any(e.why is not Why.MAKES_ROOM for e in plan.evictions):
        return plan  # who goes because another goes: they are not told apart
    vain = {e.ref: e for e in plan.evictions if not _matters(e, lacking)}
    if not vain:
        return plan
    left = {s.pool: s.size for s in plan.unmet}
    for share in (s for e in vain.values() for s in e.frees if s.pool in lacking):
        left[share.pool] = Bytes(left.get(share.pool, 0) + share.size)
    return replace(
        plan,
        actions=tuple(a for a in plan.actions if a.ref not in vain),
        notes=tuple(n._replace(why=Why.TOO_SMALL) if n.ref in vain else n for n in plan.notes),
        unmet=tuple(Share(pool, size) for pool, size in sorted(left.items())),
    )


def _matters(action: Evict, lacking: Mapping[PoolId, int]) -> bool:
    useful = (s for s in action.frees if s.pool in lacking)
    return any(s.size >= TOO_SMALL * lacking[s.pool] for s in useful)
