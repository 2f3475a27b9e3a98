"""Who is likely to be asked for before it could be loaded, and could be there by then."""

from __future__ import annotations

from typing import NamedTuple

from collectors.reading import Seconds

from .experience import Experience
from .headroom import rooms
from .history import Tier
from .plan import Plan, Trigger, plan
from .policy import Policy
from .snapshot import Demand, ModelRef, Snapshot, State

# More likely than not. Of what is loaded at a half, two thirds are used; at a third, every other
# one, and they wait for each other: waits are longer then.
LIKELY = 0.5

_THERE = (State.LOADED, State.LOADING, State.LEAVING, State.UNKNOWN)


class Due(NamedTuple):
    """`chance` (0 to 1) that `ref` is asked for `within` so many seconds, while it would take
    `back` to have it."""

    ref: ModelRef
    chance: float
    within: Seconds
    back: Seconds


def likely(snapshot: Snapshot, policy: Policy, experience: Experience) -> list[Due]:
    """Who is not there, or asleep, and more likely than not to be asked for while it loads or
    soon after; whose waiting would be longest first. Nobody while memory is short."""
    if any(room.headroom < 0 for room in rooms(snapshot, policy)):
        return []
    history = experience.history
    now = history.time(snapshot.taken_at)
    states = {r.ref: r.state for r in snapshot.residents}
    capacity = {p.id: p.total for p in snapshot.pools}
    found = []
    for installed in snapshot.installed:
        ref = installed.ref
        state = states.get(ref)
        # Who goes with its last user, or was told to go, comes back when it has one.
        if state in _THERE or not history.is_wanted(ref) or policy.goes_unused(ref):
            continue
        if policy.spans(ref):
            continue
        size, pool = history.size(ref), history.pool(ref)
        if pool is None:
            continue
        tier = Tier.ASLEEP if state is State.SLEEPING else Tier.DISK
        back = history.reload(ref, size, tier)
        within = Seconds(back + history.horizon(pool, capacity.get(pool, 0), now))
        chance = history.chance(ref, now, within)
        if chance > LIKELY:
            found.append(Due(ref, chance, within, back))
    return sorted(found, key=lambda due: (-due.chance * due.back, due.ref))


def ahead(snapshot: Snapshot, policy: Policy, demand: Demand, experience: Experience) -> Plan:
    """Load `demand` where nobody has to go for it; else it does not work, and nobody goes."""
    made = plan(snapshot, policy, demand, experience)
    if made.evictions:
        return Plan(Trigger.AHEAD, notes=made.notes, unmet=demand.shares)
    return Plan(Trigger.AHEAD, made.actions, made.notes, made.unmet, made.full, made.blind)
