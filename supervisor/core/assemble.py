"""Folds what the machine and the engines say into one snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from collectors.reading import (
    NONE,
    RAM,
    Bytes,
    Device,
    Health,
    HostFacts,
    Incident,
    MemoryPool,
    PoolId,
    PoolKind,
    ProcessMemory,
    Seconds,
)

from .activity import Track
from .header import UNTOLD, Header, Setup
from .kinship import NOBODY, Kinship
from .listing import NOTHING_LISTED, Listing
from .snapshot import (
    REMOTE,
    EngineState,
    Installed,
    Mapped,
    ModelRef,
    Reservation,
    Resident,
    Share,
    Snapshot,
    Source,
    State,
    usable,
)
from .types import ModelType


@dataclass(frozen=True, slots=True)
class SeenModel:
    """One model as its engine listed it. `state` None: installed, holds no memory.

    `pids` are the processes that hold this model and nothing else; where there are none,
    `reported` (all bytes) and `reported_gpu` (the part on accelerators) are all there is.
    """

    ref: ModelRef
    state: State | None
    reported: Bytes | None = None
    reported_gpu: Bytes | None = None
    file_size: Bytes | None = None
    pids: tuple[int, ...] = ()
    track: Track | None = None
    context: int | None = None
    expires_at: float | None = None
    keep_alive: Seconds | None = None
    trouble: str | None = None
    due: bool = False
    setup: Setup = UNTOLD
    header: Header | None = None
    type: ModelType | None = None
    npu: bool = False
    anywhere: bool = False
    # Its engine uses these alone; empty: any; REMOTE: none of this machine's.
    tied: frozenset[PoolId] = frozenset()


@dataclass(frozen=True, slots=True)
class SeenMachine:
    """What all collectors say together, and what was not readable. `listing` may be some seconds
    old."""

    pools: tuple[MemoryPool, ...]
    devices: tuple[Device, ...] = ()
    listing: Listing = NOTHING_LISTED
    unlisted: Collection[PoolId] = ()  # nobody can say who holds these
    blind: Mapping[PoolId, str] | None = None
    health: Mapping[str, Health] = field(default_factory=dict)
    host: HostFacts | None = None
    incidents: tuple[Incident, ...] = ()
    read_at: Seconds | None = None  # when the oldest of `pools` was read


def assemble(
    now: Seconds,
    machine: SeenMachine,
    processes: Mapping[int, ProcessMemory],
    engines: Iterable[EngineState],
    models: Iterable[SeenModel],
    *,
    reservations: tuple[Reservation, ...] = (),
    leaving: Collection[ModelRef] = (),
    lingering: Mapping[ModelRef, Bytes] | None = None,
    kin: Kinship = NOBODY,
    residues: Mapping[ModelRef, tuple[Share, ...]] | None = None,
    newcomers: frozenset[ModelRef] = frozenset(),
) -> Snapshot:
    """One snapshot. `processes` are those of the models' pids that could be read."""
    seen = sorted(models, key=lambda m: m.ref)
    residents = []
    for model in seen:
        if model.state is not None:
            resident = _resident(now, model, machine, processes)
            # One that was told to sleep, and does, is where it was sent.
            if model.ref in leaving and resident.state is State.LOADED:
                resident = replace(resident, state=State.LEAVING)
            residents.append(resident)
    mapped = _mapped(residents)
    return Snapshot(
        taken_at=now,
        read_at=now if machine.read_at is None else Seconds(min(now, machine.read_at)),
        pools=tuple(_effective(p, mapped.get(p.id, NONE)) for p in machine.pools),
        residents=tuple(residents),
        blind=dict(machine.blind or {}),
        engines=tuple(sorted(engines, key=lambda e: e.id)),
        installed=tuple(
            Installed(
                m.ref, m.file_size, m.trouble, m.due, m.setup, m.header, m.type, m.npu, m.anywhere
            )
            for m in seen
        ),
        reservations=reservations,
        devices=machine.devices,
        foreign=machine.listing.foreign(frozenset(pid for r in residents for pid in r.pids), kin),
        listed=machine.listing.sums,
        lingering=dict(lingering or {}),
        mapped={
            p.id: Bytes(min(p.free, size)) for p in machine.pools if (size := mapped.get(p.id))
        },
        health=machine.health,
        host=machine.host,
        incidents=machine.incidents,
        residues=residues or {},
        newcomers=newcomers,
    )


def _mapped(residents: Iterable[Resident]) -> dict[PoolId, Bytes]:
    """File pages that models have mapped, by pool; each file once."""
    files = {(m.pool, m.file): m.size for r in residents for m in r.mapped}
    sizes: dict[PoolId, Bytes] = {}
    for (pool, _), size in files.items():
        sizes[pool] = Bytes(sizes.get(pool, NONE) + size)
    return sizes


def _effective(pool: MemoryPool, mapped: Bytes) -> MemoryPool:
    """What would be left of `pool` without stealing pages from a loaded model.

    The kernel calls mapped weights "available": it could drop them, and the model would
    read them back from disk at every token. So they count as held.
    """
    return replace(pool, free=Bytes(max(0, pool.free - mapped))) if mapped else pool


def _resident(
    now: Seconds,
    model: SeenModel,
    machine: SeenMachine,
    processes: Mapping[int, ProcessMemory],
) -> Resident:
    shares, mapped = _measured(model, machine, processes)
    if not shares and not mapped:
        shares = _reported(model, machine)
    track = model.track
    return Resident(
        ref=model.ref,
        shares=shares,
        mapped=mapped,
        state=model.state or State.UNKNOWN,
        busy=track is not None and track.busy,
        in_flight=None if track is None else track.in_flight,
        idle_for=Seconds(0) if track is None else track.idle_for(now),
        busy_for=Seconds(0) if track is None else track.busy_for(now),
        stalled_for=Seconds(0) if track is None else track.stalled_for(now),
        quiet_for=None if track is None else track.quiet_for,
        pids=model.pids,
        context=model.context or model.setup.context,
        expires_at=model.expires_at,
        keep_alive=model.keep_alive,
        slots=model.setup.slots,
        type=model.type,
        npu=model.npu,
    )


def _measured(
    model: SeenModel, machine: SeenMachine, processes: Mapping[int, ProcessMemory]
) -> tuple[tuple[Share, ...], tuple[Mapped, ...]]:
    own: dict[PoolId, int] = {}
    files: dict[str, Bytes] = {}
    unsaid = False
    for pid in model.pids:
        memory = processes.get(pid)
        if memory is not None:
            own[RAM] = own.get(RAM, 0) + memory.anonymous
            files.update({m.file: m.size for m in memory.mapped})
    for holder in machine.listing.held_by(model.pids):
        if holder.size is None:
            unsaid = True
        else:
            own[holder.pool] = own.get(holder.pool, 0) + holder.size
    shares = [Share(p, Bytes(size), Source.MEASURED) for p, size in sorted(own.items()) if size]
    if (
        model.pids and model.reported_gpu and (unsaid or machine.unlisted)
    ):  # the driver hides what it holds
        known = {s.pool for s in shares}
        pool = _accelerator(machine, model.tied)
        if pool is not None and pool not in known and (unsaid or pool in machine.unlisted):
            shares.append(Share(pool, model.reported_gpu, Source.REPORTED))
    mapped = tuple(Mapped(f, RAM, size) for f, size in sorted(files.items()) if size)
    return tuple(shares), mapped


def _reported(model: SeenModel, machine: SeenMachine) -> tuple[Share, ...]:
    """The engine's word, laid into pools; else the size of its file, as an estimate."""
    remote = REMOTE in model.tied
    if model.reported is None:
        if model.file_size is None or model.state is State.SLEEPING:
            return ()
        pool = REMOTE if remote else _accelerator(machine, model.tied) or RAM
        return (Share(pool, model.file_size, Source.ESTIMATED),)
    if remote:
        return (Share(REMOTE, model.reported, Source.REPORTED),) if model.reported else ()
    on_gpu = min(model.reported, model.reported_gpu or NONE)
    accelerator = _accelerator(machine, model.tied)
    if accelerator is None:
        on_gpu = NONE
    shares = []
    if on_gpu and accelerator is not None:
        shares.append(Share(accelerator, Bytes(on_gpu), Source.REPORTED))
    if model.reported > on_gpu:
        shares.append(Share(RAM, Bytes(model.reported - on_gpu), Source.REPORTED))
    return tuple(shares)


def _accelerator(machine: SeenMachine, tied: frozenset[PoolId]) -> PoolId | None:
    """The pool that "on the GPU" means where nobody says which: the fullest accelerator's, of those
    that its engine is `tied` to, if any of them is here.

    What is on one that cannot be read just now has not moved to RAM.
    """
    unread = machine.blind or {}
    known = {p.id for p in machine.pools} | unread.keys()
    mine = usable(known, tied, known)
    dedicated = [p for p in machine.pools if p.kind is PoolKind.DEDICATED and p.id in mine]
    if dedicated:
        return max(dedicated, key=lambda p: (p.used, p.id)).id
    if any(p.kind is PoolKind.UNIFIED for p in machine.pools):
        return RAM
    return min((p for p in unread if p != RAM and p in mine), default=None)
