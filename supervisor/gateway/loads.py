"""What is loaded next for those who wait: one plan for each model, however many ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from collectors.reading import PoolId, Seconds
from supervisor.core import admission
from supervisor.core.admission import Held, Hope, hope, order, patient, taken_back, tight
from supervisor.core.experience import Experience
from supervisor.core.history import Tier
from supervisor.core.places import lost
from supervisor.core.plan import Evict, Load, Plan, Why, plan
from supervisor.core.policy import Policy
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import Ability, Demand, ModelRef, Snapshot, State
from supervisor.events import About, Run, Wanted, meet
from supervisor.loop import Loop

from . import refusals
from .counts import Counts
from .drains import Drains
from .halts import Halts
from .holding import Hold, Holds, Outlook, Sight
from .wishes import Refusal

# A process that has just begun may be a model's, and not be known as that yet.
STRANGERS_STAY = 3.0  # seconds
PAUSE = 0.25  # seconds, after a plan that was decided and could not be carried out
WAKES = frozenset({Ability.SLEEP, Ability.DEEP_SLEEP, Ability.WAKE})


class Desk(Protocol):
    def let_through(self, hold: Hold) -> None:
        """All who wait for it, though it is not there: its engine loads by itself."""

    def give_up(self, hold: Hold, why: Refusal) -> None:
        """It cannot be had: they are refused, or sent elsewhere."""

    def guarded(self, hold: Hold) -> AbstractContextManager[None]:
        """At a fault of ours within they are refused."""

    def due(self) -> None:
        """Something has changed: look at all holds again."""

    def stop(self) -> None:
        """The daemon ends."""


@dataclass(slots=True)
class Loads:
    loop: Loop
    desk: Desk
    holds: Holds
    drains: Drains
    counts: Counts
    brake: float = 0.0  # when the next swap may be, where that is all that somebody waits for
    halts: Halts = field(init=False)
    _claims: list[frozenset[PoolId]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.halts = Halts(self.loop)

    # -- what would be done

    def sight(self) -> Sight | None:
        """None: before the first snapshot."""
        loop = self.loop
        if loop.snapshot is None:
            return None
        snapshot = loop.traffic.mark(loop.goings.promise(loop.snapshot))
        return Sight(snapshot, patient(loop.policy), loop.experience, loop.clock())

    def demand(self, ref: ModelRef, sight: Sight) -> Demand | None:
        """What `ref` will take: none of a pool, where nobody knows. None: it is refused."""
        witnesses, (snapshot, policy, experience, _) = self.loop.witnesses, sight
        found = witnesses.rules.together.expect(snapshot, policy, ref)
        if found is None and self.refusal(ref, snapshot, policy) is None:
            found = witnesses.footprints.unsized(snapshot, policy, ref, experience)
        if found is not None and self.comes_by_itself(ref, snapshot):
            found = Demand(found.shares)  # room is made, and nothing loaded
        return found

    def refusal(self, ref: ModelRef, snapshot: Snapshot, policy: Policy) -> Refusal | None:
        """Why `ref` cannot be asked for now."""
        loop = self.loop
        if (halted := self.halts.refusal(ref, snapshot)) is not None:
            return halted
        if (why := loop.witnesses.footprints.refusal(ref)) is not None:
            return refusals.cooling(ref, why, loop.witnesses.footprints.wait(ref) or 0.0)
        if policy.groups and (why := loop.witnesses.rules.together.lacking(snapshot, policy, ref)):
            return refusals.cannot(ref, why)
        return None

    def comes_by_itself(self, ref: ModelRef, snapshot: Snapshot) -> bool:
        """Nobody can tell its engine to load it: its first request does."""
        engine = snapshot.engine(ref.engine)
        if engine is None or Ability.LOAD in engine.abilities:
            return False
        there = snapshot.resident(ref)
        asleep = there is not None and there.state is State.SLEEPING
        return not (asleep and WAKES & engine.abilities)

    def best(self, refs: Collection[ModelRef], sight: Sight) -> ModelRef:
        """Of several that serve alike: who is on its way already, or fits best."""
        refs = list(refs)
        if len(refs) == 1:
            return refs[0]
        for found in (self.halts.is_coming, lambda ref, _: self.holds.get(ref) is not None):
            for ref in refs:
                if found(ref, sight.snapshot):
                    return ref

        def cost(ref: ModelRef) -> tuple[bool, bool, tuple[int, float], int, float]:
            demand = self.demand(ref, sight)
            going = sight.snapshot.resident(ref) is not None  # it is there, and not to be had
            if demand is None:
                return True, going, (0, 0.0), 0, 0.0
            experience = self.halts.barred(sight.experience, ref)
            made = plan(sight.snapshot, sight.policy, demand, experience)
            seconds = self.seconds(ref, demand, sight.snapshot) or 0.0
            return not made.works, going, lost(made, sight.snapshot), len(made.evictions), seconds

        return min(refs, key=cost)

    def seconds(self, ref: ModelRef, demand: Demand | None, snapshot: Snapshot) -> Seconds | None:
        """What loading `ref` takes. None: nobody knows."""
        history = self.loop.witnesses.history
        size = 0 if demand is None else sum(s.size for s in demand.shares)
        there = snapshot.resident(ref)
        asleep = there is not None and there.state is State.SLEEPING
        if not size and history.reload_of(ref) is None:
            return None
        return history.reload(ref, size, Tier.ASLEEP if asleep else Tier.DISK)

    # -- what is done

    def order(self, now: float) -> list[Held]:
        """The priority of a request is on top of its model's own."""
        first = () if self.drains.ref is None else (self.drains.ref,)
        policy = self.loop.policy
        waiting = (h.held for h in self.holds.waiting())
        if policy.says("priority"):
            said = ((h, policy.said(h.ref, "priority") or 0) for h in waiting)
            waiting = (h._replace(priority=h.priority + own) for h, own in said)
        return order(waiting, now, first)

    def serve(self) -> Iterator[None]:
        """Ask for whatever can be loaded now, in order; look at who is in the way of the rest. A
        step is one model; others may have their turn between two."""
        sight, seen = self.sight(), self.loop.snapshot
        if sight is None:
            return
        self.brake = float("inf")
        self._claims = [h.pools for h in self.holds if h.answer is not None]
        for held in self.order(sight.now):
            hold = self.holds.get(held.ref)
            if hold is not None and hold.waiters and not hold.under_way:
                with self.desk.guarded(hold):
                    self._serve(hold, sight)
                yield
            if self.loop.snapshot is not seen:
                sight, seen = self.sight() or sight, self.loop.snapshot

    def _serve(self, hold: Hold, sight: Sight) -> None:
        ref, (snapshot, policy, experience, now) = hold.ref, sight
        if self.halts.is_coming(ref, snapshot) or ref in self.loop.goings.refs:
            hold.blocked = False
            return
        if (halted := self.halts.refusal(ref, snapshot)) is not None:
            self.desk.give_up(hold, halted)
            return
        if not (up := _is_up(ref, snapshot)):
            self.drains.suspend(hold)
        if now < hold.rests_until or not up:
            return
        demand = self.demand(ref, sight)
        if demand is None:
            why = self.refusal(ref, snapshot, policy)
            assert why is not None
            self.desk.give_up(hold, why)
            return
        hold.pools = frozenset(s.pool for d in (demand, *demand.beside) for s in d.shares)
        hold.load = self.seconds(ref, demand, snapshot)
        if demand.ref is None and (shut := self.halts.shut(ref, hold.pools)) is not None:
            self.desk.give_up(hold, shut)
            return
        made = self._made(hold, demand, snapshot, policy, experience)
        hold.full = made.full
        if not made.works:
            self._blocked(hold, demand, made, sight)
            return
        hold.blocked, hold.strangers_since = False, now
        if demand.ref is None and not made.actions:
            self.desk.let_through(hold)
        elif made.actions:
            hold.pools |= {s.pool for e in made.evictions for s in e.frees}
            if not self._in_the_way(hold, made):
                self._ask(hold, demand)
            elif now - hold.since > admission.LONG_HELD or ref == self.drains.ref:
                self._claims.append(hold.pools)

    def _made(
        self,
        hold: Hold,
        demand: Demand,
        snapshot: Snapshot,
        policy: Policy,
        experience: Experience,
    ) -> Plan:
        experience = self.halts.barred(experience, hold.ref)
        if hold.forced:
            policy = self.loop.policy
        client = next(iter(hold.waiters)).wish.client
        if client and demand.ref is not None:
            moved = self.loop.witnesses.rules.clients.moving(client, demand)
            return moved(snapshot, policy, experience)
        return plan(snapshot, policy, demand, experience)

    def _in_the_way(self, hold: Hold, made: Plan) -> bool:
        """Is anything else under way where it is to be?"""
        claimed = sum(meet(claim, hold.pools) for claim in self._claims)
        if claimed and (claimed >= self.loop.goings.side_by_side or made.evictions):
            return True
        return self.loop.goings.in_the_way(made)

    def _blocked(self, hold: Hold, demand: Demand, made: Plan, sight: Sight) -> None:
        snapshot, policy, experience, now = sight
        under_way = any(meet(hold.pools, run.pools) for run in self.loop.runs)
        found = hope(snapshot, policy, demand, made, experience)
        if found is not Hope.STRANGERS or under_way:
            hold.strangers_since = now
        if found is Hope.NONE or now - hold.strangers_since >= STRANGERS_STAY:
            barred = "; ".join(b.why for b in made.barred)
            told = tight(snapshot, policy, demand)
            self.desk.give_up(hold, refusals.no_room(hold.ref, made.full, barred, told))
            return
        if made.blind:
            self.drains.suspend(hold)
        hold.blocked = not under_way  # else it is looked at again when that ends
        if waits := [b.wait for b in made.barred if b.wait is not None]:
            self.brake = min(self.brake, now + max(waits))
        elif hold.blocked:
            self.drains.consider(hold, snapshot, policy, demand, experience, now)
        if hold.ref == self.drains.ref:  # whom nobody overtakes
            self._claims.append(hold.pools)

    def _ask(self, hold: Hold, demand: Demand) -> None:
        """Have it decided, and made afresh when it is: what has changed by then counts."""
        count = len(hold.waiters)
        who = f"{count} requests wait" if count > 1 else "a request waits"
        refs = {d.ref for d in (demand, *demand.beside) if d.ref is not None} or {hold.ref}
        hold.answer = asyncio.get_running_loop().create_future()
        hold.answer.add_done_callback(partial(self._decided, hold))
        self._claims.append(hold.pools)
        about = About(frozenset(refs), "a request waits for it")
        replan = partial(self._replan, hold)
        self.loop.post(Wanted(f"{who} for {hold.ref}", replan, hold.answer, about))

    def _replan(
        self, hold: Hold, snapshot: Snapshot, policy: Policy, experience: Experience
    ) -> Plan:
        """Nobody goes for those who have left, nor in a pause, nor for an engine that is down."""
        if not hold.waiters:
            return taken_back(snapshot, hold.ref)
        if self.halts.rests(hold.ref):
            return taken_back(snapshot, hold.ref, Why.PAUSED)
        if not _is_up(hold.ref, snapshot):
            return taken_back(snapshot, hold.ref, Why.SILENT)
        policy = patient(policy)
        demand = self.demand(hold.ref, Sight(snapshot, policy, experience, self.loop.clock()))
        if demand is None:
            return taken_back(snapshot, hold.ref)
        return self._made(hold, demand, snapshot, policy, experience)

    def take_back(self, hold: Hold) -> None:
        """Nobody waits for it any more: what is not yet decided is not wanted."""
        if hold.answer is not None and not hold.answer.done():
            hold.answer.cancel()

    # -- what comes of it

    def _decided(self, hold: Hold, answer: asyncio.Future[Run]) -> None:
        if hold.answer is not answer:
            return
        hold.answer = None
        if answer.cancelled() or answer.exception() is not None:
            hold.rests_until = self.loop.clock() + PAUSE
            if self.loop.executor.stopping:
                self.desk.stop()
        elif self._loads(run := answer.result(), hold.ref):
            hold.run, hold.began = run, self.loop.clock()
            hold.decisions.append(run.decision.id)
            self.drains.decided(hold, {e.ref for e in run.decision.plan.evictions})
        else:
            hold.rests_until = self.loop.clock() + PAUSE
        self.holds.forget(hold)
        self.desk.due()

    def _loads(self, run: Run, ref: ModelRef) -> bool:
        """Is it for `ref`, and is anything done for it?"""
        actions = run.decision.plan.actions
        loads = [a.ref for a in actions if isinstance(a, Load)]
        return ref in loads if loads else bool(actions)

    def ended(self, run: Run) -> None:
        for hold in self.holds:
            if hold.answer is not None and _has(hold.answer, run):
                self._decided(hold, hold.answer)
            if hold.run is run:
                self._over(hold, run)

    def _over(self, hold: Hold, run: Run) -> None:
        mine = _last(run.outcomes, hold.ref)
        self.drains.ended(hold, done=mine is not None and mine.result is Result.DONE)
        hold.run, hold.forced = None, False
        if run.next is not None:  # it did not fit, and is tried once more
            hold.answer = run.next
            run.next.add_done_callback(partial(self._decided, hold))
            return
        if mine is not None and mine.result is not Result.SKIPPED:
            self.counts.loaded(hold.ref, ok=mine.result is Result.DONE)
        if mine is not None and mine.result is Result.FAILED and not self._is_silent(hold.ref):
            wait = self.loop.witnesses.footprints.wait(hold.ref)
            why = self.loop.witnesses.footprints.refusal(hold.ref)
            if wait is not None and why is not None:
                self.desk.give_up(hold, refusals.cooling(hold.ref, why, wait))
            else:
                self.desk.give_up(hold, refusals.failed(hold.ref, mine.detail))
        else:
            hold.rests_until = self.loop.clock() + PAUSE
        self.holds.forget(hold)

    # -- how it stands

    def outlook(self, ref: ModelRef) -> Outlook:
        """Of one that is held, or would be."""
        now, hold = self.loop.clock(), self.holds.get(ref)
        if hold is None:
            return Outlook(1, (), None, "unloaded")
        if hold.run is not None:
            eta = None if hold.load is None else admission.eta([self._left(hold, now)])
            lacks = any(isinstance(a, Evict) for a in hold.run.lacks())
            return Outlook(1, (), eta, "making room" if lacks else "loading")
        ahead: dict[ModelRef, float | None] = {}
        for run in self.loop.runs:
            for load in (a for a in run.lacks() if isinstance(a, Load)):
                if load.ref != ref and meet(hold.pools, {s.pool for s in load.takes}):
                    other = self.holds.get(load.ref)
                    known = other is not None and other.run is run
                    ahead[load.ref] = self._left(other, now) if other and known else None
        for held in self.order(now):
            if held.ref == ref:
                break
            other = self.holds.get(held.ref)
            if other is not None and held.ref not in ahead and meet(hold.pools, other.pools):
                ahead[held.ref] = other.load
        eta = None if hold.blocked else admission.eta([*ahead.values(), hold.load])
        return Outlook(len(ahead) + 1, tuple(ahead), eta, self._state(hold))

    def _is_silent(self, ref: ModelRef) -> bool:
        """It does not answer, and has not crashed for all we know: it may be back in a moment."""
        snapshot = self.loop.snapshot
        engine = None if snapshot is None else snapshot.engine(ref.engine)
        return engine is None or not (engine.serves or engine.refuses)

    def _left(self, hold: Hold, now: float) -> float | None:
        return None if hold.load is None else hold.load - (now - hold.began)

    def _state(self, hold: Hold) -> str:
        if hold.ref == self.drains.ref:
            return "draining"
        if hold.blocked:
            return "blocked"
        return "unloading" if hold.ref in self.loop.goings.refs else "queued"


def _is_up(ref: ModelRef, snapshot: Snapshot) -> bool:
    """Does its engine answer, or could it be started?"""
    engine = snapshot.engine(ref.engine)
    return engine is not None and engine.serves


def _has(answer: asyncio.Future[Run], run: Run) -> bool:
    done = answer.done() and not answer.cancelled() and answer.exception() is None
    return done and answer.result() is run


def _last(outcomes: Collection[Outcome], ref: ModelRef) -> Outcome | None:
    mine = [o for o in outcomes if isinstance(o.action, Load) and o.action.ref == ref]
    return mine[-1] if mine else None
