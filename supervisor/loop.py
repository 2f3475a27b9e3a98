"""The one task that owns state: takes events, asks core, starts effects.

Whoever wants something posts an event. Slow work (sampling, unloading) runs in tasks of
its own and comes back as an event, so that deciding is never waited for and state is
changed in one place only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar

from collectors.reading import Seconds

from .ahead import Ahead
from .alarms import Alarms
from .beginning import Beginning
from .core.became import of_outcome
from .core.experience import Experience
from .core.headroom import rooms
from .core.pace import Pace
from .core.patience import Patience
from .core.plan import Plan, Why
from .core.policy import Policy
from .core.record import Decision, Mode, Outcome, Result
from .core.rows import outcome_row
from .core.snapshot import EngineId, ModelRef, Reservation, Snapshot
from .core.watch import Finding
from .core.ways import Ways
from .events import (
    NOBODY,
    TOO_LATE,
    About,
    Arrived,
    ClaimsChanged,
    ClockStepped,
    Ended,
    EnginesFound,
    Event,
    Happened,
    NotNow,
    Pressed,
    Replan,
    Reported,
    Run,
    Sampled,
    SampleFailed,
    SettingsChanged,
    Tick,
    Uses,
    Wanted,
)
from .executor import Executor
from .findings import tell
from .goings import Goings, first
from .journal.journal import Journal
from .keeping.keeping import Keeping
from .looks import Looks
from .proposals import Proposals, Sight
from .sampler import Sampler
from .standing import leaving, overdue, unused
from .tally import Counts
from .telemetry.about import of_action, of_decision, of_plan
from .traffic import Traffic
from .witnesses import Witnesses

log = logging.getLogger("ullage.loop")

STOPPING = "the daemon is stopping"
T = TypeVar("T")
LAST_TURN = Seconds(0.5)  # of the loop, at the daemon's end


@dataclass(slots=True)
class Loop:
    sampler: Sampler
    executor: Executor
    journal: Journal
    policy: Policy
    mode: Mode = Mode.ENFORCE
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    snapshot: Snapshot | None = None
    findings: tuple[Finding, ...] = ()
    reservations: tuple[Reservation, ...] = ()  # of the runs under way
    runs: list[Run] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    pace: Pace = field(default_factory=lambda: Pace(Seconds(1.0)))
    period: Seconds = Seconds(1.0)  # until the next tick, as the latest snapshot asks for it
    alarms: Alarms = field(default_factory=Alarms)
    beginning: Beginning = field(default_factory=Beginning)
    proposals: Proposals = field(init=False)
    keeping: Keeping = field(init=False)
    goings: Goings = field(init=False)
    traffic: Traffic = field(init=False)
    witnesses: Witnesses = field(init=False)
    _events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _looks: Looks = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._looks = Looks(self)
        self.goings = Goings(self.runs, self.clock)
        self.traffic = Traffic(self.clock)
        self.witnesses = Witnesses.of(self.journal, self.alarms, self.clock, self.wall)
        self.proposals = Proposals(self._begin, self.mode, self.patience)
        self.keeping = Keeping(self.journal, self.policy, self.clock, self.wall)
        self.proposals.sources += [*self.witnesses.sources, overdue, unused, leaving]
        self.proposals.sources.append(Ahead(self.witnesses.rules.together.expect))

    # -- the door

    def post(self, event: Event) -> None:
        self._events.put_nowait(event)

    async def ask(
        self,
        cause: str,
        replan: Replan,
        about: About = NOBODY,
        begun: Callable[[Run], None] = lambda run: None,
    ) -> Run:
        """Make a plan and carry it out. Returns once it is decided; its `done` tells the rest.

        Waits while another plan is under way on the same pools, or makes one go whom it is
        `about`. Raises NotNow before the first snapshot, and at the daemon's end.
        """
        answer: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self.post(Wanted(cause, replan, answer, about, begun))
        return await answer

    @property
    def leaving(self) -> frozenset[ModelRef]:
        """Who has been told to go, by a run under way, and is not known to be gone."""
        return self.goings.asked

    async def over(self, about: About) -> None:
        """Returns when nobody whom it is `about` is being made to go."""
        while self.goings.has(about.refs):
            await first(list(self.runs), self._changed)

    async def look(self) -> Snapshot:
        """A thorough sample, now, with what is promised and who is leaving."""
        return await self._looks.look()

    async def glance(self, engine: EngineId) -> Snapshot:
        """A sample for which this engine alone is asked: what the others said is a moment old."""
        return await self._looks.sampled(only=(engine,))

    async def changed(self) -> None:
        """Returns after the next snapshot."""
        await self._changed.wait()

    # -- the task

    async def run(self) -> None:
        """Serve events until cancelled. State changes here and nowhere else."""
        while True:
            event = await self._events.get()
            try:
                self._handle(event)
            except Exception as error:
                # The last thing on the machine to break: say it, and serve the next event.
                log.exception("could not serve %s", type(event).__name__)
                if isinstance(event, Wanted) and not event.answer.done():
                    event.answer.set_exception(RuntimeError(f"internal error: {error}"))

    async def drain(self, timeout: Seconds) -> None:
        """Begin nothing more, and wait for what is under way, at most `timeout` seconds."""
        self.executor.stopping = True
        under_way = [r.done for r in self.runs]
        if under_way:
            await asyncio.wait(under_way, timeout=timeout)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if under_way:  # what was cut short is written down by the loop, in its own turn
            await asyncio.wait(under_way, timeout=LAST_TURN)
        self.witnesses.arrivals.save()

    def _handle(self, event: Event) -> None:
        match event:
            case Tick():
                self.counts.tick(self.clock(), event.due_at)
                self._looks.tick(event)
            case Pressed():
                self.alarms.ring(Seconds(self.clock()))
                self._looks.pressed()
            case Sampled():
                if (began := self._looks.newest(event)) is not None:
                    self._see(event.snapshot, began)
            case SampleFailed():
                self._looks.failed(event)
            case Happened(run, outcome):
                self._note(run, outcome)
            case Ended(run, why):
                self._end(run, why)
            case Wanted():
                self._want(event)
            case SettingsChanged():
                self.policy = self.keeping.configured(event.policy)
                self.witnesses.rules.changed(event, self.policy)
            case Arrived(ref):
                self.witnesses.arrivals.told(ref, self.clock())
            case Uses():
                self.witnesses.rules.used(event, self.policy)
            case ClaimsChanged():
                self.snapshot, self.policy = self.keeping.as_claimed(self.snapshot, self.policy)
            case EnginesFound(engines, missing):
                for gone in self.sampler.roster.found(engines, missing):
                    self.start(f"close {gone.id}", gone.close())
                self._found()
            case Reported(incident):
                self.alarms.hear(incident)
            case ClockStepped(by):
                self.counts.clock_steps += 1
                self.keeping.rewrite()
                log.warning("the wall clock stepped by %+.1f s", by)
        self._looks.catch_up()

    def start(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work of that name, which does not outlive the daemon."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _found(self) -> None:
        self.beginning.found()
        if not self.beginning.over:
            self._looks.begin()

    def _see(self, snapshot: Snapshot, began: Seconds) -> None:
        self.goings.saw(snapshot, began)
        snapshot, self.policy = self.keeping.see(snapshot, self.policy)
        self.snapshot = snapshot = self.traffic.mark(self.goings.promise(snapshot))
        self._looks.works()
        loading = {a.ref for run in self.runs for a in run.loads}
        if not self.beginning.over:
            self.witnesses.rules.limiting.begin()
            self.beginning.see(snapshot, self.sampler.engines)
        known = self.beginning.over
        self.witnesses.see(snapshot, self.policy, self.leaving, loading, all_known=known)
        found = self.witnesses.findings(snapshot, self.policy, self.findings)
        self.findings = tell(self.journal, self.findings, found, self.wall())
        if self.mode is not Mode.OBSERVE and known and not self.executor.stopping:
            self.proposals.consider(Sight(snapshot, self.policy, self.findings, self.experience))
        self.period = self.pace.next(snapshot, rooms(snapshot, self.policy), busy=bool(self.runs))
        self._changed.set()
        self._changed = asyncio.Event()
        self.traffic.saw(snapshot, began)

    # -- carrying out

    def _want(self, event: Wanted) -> None:
        if event.answer.done():
            return  # whoever asked has hung up
        if self.snapshot is None or self.executor.stopping:
            why = "the first sample is not in yet" if self.snapshot is None else STOPPING
            event.answer.set_exception(NotNow(why))
            return
        if event.about.until is not None and self.clock() >= event.about.until:
            event.answer.set_exception(NotNow(TOO_LATE))
            return
        self.keeping.stay(event.about, self.leaving)
        marked = self.traffic.mark(self.goings.promise(self.snapshot))
        snapshot, self.policy = self.keeping.as_claimed(marked, self.policy)
        plan = event.replan(snapshot, self.policy, self.experience)
        waits = self.goings.has(event.about.refs)
        if waits or (run := self._begin(event.cause, plan, event.replan)) is None:
            # Named here: by the time that the task begins, they may have ended.
            self.start("wait for another plan", self._again(event, [*self.runs], self._changed))
        else:
            run.about, run.decision = event.about, event.signed(run.decision)
            self.keeping.farewells.part(run, plan, snapshot, self.wall())
            event.begun(run)
            self.post(ClaimsChanged())
            event.answer.set_result(run)

    async def _again(self, event: Wanted, ahead: list[Run], changed: asyncio.Event) -> None:
        await first(ahead, changed)
        self.post(event)

    def _begin(self, cause: str, plan: Plan, replan: Replan) -> Run | None:
        """Write the decision down and start it. None while its pools are being worked on."""
        assert self.snapshot is not None
        if plan.actions and self.goings.in_the_way(plan):
            return None
        found = rooms(self.snapshot, self.policy)
        decision = Decision(self.journal.next_id(), self.wall(), self.mode, cause, plan, found)
        run = Run(
            decision, replan, asyncio.get_running_loop().create_future(), read=self.goings.read
        )
        if plan.actions:
            self.runs.append(run)
            self.witnesses.rules.begun(plan, self.policy)
            self._reserve()  # first: a load can fill the pool between two samples
        log.info("%s: %s", decision.id, cause, extra=of_plan(decision))
        self.counts.decisions[plan.trigger.value] += 1
        self.start(f"decision {decision.id}", self._carry_out(run))
        return run

    def _reserve(self) -> None:
        """What is promised to the loads under way."""
        self.goings.count()
        self.reservations = self.goings.promised
        if self.reservations:
            self.sampler.sources.wake()

    @of_decision
    async def _carry_out(self, run: Run) -> None:
        decision, plan, why = run.decision.id, run.decision.plan, ""
        try:
            await self.journal.record(run.decision)
            if plan.actions:
                await self.executor.carry_out(
                    decision,
                    plan,
                    lambda snapshot, failed: self._replan(run, snapshot, failed),
                    lambda evict: self.goings.leave(run, evict, self.journal.amend),
                    lambda outcome: self.post(Happened(run, self.goings.told(outcome))),
                    self._held,
                )
                # Whoever waits for this run sees the world as it is now, not as it was.
                began = Seconds(self.clock())
                self.post(Sampled(await self.look(), ticked=False, began=began))
        except asyncio.CancelledError:
            why = "the daemon ended before it was begun"
            raise
        except Exception as error:
            log.exception("decision %s could not be carried out", decision)
            why = f"internal error: {type(error).__name__}: {error}"
        finally:
            self.post(Ended(run, why))

    def _replan(self, run: Run, snapshot: Snapshot, failed: Set[ModelRef]) -> Plan:
        """By what is pinned and at work now, too: that may have come since the latest event."""
        self.witnesses.footprints.learned.glance(snapshot)
        snapshot, policy = self.traffic.mark(snapshot), self.keeping.over(self.policy)
        plan = self.goings.within(run, run.replan(snapshot, policy, self.witnesses.within(failed)))
        self.keeping.farewells.part(run, plan, snapshot, self.wall())
        return plan

    def _held(self, snapshot: Snapshot, ref: ModelRef) -> Why | None:
        """Why it stays now, too. Whoever was to go was there for long enough, and still is."""
        snapshot, policy = self.traffic.mark(snapshot), self.keeping.over(self.policy)
        return Ways(snapshot, policy, even_young=True).staying.get(ref)

    @of_decision
    def _note(self, run: Run, outcome: Outcome) -> None:
        run.outcomes.append(outcome)
        run.leaving.discard(outcome.action.ref)
        self._reserve()
        self.journal.add_outcome(outcome)
        self.counts.add(run.decision.plan.trigger, outcome)
        row = outcome_row(outcome)
        log.info("%s: %s", outcome.decision, of_outcome(row), extra=of_action(row))
        self.witnesses.hear(outcome, run.decision.plan.trigger)
        self.traffic.heard(run, outcome)

    @of_decision
    def _end(self, run: Run, why: str) -> None:
        """Whatever else goes wrong, nobody waits for this run any longer."""
        if run in self.runs:
            self.runs.remove(run)
        try:
            for action in run.lacks() if why else ():
                skipped = Outcome(run.decision.id, self.wall(), action, Result.SKIPPED, why)
                self._note(run, skipped)
            self._reserve()
            self.keeping.farewells.ended(run)
            if (again := self.witnesses.ended(run)) is not None:
                again.about = again.about._replace(until=run.about.until)
                self.post(again)
        finally:
            if not run.done.done():
                run.done.set_result(run.outcomes)
            self.traffic.ended(run)

    # -- what is known

    @property
    def experience(self) -> Experience:
        """Whom not to count on, what was seen of each model, and what is not to be now."""
        return self.witnesses.experience(self.policy)
