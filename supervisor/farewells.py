"""Models that were told to go while they were in use: they go when their last user does."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from .core.plan import Evict
from .core.record import Outcome, Result
from .core.snapshot import EngineId, ModelId, ModelRef, Snapshot
from .shelves import Shelf

log = logging.getLogger("ullage.loop")


@dataclass(slots=True)
class Farewells:
    """Kept over a restart. A pin, or a wish to load the model, takes one back."""

    shelf: Shelf

    @property
    def all(self) -> frozenset[ModelRef]:
        return frozenset(map(_ref, self.shelf.all()))

    def begin(self, ref: ModelRef, at: float, contexts: int) -> None:
        """`at` is Unix time."""
        if self.shelf.get(str(ref)) is None:
            self.shelf.keep(str(ref), {"at": at})
            log.info("unload %s: leaving (contexts=%d)", ref, contexts)

    def cancel(self, name: str, why: str) -> list[ModelRef]:
        """Take back those of "model" or "engine/model". Returns them."""
        found = [ref for ref in self.all if name in (str(ref), ref.model)]
        for ref in found:
            self.shelf.drop(str(ref))
            log.info("unload %s: taken back, %s", ref, why)
        return found

    def tell(self, outcome: Outcome) -> None:
        if isinstance(outcome.action, Evict) and outcome.result is Result.DONE:
            self._end(outcome.action.ref)

    def see(self, snapshot: Snapshot) -> None:
        """Who is gone has left, by our doing or not. Of an engine that does not answer nobody
        knows."""
        for ref in self.all:
            engine = snapshot.engine(ref.engine)
            if engine is not None and engine.up and snapshot.resident(ref) is None:
                self._end(ref)

    def _end(self, ref: ModelRef) -> None:
        if self.shelf.get(str(ref)) is not None:
            self.shelf.drop(str(ref))
            log.info("unload %s: freed (contexts=0)", ref)


def _ref(name: str) -> ModelRef:
    engine, _, model = name.partition("/")
    return ModelRef(EngineId(engine), ModelId(model))
