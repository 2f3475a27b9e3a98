"""The one task that owns state: takes events, asks core, starts effects.

Whoever wants something posts an event. Slow work (sampling, unloading) runs in tasks of
its own and comes back as an event, so that deciding is never waited for and state is
changed in one place only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Set
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.reading import Bytes, PoolId, Seconds

from .core.explain import size
from .core.headroom import rooms
from .core.patience import Patience
from .core.plan import Evict, Load, Plan, Trigger, dismiss, limit, relieve
from .core.policy import Policy
from .core.record import Decision, Mode, Outcome
from .core.snapshot import ModelRef, Reservation, Share, Snapshot, State
from .core.watch import Finding, Kind, Severity, due, watch
from .events import (
    ClockStepped,
    Ended,
    EnginesFound,
    Event,
    PinsChanged,
    Replan,
    Run,
    Sampled,
    SampleFailed,
    Tick,
    Wanted,
)
from .executor import Executor, kept_its_promise
from .journal import Journal
from .sampler import Sampler
from .tally import Counts

log = logging.getLogger("ullage.loop")

# An unload that gave too little back is not counted on for this long: nobody is evicted in
# vain twice. It is tried again afterwards, for engines do recover.
DISTRUST = Seconds(300.0)

# Bytes that a process gave back, and that the kernel does not count as available yet, are
# waited for this long before anybody else has to go for them.
LATE = Seconds(10.0)

# A model's footprint is written down again when it has grown by this much.
GROWN = 1.01


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
    reservations: tuple[Reservation, ...] = ()
    leaving: set[ModelRef] = field(default_factory=set)
    runs: list[Run] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    _events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _sampling: bool = False
    _said: dict[str, object] = field(default_factory=dict)
    _ineffective: dict[ModelRef, Finding] = field(default_factory=dict)
    _resting: dict[PoolId, Seconds] = field(default_factory=dict)
    _learned: dict[ModelRef, Bytes] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    # -- the door

    def post(self, event: Event) -> None:
        self._events.put_nowait(event)

    async def ask(self, cause: str, replan: Replan) -> Run:
        """Make a plan and carry it out. Returns once it is decided; its `done` tells the rest.

        Waits while another plan is under way on the same pools. Raises RuntimeError while
        there is no snapshot yet.
        """
        answer: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self.post(Wanted(cause, replan, answer))
        return await answer

    async def look(self) -> Snapshot:
        """A thorough sample, now, with what is promised and who is leaving."""
        return await self.sampler.sample(
            thorough=True, reservations=self.reservations, leaving=frozenset(self.leaving)
        )

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

    def _handle(self, event: Event) -> None:
        match event:
            case Tick(due_at):
                self.counts.lag = max(0.0, self.clock() - due_at)
                if not self._sampling:
                    self._sampling = True
                    self._start("sample", self._sample())
            case Sampled(snapshot):
                self._sampling = False
                self._see(snapshot)
            case SampleFailed(error):
                self._sampling = False
                self.counts.failed_samples += 1
                log.error("sampling failed: %s: %s", type(error).__name__, error)
            case Ended(run, outcomes):
                self._end(run, outcomes)
            case Wanted():
                self._want(event)
            case PinsChanged(pins):
                self.policy = replace(self.policy, pinned=pins)
            case EnginesFound(engines):
                for engine in engines:
                    if engine.url not in {e.url for e in self.sampler.engines.values()}:
                        log.info("found %s at %s", engine.kind, engine.url)
                        self.sampler.engines[engine.id] = engine
            case ClockStepped(by):
                self.counts.clock_steps += 1
                log.warning("the wall clock stepped by %+.1f s", by)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sample(self) -> None:
        try:
            snapshot = await self.sampler.sample(
                reservations=self.reservations, leaving=frozenset(self.leaving)
            )
        except Exception as error:
            log.debug("sampling", exc_info=True)
            self.post(SampleFailed(error))
        else:
            self.post(Sampled(snapshot))

    def _see(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.counts.samples += 1
        self._learn(snapshot)
        self._forget_distrust(snapshot)
        self._note_findings(watch(snapshot, self.policy, self.findings))
        if self.mode is not Mode.OBSERVE and not self.executor.stopping:
            self._decide(snapshot)
        self._changed.set()
        self._changed = asyncio.Event()

    def _learn(self, snapshot: Snapshot) -> None:
        """Remember what each model holds, for the next time that it is to be loaded."""
        for resident in snapshot.residents:
            if resident.state is not State.LOADED:
                continue
            if resident.size > self._learned.get(resident.ref, 0) * GROWN:
                self._learned[resident.ref] = resident.size
                shares = tuple(Share(p, resident.holds(p)) for p in sorted(resident.pools))
                self.journal.remember(resident.ref, shares)

    # -- deciding by oneself

    def _decide(self, snapshot: Snapshot) -> None:
        """What the findings call for. Asked at every snapshot; asking twice is harmless."""
        needy = due(self.findings, self.policy, snapshot.taken_at, self._resting)
        cause = f"{', '.join(sorted(needy))}: headroom is gone"
        self._propose("relief", bool(needy), cause, self._relief(needy))
        over = any(f.kind is Kind.OVER_LIMIT for f in self.findings)
        self._propose("limit", over, "more models are active than allowed", limit)
        for kind, trigger in ((Kind.IDLE, Trigger.IDLE), (Kind.STUCK, Trigger.BUSY)):
            found = [f for f in self.findings if f.kind is kind]
            cause = "; ".join(f"{f.subject} is {f.detail}" for f in found)
            self._propose(trigger.value, bool(found), cause, self._dismissal(kind, trigger))

    def _relief(self, pools: Collection[PoolId]) -> Replan:
        return lambda snapshot, policy, doubt: relieve(snapshot, policy, pools, doubt)

    def _dismissal(self, kind: Kind, trigger: Trigger) -> Replan:
        """Unload those of whom the finding is still true when it is looked at again."""

        def replan(snapshot: Snapshot, policy: Policy, doubt: Set[ModelRef]) -> Plan:
            found = watch(snapshot, policy, self.findings)
            refs = [f.ref for f in found if f.kind is kind and f.ref is not None]
            refs = [r for r in refs if r not in doubt]
            return dismiss(snapshot, policy, refs, trigger, even_busy=trigger is Trigger.BUSY)

        return replan

    def _propose(self, key: str, wanted: bool, cause: str, replan: Replan) -> None:
        """Start what `replan` says, unless it is under way, in vain, or was said before."""
        if not wanted or self.snapshot is None:
            self._said.pop(key, None)
            self.patience.forget(key)
            return
        plan = replan(self.snapshot, self.policy, self.distrusted)
        if plan.evictions:
            self.patience.forget(key)
            if self.mode is Mode.ENFORCE or self._is_news(key, plan):
                self._begin(cause, plan, replan)
        elif plan.waits_for:
            if self.patience.give_up(key, self.snapshot.taken_at) and self._is_news(key, plan):
                tries = self.patience.tries
                text = f"{cause}; everybody who could go was busy, {tries} tries long: gave up"
                self._begin(text, plan, replan)
        elif not plan.works and self._is_news(key, plan):
            self._begin(f"{cause}; nobody can be unloaded", plan, replan)

    def _is_news(self, key: str, plan: Plan) -> bool:
        """The same answer is written down once, and again only when it changes."""
        lacking = ({s.pool for s in plan.unmet}, set(plan.full))
        victims = [e.ref for e in plan.evictions]
        meaning = (victims, lacking) if victims else (plan.notes, lacking)
        if self._said.get(key) == meaning:
            return False
        self._said[key] = meaning
        return True

    # -- carrying out

    def _want(self, event: Wanted) -> None:
        if self.snapshot is None:
            event.answer.set_exception(RuntimeError("the first sample is not in yet"))
            return
        plan = event.replan(self.snapshot, self.policy, self.distrusted)
        run = self._begin(event.cause, plan, event.replan)
        if run is None:
            # Named here: by the time that the task begins, they may have ended.
            ahead = [run.done for run in self.runs]
            self._start("wait for another plan", self._again(event, ahead))
        elif not event.answer.done():
            event.answer.set_result(run)

    async def _again(self, event: Wanted, ahead: list[asyncio.Future[list[Outcome]]]) -> None:
        await asyncio.wait(ahead, return_when=asyncio.FIRST_COMPLETED)
        self.post(event)

    def _begin(self, cause: str, plan: Plan, replan: Replan) -> Run | None:
        """Write the decision down and start it. None while its pools are being worked on."""
        assert self.snapshot is not None
        if plan.actions and any(run.in_the_way(plan) for run in self.runs):
            return None
        decision = Decision(
            id=self.journal.next_id(),
            at=self.wall(),
            mode=self.mode,
            cause=cause,
            plan=plan,
            rooms=rooms(self.snapshot, self.policy),
        )
        run = Run(decision, replan, asyncio.get_running_loop().create_future())
        if plan.actions:
            self.runs.append(run)
            # Reserve first: a load can fill the pool between two samples.
            granted = [Reservation(a.ref, a.takes) for a in plan.actions if isinstance(a, Load)]
            self.reservations = (*self.reservations, *granted)
        self.counts.decisions[plan.trigger.value] += 1
        self._start(f"decision {decision.id}", self._carry_out(run))
        return run

    async def _carry_out(self, run: Run) -> None:
        outcomes: list[Outcome] = []
        decision, plan = run.decision.id, run.decision.plan
        try:
            await self.journal.record(run.decision)
            if plan.actions:
                outcomes += await self.executor.carry_out(
                    decision,
                    plan,
                    lambda s, failed: run.replan(s, self.policy, self.distrusted | failed),
                    self.leaving.add,
                )
        except Exception:
            log.exception("decision %s could not be carried out", decision)
        finally:
            self.post(Ended(run, outcomes))

    def _end(self, run: Run, outcomes: list[Outcome]) -> None:
        if run in self.runs:
            self.runs.remove(run)
        loaded = {a.ref for a in run.decision.plan.actions if isinstance(a, Load)}
        self.reservations = tuple(r for r in self.reservations if r.ref not in loaded)
        for outcome in outcomes:
            self.leaving.discard(outcome.action.ref)
            self.journal.add_outcome(outcome)
            self.counts.add(run.decision.plan.trigger, outcome)
            self._judge(outcome)
        if not run.done.done():
            run.done.set_result(outcomes)

    def _judge(self, outcome: Outcome) -> None:
        ref, judgement = outcome.action.ref, outcome.judgement
        if judgement is not None and judgement.late and isinstance(outcome.action, Evict):
            until = Seconds(self.clock() + LATE)
            self._resting |= {share.pool: until for share in outcome.action.frees}
        log.info("%s: %s %s", ref, outcome.result.value, outcome.detail)
        if isinstance(outcome.action, Load) or kept_its_promise(outcome):
            return
        detail = outcome.detail
        if judgement is not None:
            back, promised = size(max(0, judgement.returned)), size(judgement.promised)
            detail = f"gave back {back} of {promised}"
        now = Seconds(self.clock())
        found = Finding(Kind.INEFFECTIVE, str(ref), now, Severity.WARNING, detail, 0.0, ref)
        self._ineffective[ref] = found

    # -- findings

    @property
    def distrusted(self) -> Set[ModelRef]:
        """The models whose last unload did not give back what it promised."""
        return self._ineffective.keys()

    def _forget_distrust(self, snapshot: Snapshot) -> None:
        for ref, finding in list(self._ineffective.items()):
            if snapshot.taken_at - finding.since >= DISTRUST:
                del self._ineffective[ref]

    def _note_findings(self, found: tuple[Finding, ...]) -> None:
        found = (*found, *self._ineffective.values())
        before = {f.key: f for f in self.findings}
        after = {f.key: f for f in found}
        for key in after.keys() - before.keys():
            log.warning("%s %s: %s", after[key].kind.value, after[key].subject, after[key].detail)
            self.journal.add_finding(after[key], self.wall())
        for key in before.keys() - after.keys():
            log.info("%s %s: no longer", before[key].kind.value, before[key].subject)
            self.journal.clear_finding(key[0].value, key[1], self.wall())
        self.findings = found
