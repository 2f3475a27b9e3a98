"""What will a model take, before it is loaded? The best source first.

Measured, then the engine's word, are for models that are there; of others: learned in the same
setup, the operator's word, worked out from the header, learned in another setup, and at last the
size of the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from enum import Enum

from collectors.reading import NONE, RAM, Bytes, MemoryPool, PoolId, PoolKind

from .estimate import DEVICE_OVERHEAD, PROCESS, Estimate, estimate
from .headroom import rooms
from .policy import Amount, Policy
from .snapshot import (
    REMOTE,
    Demand,
    EngineId,
    Installed,
    ModelRef,
    Reservation,
    Resident,
    Share,
    Snapshot,
    Source,
    State,
    usable,
)


class Moment(Enum):
    """When a model held what it was seen to hold."""

    LOADED = "loaded"
    PEAK = "peak"  # at the height of its load, which may take more than it keeps
    ASLEEP = "asleep"


# By how much more is made room for, by the source of the number. Whatever is kept free on purpose
# is paid for in reloads, and the reserve bears what is off by a percent.
MARGINS = {
    Source.MEASURED: 1.0,
    # Without what the driver keeps, which the height of a load shows: that is learned as it is.
    Source.REPORTED: 1.0,
    # The most of two days, at the height of a load: ten loads in a row were within 0.3 %.
    Source.LEARNED: 1.0,
    Source.DECLARED: 1.0,  # the operator's word is taken as it stands
    # Exact for weights and cache; compute buffers of engines that were not measured, and of before
    # 2026, may have 300 MiB more: a tenth of a small model of today.
    Source.ESTIMATED: 1.1,
}
# Weights are most of a file; the rest is the KV cache, compute buffers and a context.
OVER_FILE_SIZE = 1.2


def expect(
    snapshot: Snapshot,
    policy: Policy,
    ref: ModelRef,
    learned: tuple[Share, ...] | None,
    peak: tuple[Share, ...] | None = None,
    otherwise: tuple[Share, ...] | None = None,
) -> Demand | None:
    """The demand for `ref`: what it held the last time, and took at the height of its load where
    that was more; else the operator's word, or a guess. `otherwise` is what it held in another
    setup. Where nobody ever measured that, nor tells the size of its file, it is `peak` alone.

    None where nothing at all is known of its size. On another machine it takes nothing of this one.
    """
    if REMOTE in policy.pools_of(ref.engine):
        return Demand((Share(REMOTE, NONE, Source.DECLARED),), ref)
    shares = _known(snapshot, learned, peak) or _declared(snapshot, policy, ref)
    installed = snapshot.entry(ref) or Installed(ref)
    shares = shares or _estimated(snapshot, policy, installed)
    shares = shares or _known(snapshot, otherwise) or _by_file(snapshot, policy, installed)
    if not shares and not learned:
        shares = _taken(snapshot, policy, ref, peak)
    return Demand(_where_it_may(snapshot, policy, ref, shares), ref) if shares else None


def unsized(snapshot: Snapshot, policy: Policy, ref: ModelRef) -> Demand:
    """The demand for one of which nothing is known: it takes no byte that could be counted, of the
    pools in which it will be. So it comes once those have their reserve, for which others may
    go."""
    setup = (snapshot.entry(ref) or Installed(ref)).setup
    if setup.offloaded == 0:
        pools = [RAM]
    else:
        best = _by_headroom(snapshot, policy, ref.engine)[: setup.devices or 1]
        pools = [p.id for p in best] or [_likely(snapshot, policy, ref.engine)]
    return Demand(tuple(Share(pool, NONE, Source.ESTIMATED) for pool in pools), ref)


def better(
    snapshot: Snapshot, policy: Policy, resident: Resident, learned: tuple[Share, ...] | None
) -> Resident:
    """`resident` with what was learned or declared of it, where nobody says what it holds now."""
    if not is_guessed(resident) or REMOTE in policy.pools_of(resident.engine):
        return resident
    shares = _known(snapshot, learned)
    if not shares and (declared := _said(policy, resident.ref)) is not None and resident.shares:
        pool = snapshot.pool(resident.shares[0].pool)
        if pool is not None:
            shares = (Share(pool.id, declared.of(pool.total), Source.DECLARED),)
    return replace(resident, shares=shares) if shares else resident


def at_least(demand: Demand, amount: Amount, snapshot: Snapshot) -> Demand:
    """`demand`, of no less than `amount` in the pool of which it takes most, RAM only where there
    is no other."""
    first = max(demand.shares, key=lambda s: (s.pool != RAM, s.size, s.pool), default=None)
    pool = None if first is None else snapshot.pool(first.pool)
    if first is None or pool is None or first.size >= (size := amount.of(pool.total)):
        return demand
    more = replace(first, size=size, source=Source.DECLARED)
    return replace(demand, shares=tuple(more if s is first else s for s in demand.shares))


def to_be_filled(snapshot: Snapshot, policy: Policy) -> tuple[Reservation, ...]:
    """What parts of models that span hosts will take yet, while somebody holds them: the engine of
    one is there before its leader fills it."""
    held = {lease.ref for lease in snapshot.leases}
    found = []
    for resident in snapshot.residents:
        own = policy.models.get(str(resident.ref)) if resident.ref in held else None
        if own is None or not own.part or own.memory is None or resident.state is not State.LOADED:
            continue
        most = max(resident.shares, key=lambda s: (s.pool != RAM, s.size, s.pool), default=None)
        pool = snapshot.pool(
            _likely(snapshot, policy, resident.engine) if most is None else most.pool
        )
        if pool is not None:
            share = Share(pool.id, own.memory.of(pool.total), Source.DECLARED)
            found.append(Reservation(resident.ref, (share,)))
    return tuple(found)


def is_guessed(resident: Resident) -> bool:
    """Is what it holds nobody's word, and no measurement?"""
    if resident.mapped or resident.state is State.SLEEPING:
        return False
    return all(share.source is Source.ESTIMATED for share in resident.shares)


def _known(
    snapshot: Snapshot, kept: tuple[Share, ...] | None, peak: tuple[Share, ...] | None = None
) -> tuple[Share, ...]:
    """What was learned, unless it was of a pool that is gone."""
    if not kept:
        return ()
    shares = _highest(kept, peak) if peak else kept
    known = {p.id for p in snapshot.pools} | snapshot.blind.keys()
    return _with_margin(shares) if all(share.pool in known for share in shares) else ()


def _declared(snapshot: Snapshot, policy: Policy, ref: ModelRef) -> tuple[Share, ...]:
    declared = _said(policy, ref)
    if declared is None:
        return ()
    pool = _likely(snapshot, policy, ref.engine)
    found = snapshot.pool(pool)
    size = declared.size if found is None else declared.of(found.total)
    return (Share(pool, size, Source.DECLARED),) if size else ()


def _taken(
    snapshot: Snapshot, policy: Policy, ref: ModelRef, peak: tuple[Share, ...] | None
) -> tuple[Share, ...]:
    """What its pools had less when it had come, though nobody knows which process it is. RAM alone
    is not all of one that goes to an accelerator."""
    shares = _known(snapshot, peak)
    ends = any(s.pool != RAM for s in shares) or _likely(snapshot, policy, ref.engine) == RAM
    return shares if ends else ()


def _said(policy: Policy, ref: ModelRef) -> Amount | None:
    """The operator's word for what `ref` takes."""
    said = (policy.models[k].memory for k in (str(ref), ref.model) if k in policy.models)
    return next((amount for amount in said if amount is not None), None)


def _by_file(snapshot: Snapshot, policy: Policy, installed: Installed) -> tuple[Share, ...]:
    if installed.size is None:
        return ()
    size = Bytes(int(installed.size * OVER_FILE_SIZE))
    return (Share(_likely(snapshot, policy, installed.ref.engine), size, Source.ESTIMATED),)


def _likely(snapshot: Snapshot, policy: Policy, engine: EngineId) -> PoolId:
    """Where an engine will load what it is not told a place for: of the accelerators that it may
    use the one with the most headroom. One that cannot be read is still where it will be, rather
    than RAM."""
    best = _by_headroom(snapshot, policy, engine)
    blind = within(snapshot, policy, engine, snapshot.blind.keys() - {RAM})
    return best[0].id if best else min(blind, default=RAM)


def _by_headroom(snapshot: Snapshot, policy: Policy, engine: EngineId) -> list[MemoryPool]:
    """The accelerators with memory of their own that the engine may use, the one with the most
    headroom first."""
    headroom = {r.pool: r.headroom for r in rooms(snapshot, policy)}
    dedicated = {p.id: p for p in snapshot.pools if p.kind is PoolKind.DEDICATED}
    found = within(snapshot, policy, engine, dedicated.keys())
    return [dedicated[p] for p in sorted(found, key=lambda p: (headroom[p], p), reverse=True)]


def within(
    snapshot: Snapshot, policy: Policy, engine: EngineId, pools: Collection[PoolId]
) -> set[PoolId]:
    """Those of `pools` that the engine may use, by the operator's word. One that names none of this
    machine's says nothing."""
    known = {p.id for p in snapshot.pools} | snapshot.blind.keys()
    return usable(pools, policy.pools_of(engine), known)


def _where_it_may(
    snapshot: Snapshot, policy: Policy, ref: ModelRef, shares: tuple[Share, ...]
) -> tuple[Share, ...]:
    """What was learned on an accelerator that its engine may not use any more it takes of another
    one."""
    own = {s.pool for s in shares} - {RAM}
    lost = own - within(snapshot, policy, ref.engine, own)
    if not lost:
        return shares
    there = _likely(snapshot, policy, ref.engine)
    sizes: dict[PoolId, Bytes] = {}
    for share in shares:
        pool = there if share.pool in lost else share.pool
        sizes[pool] = Bytes(sizes.get(pool, NONE) + share.size)
    return tuple(Share(pool, size, shares[0].source) for pool, size in sizes.items())


# -- worked out from the header


def _estimated(snapshot: Snapshot, policy: Policy, installed: Installed) -> tuple[Share, ...]:
    header, setup = installed.header, installed.setup
    engine = installed.ref.engine
    pools = _by_headroom(snapshot, policy, engine)
    blind = within(snapshot, policy, engine, snapshot.blind.keys() - {RAM})
    if not pools and blind:
        return ()  # an accelerator that nobody knows the size of
    if pools and setup.fraction is not None:
        # It takes that and no more, whatever the model is, and works out the rest from there.
        return tuple(
            Share(p.id, Bytes(int(p.total * setup.fraction)), Source.ESTIMATED)
            for p in pools[: setup.devices or 1]
        )
    if header is None:
        return ()
    memory = Bytes(sum(p.total for p in pools))
    if not pools and (ram := snapshot.pool(RAM)) is not None and ram.kind is PoolKind.UNIFIED:
        memory = ram.device_limit or ram.total
    found = estimate(header, replace(setup, context=setup.context_of(memory)))
    if not pools or setup.offloaded == 0:
        size = Bytes(found.total + PROCESS)
        return _with_margin((Share(RAM, size, Source.ESTIMATED),))
    part = _part(setup.offloaded, header.depth)
    there = int(part * (found.weights + found.cache)) + found.compute
    shares = _spread(there, pools, setup.devices or 1)
    return _with_margin((*shares, Share(RAM, _left(found, part), Source.ESTIMATED)))


def _part(offloaded: int | None, depth: int) -> float:
    """How much of a model goes to accelerators: so many of its layers, and of what comes after."""
    return 1.0 if offloaded is None else min(1.0, offloaded / (depth + 1))


def _left(found: Estimate, part: float) -> Bytes:
    """What stays in RAM."""
    rest = int((1.0 - part) * (found.weights + found.cache))
    return Bytes(found.embedding + rest + PROCESS)


def _spread(size: int, pools: list[MemoryPool], least: int) -> list[Share]:
    """On one accelerator where it fits into an empty one, else on as many as it takes: each has
    its part, and what a driver keeps there."""
    for count in range(min(least, len(pools)), len(pools) + 1):
        each = Bytes(-(-size // count) + DEVICE_OVERHEAD)
        chosen = pools[:count]
        if each <= min(p.total for p in chosen) or count == len(pools):
            break
    return [Share(p.id, each, Source.ESTIMATED) for p in chosen]


def _with_margin(shares: Iterable[Share]) -> tuple[Share, ...]:
    return tuple(
        replace(s, size=Bytes(int(s.size * MARGINS[s.source]))) for s in shares if s.size > NONE
    )


def _highest(kept: tuple[Share, ...], peak: tuple[Share, ...]) -> tuple[Share, ...]:
    sizes: dict[PoolId, Bytes] = {}
    for share in (*kept, *peak):
        sizes[share.pool] = Bytes(max(sizes.get(share.pool, 0), share.size))
    return tuple(Share(pool, size, Source.LEARNED) for pool, size in sorted(sizes.items()))
