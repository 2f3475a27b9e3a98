"""Standing back for a while: a pause of all that we do of our own accord, and drained engines.

Both are the operator's word, kept over a restart, and in force before the first decision.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.reading import Seconds
from supervisor.core.explain import of_drain
from supervisor.core.halt import Halt
from supervisor.core.policy import EVERY_ENGINE, Policy
from supervisor.core.snapshot import EngineId
from supervisor.journal.shelves import Shelf

from .deadlines import Deadlines, Json

log = logging.getLogger("ullage.loop")

HOST = "host"  # the one key on the shelf of pauses


@dataclass(slots=True)
class Pausing:
    """`drained` has the engines that are, EVERY_ENGINE for all of them. `told` are called when
    either is not what it was, in the same turn."""

    pauses: Shelf
    drains: Shelf
    deadlines: Deadlines
    told: list[Callable[[], None]] = field(default_factory=list)
    pause: Halt | None = None
    drained: Mapping[EngineId, Halt] = field(default_factory=dict)

    def recall(self) -> None:
        """Take up what was written down. One whose end cannot be read has none."""
        found = self.pauses.get(HOST)
        self.pause = None if found is None else self._read(found, "the pause")
        self.drained = {
            EngineId(name): self._read(body, f"the drain of {_named(name)}")
            for name, body in self.drains.all().items()
        }
        if self.pause is not None:
            log.warning("still paused: nothing is unloaded or loaded but what is asked for")
        for name in self.drained:
            log.warning("%s is still drained", _named(name))
        self.tell()

    def _read(self, body: Mapping[str, Any], what: str) -> Halt:
        ends = None
        if (written := body.get("ends")) is not None:
            try:
                ends = self.deadlines.read(written)
            except (KeyError, TypeError, ValueError):
                log.warning("when %s ends cannot be read: it stays", what)
        return Halt(ends, bool(body.get("unload", False)))

    def over(self, policy: Policy) -> Policy:
        """`policy` as it is now."""
        return replace(policy, pause=self.pause, drained=self.drained)

    def drain_of(self, engine: EngineId) -> Halt | None:
        """None: it takes requests."""
        return self.drained.get(engine) or self.drained.get(EVERY_ENGINE)

    def refusal(self, engine: EngineId) -> str | None:
        """Why nothing is to go to `engine`, in words. None: it may."""
        drain = self.drain_of(engine)
        return None if drain is None else of_drain(engine, drain, self.deadlines.now)

    # -- what the operator says: in force at once, and on disk soon after

    def set_pause(self, ends: Seconds | None) -> None:
        """Until `ends`, None: until it is taken back."""
        self.pause = Halt(ends)
        log.warning("paused: nothing is unloaded or loaded but what is asked for")
        self.pauses.keep(HOST, self._written(self.pause))
        self.tell()

    def end_pause(self) -> None:
        if self.pause is None:
            return
        self.pause = None
        log.warning("the pause is over")
        self.pauses.drop(HOST)
        self.tell()

    def drain(self, engine: EngineId, halt: Halt) -> None:
        self.drained = {**self.drained, engine: halt}
        log.warning("%s is drained: it takes no requests and no loads", _named(engine))
        self.drains.keep(engine, self._written(halt))
        self.tell()

    def end_drain(self, engine: EngineId) -> None:
        if engine in self.drained:
            self._undrain(engine)
            self.tell()

    def _undrain(self, engine: EngineId) -> None:
        self.drained = {name: halt for name, halt in self.drained.items() if name != engine}
        log.warning("%s is drained no more", _named(engine))
        self.drains.drop(engine)

    # -- time

    def lapse(self, now: Seconds) -> bool:
        """Take back what has come to its end. True: there was something."""
        over = [name for name, halt in self.drained.items() if _is_over(halt, now)]
        for name in over:
            self._undrain(name)
        if ended := self.pause is not None and _is_over(self.pause, now):
            self.pause = None
            self.pauses.drop(HOST)
            log.warning("the pause is over")
        if over or ended:
            self.tell()
        return bool(over) or ended

    def rewrite(self) -> None:
        """The wall clock was set: write the same moments down by the new one."""
        if self.pause is not None and self.pause.ends is not None:
            self.pauses.keep(HOST, self._written(self.pause))
        for name, halt in self.drained.items():
            if halt.ends is not None:
                self.drains.keep(name, self._written(halt))

    def _written(self, halt: Halt) -> Json:
        body: Json = {"at": self.deadlines.wall(), "unload": halt.unload}
        return body if halt.ends is None else {**body, "ends": self.deadlines.written(halt.ends)}

    def tell(self) -> None:
        for listener in self.told:
            listener()


def _is_over(halt: Halt, now: Seconds) -> bool:
    return halt.ends is not None and halt.ends <= now


def _named(engine: str) -> str:
    return engine or "every engine"
