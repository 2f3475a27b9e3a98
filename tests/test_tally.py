"""What has happened, counted by what it was."""

from __future__ import annotations

from collectors.reading import Seconds, gib
from supervisor.core.plan import Cancel, Evict, Load, Trigger, Why
from supervisor.core.record import Outcome, Result
from supervisor.core.verdict import Judgement, Verdict
from supervisor.tally import TICK_BUCKETS, Counts, Durations
from tests.builders import ref, share

A = ref("a")


def evicted(why: Why, result: Result, returned: float | None = None) -> Outcome:
    verdict = None
    if returned is not None:
        verdict = Judgement(Verdict.PARTLY, gib(4), gib(returned), True)
    action = Evict(A, (share(4),), why)
    return Outcome("d-1", 0.0, action, result, took=Seconds(0.7), judgement=verdict)


def test_unloads_are_counted_by_why_they_were_decided_and_what_came_back() -> None:
    counts = Counts()
    counts.add(Trigger.RELIEF, evicted(Why.MAKES_ROOM, Result.DONE, 3))
    counts.add(Trigger.RELIEF, evicted(Why.TOGETHER, Result.DONE, -1))
    counts.add(Trigger.IDLE, evicted(Why.IDLE, Result.SKIPPED))
    counts.add(Trigger.IDLE, evicted(Why.IDLE, Result.FAILED, 0))
    assert counts.evictions == {
        ("ollama", "relief", "done"): 2,
        ("ollama", "idle", "skipped"): 1,
        ("ollama", "idle", "failed"): 1,
    }
    assert counts.reasons == {("ollama", "makes_room"): 1, ("ollama", "together"): 1}
    assert counts.promised == {("ollama", "relief"): gib(8), ("ollama", "idle"): gib(4)}
    assert counts.returned == {("ollama", "relief"): gib(3), ("ollama", "idle"): 0}
    assert counts.verdicts == {("ollama", "partly"): 3}
    assert counts.unload_seconds["ollama"].count == 3


def test_loads_and_ended_requests_are_no_unloads() -> None:
    counts = Counts()
    counts.add(Trigger.DEMAND, Outcome("d", 0.0, Load(A, ()), Result.DONE, took=Seconds(4)))
    counts.add(Trigger.BUSY, Outcome("d", 0.0, Cancel(A, Why.STUCK), Result.FAILED))
    assert counts.loads == {("ollama", "done"): 1}
    assert counts.cancels == {("ollama", "failed"): 1}
    assert not counts.evictions
    assert not counts.reasons
    assert counts.load_seconds["ollama"].total == 4


def test_how_late_each_tick_was_is_kept_beside_the_last() -> None:
    counts = Counts()
    for now, due in ((10.0, 9.96875), (11.0, 11.25), (14.0, 12.0)):
        counts.tick(now, due)
    assert counts.lag == 2.0
    assert (counts.ticks.count, counts.ticks.total) == (3, 2.03125)
    assert dict(zip(TICK_BUCKETS, counts.ticks.counts, strict=True))[0.1] == 2


def test_a_histogram_counts_what_is_at_most_each_bound() -> None:
    found = Durations((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        found.add(value)
    assert (found.counts, found.count, found.total) == ([2, 3], 4, 12.0)
