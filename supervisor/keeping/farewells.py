"""Models that were told to go while they were in use: they go when their last user does."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from supervisor.core.plan import Evict, Plan, Why
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Snapshot
from supervisor.events import Run
from supervisor.journal.shelves import Shelf
from supervisor.telemetry.about import of_decision

log = logging.getLogger("ullage.loop")

IN_USE = frozenset({Why.BUSY, Why.LEASED, Why.LOADING})


@dataclass(slots=True)
class Farewells:
    """Kept over a restart. A pin, or a wish to load the model, takes one back."""

    shelf: Shelf

    @property
    def all(self) -> frozenset[ModelRef]:
        return frozenset(map(_ref, self.shelf.keys()))

    def begin(self, ref: ModelRef, at: float, contexts: int) -> None:
        """`at` is Unix time."""
        if str(ref) not in self.shelf:
            self.shelf.keep(str(ref), {"at": at})
            log.info("unload %s: leaving (contexts=%d)", ref, contexts)

    @of_decision
    def part(self, run: Run, plan: Plan, snapshot: Snapshot, at: float) -> None:
        """Whoever `run` was to make go, and is in use, by `plan` of it: where that was asked for,
        they are leaving from now on. What was told once is not told again: it may have been taken
        back meanwhile."""
        if not run.about.parts:
            return
        told = run.leaving | run.later.keys() | {o.action.ref for o in run.outcomes}
        used = [n.ref for n in plan.notes if n.why in IN_USE and n.ref in run.about.refs - told]
        for ref in used:
            run.later[ref] = snapshot.contexts(ref)
            self.begin(ref, at, run.later[ref])

    def cancel(self, refs: Collection[ModelRef], why: str) -> list[ModelRef]:
        """Take those of `refs` back. Returns them."""
        found = sorted(self.all & set(refs))
        for ref in found:
            self.shelf.drop(str(ref))
            log.info("unload %s: taken back, %s", ref, why)
        return found

    def ended(self, run: Run) -> None:
        """What came of it has been looked at: who sleeps now, and is listed still, has left too."""
        for outcome in run.outcomes:
            self.tell(outcome)

    def tell(self, outcome: Outcome) -> None:
        if isinstance(outcome.action, Evict) and outcome.result is Result.DONE:
            self._end(outcome.action.ref)

    def see(self, snapshot: Snapshot) -> None:
        """Who is gone has left, by our doing or not. Of an engine that does not answer nobody
        knows."""
        for ref in self.all:
            if snapshot.answers(ref.engine) and snapshot.resident(ref) is None:
                self._end(ref)

    def _end(self, ref: ModelRef) -> None:
        if str(ref) in self.shelf:
            self.shelf.drop(str(ref))
            log.info("unload %s: freed (contexts=0)", ref)


def _ref(name: str) -> ModelRef:
    engine, _, model = name.partition("/")
    return ModelRef(EngineId(engine), ModelId(model))
