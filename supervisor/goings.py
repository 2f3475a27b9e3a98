"""Whom the runs under way make go: until it was seen what came of it, they are neither there nor
gone, and whoever wants to have one of them waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Set
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.reading import PoolId, Seconds

from .core.actions import Action, Evict, Load, Plan
from .core.record import Decision, Outcome, Result
from .core.snapshot import ModelRef, Reservation, Snapshot, is_sized
from .events import Run

# A look that began before an unload was over has come to its end by then.
LONGEST_LOOK = Seconds(60)

Amend = Callable[[Decision], Awaitable[object]]


@dataclass(slots=True)
class Goings:
    """`runs` are those under way, the loop's own list; `clock` is its own, too."""

    runs: list[Run]
    clock: Callable[[], float]
    refs: frozenset[ModelRef] = frozenset()  # as they were counted last
    side_by_side: int = 1  # loads in one pool
    read: Set[PoolId] | None = None  # pools that the latest look that is in could read
    _tried: dict[ModelRef, Seconds] = field(default_factory=dict)  # whose unload ended, and when
    _latest: Seconds = Seconds(float("-inf"))  # when that look began
    _blind: Set[PoolId] = frozenset()  # pools that it could not read

    @property
    def asked(self) -> frozenset[ModelRef]:
        """Whose engine has been called, and of whom nobody knows yet what came of it."""
        return frozenset(ref for run in self.runs for ref in run.leaving)

    @property
    def promised(self) -> tuple[Reservation, ...]:
        """What the loads under way will take."""
        loads = [a for run in self.runs for a in run.lacks() if isinstance(a, Load)]
        return tuple(Reservation(load.ref, load.takes) for load in loads)

    def promise(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` with what the loads will take that were begun since."""
        known = {r.ref for r in snapshot.reservations}
        new = tuple(r for r in self.promised if r.ref not in known)
        return replace(snapshot, reservations=(*snapshot.reservations, *new)) if new else snapshot

    def in_the_way(self, plan: Plan) -> bool:
        """Is something under way where `plan` is to be done, or with one of its models? As many
        loads as may be side by side are in nobody's way, once nobody leaves for them any more. One
        of which nobody knows what it takes comes alone."""
        mine = {a.ref for a in plan.actions}
        if any(a.ref in mine for run in self.runs for a in run.lacks()):
            return True  # or two who ask for a model would both have it loaded
        ahead = [run for run in self.runs if run.in_the_way(plan, self._blind)]
        if not ahead or len(ahead) >= self.side_by_side:
            return bool(ahead)
        return not all(_only_load(a) for a in (plan.actions, *(r.lacks() for r in ahead)))

    def within(self, run: Run, plan: Plan) -> Plan:
        """`plan` of `run`, made afresh. Who was not to go when that was decided does not where
        another is under way: it would take away, or be given, what that one counts on."""
        known = {a.ref for a in run.decision.plan.actions}
        more = tuple(e for e in plan.evictions if e.ref not in known)
        alone = replace(plan, actions=more)
        others = (other for other in self.runs if other is not run)
        if not more or not any(other.in_the_way(alone, self._blind) for other in others):
            return plan
        lacking = tuple(share for e in more for share in e.frees)
        return replace(plan, actions=(), unmet=(*plan.unmet, *lacking))

    def count(self) -> frozenset[ModelRef]:
        """Who is to go, by a run under way, or was not looked at since it was told to; as it is
        now. To be counted whenever a run begins, goes on, or ends."""
        going = {a.ref for run in self.runs for a in run.lacks() if isinstance(a, Evict)}
        tried = (ref for ref, at in self._tried.items() if at > self._latest)
        self.refs = self.asked.union(going, tried)
        return self.refs

    def has(self, refs: Collection[ModelRef]) -> bool:
        return not self.count().isdisjoint(refs)

    async def leave(self, run: Run, evict: Evict, amend: Amend) -> None:
        """`run` calls its engine next. Who was not to go when that was decided is written down
        before, as all who go are."""
        run.leaving.add(evict.ref)
        if self.read is not None:
            run.read = self.read if run.read is None else run.read & self.read
        self.count()
        plan = run.decision.plan
        if evict.ref not in {e.ref for e in plan.evictions}:
            plan = replace(plan, actions=(evict, *plan.actions))
            run.decision = replace(run.decision, plan=plan)
            await amend(run.decision)

    def told(self, outcome: Outcome) -> Outcome:
        """To be told as soon as it is known: whoever began to look before has seen the past."""
        if isinstance(outcome.action, Evict) and outcome.result is not Result.SKIPPED:
            now = Seconds(self.clock())
            self._tried = {r: at for r, at in self._tried.items() if now - at < LONGEST_LOOK}
            self._tried[outcome.action.ref] = now
        return outcome

    def saw(self, snapshot: Snapshot, began: Seconds) -> None:
        """The latest snapshot: it was `began` after all that were seen before."""
        self._latest, self._blind = began, snapshot.blind.keys()
        self.read = frozenset(p.id for p in snapshot.pools)
        self.count()


def _only_load(actions: Iterable[Action]) -> bool:
    """Nobody leaves, and of each that comes it is known what it takes."""
    return all(isinstance(a, Load) and is_sized(a.takes) for a in actions)


async def first(runs: Collection[Run], changed: asyncio.Event) -> None:
    """Returns when one of `runs` has ended, or with the next snapshot: it is `changed` then."""
    seen = asyncio.create_task(changed.wait(), name="next snapshot")
    ends: list[asyncio.Future[Any]] = [seen, *(run.done for run in runs)]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        seen.cancel()
