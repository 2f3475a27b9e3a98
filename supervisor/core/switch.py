"""A client moves on: what it leaves behind goes, and what it wants comes."""

from __future__ import annotations

from collections.abc import Collection

from .actions import Plan, Trigger
from .experience import NONE_YET, Experience
from .headroom import without
from .plan import dismiss, plan
from .policy import Policy, Switch
from .snapshot import Demand, ModelRef, Snapshot


def switches(policy: Policy) -> bool:
    """Is anybody to leave on a switch at all? Mostly not, and a client may use hundreds."""
    every = (policy, *policy.engines.values(), *policy.models.values())
    return any(scope.unload_on_switch not in (None, Switch.OFF) for scope in every)


def leaves(policy: Policy, old: ModelRef, new: ModelRef) -> bool:
    """Is `old` to leave when its client moves from it to `new`?"""
    said = policy.said(old, "unload_on_switch")
    if old == new or said is Switch.OFF:
        return False
    return said is Switch.HOST or old.engine == new.engine


def switch(
    snapshot: Snapshot,
    policy: Policy,
    demand: Demand,
    behind: Collection[ModelRef],
    experience: Experience = NONE_YET,
) -> Plan:
    """Make `demand` fit, with those `behind` gone if they may go: they are the first. Nobody goes
    for one that cannot fit."""
    leave = set(behind) - {d.ref for d in demand.beside}
    if not leave:
        return plan(snapshot, policy, demand, experience)
    leaving = dismiss(snapshot, policy, leave, Trigger.SWITCH)
    going = {e.ref for e in leaving.evictions}
    made = plan(without(snapshot, going) if going else snapshot, policy, demand, experience)
    if not going or not made.works:
        return made
    notes = [n for n in (*leaving.notes, *made.notes) if n.ref not in going]
    notes += [n for n in leaving.notes if n.ref in going]
    once = {n.ref: n for n in reversed(notes)}
    return Plan(
        Trigger.DEMAND,
        (*leaving.evictions, *made.actions),
        tuple(once[ref] for ref in sorted(once)),
    )
