"""What must be so after a soak, and whether it is."""

from __future__ import annotations

from dataclasses import dataclass

from .clients import percentile
from .outside import MIB, Row

GROWTH = 5 * MIB  # an hour, after the warm-up: of what has to be flat
LAG = 50.0  # milliseconds, of which 99 of 100 beats are at most late
WARM = 1 / 3  # of the load's time


@dataclass(frozen=True, slots=True)
class Verdict:
    """`timed`: on a machine that is busy elsewhere it says nothing."""

    what: str
    ok: bool
    said: str
    timed: bool = False


def slope(points: list[tuple[float, float]]) -> float:
    """Of y by x, by the median of all pairs' slopes (Theil and Sen): what jumps up for a moment and
    back does not count."""
    if len(points) > 240:
        points = points[:: len(points) // 240 + 1]
    found = [
        (b[1] - a[1]) / (b[0] - a[0])
        for i, a in enumerate(points)
        for b in points[i + 1 :]
        if b[0] > a[0]
    ]
    return percentile(found, 0.5)


def growth(rows: list[Row], what: str = "anon") -> float:
    """Bytes an hour, over the last two thirds of the load."""
    return climb([(r.at, float(getattr(r, what))) for r in rows if r.phase == "load"])


def climb(points: list[tuple[float, float]]) -> float:
    """Of points in seconds, an hour, over the last two thirds of them."""
    if len(points) < 3:
        return 0.0
    begins = points[0][0] + WARM * (points[-1][0] - points[0][0])
    return 3600 * slope([point for point in points if point[0] >= begins])


def spread(late: list[float], beat: float) -> list[float]:
    """Milliseconds: a beat that was late stands for those, too, that it kept from coming."""
    found = list(late)
    for one in late:
        if one > 2 * beat:
            found += [one - beat * i for i in range(1, int(one / beat))]
    return found


def returned(before: int, after: int, what: str, slack: int = 0) -> Verdict:
    said = f"{before} before, {after} after"
    return Verdict(f"{what} as before the load", after <= before + slack, said)
