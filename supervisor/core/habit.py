"""What one model has done so far, by age of its gaps and by kind of its popularity."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import Any

from .past import finite

Json = Any

# Ages are told apart by their octave: 1 s, 2 s, 4 s ... 24 days.
EDGES = tuple(2.0**k for k in range(22))
HIGHS = (*EDGES, math.inf)
BINS = len(HIGHS)
# How long popularity lasts: from a minute to two weeks, in equal ratios.
SPANS = (60.0, 1632.9, 44440.0, 1209600.0)
KINDS = len(SPANS)


def zeros(count: int, kind: str = "d") -> array[float]:
    """`kind` "f" takes half the memory of "d", and is exact to seven digits."""
    return array(kind, [0.0] * count)


@dataclass(slots=True)
class Habit:
    """By age: requests that ended a gap of that age, and seconds spent at it. By kind of
    popularity: how much there is of it, the visits that it brought, and those that it should have.
    Time up to `settled`, and up to `counted` of the visits' clock, is spent already; `heat` is of
    then."""

    last: float  # when it was asked for last
    settled: float
    faded: float  # when what it did long ago was last made to count less
    counted: float
    events: array[float] = field(default_factory=lambda: zeros(BINS, "f"))
    exposure: array[float] = field(default_factory=lambda: zeros(BINS, "f"))
    heat: array[float] = field(default_factory=lambda: zeros(KINDS))
    brought: array[float] = field(default_factory=lambda: zeros(KINDS))
    due: array[float] = field(default_factory=lambda: zeros(KINDS))
    # Visits that each kind has still in store: heat × weight × span.
    store: array[float] = field(default_factory=lambda: zeros(KINDS))

    def row(self) -> dict[str, Json]:
        times = (self.last, self.settled, self.faded, self.counted)
        return {
            "times": [round(t, 1) for t in times],
            "events": short(self.events),
            "exposure": short(self.exposure),
            "heat": short(self.heat),
            "brought": short(self.brought),
            "due": short(self.due),
        }

    @classmethod
    def of(cls, row: Json, clock: float) -> Habit:
        """As it was kept, while the visits' clock shows `clock`. Raises ValueError, TypeError or
        KeyError for what is no such row."""
        last, settled, faded, counted = map(finite, row["times"])
        return cls(
            last,
            max(last, settled),
            faded,
            min(counted, clock),
            counts(row["events"], BINS, "f"),
            counts(row["exposure"], BINS, "f"),
            counts(row["heat"], KINDS),
            counts(row["brought"], KINDS),
            counts(row["due"], KINDS),
        )


def short(numbers: array[float]) -> list[float]:
    return [float(f"{n:.4g}") for n in numbers]


def counts(found: Any, how_many: int, kind: str = "d") -> array[float]:
    """Raises ValueError or TypeError where it is no such list."""
    numbers = array(kind, [finite(n) for n in found])
    if len(numbers) != how_many or min(numbers) < 0.0 or max(numbers) > 1e12:
        raise ValueError(f"not {how_many} counts: {found!r}")
    return numbers
