"""What the gateway did across the fleet, counted for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from supervisor.core.snapshot import EngineId

from .counts import Fact, Histogram

ELSEWHERE = EngineId("_elsewhere")  # in place of an engine, of requests that other hosts serve

# Upper bounds, in seconds: the agent is beside us, and has a second at most.
ASKED = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
WHERE = ("here", "elsewhere", "queued", "nobody", "alone")
FAILED = ("lost", "refused")


class FleetCounts:
    def __init__(self) -> None:
        self._where: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._took = Histogram(ASKED)
        self.under_way = 0  # requests that other hosts work on

    def placed(self, where: str) -> None:
        """A request was placed: one of WHERE."""
        self._where[where] += 1

    def failed(self, why: str) -> None:
        """Another host had not begun to answer when it was lost, or it refused: one of FAILED."""
        self._failed[why] += 1

    def took(self, seconds: float) -> None:
        """A question to the agent."""
        self._took.add(seconds)

    def facts(self) -> Iterator[Fact]:
        for where in WHERE:
            yield "gateway_placements_total", (where,), self._where[where]
        for why in FAILED:
            yield "gateway_elsewhere_failures_total", (why,), self._failed[why]
        yield "gateway_placement_seconds", (), self._took.durations()
        yield "gateway_elsewhere_in_flight", (), self.under_way
