"""Why a demand does not fit, in bytes: what it needs of a pool, what there is, and who has the
rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from collectors.reading import Bytes, PoolId

from .actions import Holder, Note, Short, Why
from .headroom import frees, rooms
from .policy import Policy
from .snapshot import ModelRef, Share, Snapshot

NAMED = 4  # of those who hold the most; each name is a line for a person to read
STRANGERS = 2
PART = 50  # of a pool, a stranger who holds less than one of so many parts is not worth a name


def shorts(
    snapshot: Snapshot,
    policy: Policy,
    wanted: Iterable[Share],
    unmet: Iterable[Share],
    notes: Sequence[Note],
) -> tuple[Short, ...]:
    """One for each pool of `unmet` that could be read. `notes` say who could not go; whoever
    could, and in vain, is what can be reclaimed."""
    wanted = tuple(wanted)
    missing = {s.pool: s.size for s in unmet}
    whys = {n.ref: n.why for n in notes}
    could = [r.ref for r in snapshot.residents if whys.get(r.ref) is Why.NOT_ENOUGH]
    return tuple(
        Short(
            pool=room.pool,
            needs=Bytes(sum(s.size for s in wanted if s.pool == room.pool)),
            total=room.total,
            free=room.free,
            reserve=room.reserve,
            promised=room.promised,
            reclaimable=frees(snapshot, could, room.pool),
            missing=missing[room.pool],
            holders=_holders(snapshot, room.pool, room.total, whys, could),
            budget=room.budget,
            held=room.held,
        )
        for room in rooms(snapshot, policy, missing.keys())
    )


def _holders(
    snapshot: Snapshot,
    pool: PoolId,
    total: Bytes,
    whys: dict[ModelRef, Why],
    could: Collection[ModelRef],
) -> tuple[Holder, ...]:
    """Who holds what of `pool` cannot be reclaimed, the largest first; models before strangers."""
    models = [
        Holder(str(r.ref), r.holds(pool), whys[r.ref].value, None)
        for r in snapshot.residents
        if r.ref in whys and r.ref not in could and r.holds(pool) > 0
    ]
    strangers = [
        Holder(f.name, f.size, "not ours", f.pid)
        for f in snapshot.foreign
        if f.pool == pool and f.size * PART >= total
    ]
    models.sort(key=lambda h: (-h.size, h.name))
    strangers.sort(key=lambda h: (-h.size, h.name))
    return (*models[:NAMED], *strangers[:STRANGERS])
