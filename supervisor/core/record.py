"""What is written down: every decision before it is carried out, every outcome after."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from collectors.reading import Seconds

from .headroom import Room
from .ladder import Rung
from .plan import Action, Plan
from .snapshot import ModelRef, Share
from .verdict import Judgement


class Mode(Enum):
    """How far a plan goes. The same code path, stopped earlier."""

    ENFORCE = "enforce"
    ADVISE = "advise"  # plans, and says what it would do
    OBSERVE = "observe"  # measures only


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan, why it was made, and the rooms as they were. `at` is Unix time in seconds."""

    id: str
    at: float
    mode: Mode
    cause: str  # one sentence: what made the daemon plan
    plan: Plan
    rooms: tuple[Room, ...] = ()
    by: str | None = None  # who asked for it, where somebody did


class Result(Enum):
    DONE = "done"
    SKIPPED = "skipped"  # the need was gone, or the mode says so
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one action of a decision. `took` is in seconds, settling included.

    `rung` is the last one that was tried; `slipped` says of each before it why it was not enough.
    """

    decision: str
    at: float
    action: Action
    result: Result
    detail: str = ""
    took: Seconds = Seconds(0)
    judgement: Judgement | None = None
    rung: Rung | None = None
    slipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Departure:
    """A model left, and not by our doing: its engine, a client or an accident took it. `at` is
    Unix time in seconds, `held` the bytes that it held last, pool by pool."""

    ref: ModelRef
    at: float
    why: str  # in words, as far as it can be told
    held: tuple[Share, ...] = ()
