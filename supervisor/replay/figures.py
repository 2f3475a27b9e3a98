"""What a replay comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from collectors.reading import Seconds


@dataclass(frozen=True, slots=True)
class Waits:
    """How long requests waited before they were begun, in seconds; of all, also the unheld."""

    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    longest: float = 0.0

    @classmethod
    def of(cls, waits: Sequence[float]) -> Waits:
        if not waits:
            return cls()
        ordered = sorted(waits)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

        return cls(sum(ordered) / len(ordered), at(0.5), at(0.95), at(0.99), ordered[-1])


@dataclass(slots=True)
class Figures:
    """`loads` has when each was begun and what it took; `waits` one entry for each request that
    was served. `killed` requests were cut short, and `overfull` loads were begun without room:
    none of either, ever."""

    requests: int = 0
    refused: int = 0
    killed: int = 0
    overfull: int = 0
    loads: list[tuple[float, Seconds]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    @property
    def cold(self) -> int:
        return len(self.loads)

    @property
    def reload(self) -> float:
        """Seconds spent on loading, all together."""
        return sum(took for _, took in self.loads)
