"""Where a model could be loaded just as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from collectors.reading import PoolId, PoolKind

from .actions import Plan
from .footprint import within
from .headroom import Room
from .policy import Policy
from .snapshot import Demand, Snapshot, Source, is_sized


def places(snapshot: Snapshot, policy: Policy, demand: Demand) -> list[Demand]:
    """`demand`, on each accelerator where it could be, the one that it names first.

    More than one only where its engine can be told which, it takes one with memory of its own, and
    there are others of the same make that the engine may use; for what was learned, of the same
    model. One that sleeps, or is being loaded, stays where it is.
    """
    installed = None if demand.ref is None else snapshot.entry(demand.ref)
    if installed is None or not installed.anywhere:
        return [demand]
    alike = _alike(snapshot, demand)
    may = within(snapshot, policy, installed.ref.engine, alike)
    alike = [pool for pool in alike if pool in may]
    settled = _settled(snapshot, demand)
    found = [demand, *(_moved(demand, alike[0], pool) for pool in alike[1:])]
    if settled:
        found = [d for d in found if settled <= {s.pool for s in d.shares}] or [demand]
    return found


def lost(plan: Plan, snapshot: Snapshot) -> tuple[int, float]:
    """How many go by `plan` who are in use, and what all of it is expected to cost in seconds."""
    used = {lease.ref for lease in snapshot.leases}
    used |= {r.ref for r in snapshot.residents if r.busy}
    cut = sum(e.ref in used for e in plan.evictions)
    return cut, sum(e.loss.expected for e in plan.evictions if e.loss is not None)


def best(made: list[tuple[Demand, Plan]], rooms: Mapping[PoolId, Room], snapshot: Snapshot) -> Plan:
    """Of plans for the same demand at different places: free room first, and of that the tightest
    fit, or the widest for what nobody knows the size of; then whose victims are not in use, and
    cost least; if none works, whose least is missing."""

    def cost(one: tuple[Demand, Plan]) -> tuple[bool, float, tuple[int, float], float]:
        demand, plan = one
        missing = sum(s.size for s in plan.unmet)
        over = sum(rooms[s.pool].headroom - s.size for s in demand.shares if s.pool in rooms)
        over = over if is_sized(demand.shares) else -over
        return not plan.works, missing, lost(plan, snapshot), over

    return min(made, key=cost)[1]  # the first of equals


def _alike(snapshot: Snapshot, demand: Demand) -> list[PoolId]:
    """The pool that `demand` names, and those that are as good. Empty: there is nothing to
    choose."""
    own = {p.id: p for p in snapshot.pools if p.kind is PoolKind.DEDICATED}
    on = {s.pool: s for s in demand.shares if s.pool in own}
    if len(on) != 1:
        return []
    ((pool, share),) = on.items()
    here = next((d for d in snapshot.devices if d.pool == pool), None)
    if here is None:
        return []
    found = [pool]
    for device in snapshot.devices:
        other = None if device.pool is None else own.get(device.pool)
        if (
            other is None
            or other.id in found
            or (device.vendor, device.kind)
            != (
                here.vendor,
                here.kind,
            )
        ):
            continue
        same = device.name == here.name and other.total == own[pool].total
        if same or share.source in (Source.ESTIMATED, Source.DECLARED):
            found.append(other.id)
    return found


def _settled(snapshot: Snapshot, demand: Demand) -> frozenset[PoolId]:
    """The accelerators where it is already, or is promised to be."""
    own = {p.id for p in snapshot.pools if p.kind is PoolKind.DEDICATED}
    there = snapshot.resident(demand.ref) if demand.ref is not None else None
    if there is not None:
        return there.pools & own
    promised = (r.shares for r in snapshot.reservations if r.ref == demand.ref)
    return frozenset(s.pool for shares in promised for s in shares) & own


def _moved(demand: Demand, here: PoolId, there: PoolId) -> Demand:
    shares = tuple(replace(s, pool=there) if s.pool == here else s for s in demand.shares)
    return replace(demand, shares=shares)
