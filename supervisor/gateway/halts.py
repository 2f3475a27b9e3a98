"""Who is not to be had by the operator's word: in a pause, or of an engine that is drained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collectors.reading import Seconds
from supervisor.core.plan import Load
from supervisor.core.snapshot import EngineId, ModelRef, Snapshot, State
from supervisor.loop import Loop
from supervisor.pausing import Pausing

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
        """Why `ref` is not to be had. In a pause who is there is, or who is on its way already."""
        if (drained := self.of_engine(ref.engine, ref)) is not None:
            return drained
        if self.pausing.pause is None or self.is_coming(ref, snapshot):
            return None
        there = snapshot.resident(ref)
        stays = ref not in self.loop.goings.refs and ref not in snapshot.farewells
        if there is not None and there.state is State.LOADED and stays:
            return None  # it is only not open for a moment
        return refusals.paused(ref, self.pausing.pause, Seconds(self.loop.clock()))

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
