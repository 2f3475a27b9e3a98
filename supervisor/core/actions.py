"""What a plan is made of: actions in order, and a note with a reason for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from collectors.reading import NONE, Blind, Bytes, PoolId, Seconds

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
    UNUSED = "its last user has gone"
    PINNED = "pinned"
    BUSY = "busy"
    LEASED = "leased"
    LOADING = "still loading"
    LEAVING = "already leaving"
    UNKNOWN = "its engine does not answer"
    UNABLE = "its engine cannot unload"
    DISTRUSTED = "its last unload gave too little back"
    WRONG_POOL = "holds nothing where room is needed"
    NOT_NEEDED = "not needed"
    NOT_ENOUGH = "would not be enough"
    NO_BED = "can only sleep, and there is no room for that"
    TOO_SMALL = "too small to matter"
    BARRED = "not loaded beside a stranger"
    BRAKED = "held by the swap brake"
    TOO_YOUNG = "has not been there for long enough"
    TOGETHER = "goes with another, or not at all"
    STAYS_TOGETHER = "stays with another that may not go"
    SWITCHED = "its client has moved on"
    PAUSED = "nothing is done of our own accord: it is a pause"
    DRAINED = "its engine is drained"
    SILENT = "the engine of who is wanted does not answer"
    ALERTED = "an alert asks for it"
    NOT_MEANT = "the alert does not mean it"


class Trigger(Enum):
    """What made the daemon plan."""

    DEMAND = "demand"  # a model, or a foreign job, wants memory
    RELIEF = "relief"  # a pool is below its reserve or beyond its budget
    LIMIT = "limit"  # more models are active than the operator allows
    GROWTH = "growth"  # a pool would fall below its soft line soon, for a model grows
    IDLE = "idle"  # the idle watchdog
    BUSY = "busy"  # the busy watchdog
    UNUSED = "unused"  # the last user of a model has gone, and it was to go with it
    OPERATOR = "operator"  # somebody asked
    SWITCH = "switch"  # a client moved on to another model
    AHEAD = "ahead"  # a model is likely to be asked for soon
    TOGETHER = "together"  # one of those that are always together has left
    ALERT = "alert"  # an alert of somebody else's monitoring


class Loss(NamedTuple):
    """What it is expected to cost that a model goes: `chance` (0 to 1) that it is asked for again
    `within` so many seconds (who is due later counts for a part: Odds.keeping), times the seconds
    to have it `back`. `expected` is that in seconds, weighed by its priority, and with what the RAM
    costs that it fills when it only sleeps."""

    chance: float
    within: Seconds
    back: Seconds
    expected: float


@dataclass(frozen=True, slots=True)
class Evict:
    """Make one model give its memory back, by the first rung of `ladder` that does. `frees` is
    the promise that the verdict is measured against. `beside` is whose going takes it along: it
    stays if that one does."""

    ref: ModelRef
    frees: tuple[Share, ...]
    why: Why
    ladder: tuple[Rung, ...] = (Rung.UNLOAD,)
    loss: Loss | None = None
    beside: ModelRef | None = None


@dataclass(frozen=True, slots=True)
class Load:
    ref: ModelRef
    takes: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the requests that a model works on. It stays where it is."""

    ref: ModelRef
    why: Why


Action = Evict | Load | Cancel


class Barred(NamedTuple):
    """A pool into which nothing is loaded now, and for whom; for how long, where that is known."""

    pool: PoolId
    why: str
    wait: Seconds | None = None


class Note(NamedTuple):
    ref: ModelRef
    why: Why
    loss: Loss | None = None  # of who might have gone


class Holder(NamedTuple):
    """Who has bytes of a pool that cannot be reclaimed, and why not; `pid` of one that is no
    model of ours."""

    name: str
    size: Bytes
    why: str
    pid: int | None


class Short(NamedTuple):
    """Why a demand does not fit into one pool, in bytes. `reclaimable` would come back if all went
    who may; `missing` even then. `budget` is what models may hold of it, None: all; `held` what
    they do."""

    pool: PoolId
    needs: Bytes
    total: Bytes
    free: Bytes
    reserve: Bytes
    promised: Bytes
    reclaimable: Bytes
    missing: Bytes
    holders: tuple[Holder, ...]
    budget: Bytes | None = None
    held: Bytes = NONE


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in order, and a note for every model that was considered.

    `unmet` and `full` say what is missing: bytes, and the limits ("host" or an engine) that
    stay exceeded; `blind` the pools of those bytes that cannot be read; `barred` those into which
    nothing is loaded now; `short` how much of which pool there is, and who has the rest, where a
    demand cannot be met. For a demand either
    `actions` makes it fit, or something is missing and `actions` is empty: a plan that cannot
    succeed evicts nobody. Relief gives what it can.
    """

    trigger: Trigger
    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    unmet: tuple[Share, ...] = ()
    full: tuple[str, ...] = ()
    blind: tuple[Blind, ...] = ()
    barred: tuple[Barred, ...] = ()
    short: tuple[Short, ...] = ()
    ranking: str | None = None  # by which those were chosen who make room; None: nobody was

    @property
    def evictions(self) -> tuple[Evict, ...]:
        return tuple(a for a in self.actions if isinstance(a, Evict))

    @property
    def works(self) -> bool:
        return not self.unmet and not self.full and not self.barred

    @property
    def waits_for(self) -> tuple[ModelRef, ...]:
        """The busy models that could make it work, were they idle."""
        return (
            ()
            if self.works or self.blind
            else tuple(n.ref for n in self.notes if n.why in (Why.BUSY, Why.TOO_YOUNG))
        )
