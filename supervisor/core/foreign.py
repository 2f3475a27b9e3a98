"""Who of those that are no models has taken memory, and what their rule says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from collectors.reading import NONE, Bytes, MemoryPool, PoolId, Seconds, mib

from .foreign_rule import ForeignRule, rule_for
from .headroom import held
from .policy import Policy
from .snapshot import EngineId, Snapshot

# Nobody leaves because of these, and nobody comes back after them.
LET_BE = frozenset({ForeignRule.IGNORE, ForeignRule.REFUSE, ForeignRule.ALERT})

NOBODY = 0  # stands for the pid of those who are in no process that is listed
UNLISTED = "somebody who is not listed"

# What counts as having taken memory: the noise of a desktop is less.
WORTH = mib(64)
NOTICED = mib(8)  # and a process that holds less is passed over altogether
# Who has given back all but this part of what it had taken has ended, whether or not its process
# lives on.
LEFT_OVER = 0.25
# How long before a pool fell short it is looked at who has grown.
LOOK_BACK = Seconds(60.0)


@dataclass(frozen=True, slots=True)
class Taken:
    """What strangers hold of one pool: of each process by its pid, with its name, and of all
    together, those included who are in no list. In bytes."""

    at: Seconds
    total: Bytes
    by_pid: Mapping[int, tuple[str, Bytes]]


@dataclass(frozen=True, slots=True)
class Culprit:
    """A stranger who took `grown` bytes of a pool, beyond the `base` that it had before."""

    pid: int
    name: str
    rule: ForeignRule
    base: Bytes
    grown: Bytes

    def is_there(self, now: Taken) -> bool:
        name, size = now.by_pid.get(self.pid, ("", NONE))
        if self.pid == NOBODY:
            size = now.total
        elif name != self.name:
            return False  # its pid is somebody else's by now
        return size > self.base + LEFT_OVER * self.grown


def taken(snapshot: Snapshot) -> dict[PoolId, Taken]:
    """What strangers hold of each pool that could be read: what is used, and by no model and no
    process of an engine. What several may have mapped is nobody's own."""
    models = held(snapshot)
    engines = _engines(snapshot)
    by_pool: dict[PoolId, dict[int, tuple[str, Bytes]]] = {p.id: {} for p in snapshot.pools}
    for stranger in snapshot.foreign:
        own = stranger.size - stranger.shared
        if own >= NOTICED and stranger.engine is None and stranger.pool in by_pool:
            by_pool[stranger.pool][stranger.pid] = (stranger.name, Bytes(own))
    found = {}
    for pool in snapshot.pools:
        total = pool.used - models.get(pool.id, NONE) - engines.get(pool.id, 0)
        found[pool.id] = Taken(snapshot.taken_at, Bytes(max(0, total)), by_pool[pool.id])
    return found


def _engines(snapshot: Snapshot) -> dict[PoolId, int]:
    """What engines' processes hold beyond what their engines report of models without one."""
    rest: dict[tuple[PoolId, EngineId], int] = {}
    for process in snapshot.foreign:
        if process.engine is not None:
            key = process.pool, process.engine
            rest[key] = rest.get(key, 0) + process.size
    for resident in snapshot.residents if rest else ():
        for share in resident.shares if not resident.pids else ():
            if (key := (share.pool, resident.engine)) in rest:
                rest[key] -= share.size
    sums: dict[PoolId, int] = {}
    for (pool, _), size in rest.items():
        sums[pool] = sums.get(pool, 0) + max(0, size)
    return sums


def culprits(pool: PoolId, now: Taken, before: Taken | None, policy: Policy) -> tuple[Culprit, ...]:
    """Who has taken memory since `before`, the most first.

    Where nobody knows what was before, whoever a rule names has taken all that it has, and
    nobody else is blamed.
    """
    known = before or Taken(now.at, now.total, {})
    grown = []
    for pid, (name, size) in now.by_pid.items():
        rule = rule_for(policy.strangers, name, size)
        was, had = known.by_pid.get(pid, (name, size if before is None and rule is None else NONE))
        base = had if was == name else NONE
        if size - base >= WORTH:
            rule = rule or policy.foreign_of(pool)
            grown.append(Culprit(pid, name, rule, Bytes(base), Bytes(size - base)))
    listed = sum(size - _was(known, pid, name) for pid, (name, size) in now.by_pid.items())
    unlisted = now.total - known.total - max(0, listed) if before is not None else 0
    if unlisted >= WORTH:
        rule = policy.foreign_of(pool)
        base = Bytes(now.total - unlisted)
        grown.append(Culprit(NOBODY, UNLISTED, rule, base, Bytes(unlisted)))
    return tuple(sorted(grown, key=lambda c: (-c.grown, c.pid)))


def _was(before: Taken, pid: int, name: str) -> Bytes:
    was, size = before.by_pid.get(pid, (name, NONE))
    return size if was == name else NONE


def forgiven(snapshot: Snapshot, guilty: Mapping[PoolId, Iterable[Culprit]]) -> Snapshot:
    """The snapshot as it would be if those whose rule says that nobody leaves for them had taken
    nothing."""
    back = {
        pool: sum(c.grown for c in of_pool if c.rule in LET_BE) for pool, of_pool in guilty.items()
    }
    if not any(back.values()):
        return snapshot
    return replace(snapshot, pools=tuple(_eased(p, back.get(p.id, 0)) for p in snapshot.pools))


def _eased(pool: MemoryPool, size: int) -> MemoryPool:
    return replace(pool, free=Bytes(min(pool.total, pool.free + size))) if size else pool


def named(snapshot: Snapshot, policy: Policy) -> dict[PoolId, list[Culprit]]:
    """Those whose rule holds as soon as they are there, short or not: it names them, and refuses
    or tells."""
    found: dict[PoolId, list[Culprit]] = {}
    if not policy.strangers:
        return found
    for stranger in snapshot.foreign:
        if stranger.engine is None:
            rule = rule_for(policy.strangers, stranger.name, stranger.size)
            if rule in (ForeignRule.REFUSE, ForeignRule.ALERT):
                one = Culprit(stranger.pid, stranger.name, rule, NONE, stranger.size)
                found.setdefault(stranger.pool, []).append(one)
    return found
