"""Since when models are there, of those that were seen to come."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.reading import Seconds

from .core.snapshot import EngineId, ModelRef, Snapshot, State

AWAY = (State.SLEEPING, State.LOADING)


@dataclass(slots=True)
class Ages:
    """Of a model that was there before its engine was first heard of, nobody knows."""

    since: dict[ModelRef, Seconds] = field(default_factory=dict)
    _there: frozenset[ModelRef] = frozenset()
    _up: frozenset[EngineId] = frozenset()

    def see(self, snapshot: Snapshot) -> None:
        there = frozenset(r.ref for r in snapshot.residents if r.state not in AWAY)
        for ref in self.since.keys() - there:
            del self.since[ref]
        came = (ref for ref in there - self._there if ref.engine in self._up)
        self.since |= dict.fromkeys(came, snapshot.taken_at)
        self._there = there
        self._up = frozenset(e.id for e in snapshot.engines if e.up)
