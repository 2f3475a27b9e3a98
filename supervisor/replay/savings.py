"""What was spent on reloads, what other rankings would have spent, and what was unavoidable.

Ghosts: rankings that hold names alone. They are given the requests that really came, one after
another, and as many bytes as there are for models now; so they are compared with the ghost of the
ranking in force, not with what was really paid, in which everything else that happened has a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collectors.reading import Bytes, PoolId, Seconds
from supervisor.core.rank import RANKINGS, Ranking
from supervisor.core.snapshot import ModelRef
from supervisor.journal.trail import Passed

from .oracle import optimum
from .past import past
from .rules import ranked
from .sequence import sequence
from .trace import Model, Trace

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
# Who is in memory when the time begins that is asked for is told by the time before it.
BEFORE = DAY
GHOSTS = ("value", "lru", "landlord")

# A ghost that spends a tenth less over three days and so many requests, and on no day more, is
# better here; of less nobody can tell.
DAYS, LESS, REQUESTS, SECONDS = 3, 0.10, 200, 60.0


class Known(NamedTuple):
    """What is known of a model: where it is, and what it is like."""

    pool: PoolId
    model: Model


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of loading over `days` (the last one last), of the time that was asked for."""

    days: tuple[float, ...]

    @property
    def all(self) -> float:
        return sum(self.days)


@dataclass(frozen=True, slots=True)
class Savings:
    """Times are Unix time. `since`: what is told of begins then; the journal's begins at
    `known_since`. `paid` (seconds) and `loads` are what really was; `ghosts` by ranking, `ranking`
    the one in force. `left_out` requests are of models of which not enough is known."""

    since: float
    until: float
    known_since: float
    requests: int
    left_out: int
    loads: int
    paid: Seconds
    ranking: str
    ghosts: Mapping[str, Spent] = field(default_factory=dict)
    optimum: float = 0.0


def savings(
    passed: Sequence[Passed],
    known: Mapping[ModelRef, Known],
    rooms: Mapping[PoolId, Bytes],
    ranking: Ranking,
    since: float,
    until: float,
) -> Savings:
    """Over the requests from `since` to `until`. `passed` may have earlier ones, `rooms` says
    how many bytes there are for models, pool by pool."""
    told = past(passed, {ref: k.model for ref, k in known.items()}, since)
    rankings = {r.name: r for r in (ranking, *(RANKINGS[name] for name in GHOSTS))}
    paid = {name: [0.0] * _days(since, until) for name in rankings}
    best = 0.0
    counted = 0
    for trace, room in _by_pool(told.trace, known, rooms):
        counted += sum(r.at >= since for r in trace.requests)
        all_paid = []
        for name, one in rankings.items():
            loads = sequence(trace, room, ranked(one)).loads
            _spread(loads, since, until, paid[name])
            all_paid.append(_after(loads, since))
        best += min(_after(optimum(trace, room).loads, since), *all_paid)
    return Savings(
        since=since,
        until=until,
        known_since=min((p.at for p in passed), default=until),
        requests=counted,
        left_out=sum(p.at >= since for p in passed) - counted,
        loads=told.loads,
        paid=told.paid,
        ranking=ranking.name,
        ghosts={name: Spent(tuple(days)) for name, days in paid.items()},
        optimum=best,
    )


def outdone(found: Savings) -> tuple[str, ...]:
    """The rankings that would have been steadily better than the one in force, best first."""
    own = found.ghosts[found.ranking]
    if found.requests < REQUESTS or found.known_since > found.since or len(own.days) < DAYS:
        return ()
    better = [
        (ghost.all, name)
        for name, ghost in found.ghosts.items()
        if ghost.all <= own.all * (1 - LESS)
        and own.all - ghost.all >= SECONDS
        and all(g <= o for g, o in zip(ghost.days, own.days, strict=True))
    ]
    return tuple(name for _, name in sorted(better))


def tell(found: Savings) -> list[str]:
    """In sentences."""
    if not found.requests:
        return ["Nothing was asked for in this time, as far as is known."]
    span = _span(found.until - max(found.since, found.known_since))
    others = [
        f"{name} would have paid {_seconds(ghost.all)}"
        for name, ghost in sorted(found.ghosts.items(), key=lambda g: g[1].all)
        if name != found.ranking
    ]
    least = min(found.optimum, found.paid) if found.loads else found.optimum
    lines = [
        f"You paid {_seconds(found.paid)} of reloads in {span}: {_many(found.loads, 'load')} for"
        f" {_many(found.requests, 'request')}.",
        f"{'; '.join(others)}; the optimum was {_seconds(least)}.",
        f"The ranking in force, {found.ranking}, comes to"
        f" {_seconds(found.ghosts[found.ranking].all)} where it is replayed as these are: request"
        " by request, in the memory that there is now.",
    ]
    if found.left_out:
        count = _many(found.left_out, "request")
        lines.append(f"Left out: {count} for models of which too little is known.")
    return lines


def _span(seconds: float) -> str:
    days = seconds / DAY
    if days >= 1.95:
        return f"{days:.1f}".removesuffix(".0") + " days"
    if seconds >= 0.95 * HOUR:
        hours = f"{seconds / HOUR:.1f}".removesuffix(".0")
        return f"{hours} hour{'' if hours == '1' else 's'}"
    return _many(max(1, round(seconds / MINUTE)), "minute")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _seconds(number: float) -> str:
    return f"{number:,.0f} s"


def _by_pool(
    trace: Trace, known: Mapping[ModelRef, Known], rooms: Mapping[PoolId, Bytes]
) -> Iterable[tuple[Trace, Bytes]]:
    """The requests of each pool, and the bytes that there are for its models: at least what the
    largest of them held, for that was there."""
    for pool, room in rooms.items():
        mine = {
            ref: m for ref, m in trace.models.items() if ref in known and known[ref].pool == pool
        }
        requests = [r for r in trace.requests if r.ref in mine]
        if requests:
            largest = max(m.size for m in mine.values())
            yield Trace(pool, requests, mine), Bytes(max(room, largest))


def _after(loads: Iterable[tuple[float, float]], since: float) -> float:
    return sum(seconds for at, seconds in loads if at >= since)


def _days(since: float, until: float) -> int:
    return max(1, round((until - since) / DAY))


def _spread(
    loads: Iterable[tuple[float, float]], since: float, until: float, days: list[float]
) -> None:
    for at, seconds in loads:
        if at >= since:
            i = int((at - since) / max(until - since, 1e-9) * len(days))
            days[min(i, len(days) - 1)] += seconds
