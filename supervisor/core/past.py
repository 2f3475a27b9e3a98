"""What was seen of one model, and of one pool: the lines of a history."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from collectors.reading import PoolId, Seconds

Json = dict[str, Any]

RECENT_LOADS = 0.3  # what the latest load counts, against all before it
POPULAR = 86400.0  # seconds after which a request counts a third in `Past.popularity`
TURNOVER = 6 * 3600.0  # seconds after which a byte that was loaded counts a third

# A load that nobody has timed: the engine's start, and reading from a good disk.
START, READ = 1.5, 2.5e9
# A wake that nobody has timed: over the bus.
WAKE_START, WAKE_READ = 0.5, 10e9


class Tier(Enum):
    """Where a model is loaded from."""

    DISK = "disk"
    ASLEEP = "asleep"


@dataclass(slots=True)
class Past:
    """What was seen of one model. `credit` and `worth`: the inflation of its pool when it was
    last asked for, under greedy-dual rules without and with a count of requests."""

    last: float | None = None  # asked for
    told: float = -math.inf  # asked for by the word of who passes requests on
    requests: int = 0  # since it was loaded
    popular: float = 0.0  # requests, of which old ones fade
    popular_at: float = 0.0
    reload: Seconds | None = None  # from disk
    wake: Seconds | None = None  # from its sleep
    held: tuple[tuple[PoolId, int], ...] = ()  # when it was last loaded
    credit: float = 0.0
    worth: float = 0.0
    dismissed: bool = False  # told to go, and not asked for since

    @property
    def size(self) -> int:
        return sum(size for _, size in self.held)

    @property
    def pool(self) -> PoolId | None:
        """Where most of it was."""
        return max(self.held, key=lambda h: (h[1], h[0]))[0] if self.held else None

    def popularity(self, now: float) -> float:
        return self.popular * math.exp(min(0.0, self.popular_at - now) / POPULAR)

    def row(self) -> Json:
        return {
            "last": self.last,
            "requests": self.requests,
            "popular": [round(self.popular, 4), self.popular_at],
            "reload": self.reload,
            "wake": self.wake,
            "held": [list(h) for h in self.held],
            "greedy": [self.credit, self.worth],
            "dismissed": self.dismissed,
        }

    @classmethod
    def of(cls, row: Json) -> Past:
        """Raises ValueError, TypeError or KeyError for what is no such row."""
        popular, popular_at = row["popular"]
        credit, worth = row["greedy"]
        return cls(
            last=None if row["last"] is None else finite(row["last"]),
            requests=int(row["requests"]),
            popular=finite(popular),
            popular_at=finite(popular_at),
            reload=None if row["reload"] is None else Seconds(finite(row["reload"])),
            wake=None if row["wake"] is None else Seconds(finite(row["wake"])),
            held=tuple((PoolId(str(p)), int(n)) for p, n in row["held"]),
            credit=finite(credit),
            worth=finite(worth),
            dismissed=row["dismissed"] is True,
        )


@dataclass(slots=True)
class Ledger:
    """What was seen of one pool. `loaded`: bytes a second, of which old ones fade; `price`:
    seconds of loading that a byte freed has cost; the rest is the inflation of greedy-dual
    rules."""

    since: float
    at: float
    loaded: float = 0.0
    price: float = 0.0
    credit: float = 0.0
    worth: float = 0.0

    def row(self) -> list[float]:
        return [self.since, self.at, self.loaded, self.price, self.credit, self.worth]

    @classmethod
    def of(cls, row: list[Any]) -> Ledger:
        """Raises ValueError or TypeError for what is no such row."""
        return cls(*map(finite, row))


def usual_reload(size: int) -> float:
    """Seconds to load so many bytes where nobody has timed it."""
    return START + size / READ


def usual_wake(size: int) -> float:
    """The same, from where it sleeps in RAM."""
    return WAKE_START + size / WAKE_READ


def blend(before: float | None, latest: float) -> float:
    """With the latest of several measurements, of which old ones fade."""
    return latest if before is None else before + RECENT_LOADS * (latest - before)


def finite(found: Any) -> float:
    """A number that was read. Raises ValueError or TypeError where it is none."""
    number = float(found)
    if not math.isfinite(number) or isinstance(found, (bool, str)):
        raise ValueError(f"not a number: {found!r}")
    return number
