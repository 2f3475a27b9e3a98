"""What has happened since the start, counted for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .core.plan import Cancel, Load, Trigger
from .core.record import Outcome, Result

# Upper bounds, in seconds. Unloads take 0.1-5 s; loads take from a second to minutes.
UNLOAD_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOAD_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
TICK_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0)
ERROR_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)  # shares of what was measured


@dataclass(slots=True)
class Durations:
    """A histogram, most of them of seconds: how many were at most each bound, how many in all,
    their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    count: int = 0
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.bounds)

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        for i, bound in enumerate(self.bounds):
            self.counts[i] += value <= bound


@dataclass(slots=True)
class Counts:
    """Keys: engine, trigger, reason and result by their names. Bytes are whole bytes."""

    evictions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)  # of those that were done
    promised: Counter[tuple[str, str]] = field(default_factory=Counter)  # by engine and trigger
    returned: Counter[tuple[str, str]] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    loads: Counter[tuple[str, str]] = field(default_factory=Counter)
    cancels: Counter[tuple[str, str]] = field(default_factory=Counter)
    unload_seconds: dict[str, Durations] = field(default_factory=dict)
    load_seconds: dict[str, Durations] = field(default_factory=dict)
    samples: int = 0
    failed_samples: int = 0
    clock_steps: int = 0
    lag: float = 0.0  # how late the loop served its last tick, in seconds
    ticks: Durations = field(default_factory=lambda: Durations(TICK_BUCKETS))  # how late they were
    ticked_at: float | None = None  # when that was, on the monotonic clock; None: never yet

    def tick(self, now: float, due_at: float) -> None:
        """The loop serves a tick that was due at `due_at`."""
        self.lag, self.ticked_at = max(0.0, now - due_at), now
        self.ticks.add(self.lag)

    def add(self, trigger: Trigger, outcome: Outcome) -> None:
        engine = outcome.action.ref.engine
        if isinstance(outcome.action, Load):
            self.loads[engine, outcome.result.value] += 1
            self.load_seconds.setdefault(engine, Durations(LOAD_BUCKETS)).add(outcome.took)
            return
        if isinstance(outcome.action, Cancel):
            self.cancels[engine, outcome.result.value] += 1
            return
        self.evictions[engine, trigger.value, outcome.result.value] += 1
        if outcome.result is Result.DONE:
            self.reasons[engine, outcome.action.why.name.lower()] += 1
        judgement = outcome.judgement
        if judgement is not None:
            self.promised[engine, trigger.value] += judgement.promised
            self.returned[engine, trigger.value] += max(0, judgement.returned)
            self.verdicts[engine, judgement.verdict.name.lower()] += 1
            self.unload_seconds.setdefault(engine, Durations(UNLOAD_BUCKETS)).add(outcome.took)
