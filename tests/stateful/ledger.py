"""What must always be true, by a book of its own: who is promised what, and until when; who is at
work; what the driver last said. It asks the code under test for nothing but what it did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from collectors.reading import RAM, PoolId
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId, ModelRef
from supervisor.demo.engines import Fault
from tests.stateful.engines import Call
from tests.stateful.people import Guest, Stranger
from tests.stateful.promises import Promises
from tests.stateful.town import GATEWAY, REFS, SETTLE, TENANTS, Town, home

EPS = 1e-6
FOREVER = math.inf
# A look takes so long at most: each engine's list and its models' work, and a driver that hangs.
LOOK = 12.0
FOR_MEMORY = {"demand", "relief", "growth", "ahead"}
OF_OUR_OWN = {"relief", "growth", "ahead", "idle", "unused", "limit", "busy"}


@dataclass
class Ledger:
    """`wrong` is what was broken, in words. Times are on the monotonic clock; inf: without end."""

    town: Town = field(init=False)
    policy: Policy = field(default_factory=Policy)
    wrong: list[str] = field(default_factory=list)
    pins: dict[str, float] = field(default_factory=dict)
    leases: dict[str, tuple[ModelRef, float]] = field(default_factory=dict)
    jobs: dict[str, tuple[PoolId, int, float]] = field(default_factory=dict)
    drains: dict[EngineId, float] = field(default_factory=dict)
    pause: tuple[float, float] | None = None  # since when, and until when
    promises: Promises = field(default_factory=Promises)
    forced: list[ModelRef] = field(default_factory=list)  # an operator takes them at any price
    guests: list[Guest] = field(default_factory=list)
    strangers: list[Stranger] = field(default_factory=list)
    blind: dict[PoolId, float] = field(default_factory=dict)  # since when
    meddled: float = -math.inf  # when somebody last took memory behind our back
    changing: bool = False  # settings are; either policy may hold
    loads: list[tuple[Call, dict[PoolId, int]]] = field(default_factory=list)
    freed: list[tuple[Call, int, int]] = field(default_factory=list)  # promised, free at that time

    @property
    def now(self) -> float:
        return self.town.clock()

    def say(self, invariant: str, what: str) -> None:
        self.wrong.append(f"{invariant} at {self.now:.2f}: {what}")

    def called(self, call: Call) -> None:
        """An engine is told to do something, right now."""
        if self.town.mode.value != "enforce":
            self.say("mode", f"{call.kind} of {call.ref} although it is {self.town.mode.value}")
        self._one_at_a_time(call)
        decisions = list(self._decided(call, self.town.disk.decisions))
        if not decisions and self.town.disk.delay < 2.0:  # no disk is waited for any longer
            self.say("I7", f"{call.kind} of {call.ref} is not written down")
        decisions = decisions or list(self._decided(call, self.town.pen.decisions))
        if call.kind == "unload":
            self._unload(call, decisions)
        else:
            self._load(call, decisions)

    # -- I3

    def _one_at_a_time(self, call: Call) -> None:
        began = self.town.began
        others = (c for e in self.town.engines.values() for c in e.calls)
        under_way = [c for c in others if c.ended is None and c.began >= began]
        for other in under_way:
            if other.ref == call.ref:
                self.say("I3", f"{call.kind} of {call.ref} during its {other.kind}")
        same = [c for c in under_way if home(c.ref) == home(call.ref)]
        if call.kind == "unload" and same:
            self.say("I3", f"unload of {call.ref} during {same[0].kind} of {same[0].ref}")
        if call.kind == "load":
            if any(c.kind == "unload" for c in same):
                self.say("I3", f"load of {call.ref} during an unload in its pool")
            if len(same) >= GATEWAY.loads_per_pool:
                self.say("I3", f"load of {call.ref} beside {len(same)} in its pool")

        for run in self.town.world.loop.runs if call.kind == "unload" else ():
            body = self.town.disk.decisions.get(run.decision.id)
            lacks = [] if body is None else self.town.disk.lacks(body)
            pools = {s["pool"] for action in lacks for s in action["shares"]}
            if call.ref not in run.leaving and home(call.ref) in pools:
                self.say("I3", f"{call.ref} goes from where {run.decision.id} is under way")

    # -- I7

    def _decided(
        self, call: Call, written: Mapping[str, dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """The decisions under way, as they are `written`, of which this may be an action."""
        for run in self.town.world.loop.runs:
            body = written.get(run.decision.id)
            if body is None or body["mode"] != "enforce":
                continue
            for action in body["actions"]:
                named = action["model"] == str(call.ref)
                if call.kind == "load" and action["action"] == "load" and named:
                    yield body
                    break
                # Whoever goes instead of another is named with the outcome.
                if call.kind == "unload" and call.ref in run.leaving:
                    yield body
                    break

    # -- an unload

    def _unload(self, call: Call, decisions: list[dict[str, Any]]) -> None:
        ref, triggers = call.ref, {d["trigger"] for d in decisions}
        if self.is_pinned(ref) and not self.changing:
            self.say("I1", f"{ref} is pinned, and is told to go by {triggers}")
        may_cut = ref in self.forced or "busy" in triggers or bool(self.policy.force_when_busy)
        if not may_cut and not self.changing:
            for kind, count in (("leased", self._leased(ref)), ("at work", self._working(ref))):
                if count:
                    self.say("I1", f"{ref} is {kind} ({count}), and is told to go by {triggers}")
        if triggers and triggers <= FOR_MEMORY and self._for_bytes(ref, decisions):
            since = self.blind.get(home(ref), math.inf)
            if self.now - since > LOOK:
                self.say("I2", f"{ref} goes by {triggers}; nobody can read {home(ref)}")
        if self.pause is not None and self.now < self.pause[1] and triggers <= OF_OUR_OWN:
            wall = self.pause[0] + self.town.clock.wall() - self.now
            if decisions and all(d["at"] > wall + 0.001 for d in decisions):
                self.say("pause", f"{ref} goes by {triggers} in a pause")
        self._not_too_soon(call)
        size = 0 if call.tenant is None else call.tenant.takes.get(home(ref), 0)
        self.freed.append((call, size, self._said(home(ref))[1] or 0))

    def _for_bytes(self, ref: ModelRef, decisions: list[dict[str, Any]]) -> bool:
        """Of its home. Not for the place of one that is loaded elsewhere: those are counted, not
        read; and not for what it holds beside, where that is short and can be read."""
        actions = [a for d in decisions for a in d["actions"]]
        if loads := [a for a in actions if a["action"] == "load"]:
            return any(s["pool"] == home(ref) for a in loads for s in a["shares"])
        evicts = [a for a in actions if a["action"] == "evict" and a["model"] == str(ref)]
        freed = {s["pool"] for a in evicts for s in a["shares"]}
        return freed <= {home(ref)} or any(home(ref) in d["cause"] for d in decisions)

    def is_pinned(self, ref: ModelRef) -> bool:
        names = (str(ref), ref.model)
        if any(self.pins.get(n, -math.inf) > self.now for n in names):
            return True
        if any(n in self.policy.pinned for n in names):
            return True
        return any(n in self.policy.models and self.policy.models[n].pinned for n in names)

    def _leased(self, ref: ModelRef) -> int:
        return sum(r == ref and ends > self.now for r, ends in self.leases.values())

    def _working(self, ref: ModelRef) -> int:
        """Requests of ours, and those of others that a look should have seen."""
        model = self.town.engines[ref.engine].models[ref.model]
        ours = sum(g.working and g.grant is not None and g.grant.ref == ref for g in self.guests)
        return ours + sum(
            s.ref == ref
            and s.began < self.now - LOOK
            and s.until > self.now
            and (s.began, s.until) in model.requests  # else it was cut short before
            for s in self.strangers
        )

    def _not_too_soon(self, call: Call) -> None:
        """I4: what the last one gives is there, or was waited for."""
        pool = home(call.ref)
        for last, size, free in self.freed:
            if home(last.ref) != pool or not last.worked or last.ended is None:
                continue
            if last.began < self.town.began or last.tenant is None:
                continue
            there = last.tenant.holds(pool, self.now) > 0
            seen = (self._said(pool)[1] or 0) - free >= 0.75 * size
            if there and not seen and self.now < last.ended + SETTLE - EPS:
                self.say("I4", f"{call.ref} goes before {last.ref} has given its memory back")

    # -- a load

    def _load(self, call: Call, decisions: list[dict[str, Any]]) -> None:
        ref = call.ref
        if self.drains.get(ref.engine, -math.inf) > self.now:
            self.say("drain", f"{ref} is loaded into a drained engine")
        takes = self._takes(ref, decisions)
        for pool, size in takes.items():
            needs = size - self.town.holds(ref, pool)  # it may be there, and its engine silent
            if needs > 0 and not self.changing:
                self._room(ref, pool, needs)
        self.loads.append((call, takes))

    def _takes(self, ref: ModelRef, decisions: list[dict[str, Any]]) -> dict[PoolId, int]:
        for decision in decisions:
            for action in decision["actions"]:
                if action["action"] == "load" and action["model"] == str(ref):
                    return {PoolId(s["pool"]): s["size"] for s in action["shares"]}
        return {}

    def _room(self, ref: ModelRef, pool: PoolId, size: int) -> None:
        """I5, and I2 for loads: by what the driver last said, less all that is promised."""
        at, free = self._said(pool)
        if self.now - min(at, self.blind.get(pool, math.inf)) > LOOK:
            self.say("I2", f"{ref} is loaded into {pool}, which nobody can read")
        if free is None or self.now - self.meddled < LOOK:
            return  # what was seen before is what counts, for as long as a look takes
        total = self.town.machine.totals[pool]
        own = self.policy.pools.get(pool)
        assert own is not None
        assert own.reserve is not None
        reserve = min(total, max(own.reserve.size, int(own.reserve.fraction * total)))
        promised = self._promised(pool, at) + self._kept(pool)
        left = free - reserve - promised - size
        if left < 0:
            self.say("I5", f"{ref} is loaded into {pool}, which lacks {-left} bytes")
        if own.budget is not None:
            budget = min(total, max(own.budget.size, int(own.budget.fraction * total)))
            held = sum(self.town.holds(r, pool) for r in REFS if r != ref and self._is_known(r))
            if held + self._promised(pool, self.now) + size > budget:
                self.say("I5", f"{ref} is loaded beyond the budget of {pool}")

    def _is_known(self, ref: ModelRef) -> bool:
        """Has its engine said that it is there, to this daemon? Of one that has left, bytes that
        come back late are no model's, and not free."""
        engine = self.town.engines[ref.engine]
        tenant = engine.models[ref.model].tenant if engine.there(ref.model) else None
        return tenant is not None and engine.listed_at >= max(self.town.began, tenant.started)

    def _promised(self, pool: PoolId, at: float) -> int:
        """What loads under way had not taken at that time."""
        total = 0
        latest = {call.ref: (call, takes) for call, takes in self.loads}  # others were before it
        for call, takes in latest.values():
            ended = call.ended is not None and (not call.worked or self._is_there(call.ref, at))
            if call.began >= self.town.began and not ended:
                tenant = self.town.engines[call.ref.engine].models[call.ref.model].tenant
                there = 0 if tenant is None else tenant.holds(pool, at)
                runs = self.town.world.loop.runs
                if any(a.ref == call.ref for run in runs for a in run.loads):
                    total += max(0, takes.get(pool, 0) - there)
        return total

    def _is_there(self, ref: ModelRef, at: float) -> bool:
        tenant = self.town.engines[ref.engine].models[ref.model].tenant
        return tenant is None or at >= tenant.started + tenant.ramp

    def _kept(self, pool: PoolId) -> int:
        return sum(size for p, size, ends in self.jobs.values() if p == pool and ends > self.now)

    def _said(self, pool: PoolId) -> tuple[float, int | None]:
        return self.town.collector.last.get(pool, (-math.inf, None))

    # -- faults, for whoever judges by them

    def see_faults(self) -> None:
        """Since when each pool cannot be read, by what was done to the driver."""
        machine = self.town.machine
        for pool in machine.totals:
            unread = machine.fault is not None or not machine.answers.is_set()
            if unread or pool in machine.lost:
                self.blind.setdefault(pool, self.now)
            else:
                self.blind.pop(pool, None)

    def up(self, engine: EngineId) -> bool:
        return self.town.engines[engine].fault is None

    def forget(self) -> None:
        """A new daemon: what the last one had begun, and its requests, are nobody's now."""
        self.loads.clear()
        self.freed.clear()
        self.forced.clear()


__all__ = ["EPS", "LOOK", "RAM", "TENANTS", "Fault", "Ledger"]
