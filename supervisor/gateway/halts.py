"""Who is not to be had by the operator's word, in a pause or of an engine that is drained, or
because an alert fires."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from collectors.reading import PoolId, Seconds
from supervisor.core.experience import NONE_YET, Experience
from supervisor.core.plan import Load
from supervisor.core.snapshot import EngineId, ModelRef, Snapshot, State
from supervisor.keeping.alert_holds import AlertHolds
from supervisor.keeping.pausing import Pausing
from supervisor.loop import Loop

from . import refusals
from .holding import Hold
from .wishes import Refusal


@dataclass(slots=True)
class Halts:
    loop: Loop

    @property
    def pausing(self) -> Pausing:
        return self.loop.keeping.pausing

    def of_engine(self, engine: EngineId, ref: ModelRef | None = None) -> Refusal | None:
        """Why nothing goes to `engine`."""
        drain = self.pausing.drain_of(engine)
        now = Seconds(self.loop.clock())
        return None if drain is None else refusals.drained(engine, drain, now, ref)

    def refusal(self, ref: ModelRef, snapshot: Snapshot) -> Refusal | None:
        """Why `ref` is not to be had. In a pause, or while an alert says so, who is there is, or
        who is on its way already."""
        if (drained := self.of_engine(ref.engine, ref)) is not None:
            return drained
        pause, closed = self.pausing.pause, self._alerts.closed(ref.engine)
        spans = self.loop.policy.spans(ref)
        if not (pause or closed or spans) or self.is_coming(ref, snapshot):
            return None
        there = snapshot.resident(ref)
        stays = ref not in self.loop.goings.refs and ref not in snapshot.farewells
        if there is not None and there.state is State.LOADED and stays:
            return None  # it is only not open for a moment
        now = Seconds(self.loop.clock())
        if pause is not None:
            return refusals.paused(ref, pause, now)
        if closed is not None:
            return refusals.closed(ref, closed, now)
        return refusals.cannot(ref, f"{ref} spans hosts, and is loaded by their fleet alone")

    def rests(self, ref: ModelRef) -> bool:
        """Is nothing loaded now that is not on its way?"""
        return self.pausing.pause is not None or self._alerts.closed(ref.engine) is not None

    @property
    def _alerts(self) -> AlertHolds:
        return self.loop.keeping.alert_holds

    def barred(self, experience: Experience, ref: ModelRef) -> Experience:
        """`experience`, with the pools barred into which `ref` is not to be loaded."""
        return self._alerts.barred(experience, ref.engine)

    def shut(self, ref: ModelRef, pools: Collection[PoolId]) -> Refusal | None:
        """Why `ref` may not come by itself into `pools`."""
        barred = self._alerts.barred(NONE_YET, ref.engine).barred
        found = "; ".join(barred[pool] for pool in sorted(pools) if pool in barred)
        return refusals.no_room(ref, (), found, None) if found else None

    def of(self, holds: Iterable[Hold]) -> Iterator[tuple[Hold, Refusal]]:
        """Who has to be turned away at once, and why."""
        snapshot = self.loop.snapshot
        if snapshot is None:
            return
        for hold in holds:
            why = self.refusal(hold.ref, snapshot)
            if why is not None:
                yield hold, why

    def is_coming(self, ref: ModelRef, snapshot: Snapshot) -> bool:
        """Is it being loaded, whoever asked for it?"""
        if any(isinstance(a, Load) and a.ref == ref for r in self.loop.runs for a in r.lacks()):
            return True
        there = snapshot.resident(ref)
        return there is not None and there.state is State.LOADING
