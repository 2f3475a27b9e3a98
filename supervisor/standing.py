"""Plans that are made again and again, from whatever the world looks like then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set

from collectors.reading import PoolId

from .core.footprint import Moment, expect
from .core.plan import Plan, Trigger, dismiss, plan, relieve
from .core.policy import Policy
from .core.snapshot import ModelRef, Snapshot
from .core.watch import Finding, Kind, watch
from .events import Replan
from .journal import Journal


def who_is_due(snapshot: Snapshot) -> frozenset[ModelRef]:
    """Models that ended by themselves, and that their engines would have loaded again now."""
    there = {r.ref for r in snapshot.residents}
    return frozenset(i.ref for i in snapshot.installed if i.due and i.ref not in there)


def loading(ref: ModelRef, journal: Journal) -> Replan:
    """Load a model that is wanted again. What nobody knows the size of is not loaded."""

    def replan(snapshot: Snapshot, policy: Policy, doubt: Set[ModelRef]) -> Plan:
        peak = journal.footprint(ref, Moment.PEAK)
        demand = expect(snapshot, policy, ref, journal.footprint(ref), peak)
        if demand is None:
            return Plan(Trigger.DEMAND)
        return plan(snapshot, policy, demand, doubt)

    return replan


def relief(pools: Collection[PoolId]) -> Replan:
    return lambda snapshot, policy, doubt: relieve(snapshot, policy, pools, doubt)


def dismissal(kind: Kind, trigger: Trigger, before: Callable[[], tuple[Finding, ...]]) -> Replan:
    """Unload those of whom the finding is still true when it is looked at again."""

    def replan(snapshot: Snapshot, policy: Policy, doubt: Set[ModelRef]) -> Plan:
        found = watch(snapshot, policy, before())
        refs = [f.ref for f in found if f.kind is kind and f.ref is not None]
        refs = [r for r in refs if r not in doubt]
        return dismiss(snapshot, policy, refs, trigger, even_busy=trigger is Trigger.BUSY)

    return replan
