"""Who is asked for, told from what is seen of each model: what the history is fed with.

Until somebody passes the requests on and tells of each, they are known by their traces: a model
that falls to work, has more requests in flight than before, or appears where it was not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from collectors.reading import Bytes, Seconds

from .core.history import History, Tier
from .core.plan import Evict, Load, Why
from .core.record import Outcome, Result
from .core.snapshot import EngineId, ModelRef, Resident, Share, Snapshot, State
from .journal.journal import Journal
from .journal.trail import Passed

log = logging.getLogger("ullage.arrivals")

SAVED_EVERY = Seconds(60.0)
# Work that begins this soon after a load is what it was loaded for.
SAME = Seconds(10.0)
# Idle times are read from clocks that are not ours to the second.
ABOUT = Seconds(0.5)
SHELF = "history"


@dataclass(slots=True)
class _Seen:
    """A model, as it was when it was looked at last. Times as the history has them."""

    state: State
    busy: bool
    worked_at: float
    in_flight: int | None
    size: Bytes
    loading_since: float | None = None
    asleep: bool = False  # before it began to load
    # It was asked for before it was there: work until then (None: until it is) is no other request.
    awaited: bool = False
    until: float | None = None


@dataclass(slots=True)
class _Visit:
    at: float
    load: Seconds | None = None


@dataclass(slots=True)
class Arrivals:
    """`wall` gives Unix time in seconds. What was learned is on a shelf of the journal."""

    history: History
    journal: Journal
    wall: Callable[[], float]
    _seen: dict[ModelRef, _Seen] = field(default_factory=dict)
    _visits: dict[ModelRef, _Visit] = field(default_factory=dict)
    _told: set[ModelRef] = field(default_factory=set)  # asked for, and not there yet
    _passed: list[Passed] = field(default_factory=list)  # and not written down yet
    _up: frozenset[EngineId] | None = None  # at the last look
    _saved_at: float = 0.0

    # -- what is told

    def told(self, ref: ModelRef, taken_at: float) -> None:
        """A request for `ref` came, by the word of who passes it on or asks for the model."""
        if self._up is None:
            return  # nothing was seen yet
        now = self.history.time(taken_at)
        self.history.arrived(ref, now)
        self._open(ref, now)
        if (seen := self._seen.get(ref)) is None:
            self._told.add(ref)
        elif seen.state is not State.LOADED:
            seen.awaited, seen.until = True, None

    def ended(self, outcomes: Iterable[Outcome], taken_at: float) -> None:
        """What we did ourselves: what our loads took, and who went together to make room."""
        now = self.history.time(taken_at)
        done = [o for o in outcomes if o.result is Result.DONE]
        for outcome in done:
            ref = outcome.action.ref
            if isinstance(outcome.action, Load):
                shares = outcome.action.takes
                seen = self._seen.setdefault(
                    ref, _Seen(State.LOADED, False, now, None, Bytes(sum(s.size for s in shares)))
                )
                tier = Tier.ASLEEP if seen.asleep else Tier.DISK
                self._has_come(ref, outcome.took, shares, now, tier)
                seen.state, seen.asleep = State.LOADED, False
        gone = [o.action for o in done if isinstance(o.action, Evict)]
        self.history.gave_way(gone, now)
        for evict in gone:
            if evict.why not in (Why.MAKES_ROOM, Why.TOGETHER):
                self.history.dismissed(evict.ref)

    # -- what is seen

    def see(self, snapshot: Snapshot, ours: Collection[ModelRef]) -> None:
        """`ours` are being loaded by us: `ended` tells of them."""
        if self._up is None:
            self._begin(snapshot)
        now = self.history.time(snapshot.taken_at)
        for resident in snapshot.residents:
            if resident.state not in (State.UNKNOWN, State.LEAVING):
                self._look(resident, now, ours)
        there = {r.ref for r in snapshot.residents}
        for ref in self._seen.keys() - there:
            self._close(ref, self._seen.pop(ref).worked_at)
            self.history.left(ref, now)
        known = {i.ref for i in snapshot.installed}.union(ours)
        for ref in self._told - known:  # nobody will see it come
            self._told.discard(ref)
            self._close(ref, None)
        self._up = frozenset(e.id for e in snapshot.engines if e.up)
        if now - self._saved_at >= SAVED_EVERY:
            self.save(now)

    def _begin(self, snapshot: Snapshot) -> None:
        """Who is there already was not asked for now."""
        if bad := self.history.restore(self.journal.shelves[SHELF].all()):
            log.warning("%d lines of what was learned of models cannot be read", bad)
        self.history.begin(snapshot.taken_at, self.wall())
        self._saved_at = self.history.time(snapshot.taken_at)

    def _look(self, resident: Resident, now: float, ours: Collection[ModelRef]) -> None:
        ref, state = resident.ref, resident.state
        before = self._seen.get(ref)
        worked_at = now if resident.busy else now - resident.idle_for
        seen = _Seen(state, resident.busy, worked_at, resident.in_flight, resident.size)
        self._seen[ref] = seen
        if before is None:
            self._appeared(resident, seen, now, ours)
            return
        seen.awaited, seen.until = before.awaited, before.until
        seen.loading_since, seen.asleep = before.loading_since, before.asleep
        if state is State.SLEEPING:
            seen.loading_since, seen.asleep = None, True
            if before.state is State.LOADED:
                self._close(ref, before.worked_at)
                self.history.left(ref, now)
            return
        if state is State.LOADING:
            if before.state is not State.LOADING:
                seen.loading_since = now
                self._asked(ref, now, ours, seen)
            return
        if before.state is not State.LOADED:
            if before.state is State.SLEEPING:
                self._asked(ref, now, ours, seen)
            if ref not in ours:
                took = None if seen.loading_since is None else Seconds(now - seen.loading_since)
                tier = Tier.ASLEEP if seen.asleep else Tier.DISK
                self._has_come(ref, took, _shares(resident), now, tier)
            seen.until = now + SAME
            seen.loading_since, seen.asleep = None, ref in ours and seen.asleep
        self._work(resident, before, seen, now)

    def _appeared(
        self, resident: Resident, seen: _Seen, now: float, ours: Collection[ModelRef]
    ) -> None:
        ref = resident.ref
        if ref in self._told:
            self._told.discard(ref)
            seen.awaited = True
        seen.asleep = seen.state is State.SLEEPING
        if self._up is None or ref.engine not in self._up:  # who knows how long it has been there
            self.history.found(ref, _shares(resident))
            return
        if seen.state is State.SLEEPING:
            return
        self._asked(ref, now, ours, seen)
        if seen.state is State.LOADING:
            seen.loading_since = now
            return
        seen.until = now + SAME
        if ref not in ours:
            self._has_come(ref, None, _shares(resident), now, Tier.DISK)

    def _asked(self, ref: ModelRef, now: float, ours: Collection[ModelRef], seen: _Seen) -> None:
        """It is being loaded, so somebody asked for it; of our own loads we are told who did."""
        if ref not in ours and not seen.awaited:
            self._arrived(ref, now)
            seen.awaited, seen.until = True, None

    def _work(self, resident: Resident, before: _Seen, seen: _Seen, now: float) -> None:
        """Has a request come since it was looked at last?"""
        more = (resident.in_flight or 0) > (before.in_flight or 0)
        fell_to_work = not before.busy and (
            resident.busy or seen.worked_at > before.worked_at + ABOUT
        )
        came = more or fell_to_work
        awaited = seen.awaited
        if seen.awaited and (came or (seen.until is not None and now > seen.until)):
            late = seen.until is not None and now > seen.until
            seen.awaited, seen.until = False, None
            if came and not late:
                return  # what it was loaded for
        if not came:
            if not resident.busy and not seen.awaited:  # one that nobody came for has no end
                self._close(resident.ref, None if awaited else seen.worked_at)
            return
        self._arrived(resident.ref, seen.worked_at)

    def _arrived(self, ref: ModelRef, at: float) -> None:
        if self.history.arrived(ref, at, seen=True):
            self._open(ref, at)

    def _has_come(
        self, ref: ModelRef, took: Seconds | None, shares: Iterable[Share], now: float, tier: Tier
    ) -> None:
        self.history.loaded(ref, took, shares, now, tier)
        if (visit := self._visits.get(ref)) is not None:
            visit.load = took

    # -- what is written down

    def _open(self, ref: ModelRef, at: float) -> None:
        self._close(ref, None)
        self._visits[ref] = _Visit(at)

    def _close(self, ref: ModelRef, at: float | None) -> None:
        """The last request for `ref` has ended, or another one came: then nobody knows when."""
        visit = self._visits.pop(ref, None)
        if visit is None:
            return
        service = None if at is None else Seconds(max(0.0, at - visit.at - (visit.load or 0.0)))
        seen = self._seen.get(ref)
        size = None if seen is None else seen.size
        self._passed.append(Passed(visit.at, ref, service, visit.load, size))

    def save(self, now: float | None = None) -> None:
        """Write down what is new since the last time."""
        rows, gone = self.history.save()
        shelf = self.journal.shelves[SHELF]
        for key, row in rows.items():
            shelf.keep(key, row)
        for key in gone:
            shelf.drop(key)
        self.journal.trail.add(self._passed)
        self._passed.clear()
        self._saved_at = self._saved_at if now is None else now


def _shares(resident: Resident) -> tuple[Share, ...]:
    return tuple(Share(p, resident.holds(p)) for p in sorted(resident.pools))
