"""Who has left, and not by our doing: an engine's own keep-alive, a client, or an accident. And who
came back soon after we made it go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from collectors.reading import Seconds

from .core.ladder import WHOLE
from .core.plan import Evict, Why
from .core.record import Departure, Outcome, Result
from .core.snapshot import EngineId, ModelRef, Resident, Share, Snapshot, State
from .journal.journal import Journal

# An engine that was told to unload may take its time to say that the model is gone; what leaves
# later than this leaves by itself.
OURS = Seconds(60.0)
# Engines look at their timers each second or so, and their clocks are not ours to the second.
ABOUT = 5.0
# Who is loaded again within this time after we made it go would better have stayed.
SOON = Seconds(600.0)

_AWAKE = frozenset({State.LOADING, State.LOADED})


@dataclass(slots=True)
class Returns:
    """`counts`: how many were loaded again soon after we made them go of our own accord, by
    engine. One that was put to sleep and is woken has come back, too."""

    counts: Counter[str] = field(default_factory=Counter)
    _left: dict[ModelRef, Seconds] = field(default_factory=dict)
    _seen: set[ModelRef] = field(default_factory=set)  # of those, who was seen gone since

    def tell(self, outcome: Outcome, now: Seconds) -> None:
        action = outcome.action
        if isinstance(action, Evict) and outcome.result is Result.DONE:
            self._seen.discard(action.ref)
            self._left.pop(action.ref, None)
            if action.why is not Why.ASKED:
                self._left[action.ref] = now

    def see(self, snapshot: Snapshot) -> None:
        if not self._left:
            return
        now, states = snapshot.taken_at, {r.ref: r.state for r in snapshot.residents}
        for ref, at in list(self._left.items()):
            state = states.get(ref, State.SLEEPING)
            if now - at >= SOON:
                self._forget(ref)
            elif state is State.SLEEPING:
                self._seen.add(ref)
            elif state in _AWAKE and ref in self._seen:
                self.counts[ref.engine] += 1
                self._forget(ref)

    def _forget(self, ref: ModelRef) -> None:
        del self._left[ref]
        self._seen.discard(ref)


@dataclass(slots=True)
class Departures:
    """`wall` gives Unix time in seconds. `counts`: how many left by themselves, by engine."""

    journal: Journal
    wall: Callable[[], float]
    counts: Counter[str] = field(default_factory=Counter)
    returns: Returns = field(default_factory=Returns)
    _there: dict[ModelRef, Resident] = field(default_factory=dict)
    _told: dict[ModelRef, Seconds] = field(default_factory=dict)
    _ended: dict[EngineId, Seconds] = field(default_factory=dict)  # engines that we made end

    def tell(self, outcome: Outcome, now: Seconds) -> None:
        """What we did ourselves."""
        self.returns.tell(outcome, now)
        if isinstance(outcome.action, Evict):
            self._told[outcome.action.ref] = now
            if outcome.rung in WHOLE:
                self._ended[outcome.action.ref.engine] = now

    def see(self, snapshot: Snapshot, leaving: Collection[ModelRef]) -> None:
        """Write down who is gone since the last snapshot. `leaving` were told to go."""
        now = snapshot.taken_at
        self.returns.see(snapshot)
        self._told = {r: at for r, at in self._told.items() if now - at < OURS}
        self._told |= dict.fromkeys(leaving, now)
        self._ended = {e: at for e, at in self._ended.items() if now - at < OURS}
        there = {r.ref: r for r in snapshot.residents}
        for ref, last in self._there.items():
            if ref in there or ref in self._told or ref.engine in self._ended:
                continue
            self.counts[ref.engine] += 1
            shares = tuple(Share(p, last.holds(p)) for p in sorted(last.pools))
            why = self._why(last, snapshot)
            self.journal.add_departure(Departure(ref, self.wall(), why, shares))
        # One that never got there has not left: its load failed.
        never = {State.LOADING, State.UNKNOWN}
        self._there = {
            ref: self._there.get(ref, r) if r.state is State.UNKNOWN else r
            for ref, r in there.items()
            if r.state not in never or ref in self._there
        }

    def _why(self, last: Resident, snapshot: Snapshot) -> str:
        engine = snapshot.engine(last.engine)
        if engine is None or not engine.up:
            fault = "it is not known any more" if engine is None else engine.fault
            return f"its process ended while its engine did not answer: {fault}"
        installed = snapshot.entry(last.ref)
        if installed is not None and installed.trouble is not None:
            return installed.trouble
        if self._has_expired(last):
            return "its engine unloaded it: its keep-alive had run out"
        return "its engine unloaded it, by itself or because a client asked for it"

    def _has_expired(self, last: Resident) -> bool:
        if last.expires_at is not None:
            return self.wall() >= last.expires_at - ABOUT
        return last.keep_alive is not None and last.idle_for >= last.keep_alive - ABOUT
