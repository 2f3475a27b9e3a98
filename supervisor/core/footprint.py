"""What will a model take, before it is loaded? The best source first."""

from __future__ import annotations

from enum import Enum

from collectors.reading import RAM, Bytes, PoolId, PoolKind

from .headroom import rooms
from .policy import Policy
from .snapshot import Demand, Installed, ModelRef, Share, Snapshot, Source


class Moment(Enum):
    """When a model held what it was seen to hold."""

    LOADED = "loaded"
    PEAK = "peak"  # at the height of its load, which may take more than it keeps
    ASLEEP = "asleep"


# Weights are most of it; the rest is the KV cache, compute buffers and a context.
OVER_FILE_SIZE = 1.2


def expect(
    snapshot: Snapshot,
    policy: Policy,
    ref: ModelRef,
    learned: tuple[Share, ...] | None,
    peak: tuple[Share, ...] | None = None,
) -> Demand | None:
    """The demand for `ref`: what it held the last time, and took at the height of its load where
    that was more; else a guess from its file's size.

    None where nothing at all is known of its size.
    """
    if learned:
        learned = _highest(learned, peak) if peak else learned
        known = {p.id for p in snapshot.pools} | snapshot.blind.keys()
        if all(share.pool in known for share in learned):
            return Demand(learned, ref)
    installed = next((i for i in snapshot.installed if i.ref == ref), Installed(ref))
    if installed.size is None:
        return None
    dedicated = {p.id for p in snapshot.pools if p.kind is PoolKind.DEDICATED}
    best = max(
        (r for r in rooms(snapshot, policy) if r.pool in dedicated),
        key=lambda r: (r.headroom, r.pool),
        default=None,
    )
    # An accelerator that cannot be read is still where its engine will load it.
    unseen = min((p for p in snapshot.blind if p != RAM), default=RAM)
    size = Bytes(int(installed.size * OVER_FILE_SIZE))
    return Demand((Share(best.pool if best else unseen, size, Source.ESTIMATED),), ref)


def _highest(kept: tuple[Share, ...], peak: tuple[Share, ...]) -> tuple[Share, ...]:
    sizes: dict[PoolId, Bytes] = {}
    for share in (*kept, *peak):
        sizes[share.pool] = Bytes(max(sizes.get(share.pool, 0), share.size))
    return tuple(Share(pool, size, Source.LEARNED) for pool, size in sorted(sizes.items()))
