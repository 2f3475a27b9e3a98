"""Requests that pass through us: how many each model works on, and who is waited for.

The gateway counts them, from when a request is let through to the last byte of its answer; whoever
plans sees models with their traffic as it is at that moment, and not as it was at the last look.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from collectors.reading import Seconds

from .core.snapshot import EngineId, ModelId, ModelRef, Resident, Snapshot, Told

if TYPE_CHECKING:
    from .core.record import Outcome
    from .events import Run

log = logging.getLogger("ullage.traffic")

KEPT = Seconds(3600.0)  # a model at rest for so long has no lane any more
NEVER = -math.inf
QUIET = Seconds(0.2)  # between two looks: whoever works meanwhile leaves a sign
SIGNS = Seconds(2.0)  # the time from one look to the next, at most


class Lane:
    """The requests of one model, or of a whole engine. Times are on the monotonic clock."""

    __slots__ = ("count", "ended_at", "moved", "moved_at", "since")

    def __init__(self) -> None:
        self.count = 0
        self.since = self.ended_at = NEVER  # of the time at work, and of the last that was
        self.moved = False  # since the last look
        self.moved_at = NEVER

    def is_over(self, now: float) -> bool:
        return not self.count and now - self.ended_at > KEPT


class Flight:
    """One request at work. It counts until it is ended; to end it twice is harmless."""

    __slots__ = ("_lane", "_over", "_traffic", "ref")

    def __init__(self, traffic: Traffic, ref: ModelRef, lane: Lane) -> None:
        self._traffic, self._lane, self._over = traffic, lane, False
        self.ref = ref

    def moved(self) -> None:
        """Some of the answer has come."""
        self._lane.moved = True

    def end(self) -> None:
        if not self._over:
            self._over = True
            self._traffic.landed(self.ref, self._lane)

    @property
    def over(self) -> bool:
        return self._over

    def __del__(self) -> None:
        # Whoever lost it would have its model look busy for ever.
        if not self._over:
            self._traffic.lost(self)


class Listener(Protocol):
    """Whoever lets requests through, and hears what becomes of models in the same turn."""

    def saw(self, snapshot: Snapshot, began: Seconds) -> None:
        """A new look is in, which was begun at that time."""

    def heard(self, run: Run, outcome: Outcome) -> None:
        """It is known what became of one action."""

    def ended(self, run: Run) -> None:
        """A run has ended, and its `done` is set."""

    def rested(self, ref: ModelRef) -> None:
        """The last of a model's requests has ended."""


@dataclass(slots=True)
class Traffic:
    """`waiting`: requests that are held, by model. `closed` are models that take no more requests
    so that they can go: whoever waits for them does not keep them."""

    clock: Callable[[], float] = time.monotonic
    waiting: dict[ModelRef, int] = field(default_factory=dict)
    closed: frozenset[ModelRef] = frozenset()
    listener: Listener | None = None
    _lanes: dict[ModelRef, Lane] = field(default_factory=dict)
    _engines: dict[EngineId, Lane] = field(default_factory=dict)
    _losing: bool = False

    # -- counting

    def begin(self, ref: ModelRef) -> Flight:
        """A request of `ref` is let through."""
        lane = self._lanes.get(ref)
        if lane is None:
            lane = self._lanes[ref] = Lane()
        return self._take_off(ref, lane)

    def begin_engine(self, engine: EngineId) -> Flight:
        """A request whose model nobody knows: all that its engine holds are at work."""
        lane = self._engines.setdefault(engine, Lane())
        return self._take_off(ModelRef(engine, ModelId("")), lane)

    def _take_off(self, ref: ModelRef, lane: Lane) -> Flight:
        if not lane.count:
            lane.since, lane.moved = self.clock(), False
        lane.count += 1
        return Flight(self, ref, lane)

    def landed(self, ref: ModelRef, lane: Lane) -> None:
        """For flights alone."""
        lane.count -= 1
        if not lane.count:
            lane.ended_at = self.clock()
            if self.listener is not None:
                self.listener.rested(ref)

    def lost(self, flight: Flight) -> None:
        """Nobody has it any more, and nobody has ended it."""
        level = logging.DEBUG if self._losing else logging.WARNING
        log.log(level, "a request of %s was never ended", flight.ref)
        self._losing = True
        flight.end()

    def in_flight(self, ref: ModelRef) -> int:
        lane = self._lanes.get(ref)
        return 0 if lane is None else lane.count

    @property
    def flying(self) -> Mapping[ModelRef, int]:
        """How many requests each model works on, of those that come through us."""
        return {ref: lane.count for ref, lane in self._lanes.items() if lane.count}

    # -- what is made of it

    def mark(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` with the traffic as it is now. May be marked again at any later time."""
        if not (self._lanes or self._engines or self.waiting or snapshot.told):
            return snapshot
        now, told = self.clock(), dict[ModelRef, Told]()
        residents = list(snapshot.residents)
        whole = {e for e, lane in self._engines.items() if lane.count}
        for i, resident in enumerate(residents):
            ref = resident.ref
            known = snapshot.told.get(ref)
            lane = self._lanes.get(ref)
            awaited = ref in self.waiting and not self._may_go(ref, snapshot)
            if known is None and lane is None and not awaited and ref.engine not in whole:
                continue
            known = known or Told(resident, 0 if lane is None else lane.count)
            told[ref] = known
            marked = _working(known, lane, now, snapshot.taken_at)
            if (awaited or ref.engine in whole) and not marked.busy:
                marked = replace(marked, busy=True, idle_for=Seconds(0.0))
            residents[i] = marked
        if not told and not snapshot.told:
            return snapshot
        return replace(snapshot, residents=tuple(residents), told=told)

    def _may_go(self, ref: ModelRef, snapshot: Snapshot) -> bool:
        return ref in self.closed or ref in snapshot.farewells

    # -- what the loop tells

    def saw(self, snapshot: Snapshot, began: Seconds) -> None:
        now = self.clock()
        self._lanes = {r: one for r, one in self._lanes.items() if not one.is_over(now)}
        self._engines = {e: one for e, one in self._engines.items() if not one.is_over(now)}
        self._tell(lambda listener: listener.saw(snapshot, began))

    def heard(self, run: Run, outcome: Outcome) -> None:
        self._tell(lambda listener: listener.heard(run, outcome))

    def ended(self, run: Run) -> None:
        self._tell(lambda listener: listener.ended(run))

    def _tell(self, word: Callable[[Listener], None]) -> None:
        """Whatever is wrong with who listens, the loop goes on."""
        if self.listener is not None:
            try:
                word(self.listener)
            except Exception:
                log.exception("the gateway could not take note")


def _rests(resident: Resident, lane: Lane, taken_at: float) -> bool:
    """Of one whose requests nobody but us counts: was all the work that was seen of it ours? A sign
    is seen up to a look later; and one look has to have seen none since."""
    quiet = resident.quiet_for
    return quiet is not None and quiet >= QUIET and taken_at - quiet <= lane.ended_at + SIGNS


def _working(told: Told, lane: Lane | None, now: float, taken_at: float) -> Resident:
    """A resident at work for us, or no more. What its engine counted beyond ours at that look is
    somebody else's."""
    resident, then = told
    if lane is None:
        return resident
    if lane.moved:
        lane.moved, lane.moved_at = False, now
    ours = lane.count
    in_flight: int | None
    if resident.in_flight is None:
        busy = ours > 0 or (resident.busy and not _rests(resident, lane, taken_at))
        in_flight = ours or None
    else:
        in_flight = max(0, resident.in_flight - then) + ours
        busy = in_flight > 0
    if not busy:
        rested = now - lane.ended_at
        idle = rested if resident.busy else min(rested, resident.idle_for)
        return replace(
            resident,
            busy=False,
            in_flight=in_flight,
            idle_for=Seconds(idle),
            busy_for=Seconds(0.0),
            stalled_for=Seconds(0.0),
        )
    if not ours:
        return replace(resident, in_flight=in_flight)
    stalled = now - max(lane.since, lane.moved_at)
    return replace(
        resident,
        busy=True,
        in_flight=in_flight,
        idle_for=Seconds(0.0),
        busy_for=Seconds(max(resident.busy_for, now - lane.since)),
        stalled_for=Seconds(min(resident.stalled_for, stalled) if resident.busy else stalled),
    )
