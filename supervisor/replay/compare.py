"""One trace by several rules, next to the best schedule that knows the future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collectors.reading import Bytes

from .figures import Figures, Waits
from .host import host
from .oracle import foresight, optimum
from .rules import Queue, Rule
from .sequence import sequence
from .trace import Trace


@dataclass(frozen=True, slots=True)
class Result:
    rule: Rule
    figures: Figures


@dataclass(frozen=True, slots=True)
class Comparison:
    """`best`: seconds of loading of the best schedule that is known, and `loads` when it has
    them. `exact`: there is no better one."""

    trace: Trace
    capacity: Bytes
    on_host: bool
    results: Sequence[Result]
    best: float
    cold: int
    loads: Sequence[tuple[float, float]]
    exact: bool

    def times(self, reload: float) -> float | None:
        """× the oracle. None: it has nothing to load."""
        return reload / self.best if self.best else None


def compare(
    trace: Trace,
    capacity: Bytes,
    rules: Sequence[Rule],
    *,
    on_host: bool = False,
    queue: Queue = Queue.WAITERS,
) -> Comparison:
    """Replay `trace` by each of `rules`. The oracle is never worse than the best of them."""
    results = []
    for rule in rules:
        found = host(trace, capacity, rule, queue) if on_host else sequence(trace, capacity, rule)
        results.append(Result(rule, found))
    exact = False
    known: list[tuple[float, Sequence[tuple[float, float]]]] = []
    if on_host:
        ahead = host(trace, capacity, foresight(trace), queue)
        known.append((ahead.reload, ahead.loads))
    else:
        solved = optimum(trace, capacity)
        known.append((solved.reload, solved.loads))
        exact = solved.exact
    fewest = min((r.figures.refused for r in results), default=0)
    known += [(r.figures.reload, r.figures.loads) for r in results if r.figures.refused == fewest]
    best, loads = min(known, key=lambda found: found[0])
    return Comparison(trace, capacity, on_host, results, best, len(loads), loads, exact)


def document(found: Comparison) -> dict[str, Any]:
    """As JSON has it: seconds and bytes."""
    return {
        "trace": found.trace.name,
        "seed": found.trace.seed,
        "requests": len(found.trace.requests),
        "models": len(found.trace.models),
        "capacity": found.capacity,
        "setting": "host" if found.on_host else "sequence",
        "oracle": {"cold_starts": found.cold, "reload_s": round(found.best, 3),
                   "exact": found.exact},
        "policies": [_row(found, result) for result in found.results],
    }  # fmt: skip


def _row(found: Comparison, result: Result) -> dict[str, Any]:
    figures, waits = result.figures, Waits.of(result.figures.waits)
    times = found.times(figures.reload)
    return {
        "policy": result.rule.name,
        "meaning": result.rule.meaning,
        "cold_starts": figures.cold,
        "reload_s": round(figures.reload, 3),
        "times_oracle": None if times is None else round(times, 4),
        "wait_s": {
            "mean": round(waits.mean, 3),
            "p50": round(waits.p50, 3),
            "p95": round(waits.p95, 3),
            "p99": round(waits.p99, 3),
            "longest": round(waits.longest, 3),
        },
        "refused": figures.refused,
    }
