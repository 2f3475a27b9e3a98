"""Carries out a plan: read again, stop here if it is a dry run, call, settle, judge.

The plan that was decided is a promise about a world that has moved on. So before each
eviction the world is read again and the plan made again from it; what is no longer needed,
or no longer allowed, is not done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

from collectors.reading import RAM, Seconds

from .awaited import Awaited
from .core.afresh import companions, has_mate, held_back, instead, spared, withdrawn
from .core.explain import of_rung, size
from .core.ladder import ASLEEP, SIGNALS, WHOLE, Rung
from .core.plan import Action, Cancel, Evict, Load, Plan, Why
from .core.record import Mode, Outcome, Result
from .core.snapshot import Ability, EngineId, ModelRef, Snapshot, State
from .core.verdict import Judgement, Verdict, judge
from .engines.base import LOAD_TIMEOUT, Engine, EngineError, EngineRefused
from .force import Force
from .last_words import because

Sample = Callable[[], Awaitable[Snapshot]]
# With what this engine says now, and the others said a moment ago.
Glance = Callable[[EngineId], Awaitable[Snapshot]]
# The plan again, from a newer snapshot, not counting on the models whose unload failed.
Replan = Callable[[Snapshot, Set[ModelRef]], Plan]
# Why a model stays now, however it could be made to go. None: it may go.
Held = Callable[[Snapshot, ModelRef], Why | None]
Report = Callable[[Outcome], None]

WAKES = frozenset({Ability.SLEEP, Ability.DEEP_SLEEP, Ability.WAKE})
SHORTEST = Seconds(0.02)  # between two looks at what is under way
SHARE = 0.05  # of the time that it has taken so far
# An engine that refuses like this is serving: no harder way is tried on it.
AT_WORK = frozenset({409, 423, 429})


@dataclass(slots=True)
class Executor:
    """`settle` bounds the wait for memory to come back; between two looks `step` is the longest
    pause. Both in seconds.

    Ollama frees VRAM 0.5-1.5 s after it answers and itself waits up to 5 s for it.
    """

    sample: Sample
    engines: dict[EngineId, Engine]
    mode: Mode = Mode.ENFORCE
    settle: Seconds = Seconds(5.0)
    step: Seconds = Seconds(0.25)
    load_timeout: Seconds = LOAD_TIMEOUT
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    glance: Glance | None = None  # while one engine is waited for; None: as any other time
    force: Force | None = None  # how rungs are carried out; None: by the engines alone
    stopping: bool = False  # set at shutdown: the action under way is finished, no other begun

    def __post_init__(self) -> None:
        self.force = self.force or Force(self.engines)

    async def carry_out(
        self,
        decision: str,
        decided: Plan,
        replan: Replan,
        leave: Callable[[Evict], Awaitable[None]],
        report: Report = lambda outcome: None,
        held: Held = lambda snapshot, ref: None,
    ) -> list[Outcome]:
        """Do what `replan` still says, one action at a time: evictions first, then the load.

        `leave` is told of each victim, and waited for, before its engine is called; `report`
        of each outcome as soon as it is known, also of that of an action which is cut short.
        `held` is asked of who goes because another has gone: of them no plan speaks any more.
        """
        outcomes: list[Outcome] = []

        def note(*found: Outcome) -> None:
            for outcome in found:
                outcomes.append(outcome)
                report(outcome)

        tried: set[ModelRef] = set()
        lulled: dict[ModelRef, Rung] = {}  # who was let sleep, which may not have been enough
        failed: set[ModelRef] = set()
        ended: set[ModelRef] = set()
        reasons: dict[ModelRef, str] = {}  # why those who were to go are let be
        beside = {e.ref: e for e in decided.evictions if e.beside is not None}
        while True:
            before = await self.sample()
            fresh = replan(before, failed)
            reasons = spared(decided, fresh) | reasons  # the first reason is the true one
            beside |= {e.ref: e for e in fresh.evictions if e.beside is not None}
            going = [e for e in fresh.evictions if e.ref not in tried]
            going += [e for e in fresh.evictions if e.ref in tried and _goes_on(e, lulled)]
            action = next((e for e in going if not has_mate(e, before, ended)), None)
            if action is None:
                due = companions(beside.values(), before, tried, ended)
                action = _first(due, partial(held, before), reasons)
            if action is None or self.stopping or self.mode is not Mode.ENFORCE:
                break
            tried.add(action.ref)
            lulled.pop(action.ref, None)
            await leave(action)
            without = frozenset(failed)
            again = partial(_again, replan, without)
            detail = instead(decided, action, failed)
            work = self._evict(decision, action, before, detail, again)
            note(await self._whole(decision, action, work, report))
            if not kept_its_promise(outcomes[-1]):
                failed.add(action.ref)
            last = outcomes[-1]
            if last.result is Result.DONE and last.rung in SIGNALS | WHOLE:
                ended.add(action.ref)
            elif last.result is Result.DONE and last.rung in ASLEEP:
                lulled[action.ref] = last.rung
        note(*self._skipped(decision, decided, reasons, tried))
        for cancel in (a for a in decided.actions if isinstance(a, Cancel)):
            note(await self._whole(decision, cancel, self._cancel(decision, cancel, fresh), report))
        for load in (a for a in decided.actions if isinstance(a, Load)):
            if (lapsed := withdrawn(load.ref, fresh)) is not None:
                note(self._outcome(decision, load, Result.SKIPPED, lapsed, self.clock()))
            elif fresh.works and not fresh.evictions and (lost := _could_not(outcomes)):
                detail = f"{lost} could not be loaded, and they are always together"
                note(self._outcome(decision, load, Result.SKIPPED, detail, self.clock()))
            elif fresh.works and not fresh.evictions:
                work = self.load(decision, load, before)
                note(await self._whole(decision, load, work, report))
            else:
                detail = "there is still not enough room for it"
                if self.stopping or self.mode is not Mode.ENFORCE:
                    detail = self._why_not()
                now = self.clock()
                note(self._outcome(decision, load, Result.SKIPPED, detail, now))
        return outcomes

    def forget(self, refs: Iterable[ModelRef]) -> None:
        """Those who are not there are not to come back by themselves."""
        for ref in refs if self.mode is Mode.ENFORCE else ():
            if (engine := self.engines.get(ref.engine)) is not None:
                engine.forget(ref.model)

    async def _whole(
        self, decision: str, action: Action, work: Awaitable[Outcome], report: Report
    ) -> Outcome:
        """What has been begun has an outcome, also when the daemon's end or a bug cuts it short."""
        started = self.clock()
        try:
            return await work
        except BaseException as error:
            why = f"internal error: {type(error).__name__}: {error}"
            if isinstance(error, asyncio.CancelledError):
                why = "the daemon ended"
            detail = f"{why}; what came of it is not known"
            report(self._outcome(decision, action, Result.FAILED, detail, started))
            raise

    async def _cancel(self, decision: str, action: Cancel, fresh: Plan) -> Outcome:
        """End the requests of a model, of whom a fresh look still says that it is stuck."""
        started = self.clock()
        if self.stopping or self.mode is not Mode.ENFORCE:
            return self._outcome(decision, action, Result.SKIPPED, self._why_not(), started)
        if action not in fresh.actions:
            detail = "no longer needed"
            return self._outcome(decision, action, Result.SKIPPED, detail, started)
        try:
            assert self.force is not None
            await self.force.engine(action.ref.engine).cancel(action.ref.model)
        except EngineError as error:
            return self._outcome(decision, action, Result.FAILED, str(error), started)
        return self._outcome(decision, action, Result.DONE, "", started)

    async def load(self, decision: str, action: Load, before: Snapshot) -> Outcome:
        """Ask for the load and wait until the engine says that the model is there. One that
        sleeps is woken; an engine that was stopped is started first, where that is known how."""
        started = self.clock()
        if self.stopping or self.mode is not Mode.ENFORCE:
            return self._outcome(decision, action, Result.SKIPPED, self._why_not(), started)
        engine = self.engines.get(action.ref.engine)
        awaited = Awaited(action.ref, before, engine is not None and engine.lists_loads)
        try:
            async with asyncio.timeout(self.load_timeout):
                await self._ask_to_load(action, before)
                while True:
                    now = await self._glance(action.ref.engine)
                    resident = now.resident(action.ref)
                    if resident is not None and resident.state is State.LOADED:
                        return self._outcome(decision, action, Result.DONE, "loaded", started)
                    if (trouble := awaited.lost(now, Seconds(self.clock()))) is not None:
                        detail = await because(trouble, engine, action.ref.model, before, now)
                        return self._outcome(decision, action, Result.FAILED, detail, started)
                    if self.stopping:
                        detail = "the daemon ended before it was loaded"
                        return self._outcome(decision, action, Result.FAILED, detail, started)
                    await self._pause(started)
        except EngineError as error:
            return self._outcome(decision, action, Result.FAILED, str(error), started)
        except TimeoutError:
            detail = f"not loaded within {self.load_timeout:g} s"
            return self._outcome(decision, action, Result.FAILED, detail, started)

    async def _ask_to_load(self, action: Load, before: Snapshot) -> None:
        ref = action.ref
        there = before.resident(ref)
        state = before.engine(ref.engine)
        assert self.force is not None
        if state is not None and not state.up and await self.force.start(ref.engine):
            started = self.clock()
            while not (await self._glance(ref.engine)).answers(ref.engine):
                await self._pause(started)
        engine = self.force.engine(ref.engine)
        if there is not None and there.state is State.SLEEPING and WAKES & engine.abilities:
            await engine.wake(ref.model)
            return
        pools = {share.pool for share in action.takes}
        devices = [d.uuid for d in before.devices if d.pool in pools and d.pool != RAM]
        await engine.load(ref.model, devices)

    async def _evict(
        self,
        decision: str,
        action: Evict,
        before: Snapshot,
        detail: str,
        again: Callable[[Snapshot], Plan],
    ) -> Outcome:
        """Climb the ladder until the memory is back. Before each further rung the world is read
        and the plan made once more: whoever works again by then, or is not needed, is let be."""
        started = self.clock()
        climbed: list[Rung] = []
        slipped: list[str] = []
        while True:
            rung = next(r for r in action.ladder if r not in climbed)
            climbed.append(rung)
            outcome, final = await self._try(decision, action, before, detail, rung, started)
            outcome = replace(outcome, rung=rung, slipped=tuple(slipped))
            left = set(action.ladder) - set(climbed)
            if _is_done(outcome, rung) or final or not left or self.stopping:
                return outcome
            # Who was sent a signal is at work no more, whatever it looks like: half a death is
            # worse than a whole one. Both are judged together.
            if rung not in SIGNALS:
                before = await self.sample()
                fresh = next((e for e in again(before).evictions if e.ref == action.ref), None)
                if fresh is None or not set(fresh.ladder) - set(climbed):
                    return outcome
                action = fresh
            slipped.append(of_rung(rung, action.ref, _too_little(outcome)))

    async def _try(
        self,
        decision: str,
        action: Evict,
        before: Snapshot,
        detail: str,
        rung: Rung,
        started: float,
    ) -> tuple[Outcome, bool]:
        """One rung; and whether it is the last word: its engine says that it is at work."""
        resident = before.resident(action.ref)
        try:
            if resident is not None:
                assert self.force is not None
                await self.force.take(rung, resident)
        except EngineError as error:
            busy = isinstance(error, EngineRefused) and error.status in AT_WORK
            return self._outcome(decision, action, Result.FAILED, str(error), started), busy
        judgement = await self._settled(action, before, rung)
        result = Result.DONE if judgement.gone else Result.FAILED
        if not judgement.gone:
            detail = "the engine answered, and still lists the model"
            if rung in ASLEEP:
                detail = "the engine answered, and the model does not sleep"
            elif rung in SIGNALS:
                detail = "its process has not ended"
        return self._outcome(decision, action, result, detail, started, judgement), False

    async def _settled(self, action: Evict, before: Snapshot, rung: Rung) -> Judgement:
        """The verdict, as soon as it is good and the engine agrees, or when time is up."""
        began = self.clock()
        late = False
        while True:
            after = await (self.sample() if late else self._glance(action.ref.engine))
            judgement = judge(action, before, after, rung)
            good = judgement.gone and judgement.verdict is Verdict.RECOVERED
            if good or late:
                return judgement
            late = self.clock() - began >= self.settle
            if not late:
                await self._pause(began)

    async def _glance(self, engine: EngineId) -> Snapshot:
        """Enough to see whether an engine has done what it was told."""
        return await (self.sample() if self.glance is None else self.glance(engine))

    async def _pause(self, began: float) -> None:
        """Short at first: somebody waits for what mostly takes a moment. What takes long is
        looked at seldom, so that looking costs it next to nothing."""
        waited = self.clock() - began
        await self.sleep(min(self.step, max(SHORTEST, SHARE * waited)))

    def _skipped(
        self,
        decision: str,
        decided: Plan,
        reasons: Mapping[ModelRef, str],
        tried: Set[ModelRef],
    ) -> list[Outcome]:
        """One outcome for every eviction that was decided and is not carried out."""
        now, why = self.clock(), self._why_not()
        if not self.stopping and self.mode is Mode.ENFORCE:
            why = held_back(Why.STAYS_TOGETHER)  # nothing else is left undone without a reason
        return [
            self._outcome(decision, action, Result.SKIPPED, reasons.get(action.ref, why), now)
            for action in decided.evictions
            if action.ref not in tried
        ]

    def _why_not(self) -> str:
        return "the daemon is stopping" if self.stopping else f"the mode is {self.mode.value}"

    def _outcome(
        self,
        decision: str,
        action: Action,
        result: Result,
        detail: str,
        started: float,
        judgement: Judgement | None = None,
    ) -> Outcome:
        took = Seconds(self.clock() - started)
        return Outcome(decision, self.wall(), action, result, detail, took, judgement)


def _again(replan: Replan, failed: Set[ModelRef], snapshot: Snapshot) -> Plan:
    return replan(snapshot, failed)


def _is_done(outcome: Outcome, rung: Rung) -> bool:
    """A process that gave its memory back and lives on serves nobody: llama-server's children
    were seen to do that on SIGTERM."""
    half_dead = rung in SIGNALS and outcome.judgement is not None and not outcome.judgement.gone
    return kept_its_promise(outcome) and not half_dead


def _too_little(outcome: Outcome) -> str:
    if outcome.judgement is None or kept_its_promise(outcome):
        return outcome.detail
    back, promised = size(max(0, outcome.judgement.returned)), size(outcome.judgement.promised)
    return f"{back} of {promised} came back"


def _first(
    due: Iterable[Evict], held: Callable[[ModelRef], Why | None], reasons: dict[ModelRef, str]
) -> Evict | None:
    """The first who may go. Of those before it, `reasons` says why they may not."""
    for action in due:
        if (why := held(action.ref)) is None:
            return action
        reasons[action.ref] = held_back(why)
    return None


def _goes_on(evict: Evict, lulled: Mapping[ModelRef, Rung]) -> bool:
    """Was it let sleep for others' sake, and has to go further after all?"""
    rung = lulled.get(evict.ref)
    return rung is not None and evict.why is Why.MAKES_ROOM and rung not in evict.ladder


def _could_not(outcomes: Sequence[Outcome]) -> ModelRef | None:
    """Who was to be loaded, and could not be."""
    loads = (o for o in outcomes if isinstance(o.action, Load))
    return next((o.action.ref for o in loads if o.result is not Result.DONE), None)


def kept_its_promise(outcome: Outcome) -> bool:
    """False when an unload was refused, or gave too little back. What nobody saw is not held
    against anyone."""
    if outcome.judgement is None:
        return outcome.result is not Result.FAILED
    return outcome.judgement.verdict in (Verdict.RECOVERED, Verdict.BLIND)
