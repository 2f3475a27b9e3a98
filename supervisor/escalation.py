"""What is done about models that make no progress: one step after the other, until one helps."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from collectors.reading import Seconds

from .core.actions import Cancel
from .core.experience import Experience
from .core.ladder import Rung
from .core.plan import Note, Plan, Trigger, Why, dismiss
from .core.policy import ModelPolicy, Policy
from .core.record import Outcome
from .core.snapshot import Ability, ModelRef, Snapshot
from .core.steps import Climb, Step, advance, taken
from .core.watch import Finding, Kind, watch
from .proposals import Sight, Wish

log = logging.getLogger("ullage.loop")


@dataclass(slots=True)
class Escalation:
    """How far each of them has come. It begins anew as soon as one makes progress."""

    _climbs: dict[ModelRef, Climb] = field(default_factory=dict)
    _doing: dict[ModelRef, Step] = field(default_factory=dict)

    def tell(self, outcome: Outcome, trigger: Trigger, now: Seconds) -> None:
        """What became of a step. Whether it helped, the next snapshots show."""
        ref = outcome.action.ref
        if trigger is Trigger.BUSY and ref in self._climbs:
            self._climbs[ref] = taken(self._climbs[ref], now)

    def __call__(self, sight: Sight) -> Iterator[Wish]:
        stuck = _stuck(sight.findings)
        self._climbs = {r: c for r, c in self._climbs.items() if r in stuck}
        self._doing = {r: self._step(r, sight) for r in sorted(stuck)}
        for step in (Step.CANCEL, Step.UNLOAD, Step.RESTART):
            if found := [stuck[r] for r, doing in self._doing.items() if doing is step]:
                yield self._wish(step, found, sight)

    def _step(self, ref: ModelRef, sight: Sight) -> Step:
        """What is to be done about it now. What cannot be done is passed over."""
        policy, now = sight.policy, sight.snapshot.taken_at
        steps = policy.busy_steps_of(ref)
        interval = policy.busy_step_interval_of(ref)
        climb = advance(self._climbs.get(ref, Climb()), steps, interval, now)
        while (
            climb.taken_at is None
            and climb.place < len(steps) - 1
            and not _can(steps[climb.place], ref, sight)
        ):
            log.info("%s: %s is not possible, and passed over", ref, steps[climb.place].value)
            climb = Climb(climb.place + 1)
        step = steps[min(climb.place, len(steps) - 1)]
        if step is Step.REPORT and climb.taken_at is None:
            climb = taken(climb, now)
        self._climbs[ref] = climb
        return step

    def _wish(self, step: Step, found: list[Finding], sight: Sight) -> Wish:
        cause = "; ".join(f"{f.subject} is {f.detail}" for f in found)
        refs = [f.ref for f in found if f.ref is not None]
        waiting = {r for r in refs if self._climbs[r].taken_at is not None}
        key = Trigger.BUSY.value if step is Step.UNLOAD else f"{Trigger.BUSY.value} {step.value}"

        def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
            stuck = _stuck(watch(snapshot, policy, found))
            those = [r for r in refs if r in stuck and r not in waiting]
            return planned(step, those, stuck, snapshot, policy, experience)

        return Wish(key, cause, replan)


def _stuck(findings: Iterable[Finding]) -> dict[ModelRef, Finding]:
    return {f.ref: f for f in findings if f.kind is Kind.STUCK and f.ref is not None}


def planned(
    step: Step,
    refs: Collection[ModelRef],
    stuck: Collection[ModelRef],
    snapshot: Snapshot,
    policy: Policy,
    experience: Experience,
) -> Plan:
    """The plan of one step, for all of the `stuck` who are at it."""
    if step is Step.CANCEL:
        notes = tuple(Note(ref, Why.STUCK) for ref in refs)
        return Plan(Trigger.BUSY, tuple(Cancel(ref, Why.STUCK) for ref in refs), notes)
    refs = [r for r in refs if r not in experience.distrusted or step is Step.RESTART]
    if step is Step.RESTART:
        policy = _by_restart(policy, stuck)
    return dismiss(snapshot, policy, refs, Trigger.BUSY, even_busy=True)


def _by_restart(policy: Policy, stuck: Collection[ModelRef]) -> Policy:
    """Only by ending their whole engine; that others of it are stuck too is no reason not to."""
    models: Mapping[str, ModelPolicy] = {
        str(r): replace(
            policy.models.get(str(r), policy.models.get(r.model, ModelPolicy())),
            ladder=(Rung.RESTART,),
            force_when_busy=True,
        )
        for r in stuck
    }
    return replace(policy, models={**policy.models, **models})


def _can(step: Step, ref: ModelRef, sight: Sight) -> bool:
    """Is it any use to try? What was tried and failed is not asked here."""
    if step is Step.REPORT:
        return True
    if step is Step.CANCEL:
        engine = sight.snapshot.engine(ref.engine)
        return engine is not None and Ability.CANCEL in engine.abilities
    stuck = _stuck(sight.findings)
    plan = planned(step, [ref], stuck, sight.snapshot, sight.policy, Experience())
    return bool(plan.actions)
