"""A whole simulated host: requests that wait, models at work, loads one at a time.

A request whose model is there begins at once, however many it works on (engines batch). Else it
is held, by model. One model is loaded at a time, and only beside or in place of what is at rest:
nobody is ever cut short. Whoever has waited for long has the cheapest set of models take no more
requests, busy ones included, until it can be made to go.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from collectors.reading import Bytes, Seconds
from supervisor.core.admission import DRAIN_AFTER, LONG_HELD, Held, draining, order
from supervisor.core.snapshot import ModelRef

from .figures import Figures
from .machine import Machine
from .rules import Queue, Rule
from .trace import Request, Trace

__all__ = ["DRAIN_AFTER", "LONG_HELD", "Host", "host"]

UNLOAD = Seconds(1.0)  # before the load that it made room for begins
_JUST = 1e-6  # seconds later: then it is older than that


@dataclass(slots=True)
class Host:
    trace: Trace
    machine: Machine
    queue: Queue
    figures: Figures = field(default_factory=Figures)
    held: dict[ModelRef, deque[Request]] = field(default_factory=dict)
    since: dict[ModelRef, float] = field(default_factory=dict)  # first held; the oldest first
    line: deque[Request] = field(default_factory=deque)  # of Queue.HEAD
    loading: ModelRef | None = None
    draining: frozenset[ModelRef] = frozenset()
    drained_for: ModelRef | None = None
    now: float = 0.0
    _events: list[tuple[float, int, Callable[[ModelRef], None], ModelRef]] = field(
        default_factory=list
    )
    _count: int = 0

    def run(self) -> Figures:
        for request in self.trace.requests:
            self._until(request.at)
            self.now = request.at
            self._arrive(request)
        self._until(None)
        left = sum(len(q) for q in self.held.values()) + len(self.line)
        assert not left, f"{left} requests were never served"
        self.figures.overfull = int(self.machine.most > self.machine.capacity)
        return self.figures

    # -- what happens

    def _after(self, delay: float, event: Callable[[ModelRef], None], ref: ModelRef) -> None:
        self._count += 1  # of two at the same time, the one that was foreseen first
        heapq.heappush(self._events, (self.now + delay, self._count, event, ref))

    def _until(self, at: float | None) -> None:
        while self._events and (at is None or self._events[0][0] < at):
            self.now, _, event, ref = heapq.heappop(self._events)
            event(ref)

    def _arrive(self, request: Request) -> None:
        ref, machine = request.ref, self.machine
        self.figures.requests += 1
        if machine.models[ref].size > machine.capacity:
            self.figures.refused += 1
            return
        machine.leave(machine.overdue(self.now), self.now)
        machine.history.arrived(ref, self.now)
        if self.queue is Queue.HEAD:
            self.line.append(request)
            self._serve_line()
            return
        slot = machine.slots.get(ref)
        if slot is not None and not slot.loading and ref not in self.draining:
            self._begin(request)
            return
        self._hold(request)
        if slot is None or ref in self.draining:
            if ref not in self.since:
                self.since[ref] = self.now
            self._after(DRAIN_AFTER + _JUST, self._tick, ref)
        self._serve()

    def _begin(self, request: Request) -> None:
        slot = self.machine.slots[request.ref]
        slot.in_flight += 1
        slot.used_at = self.now
        self.figures.waits.append(self.now - request.at)
        self._after(request.service, self._finish, request.ref)

    def _hold(self, request: Request) -> None:
        self.held.setdefault(request.ref, deque()).append(request)
        slot = self.machine.slots.get(request.ref)
        if slot is not None and request.ref not in self.draining:
            slot.awaited = True

    def _finish(self, ref: ModelRef) -> None:
        slot = self.machine.slots[ref]
        slot.in_flight -= 1
        slot.used_at = self.now
        self._serve()
        self._serve_line()

    def _ready(self, ref: ModelRef) -> None:
        self.loading = None
        slot = self.machine.slots[ref]
        slot.loading, slot.used_at = False, self.now
        self.machine.loaded(ref, self.now)
        self.since.pop(ref, None)
        self._begin_held(ref)
        self._serve()
        self._serve_line()

    def _begin_held(self, ref: ModelRef) -> None:
        self.machine.slots[ref].awaited = False
        waiting = self.held.pop(ref, ())
        for request in waiting:
            self._begin(request)

    def _tick(self, ref: ModelRef) -> None:
        if ref in self.since:
            self._serve()

    # -- who is loaded next

    def _serve(self) -> None:
        """Load for those that are held, as long as there is a way."""
        if self.loading is not None or not self.since:
            return
        for ref in self._in_order():
            if ref in self.machine.slots:  # drained, and not gone yet
                continue
            leaving = None if self.machine.hopeless(ref) else self.machine.room_for(ref, self.now)
            if leaving is not None:
                self._load(ref, leaving)
                return
            if ref == self.drained_for:
                return  # nobody overtakes the one that models are drained for
            long_held = self.now - self.since[ref] >= DRAIN_AFTER
            if self.drained_for is None and long_held and self._drain(ref):
                return

    def _in_order(self) -> Sequence[ModelRef]:
        if self.queue is not Queue.WAITERS:
            return sorted(self.since, key=lambda ref: ref != self.drained_for)
        held, models = self.held, self.machine.models
        waiting = (Held(r, at, len(held[r]), models[r].load) for r, at in self.since.items())
        first = () if self.drained_for is None else (self.drained_for,)
        return [one.ref for one in order(waiting, self.now, first)]

    def _load(self, ref: ModelRef, leaving: Sequence[ModelRef]) -> None:
        machine, load = self.machine, self.machine.models[ref].load
        for victim in leaving:
            self.figures.killed += machine.slots[victim].in_flight
        machine.make_room(leaving, self.now)
        self.since.pop(ref, None)
        machine.load(ref, self.now, loading=True).awaited = True
        self.loading = ref
        self.figures.loads.append((self.now, load))
        self._after((UNLOAD if leaving else 0.0) + load, self._ready, ref)
        if ref == self.drained_for:
            self._end_drain()

    def _drain(self, ref: ModelRef) -> bool:
        """Have the cheapest set take no more requests, whether it is at work or not."""
        found = self.machine.room_for(ref, self.now, draining(self.machine.policy))
        if found is None:
            return False
        self.drained_for, self.draining = ref, frozenset(found)
        return True

    def _end_drain(self) -> None:
        """Those that could stay after all go on where they were."""
        spared, self.drained_for, self.draining = self.draining, None, frozenset()
        for ref in spared:
            if ref in self.machine.slots:
                self.since.pop(ref, None)
                self._begin_held(ref)

    def _serve_line(self) -> None:
        while self.line:
            request = self.line[0]
            ref = request.ref
            slot = self.machine.slots.get(ref)
            if slot is not None and not slot.loading:
                self._begin(self.line.popleft())
            elif slot is not None:
                self._hold(self.line.popleft())
            else:
                if self.loading is not None or self.machine.hopeless(ref):
                    return
                leaving = self.machine.room_for(ref, self.now)
                if leaving is None:
                    return
                self._hold(self.line.popleft())
                self._load(ref, leaving)


def host(trace: Trace, capacity: Bytes, rule: Rule, queue: Queue = Queue.WAITERS) -> Figures:
    """What `rule` comes to on a host of so many bytes. A rule that brings its own queue has it."""
    policy = rule.policy(trace.models, capacity)
    machine = Machine(trace.models, capacity, policy, rule.learns)
    return Host(trace, machine, rule.queue or queue).run()
