"""Loads, or wakes, what is likely to be asked for soon, into room that nobody needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .core.ahead import Due, ahead, likely
from .core.experience import Experience
from .core.explain import duration
from .core.plan import Plan, Trigger
from .core.policy import Policy
from .core.snapshot import ModelRef, Snapshot
from .events import Expect, Replan
from .proposals import Sight, Wish


@dataclass(slots=True)
class Ahead:
    """Each model at most once until it is asked for again: one that nobody came for was a wrong
    guess, and one that went again has left for a reason."""

    expect: Expect
    _tried: dict[ModelRef, float | None] = field(default_factory=dict)  # asked for when, by then

    def __call__(self, sight: Sight) -> Iterator[Wish]:
        if not sight.policy.prefetch:
            return
        history = sight.experience.history
        self._tried = {r: at for r, at in self._tried.items() if history.last(r) == at}
        for due in likely(sight.snapshot, sight.policy, sight.experience):
            if due.ref in self._tried:
                continue
            replan = self._loading(due.ref)
            made = replan(sight.snapshot, sight.policy, sight.experience)
            if made.works and made.actions:
                self._tried[due.ref] = history.last(due.ref)
                yield Wish(f"ahead {due.ref}", _cause(due), replan)
                return  # one at a time: the next look sees what it has taken

    def _loading(self, ref: ModelRef) -> Replan:
        def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
            demand = self.expect(snapshot, policy, ref)
            if demand is None:
                return Plan(Trigger.AHEAD)
            return ahead(snapshot, policy, demand, experience)

        return replan


def _cause(due: Due) -> str:
    return (
        f"{due.ref} is asked for within {duration(due.within)} with {due.chance:.0%}, and nobody"
        " has to go for it"
    )
