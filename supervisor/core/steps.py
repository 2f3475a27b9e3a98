"""What is done, one after the other, about a model that makes no progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from collectors.reading import Seconds


class Step(Enum):
    """The words of `busy_steps`."""

    REPORT = "report"  # say so, and wait
    CANCEL = "cancel"  # end the requests that it works on
    UNLOAD = "unload"  # though it is busy
    RESTART = "restart"  # of its whole engine


@dataclass(frozen=True, slots=True)
class Climb:
    """How far one model has come. `taken_at`: when what stands at `place` was done, or turned out
    to be impossible; None: it is yet to be done."""

    place: int = 0
    taken_at: Seconds | None = None


def advance(climb: Climb, steps: Sequence[Step], interval: Seconds, now: Seconds) -> Climb:
    """One place further once the step before has had `interval` seconds to help. The last one
    is done again each `interval`."""
    if climb.taken_at is None or now - climb.taken_at < interval:
        return climb
    return Climb(min(climb.place + 1, len(steps) - 1))


def taken(climb: Climb, now: Seconds) -> Climb:
    return replace(climb, taken_at=now)
