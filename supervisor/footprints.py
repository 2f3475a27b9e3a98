"""Everything that is known of how much models take: what was learned, who drifts from that, and who
did not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from collectors.reading import Seconds

from .core.emptied import emptied
from .core.experience import Experience
from .core.footprint import unsized
from .core.plan import Plan
from .core.policy import Policy
from .core.record import Outcome
from .core.snapshot import Demand, ModelRef, Share, Snapshot, is_sized
from .core.watch import Finding
from .drift import Drift
from .events import Run, Wanted
from .journal.journal import Journal
from .learned import Learned
from .out_of_memory import OutOfMemory
from .standing import loading


@dataclass(slots=True)
class Footprints:
    journal: Journal
    clock: Callable[[], float]
    wall: Callable[[], float]
    out_of_memory: OutOfMemory = field(default_factory=OutOfMemory)
    learned: Learned = field(init=False)
    drift: Drift = field(init=False)
    # What each model that is there, or on its way, was counted with when it came. Empty: nobody
    # knew anything.
    counted: dict[ModelRef, tuple[Share, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.learned = Learned(self.journal, self.wall)
        self.drift = Drift(self.journal, self.wall)

    def fill(self, snapshot: Snapshot, policy: Policy) -> Snapshot:
        """`snapshot` with what is known of those whose bytes nobody tells."""
        return self.learned.fill(snapshot, policy)

    def see(self, snapshot: Snapshot, policy: Policy) -> None:
        self._count(snapshot, policy)  # first: what is learned from somebody was not known before
        self.drift.see(snapshot)  # it compares with what was learned before
        self.learned.see(snapshot)

    def _count(self, snapshot: Snapshot, policy: Policy) -> None:
        promised = {
            r.ref: r.shares if is_sized(r.shares) else ()
            for r in snapshot.reservations
            if r.ref is not None
        }
        there = [r.ref for r in snapshot.residents]
        known = {ref: self.counted[ref] for ref in there if ref in self.counted} | promised
        for ref in there:
            if ref not in known:
                demand = self.learned.expect(snapshot, policy, ref)
                known[ref] = () if demand is None else demand.shares
        self.counted = known

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.out_of_memory.findings(self._now), *self.drift.findings)

    def expect(self, snapshot: Snapshot, policy: Policy, ref: ModelRef) -> Demand | None:
        """What loading `ref` will take. None: nobody knows, or it is refused for now."""
        if policy.drain_of(ref.engine) is not None:
            return None
        demand = self.learned.expect(snapshot, policy, ref)
        return demand and self.out_of_memory.expect(demand, self._now)

    def unsized(
        self, snapshot: Snapshot, policy: Policy, ref: ModelRef, experience: Experience
    ) -> Demand | None:
        """The demand for one of which nobody knows what it takes: once the reserve was not enough
        for it, all that can be had. None: it is refused for now."""
        demand = unsized(snapshot, policy, ref)
        if not self.out_of_memory.has(ref):
            return demand
        demand = emptied(snapshot, policy, demand, experience)
        return self.out_of_memory.expect(demand, self._now, sized=False)

    def refusal(self, ref: ModelRef) -> str | None:
        """Why `ref` is not to be loaded now. None: it may be tried."""
        return self.out_of_memory.refusal(ref, self._now)

    def wait(self, ref: ModelRef) -> Seconds | None:
        """For how long. None: it may be tried."""
        return self.out_of_memory.wait(ref, self._now)

    def judge(self, outcome: Outcome) -> None:
        self.out_of_memory.judge(outcome, self._now)

    def once_more(self, run: Run) -> Wanted | None:
        """What `run` could not load is tried again, with more room: as a plan of its own."""
        ref = self.out_of_memory.ended(run.decision.plan, self._now)
        if ref is None:
            return None
        answer = run.done.get_loop().create_future()
        answer.add_done_callback(lambda a: a.cancelled() or a.exception())  # nobody need listen
        run.next = answer
        cause = f"{ref} did not fit: once more, with more room"
        return Wanted(cause, partial(self._again, ref), answer)

    def _again(
        self, ref: ModelRef, snapshot: Snapshot, policy: Policy, experience: Experience
    ) -> Plan:
        def expect(snapshot: Snapshot, policy: Policy, ref: ModelRef) -> Demand | None:
            found = self.expect(snapshot, policy, ref)
            return found or self.unsized(snapshot, policy, ref, experience)

        return loading(ref, expect)(snapshot, policy, experience)

    @property
    def _now(self) -> Seconds:
        return Seconds(self.clock())
