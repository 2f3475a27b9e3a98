"""Where every used byte of a pool is. The parts sum to the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from collectors.reading import NONE, RAM, Bytes, HostFacts, MemoryPool, PoolId

from .snapshot import EngineId, Resident, Snapshot


class Owner(Enum):
    """Who holds a part, in the order in which they are believed."""

    MODEL = "model"
    ENGINE = "engine"  # a process of an engine that holds none of its models alone
    FOREIGN = "foreign"  # a process that is no engine's
    SHARED = "shared"  # shared memory and files in memory that no listed process holds
    KERNEL = "kernel"
    HUGE = "huge pages"
    COMPRESSED = "compressed"  # swap that is kept in RAM
    UNACCOUNTED = "unaccounted"  # driver, contexts, and what could not be looked at


@dataclass(frozen=True, slots=True)
class Part:
    owner: Owner
    name: str
    size: Bytes
    pid: int | None = None
    engine: EngineId | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """The used bytes of one pool. `overlap`: what was counted by several and taken off again."""

    pool: PoolId
    used: Bytes
    parts: tuple[Part, ...]
    overlap: Bytes = NONE


def account(snapshot: Snapshot) -> tuple[Account, ...]:
    """One account for each pool that could be read."""
    return tuple(_of(pool, snapshot) for pool in snapshot.pools)


def _of(pool: MemoryPool, snapshot: Snapshot) -> Account:
    left, overlap = pool.used, 0
    parts: list[Part] = []
    for part in _claims(pool.id, snapshot):
        size = Bytes(min(part.size, left))
        overlap += part.size - size
        left = Bytes(left - size)
        if size:
            parts.append(replace(part, size=size))
    if left:
        parts.append(Part(Owner.UNACCOUNTED, "unaccounted", left))
    return Account(pool.id, pool.used, tuple(parts), Bytes(overlap))


def _claims(pool: PoolId, snapshot: Snapshot) -> Iterator[Part]:
    """Who says they hold what, the best known first."""
    yield from _models(pool, snapshot.residents)
    yield from _engines(pool, snapshot)
    strangers = [f for f in snapshot.foreign if f.pool == pool and f.engine is None]
    for foreign in sorted(strangers, key=lambda f: (-f.size, f.pid)):
        yield Part(Owner.FOREIGN, foreign.name, foreign.size, foreign.pid)
    if pool == RAM and snapshot.host is not None:
        yield from _named(snapshot.host, _in_processes(snapshot))


def _models(pool: PoolId, residents: Iterable[Resident]) -> Iterator[Part]:
    counted: set[str] = set()
    for resident in sorted(residents, key=lambda r: r.ref):
        size: int = sum(s.size for s in resident.shares if s.pool == pool)
        for mapped in resident.mapped:  # a file that several map is the first one's
            if mapped.pool == pool and mapped.file not in counted:
                counted.add(mapped.file)
                size += mapped.size
        if size:
            pid = resident.pids[0] if resident.pids else None
            yield Part(Owner.MODEL, str(resident.ref), Bytes(size), pid, resident.ref.engine)


def _engines(pool: PoolId, snapshot: Snapshot) -> Iterator[Part]:
    """What an engine's processes hold beyond what it reports of models without a process."""
    said: dict[EngineId, int] = {}
    for resident in snapshot.residents:
        if not resident.pids:
            size = sum(s.size for s in resident.shares if s.pool == pool)
            said[resident.engine] = said.get(resident.engine, 0) + size
    own = [f for f in snapshot.foreign if f.pool == pool and f.engine is not None]
    for found in sorted(own, key=lambda f: (f.engine or "", -f.size, f.pid)):
        engine = found.engine or EngineId("")
        modelled = min(found.size, said.get(engine, 0))
        said[engine] = said.get(engine, 0) - modelled
        if found.size > modelled:
            size = Bytes(found.size - modelled)
            yield Part(Owner.ENGINE, found.name, size, found.pid, engine)


def _in_processes(snapshot: Snapshot) -> int:
    """Anonymous and shared bytes of RAM that somebody listed."""
    ours = sum(s.size for r in snapshot.residents for s in r.shares if s.pool == RAM)
    return ours + sum(f.size for f in snapshot.foreign if f.pool == RAM)


def _named(host: HostFacts, listed: int) -> Iterator[Part]:
    """What the kernel names of the RAM that is in no process, or in several."""
    if host.anonymous is not None and host.shared is not None:
        rest = host.anonymous + host.shared - listed
        yield Part(Owner.SHARED, "shared memory, tmpfs", Bytes(max(0, rest)))
    for owner, name, size in (
        (Owner.KERNEL, "kernel", host.kernel),
        (Owner.HUGE, "huge pages", host.huge),
        (Owner.COMPRESSED, "compressed swap", host.zram),
        (Owner.COMPRESSED, "compressed", host.compressed),
    ):
        if size:
            yield Part(owner, name, size)
