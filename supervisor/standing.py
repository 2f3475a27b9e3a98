"""Wishes of our own: what the findings call for, and models that are due again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from collectors.reading import PoolId

from .core.experience import Experience
from .core.footprint import Moment, expect
from .core.plan import Plan, Trigger, dismiss, limit, plan, relieve
from .core.policy import Policy
from .core.snapshot import ModelRef, Snapshot
from .core.watch import Finding, Kind, watch
from .events import Replan
from .journal import Journal
from .proposals import Sight, Wish


def relief(pools: Collection[PoolId]) -> Wish:
    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        return relieve(snapshot, policy, pools, experience)

    return Wish("relief", f"{', '.join(sorted(pools))}: headroom is gone", replan)


def over_limit(sight: Sight) -> Iterator[Wish]:
    if any(f.kind is Kind.OVER_LIMIT for f in sight.findings):
        yield Wish("limit", "more models are active than allowed", limit)


def overdue(sight: Sight) -> Iterator[Wish]:
    """Those whom the watchdogs found idle, or busy, for too long."""
    for kind, trigger in ((Kind.IDLE, Trigger.IDLE), (Kind.STUCK, Trigger.BUSY)):
        if found := [f for f in sight.findings if f.kind is kind]:
            cause = "; ".join(f"{f.subject} is {f.detail}" for f in found)
            yield Wish(trigger.value, cause, _dismissal(kind, trigger, found))


@dataclass(frozen=True, slots=True)
class DueAgain:
    """Models that ended by themselves, and that their engines would have loaded again now."""

    journal: Journal

    def __call__(self, sight: Sight) -> Iterator[Wish]:
        for ref in sorted(who_is_due(sight.snapshot)):
            cause = f"{ref} ended by itself, and is due again"
            yield Wish(f"again {ref}", cause, loading(ref, self.journal))


def who_is_due(snapshot: Snapshot) -> frozenset[ModelRef]:
    there = {r.ref for r in snapshot.residents}
    return frozenset(i.ref for i in snapshot.installed if i.due and i.ref not in there)


def loading(ref: ModelRef, journal: Journal) -> Replan:
    """Load a model that is wanted again. What nobody knows the size of is not loaded."""

    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        peak = journal.footprint(ref, Moment.PEAK)
        demand = expect(snapshot, policy, ref, journal.footprint(ref), peak)
        if demand is None:
            return Plan(Trigger.DEMAND)
        return plan(snapshot, policy, demand, experience)

    return replan


def _dismissal(kind: Kind, trigger: Trigger, before: Iterable[Finding]) -> Replan:
    """Unload those of whom the finding is still true when it is looked at again."""

    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        found = watch(snapshot, policy, before)
        refs = [f.ref for f in found if f.kind is kind and f.ref is not None]
        refs = [r for r in refs if r not in experience.distrusted]
        return dismiss(snapshot, policy, refs, trigger, even_busy=trigger is Trigger.BUSY)

    return replan
