"""Which models a request may go to at once, and which engines can be reached at all."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.reading import Seconds
from supervisor.core.snapshot import EngineId, ModelRef, Snapshot, State
from supervisor.engines.base import EngineDown
from supervisor.loop import Loop

# An engine that does not answer for a moment may be busy with a load; after this long it is down.
DOWN_AFTER = Seconds(10.0)
# An engine that has answered to an unload may list the model while its process ends, which serves
# nobody by then: llama-server grants it 10 s, of which most have passed when we stop waiting for
# it. After this long it is taken for one that stays.
GOES_WITHIN = Seconds(6.0)


@dataclass(slots=True)
class Loaded:
    """`urls` are those that are loaded, and where; `shut` those that take no more requests, though
    they may be loaded: others drain them, they were told to go, or are about to, their engine is
    drained, or it broke off."""

    loop: Loop
    urls: dict[ModelRef, str] = field(default_factory=dict)
    open: dict[ModelRef, str] = field(default_factory=dict)  # of those, who is not shut
    shut: frozenset[ModelRef] = frozenset()
    _came: dict[ModelRef, float] = field(default_factory=dict)  # by our own doing, and when
    _suspects: dict[ModelRef, float] = field(default_factory=dict)
    _going: dict[ModelRef, float] = field(default_factory=dict)  # told to, still listed; since when
    _leaving: frozenset[ModelRef] = frozenset()  # told to go when nobody uses them
    _down: dict[EngineId, float] = field(default_factory=dict)  # since when

    def is_open(self, ref: ModelRef) -> bool:
        return ref in self.open and ref not in self.loop.goings.refs

    def see(self, snapshot: Snapshot, began: float) -> None:
        """What is seen counts, but for what happened after it was begun to look."""
        up = {e.id for e in snapshot.engines if e.up}
        self._came = {r: at for r, at in self._came.items() if at >= began and r.engine in up}
        there = {r.ref for r in snapshot.residents if r.state is State.LOADED and r.engine in up}
        urls = ((ref, self.address(ref)) for ref in there.union(self._came))
        self.urls = {ref: url for ref, url in urls if url is not None}
        self._suspects = {r: at for r, at in self._suspects.items() if at >= began}
        now = self.loop.clock()
        self._going = {
            r: at for r, at in self._going.items() if r in there and now - at < GOES_WITHIN
        }
        self._leaving = snapshot.farewells
        down = (e.id for e in snapshot.engines if not e.up)
        self._down = {id: self._down.get(id, snapshot.taken_at) for id in down}
        self.count()

    def came(self, ref: ModelRef) -> None:
        """It has just been loaded."""
        if (url := self.address(ref)) is not None:
            self.urls[ref], self._came[ref] = url, self.loop.clock()
        self._suspects.pop(ref, None)
        self._going.pop(ref, None)
        self.count()

    def left(self, ref: ModelRef) -> None:
        self.urls.pop(ref, None)
        self.open.pop(ref, None)
        self._came.pop(ref, None)

    def goes(self, ref: ModelRef) -> None:
        """Its engine was told to unload it, and lists it still."""
        self._going[ref] = self.loop.clock()
        self._came.pop(ref, None)
        self.count()

    def suspect(self, ref: ModelRef) -> None:
        """Its engine did not answer: until it was looked at again, nobody is sent there."""
        self._suspects[ref] = self.loop.clock()
        self._came.pop(ref, None)
        self.count()

    def count(self) -> None:
        closed = self.loop.traffic.closed
        self.shut = closed.union(self._leaving, self._suspects, self._going)
        pausing = self.loop.keeping.pausing
        if pausing.drained:
            drained = {ref for ref in self.urls if pausing.drain_of(ref.engine) is not None}
            self.shut = self.shut.union(drained)
        self.open = {ref: url for ref, url in self.urls.items() if ref not in self.shut}

    def address(self, ref: ModelRef) -> str | None:
        """Where `ref` is served. None: nowhere now."""
        engine = self.loop.executor.engines.get(ref.engine)
        try:
            return None if engine is None else engine.address(ref.model)
        except EngineDown:
            return None

    def is_reachable(self, id: EngineId, snapshot: Snapshot) -> bool:
        """Is its engine up, or about to be, or could it be started?"""
        engine = snapshot.engine(id)
        if engine is None:
            return False
        if engine.serves:
            return True
        since = self._down.get(id, snapshot.taken_at)
        return self.loop.clock() - since < DOWN_AFTER
