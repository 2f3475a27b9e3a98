"""What a plan is made of: actions in order, and a note with a reason for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from collectors.reading import Blind

from .ladder import Rung
from .snapshot import ModelRef, Share


class Why(Enum):
    """One word per model considered; core/explain.py turns it into a sentence."""

    MAKES_ROOM = "makes room"
    WANTED = "wanted"
    THERE = "already there"
    ASKED = "asked for"
    IDLE = "idle for too long"
    STUCK = "busy for too long"
    PINNED = "pinned"
    BUSY = "busy"
    LOADING = "still loading"
    LEAVING = "already leaving"
    UNKNOWN = "its engine does not answer"
    UNABLE = "its engine cannot unload"
    DISTRUSTED = "its last unload gave too little back"
    WRONG_POOL = "holds nothing where room is needed"
    NOT_NEEDED = "not needed"
    NOT_ENOUGH = "would not be enough"
    NO_BED = "can only sleep, and there is no room for that"


class Trigger(Enum):
    """What made the daemon plan."""

    DEMAND = "demand"  # a model, or a foreign job, wants memory
    RELIEF = "relief"  # a pool is below its reserve or beyond its budget
    LIMIT = "limit"  # more models are active than the operator allows
    IDLE = "idle"  # the idle watchdog
    BUSY = "busy"  # the busy watchdog
    OPERATOR = "operator"  # somebody asked


@dataclass(frozen=True, slots=True)
class Evict:
    """Make one model give its memory back, by the first rung of `ladder` that does. `frees` is
    the promise that the verdict is measured against."""

    ref: ModelRef
    frees: tuple[Share, ...]
    why: Why
    ladder: tuple[Rung, ...] = (Rung.UNLOAD,)


@dataclass(frozen=True, slots=True)
class Load:
    ref: ModelRef
    takes: tuple[Share, ...]


Action = Evict | Load


@dataclass(frozen=True, slots=True)
class Note:
    ref: ModelRef
    why: Why


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in order, and a note for every model that was considered.

    `unmet` and `full` say what is missing: bytes, and the limits ("host" or an engine) that
    stay exceeded; `blind` the pools of those bytes that cannot be read. For a demand either
    `actions` makes it fit, or something is missing and `actions` is empty: a plan that cannot
    succeed evicts nobody. Relief gives what it can.
    """

    trigger: Trigger
    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    unmet: tuple[Share, ...] = ()
    full: tuple[str, ...] = ()
    blind: tuple[Blind, ...] = ()

    @property
    def evictions(self) -> tuple[Evict, ...]:
        return tuple(a for a in self.actions if isinstance(a, Evict))

    @property
    def works(self) -> bool:
        return not self.unmet and not self.full

    @property
    def waits_for(self) -> tuple[ModelRef, ...]:
        """The busy models that could make it work, were they idle."""
        return (
            ()
            if self.works or self.blind
            else tuple(n.ref for n in self.notes if n.why is Why.BUSY)
        )
