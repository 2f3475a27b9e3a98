"""How fast a model grows while it works: the slope of its bytes over its busy time.

Robust against what comes and goes: of all slopes between any two of up to 32 points the one in
the middle counts (Theil and Sen), so that three in ten points may be anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

from collectors.reading import Bytes, Seconds

POINTS = 32
SPACING = Seconds(60.0)  # of busy time; it doubles whenever there are too many points
ENOUGH = Seconds(1800.0)  # of busy time, before anything is said
HOUR = 3600.0


@dataclass(slots=True)
class Growth:
    """Of one model since it was loaded."""

    busy: Seconds = Seconds(0.0)
    _points: list[tuple[float, int]] = field(default_factory=list)
    _spacing: Seconds = SPACING
    _per_hour: float | None = None

    def see(self, busy: Seconds, size: Bytes) -> None:
        """It has worked for `busy` seconds more, and holds `size` now."""
        self.busy = Seconds(self.busy + busy)
        if self._points and self.busy - self._points[-1][0] < self._spacing:
            return
        self._points.append((self.busy, size))
        if len(self._points) > POINTS:
            self._points = self._points[::2]
            self._spacing = Seconds(self._spacing * 2)
        self._per_hour = None

    @property
    def per_hour(self) -> float | None:
        """Bytes for each hour of work; None: not seen for long enough."""
        if self.busy < ENOUGH or len(self._points) < 4:
            return None
        if self._per_hour is None:
            slopes = sorted(
                (later - earlier) / (end - begin)
                for (begin, earlier), (end, later) in combinations(self._points, 2)
            )
            self._per_hour = slopes[len(slopes) // 2] * HOUR
        return self._per_hour
