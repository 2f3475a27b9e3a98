"""Who looks at every snapshot and hears what became of every action, and remembers of it what is
needed to decide: in one place for the loop."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace

from collectors.reading import Seconds

from .alarms import Alarms
from .arrivals import Arrivals
from .core.experience import Experience
from .core.history import History
from .core.plan import Trigger
from .core.policy import Policy
from .core.record import Outcome
from .core.snapshot import ModelRef, Snapshot
from .core.watch import Finding, watch
from .departures import Departures
from .distrust import Distrust
from .events import Run, Wanted
from .footprints import Footprints
from .ghosts import Ghosts
from .journal.journal import Journal
from .proposals import Source
from .relief import Relief
from .rules import Rules


@dataclass(slots=True)
class Witnesses:
    history: History
    footprints: Footprints
    rules: Rules
    distrust: Distrust
    departures: Departures
    arrivals: Arrivals
    relief: Relief
    ghosts: Ghosts
    clock: Callable[[], float]

    @classmethod
    def of(
        cls,
        journal: Journal,
        alarms: Alarms,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> Witnesses:
        history, footprints = History(), Footprints(journal, clock, wall)
        rules = Rules(footprints.expect, clock)
        return cls(
            history=history,
            footprints=footprints,
            rules=rules,
            distrust=Distrust(),
            departures=Departures(journal, wall),
            arrivals=Arrivals(history, journal, wall),
            relief=Relief(alarms, journal, rules.together.expect, clock, wall),
            ghosts=Ghosts(journal, history, clock, wall),
            clock=clock,
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """Of wishes of our own, those that follow from what was seen."""
        return self.relief, *self.rules.sources, *self.relief.sources

    def see(
        self,
        snapshot: Snapshot,
        policy: Policy,
        leaving: Set[ModelRef],
        loading: Set[ModelRef],
        *,
        all_known: bool,
    ) -> None:
        """`leaving` and `loading`: by our own doing. `all_known`: engines, as far as they are
        here."""
        self.footprints.see(snapshot, policy)
        self.rules.see(snapshot, policy)
        self.distrust.see(snapshot)
        self.departures.see(snapshot, leaving)
        self.arrivals.see(snapshot, loading)
        self.relief.see(snapshot, policy, all_known=all_known)

    def findings(
        self, snapshot: Snapshot, policy: Policy, before: tuple[Finding, ...]
    ) -> tuple[Finding, ...]:
        """What is wrong in a snapshot that all have seen; `before` is what was wrong then."""
        found = watch(snapshot, policy, before)
        for other in (self.distrust, self.footprints, self.relief, self.rules, self.ghosts):
            found = (*found, *other.findings)
        return found

    def hear(self, outcome: Outcome, trigger: Trigger) -> None:
        now = Seconds(self.clock())
        self.relief.judge(outcome, trigger)
        self.distrust.judge(outcome, now)
        self.footprints.judge(outcome)
        self.departures.tell(outcome, now)

    def ended(self, run: Run) -> Wanted | None:
        """What to ask for because of how it ended."""
        self.arrivals.ended(run.outcomes, self.clock())
        return self.footprints.once_more(run)

    def experience(self, policy: Policy) -> Experience:
        """Whom not to count on, what was seen of each model, and what is not to be now."""
        known, barred = self.within(frozenset()), self.relief.barred
        return replace(known, braked=self.rules.braked(policy), barred=barred)

    def within(self, failed: Set[ModelRef]) -> Experience:
        """The same for the rest of a plan that was allowed to begin: `failed` did not go."""
        return Experience(
            self.distrust.refs | failed,
            self.history,
            tolerated=self.rules.tolerated,
            doubted=self.distrust.doubted - failed,
        )
