"""The faults by name: what is broken, how often, and how a run of it goes."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.faults.bench import Bench, a_bench
from tests.faults.invariants import check

Story = Callable[[Bench], Awaitable[None]]
Adapt = Callable[[Bench], object]


@dataclass(frozen=True)
class Fault:
    """`story` breaks something once, and returns when it is well again. One daemon for `together`
    runs of it. `limit`: seconds to normal that are still passed; `starts`: seconds until half of
    its daemons are ready, None: that is not judged."""

    name: str
    story: Story
    runs: int
    limit: float
    adapt: Adapt = lambda bench: None
    together: int = 10
    missing: Callable[[], str | None] = lambda: None  # why it cannot be done here
    starts: float | None = None


FAULTS: list[Fault] = []


def fault(name: str, runs: int, limit: float, **more: Any) -> Callable[[Story], Story]:
    def keep(story: Story) -> Story:
        FAULTS.append(Fault(name, story, runs, limit, **more))
        return story

    return keep


@dataclass
class Score:
    fault: str
    runs: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # to normal
    requests: int = 0
    endings: dict[str, int] = field(default_factory=dict)
    orders: int = 0  # that engines were given
    wishes: int = 0  # of operators, that were granted
    looks: int = 0  # at what the daemon says of itself
    limit: float = 0.0
    # Seconds until each daemon was ready, less those in which it waited for a CPU.
    starts: list[float] = field(default_factory=list)
    start_limit: float | None = None
    skipped: str | None = None
    plain: str | None = None  # what the same does to an engine without Ullage

    @property
    def passed(self) -> bool:
        late = any(s > self.limit for s in self.seconds)
        return self.skipped is not None or not (self.violations or late or self.starts_slowly)

    @property
    def starts_slowly(self) -> bool:
        """By the median: a busy machine may hold up one of them."""
        limit = self.start_limit
        return limit is not None and bool(self.starts) and median(self.starts) > limit

    def row(self) -> dict[str, Any]:
        timed = bool(self.seconds)
        return {
            "fault": self.fault,
            "runs": self.runs,
            "violations": len(self.violations),
            "normal_median": round(median(self.seconds), 3) if timed else None,
            "normal_max": round(max(self.seconds), 3) if timed else None,
            "limit": self.limit,
            "ready_median": round(median(self.starts), 3) if self.starts else None,
            "ready_max": round(max(self.starts), 3) if self.starts else None,
            "ready_limit": self.start_limit,
            "requests": self.requests,
            "endings": self.endings,
            "orders": self.orders,
            "wishes": self.wishes,
            "looks": self.looks,
            "plain": self.plain,
            "skipped": self.skipped,
            "found": self.violations[:20],
        }


async def score(fault: Fault, runs: int, folder: Path, library: Path, seed: int) -> Score:
    """Its runs, some with one daemon; histories of what went wrong are left in `folder`."""
    total = Score(fault.name, limit=fault.limit, start_limit=fault.starts, skipped=fault.missing())
    if total.skipped is not None:
        return total
    lot = 0
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier bench has left
    while total.runs < runs:
        here = folder / f"{lot}"
        await _some(fault, min(fault.together, runs - total.runs), here, library, seed + lot, total)
        lot += 1
    return total


async def _some(
    fault: Fault, runs: int, folder: Path, library: Path, seed: int, total: Score
) -> None:
    history = None
    wrong: list[str] = []
    try:
        async with a_bench(folder, library, fault.adapt) as bench:
            history = bench.history
            bench.people.dice.seed(seed)
            for _ in range(runs):
                total.runs += 1
                await fault.story(bench)
                if history.wrong:
                    break
    except Exception:
        wrong.append(f"bench: {traceback.format_exc()[-1500:]}")
        total.runs += not history
    if history is None:
        total.violations += wrong
        return
    wrong += check(history)
    if wrong:
        history.write(folder / "history.jsonl")
        (folder / "daemon.log").write_text(bench.daemon.log)
    total.violations += wrong
    total.seconds += [t.took for t in history.troubles if t.took is not None]
    ready = [life for life in history.lives if life.ready is not None]
    total.starts += [life.ready - life.began - life.queued for life in ready]
    total.requests += len(history.requests)
    total.orders += len(history.calls)
    total.orders += sum(1 + len(process.told) for process in history.processes)
    total.wishes += sum(200 <= wish.status < 300 for wish in history.wishes)
    total.looks += history.looks
    for request in history.requests:
        ending = request.ending or "never"
        total.endings[ending] = total.endings.get(ending, 0) + 1
