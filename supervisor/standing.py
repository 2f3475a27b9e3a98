"""Wishes of our own: what the findings call for, and models that are due again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .core.experience import Experience
from .core.plan import Note, Plan, Trigger, Why, dismiss, limit, plan
from .core.policy import Policy
from .core.retention import THERE
from .core.retention import unused as who_is_unused
from .core.snapshot import ModelRef, Snapshot
from .core.watch import Finding, Kind, watch
from .events import Expect, Replan
from .proposals import Ordered, Sight, Wish


def over_limit(sight: Sight) -> Iterator[Wish]:
    if any(f.kind is Kind.OVER_LIMIT for f in sight.findings):
        yield Wish("limit", "more models are active than allowed", limit)


def overdue(sight: Sight) -> Iterator[Wish]:
    """Those whom the watchdog found idle for too long."""
    if found := [f for f in sight.findings if f.kind is Kind.IDLE]:
        cause = "; ".join(f"{f.subject} is {f.detail}" for f in found)
        yield Wish(Trigger.IDLE.value, cause, _dismissal(found))


def unused(sight: Sight) -> Iterator[Wish]:
    """Those who were to go with their last user."""
    if found := who_is_unused(sight.snapshot, sight.policy):
        cause = f"nobody uses {', '.join(map(str, found))} any more"
        yield Wish(Trigger.UNUSED.value, cause, _farewell(found, who_is_unused, Trigger.UNUSED))


@Ordered
def leaving(sight: Sight) -> Iterator[Wish]:
    """Those who were told to go, as soon as they have no user."""
    if found := _told_to_go(sight.snapshot, sight.policy):
        cause = f"asked to unload {', '.join(map(str, found))}, which nobody uses any more"
        yield Wish("leaving", cause, _farewell(found, _told_to_go, Trigger.OPERATOR))


def _told_to_go(snapshot: Snapshot, policy: Policy) -> tuple[ModelRef, ...]:
    return tuple(sorted(r for r in snapshot.farewells if not snapshot.contexts(r)))


@Ordered
def drained(sight: Sight) -> Iterator[Wish]:
    """Those of engines that take no more requests, as soon as they have no user."""
    if found := _of_drained(sight.snapshot, sight.policy):
        engines = ", ".join(sorted({ref.engine for ref in found}))
        cause = f"{engines} is drained, and nobody uses {', '.join(map(str, found))} any more"
        yield Wish("drained", cause, _farewell(found, _of_drained, Trigger.OPERATOR))


def _of_drained(snapshot: Snapshot, policy: Policy) -> tuple[ModelRef, ...]:
    """Those that are pinned stay."""
    if not policy.drained:
        return ()
    return tuple(
        sorted(
            r.ref
            for r in snapshot.residents
            if (halt := policy.drain_of(r.ref.engine)) is not None
            and halt.unload
            and r.state in THERE
            and not snapshot.contexts(r.ref)
            and not policy.is_pinned(r.ref)
        )
    )


def _farewell(
    before: tuple[ModelRef, ...],
    who: Callable[[Snapshot, Policy], tuple[ModelRef, ...]],
    trigger: Trigger,
) -> Replan:
    """Unload those of `before` of whom it is still true when it is looked at again; who is wanted
    by then, by a pin or a load, says so. Of whom it has become true since, it is decided anew."""

    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        refs = [r for r in who(snapshot, policy) if r in before and r not in experience.distrusted]
        going = dismiss(snapshot, policy, refs, trigger)
        others = dismiss(snapshot, policy, set(before) - set(refs), trigger)
        spared = {e.ref for e in others.evictions}
        notes = (Note(n.ref, Why.WANTED) if n.ref in spared else n for n in others.notes)
        return replace(going, notes=(*going.notes, *notes))

    return replan


@dataclass(frozen=True, slots=True)
class DueAgain:
    """Models that ended by themselves, and that their engines would have loaded again now."""

    expect: Expect

    def __call__(self, sight: Sight) -> Iterator[Wish]:
        for ref in sorted(who_is_due(sight.snapshot)):
            cause = f"{ref} ended by itself, and is due again"
            yield Wish(f"again {ref}", cause, loading(ref, self.expect))


def who_is_due(snapshot: Snapshot) -> frozenset[ModelRef]:
    there = {r.ref for r in snapshot.residents}
    return frozenset(i.ref for i in snapshot.installed if i.due and i.ref not in there)


def loading(ref: ModelRef, expect: Expect) -> Replan:
    """Load a model that is wanted again. What nobody knows the size of is not loaded, and what
    spans hosts only with its other parts."""

    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        demand = None if policy.spans(ref) else expect(snapshot, policy, ref)
        if demand is None:
            return Plan(Trigger.DEMAND)
        return plan(snapshot, policy, demand, experience)

    return replan


def _dismissal(before: Sequence[Finding]) -> Replan:
    """Unload those of whom the finding is still true when it is looked at again, and no others."""
    idle = {f.ref for f in before}

    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        found = watch(snapshot, policy, before)
        refs = [f.ref for f in found if f.kind is Kind.IDLE and f.ref in idle and f.ref is not None]
        refs = [r for r in refs if r not in experience.distrusted]
        return dismiss(snapshot, policy, refs, Trigger.IDLE)

    return replan
