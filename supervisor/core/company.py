"""Who is asked for together: agents and pipelines ask for one model soon after another.

That B often follows A says nothing where B often follows anybody. So of the visits to A that B
followed, only those count that are more than after visits to others, and of these only what is
hardly chance: two standard errors less than was seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .past import finite
from .snapshot import ModelRef

Json = Any

WINDOW = 60.0  # seconds: who comes later than that follows nobody
APART = 5.0  # seconds; closer requests for one model are one visit
MOST = 5  # followers remembered of each model
RECENT = 32  # models that may announce another
DOUBT = 2.0  # visits, and standard errors
# All counts are halved after so many visits: company changes, too.
VISITS = 10_000

# How likely one is announced more than it is anyway, and how much of the window is left.
Sign = tuple[float, float]


@dataclass(slots=True)
class Visits:
    """To one model: how many, how many visits to others it followed, and who followed them."""

    count: int = 0
    followed: int = 0
    last: float = -math.inf
    followers: dict[ModelRef, int] = field(default_factory=dict)


class Company:
    """Changed by `arrived`. Times are in seconds, of a clock that never goes back."""

    def __init__(self) -> None:
        self._visits: dict[ModelRef, Visits] = {}
        self._total = 0
        self._recent: dict[ModelRef, float] = {}  # when each was last visited, the latest last
        # Who was announced, and when that was looked for: None after a visit.
        self.at: float | None = None
        self.signs: Mapping[ModelRef, Sequence[Sign]] = {}

    def arrived(self, ref: ModelRef, now: float) -> None:
        """A request for `ref` came."""
        visits = self._visits.get(ref)
        if visits is None:
            visits = self._visits[ref] = Visits()
        elif now - visits.last <= APART:
            visits.last = now
            return
        visits.last = now
        recent = self._recent
        recent.pop(ref, None)
        while recent:
            oldest = next(iter(recent))
            if now - recent[oldest] <= WINDOW and len(recent) < RECENT:
                break
            del recent[oldest]
        known = self._visits
        for other in recent:
            followers = known[other].followers
            if ref in followers:
                followers[ref] += 1
            elif len(followers) < MOST:
                followers[ref] = 1
            else:
                _replace(followers, ref)
        visits.followed += len(recent)
        visits.count += 1
        recent[ref] = now
        self.at = None
        self._total += 1
        if self._total >= VISITS:
            self._halve()

    def _halve(self) -> None:
        self._total //= 2
        for visits in self._visits.values():
            visits.count //= 2
            visits.followed //= 2
            visits.followers = {r: n // 2 for r, n in visits.followers.items() if n > 1}

    def look(self, now: float) -> Mapping[ModelRef, Sequence[Sign]]:
        """Who is announced at `now`, and by what. It stays in `signs`."""
        found: dict[ModelRef, list[Sign]] = {}
        for other, at in self._recent.items():
            leader, left = self._visits[other], 1.0 - max(0.0, now - at) / WINDOW
            if left <= 0.0:
                continue
            for ref, often in leader.followers.items():
                if (visits := self._visits.get(ref)) is None:
                    continue
                # How likely does it follow a visit to anybody else?
                others = max(0, self._total - leader.count - visits.count)
                usual = min(1.0, (max(0, visits.followed - often) + 1) / (others + 1))
                of = leader.count + DOUBT
                share = min(1.0, (often + DOUBT * usual) / of)
                lift = share - DOUBT * math.sqrt(share * (1.0 - share) / of) - usual
                if lift > 0.0:
                    found.setdefault(ref, []).append((lift, left))
        self.at, self.signs = now, found
        return found

    # -- keeping

    def forget(self, ref: ModelRef) -> None:
        self._visits.pop(ref, None)
        self._recent.pop(ref, None)
        self.at = None

    def row(self, ref: ModelRef) -> Json:
        """What is known of one model, as JSON. None: nothing."""
        visits = self._visits.get(ref)
        if visits is None:
            return None
        followers = [[*other, n] for other, n in visits.followers.items()]
        return [visits.count, visits.followed, followers]

    def take(self, ref: ModelRef, row: Json) -> None:
        """The same, read back. Raises ValueError or TypeError for what is no such row."""
        count, followed, followers = row
        known = {ModelRef(e, m): _count(n) for e, m, n in followers[:MOST]}
        self._visits[ref] = Visits(_count(count), _count(followed), followers=known)

    def save(self) -> Json:
        return self._total

    def restore(self, row: Json) -> None:
        """Raises ValueError or TypeError for what is no such row."""
        self._total = min(_count(row), VISITS)


def _replace(followers: dict[ModelRef, int], ref: ModelRef) -> None:
    """There is no place left: the rarest makes room, in the end."""
    rarest = min(followers, key=followers.__getitem__)
    if followers[rarest] > 1:
        followers[rarest] -= 1
    else:
        del followers[rarest]
        followers[ref] = 1


def _count(found: Any) -> int:
    number = int(finite(found))
    if not 0 <= number <= 10**9:
        raise ValueError(f"not a count: {found!r}")
    return number
