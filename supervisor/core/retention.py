"""How long a model stays that nobody's memory is needed for: whoever used it, and who may go."""

from __future__ import annotations

from collections.abc import Mapping

from collectors.reading import Seconds

from .ladder import ASLEEP
from .lease import Use
from .policy import Policy
from .snapshot import ModelRef, Resident, Snapshot, State

# A model that goes with its last user is given this long for the first one to come.
LINGER = Seconds(60)

# Two clocks are read in one sample, one after the other.
ABOUT = Seconds(0.001)

THERE = frozenset({State.LOADED, State.SLEEPING})


def follow(
    before: Mapping[ModelRef, Use], snapshot: Snapshot, fresh: Seconds
) -> dict[ModelRef, Use]:
    """What is known of everybody's users after one more look. `fresh`: a model of which nobody
    can say whether it is serving counts as busy this long after it was first seen."""
    leased = {lease.ref for lease in snapshot.leases}
    now = snapshot.taken_at
    found = {}
    for resident in snapshot.residents:
        ref = resident.ref
        use = before.get(ref) or Use(now)
        last = now if ref in leased else use.last
        if resident.state is State.LOADING:
            found[ref] = Use(now, last, there=False)
            continue
        since = use.since if use.there else now
        if resident.state in THERE:
            worked = _worked_at(resident, since, now, fresh)
            last = max((at for at in (worked, last) if at is not None), default=None)
        asked = None if ref in leased or _has_come(resident, use, now) else use.asked
        found[ref] = Use(since, last, asked=asked)
    return found


def _has_come(resident: Resident, use: Use, now: Seconds) -> bool:
    """Is it at work for whoever asked for it last, and not for somebody before?"""
    return use.asked is not None and resident.busy and now - resident.busy_for > use.asked


def _worked_at(resident: Resident, since: Seconds, now: Seconds, fresh: Seconds) -> Seconds | None:
    """When it was last seen at work. None: not since it is there."""
    if not resident.busy:
        worked = Seconds(now - resident.idle_for)
        return worked if worked > since + ABOUT else None
    began = now - resident.busy_for
    seen = resident.in_flight or began > since + ABOUT or resident.busy_for > fresh + ABOUT
    return now if seen else None


def waits(use: Use) -> Seconds | None:
    """Until when a model that goes with its last user waits for one that is to come. None: for
    nobody."""
    since = use.asked if use.asked is not None else use.since if use.last is None else None
    return None if since is None else Seconds(since + LINGER)


def idle_for(resident: Resident, snapshot: Snapshot) -> Seconds:
    """How long nobody has used it, neither with a request nor with a lease."""
    use = snapshot.uses.get(resident.ref)
    if use is None or use.last is None:
        return resident.idle_for
    return Seconds(max(0.0, min(resident.idle_for, snapshot.taken_at - use.last)))


def unused(snapshot: Snapshot, policy: Policy) -> tuple[ModelRef, ...]:
    """Who goes with its last user, and has none any more, or has waited for the first in vain."""
    wanted = {r.ref for r in snapshot.reservations} | {lease.ref for lease in snapshot.leases}
    return tuple(
        r.ref
        for r in snapshot.residents
        if r.state in THERE
        and not r.busy
        and r.ref not in wanted
        and (use := snapshot.uses.get(r.ref)) is not None
        and ((until := waits(use)) is None or snapshot.taken_at >= until)
        and policy.goes_unused(r.ref)
        and not policy.is_pinned(r.ref)
    )


def is_at_rest(resident: Resident, policy: Policy) -> bool:
    """Does it sleep, as whoever is idle for too long does first? Then it stays in RAM until that is
    needed: to unload it a moment later would make its sleep worth nothing."""
    allowed = policy.ladder_of(resident.ref)
    return resident.state is State.SLEEPING and (not allowed or not ASLEEP.isdisjoint(allowed))
