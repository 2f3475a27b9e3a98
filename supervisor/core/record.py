"""What is written down: every decision before it is carried out, every outcome after."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from collectors.reading import Seconds

from .headroom import Room
from .plan import Action, Plan
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


class Result(Enum):
    DONE = "done"
    SKIPPED = "skipped"  # the need was gone, or the mode says so
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one action of a decision. `took` is in seconds, settling included."""

    decision: str
    at: float
    action: Action
    result: Result
    detail: str = ""
    took: Seconds = Seconds(0)
    judgement: Judgement | None = None
