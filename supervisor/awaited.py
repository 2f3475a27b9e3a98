"""Is a model still to come whose engine was told to load it?"""

from __future__ import annotations

from dataclasses import InitVar, dataclass

from collectors.reading import Seconds

from .core.snapshot import EngineState, ModelRef, Snapshot

GAVE_UP = "the engine began to load it and gave up"
ANEW = "its engine went away while it loaded it, and came back without it"
WENT = "its engine went away while it loaded it"
NOWHERE = "the engine answered, and has not listed it since"

# Engines list what they load at once or, if they do not, answer only when it is loaded. A process
# that ends before anybody has seen it would be waited for as long as the longest load takes. An
# engine that only its owner has described may do neither: 60 GB from a disk take two minutes. One
# that is known to list it has lost it meanwhile: it was started anew between two looks.
LISTED = Seconds(180)
LISTED_ANEW = Seconds(5)
# An engine that has answered, and at whose address nobody listens any more, has crashed, and what
# it loaded with it: whoever waits is told, and whoever waits for room behind this load gets it.
BACK = Seconds(0.4)


@dataclass(slots=True)
class Awaited:
    """Looks come in their order; `before` is the one before its engine was told. Times are on the
    monotonic clock."""

    ref: ModelRef
    before: InitVar[Snapshot | None] = None
    lists: bool = False  # what its engine has answered for is in its list from then on
    _seen: bool = False
    _was_down: bool = False
    _was_up: bool = False
    _absent_since: Seconds | None = None  # of an engine that answers
    _refuses_since: Seconds | None = None  # of one that did

    def __post_init__(self, before: Snapshot | None) -> None:
        self._was_up = before is not None and before.answers(self.ref.engine)

    def lost(self, snapshot: Snapshot, now: Seconds) -> str | None:
        """Why it will not come. None: it may."""
        engine = snapshot.engine(self.ref.engine)
        if self._has_crashed(engine, now):
            return WENT
        if snapshot.resident(self.ref) is not None:
            self._seen, self._absent_since = True, None
            return None
        entry = snapshot.entry(self.ref)
        trouble = None if entry is None else entry.trouble
        if self._seen or trouble:  # it may end before it was ever seen
            return trouble or GAVE_UP
        if engine is None or not engine.up:
            # One that was too busy to answer in time has not gone away, and still loads it. Of one
            # that answers with errors nobody knows: who answers may stand before it.
            went = engine is None or engine.refuses or engine.degraded
            self._was_down |= went or not self._was_up
            self._absent_since = None
            return None
        if self._absent_since is None:
            self._absent_since = now
        absent = now - self._absent_since
        if self._was_down and absent >= LISTED_ANEW:
            return ANEW
        return NOWHERE if absent >= (LISTED_ANEW if self.lists else LISTED) else None

    def _has_crashed(self, engine: EngineState | None, now: Seconds) -> bool:
        self._was_up |= engine is not None and engine.up
        if engine is None or not engine.refuses or not self._was_up:
            self._refuses_since = None
            return False
        if self._refuses_since is None:
            self._refuses_since = now
        return now - self._refuses_since >= BACK
