"""Where every used byte of a pool is. The parts sum to the whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from collectors.reading import NONE, RAM, Bytes, HostFacts, MemoryPool, PoolId

from .snapshot import EngineId, Foreign, Resident, Snapshot, Source


class Owner(Enum):
    """Who holds a part, in the order in which they are believed."""

    MODEL = "model"
    ENGINE = "engine"  # a process of an engine that holds none of its models alone
    FOREIGN = "foreign"  # a process that is no engine's
    DEVICE = "accelerators"  # RAM that accelerators hold for no process that is listed
    UNSEEN = "unseen"  # processes that this user, or this container, cannot see
    SHARED = "shared"  # shared memory and tmpfs that is in no process, or in several
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
            parts.append(part if size == part.size else replace(part, size=size))
    if left:
        parts.append(Part(Owner.UNACCOUNTED, "unaccounted", left))
    return Account(pool.id, pool.used, tuple(parts), Bytes(overlap))


def _claims(pool: PoolId, snapshot: Snapshot) -> Iterator[Part]:
    """Who says they hold what, the best known first."""
    yield from _models(pool, snapshot.residents)
    foreign = _less_shared(pool, snapshot)
    said = _said(pool, snapshot.residents)
    yield from _engines(foreign, said)
    for found in foreign:
        if found.engine is None:
            yield Part(Owner.FOREIGN, found.name, found.size, found.pid)
    if pool == RAM:
        yield from _in_no_process(snapshot, foreign, _unheld(foreign, said, snapshot))
        yield from _named(_facts(snapshot))


def _less_shared(pool: PoolId, snapshot: Snapshot) -> list[Foreign]:
    """What processes that are no model's hold alone, the largest first. Of shared memory that is
    what one of them has mapped beyond all that the others have together, models' processes too."""
    found, most = [], _shared(snapshot)
    for foreign in (f for f in snapshot.foreign if f.pool == pool):
        if foreign.shared:
            alone = foreign.shared - max(0, snapshot.listed.shared - foreign.shared)
            alone = min(max(0, alone), most)
            size = Bytes(max(0, foreign.size - foreign.shared + alone))
            found.append(foreign._replace(size=size, shared=Bytes(alone)))
        else:
            found.append(foreign)
    return sorted(found, key=lambda f: (-f.size, f.pid))


def _models(pool: PoolId, residents: Iterable[Resident]) -> Iterator[Part]:
    """Who was measured first: what was learned of a model whose engine does not answer may be gone
    long since."""
    counted: set[str] = set()
    for resident in sorted(residents, key=lambda r: (_is_guessed(pool, r), r.ref)):
        size: int = sum(s.size for s in resident.shares if s.pool == pool)
        for mapped in resident.mapped:  # a file that several map is the first one's
            if mapped.pool == pool and mapped.file not in counted:
                counted.add(mapped.file)
                size += mapped.size
        if size:
            pid = resident.pids[0] if resident.pids else None
            yield Part(Owner.MODEL, str(resident.ref), Bytes(size), pid, resident.ref.engine)


def _is_guessed(pool: PoolId, resident: Resident) -> bool:
    return any(s.pool == pool and s.source is not Source.MEASURED for s in resident.shares)


def _said(pool: PoolId, residents: Iterable[Resident]) -> dict[EngineId, int]:
    """What engines report of models whose processes are not known."""
    said: dict[EngineId, int] = {}
    for resident in residents:
        if not resident.pids:
            size = sum(s.size for s in resident.shares if s.pool == pool)
            said[resident.engine] = said.get(resident.engine, 0) + size
    return said


def _engines(foreign: Iterable[Foreign], said: Mapping[EngineId, int]) -> Iterator[Part]:
    """What an engine's processes hold beyond what it reports of models without a process."""
    left = dict(said)
    for found in sorted(foreign, key=lambda f: (f.engine or "", -f.size, f.pid)):
        if found.engine is not None:
            modelled = min(found.size, left.get(found.engine, 0))
            left[found.engine] = left.get(found.engine, 0) - modelled
            size = Bytes(found.size - modelled)
            yield Part(Owner.ENGINE, found.name, size, found.pid, found.engine)


def _unheld(foreign: Iterable[Foreign], said: Mapping[EngineId, int], snapshot: Snapshot) -> Bytes:
    """What models have of RAM by their engine's word alone, and no process that is listed."""
    held: dict[EngineId, int] = {}
    for found in foreign:
        if found.engine is not None:
            held[found.engine] = held.get(found.engine, 0) + found.size
    unheld = sum(max(0, size - held.get(engine, 0)) for engine, size in said.items())
    for resident in (r for r in snapshot.residents if r.pids):
        told = (s for s in resident.shares if s.pool == RAM and s.source is not Source.MEASURED)
        unheld += sum(s.size for s in told)
    return Bytes(unheld)


def _facts(snapshot: Snapshot) -> HostFacts | None:
    """What the kernel says of RAM. Below a limit it says that of the whole machine, which is
    nothing of what is used."""
    host = snapshot.host
    return None if host is None or host.is_limited else host


def _shared(snapshot: Snapshot) -> Bytes:
    """Shared memory and tmpfs, each page once; or what is sure to be there: what one has mapped."""
    host = _facts(snapshot)
    if host is not None and host.shared is not None:
        return host.shared
    return max((f.shared for f in snapshot.foreign), default=NONE)


def _in_no_process(
    snapshot: Snapshot, foreign: Collection[Foreign], unheld: Bytes
) -> Iterator[Part]:
    """What is known to be used and is in no process that is listed, or in several."""
    pool, host, listed = snapshot.pool(RAM), snapshot.host, snapshot.listed
    # Linux has an accelerator's pages in no resident set; a Mac has them in the process's own.
    in_processes = NONE if host is not None and host.anonymous is not None else listed.private
    taken = (NONE if pool is None else pool.device_used) or NONE
    rest = taken - listed.by_drivers - in_processes - unheld
    yield Part(Owner.DEVICE, "accelerators, for nobody listed", Bytes(max(0, rest)))
    host = _facts(snapshot)
    if listed.private and host is not None and host.anonymous is not None:
        rest = host.anonymous - listed.private
        yield Part(Owner.UNSEEN, "processes that cannot be seen", Bytes(max(0, rest)))
    # A model's part has its shared memory in it, as often as its processes have it mapped.
    in_models = listed.shared - sum(f.shared for f in snapshot.foreign)
    rest = _shared(snapshot) - sum(f.shared for f in foreign) - max(0, in_models)
    yield Part(Owner.SHARED, "shared memory, tmpfs", Bytes(max(0, rest)))


def _named(host: HostFacts | None) -> Iterator[Part]:
    """What the kernel counts once and no process has."""
    if host is None:
        return
    for owner, name, size in (
        (Owner.KERNEL, "kernel", host.kernel),
        (Owner.HUGE, "set aside as huge pages", host.huge),
        (Owner.COMPRESSED, "compressed swap", host.zram),
        (Owner.COMPRESSED, "compressed memory", host.compressed),
    ):
        if size:
            yield Part(owner, name, size)
