"""Loads that failed for want of memory: once more, and then not for a while."""

from __future__ import annotations

from collectors.reading import RAM, Seconds, gib
from supervisor.core.actions import Evict, Load, Note, Plan, Trigger, Why
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import Demand, Share
from supervisor.out_of_memory import FORGET, OutOfMemory
from tests.builders import GPU, OTHER, ref, share

A = ref("a")
OOM = "cudaMalloc failed: out of memory"
TAKES = (share(8), share(1, RAM))
WANTED = Plan(Trigger.DEMAND, (Load(A, TAKES),), (Note(A, Why.WANTED),))
NO_ROOM = Plan(Trigger.DEMAND, notes=(Note(A, Why.WANTED),), unmet=(share(2),))


def outcome(detail: str = OOM, result: Result = Result.FAILED) -> Outcome:
    return Outcome("d-1", 0.0, Load(A, TAKES), result, detail)


class Story:
    def __init__(self) -> None:
        self.memory = OutOfMemory()
        self.now = Seconds(1000.0)

    def load(self, detail: str = OOM, result: Result = Result.FAILED) -> bool:
        """One attempt; is another to be made at once?"""
        self.memory.judge(outcome(detail, result), self.now)
        return self.memory.ended(WANTED, self.now) == A

    def asks(self) -> tuple[Share, ...] | None:
        found = self.memory.expect(Demand(TAKES, A), self.now)
        return None if found is None else tuple(Share(s.pool, s.size) for s in found.shares)

    def refused_for(self) -> float:
        """Seconds."""
        begin = self.now
        while self.asks() is None:
            self.now = Seconds(self.now + 1)
        return self.now - begin


MORE = (share(10), share(1, RAM))


def test_of_what_nobody_knew_no_less_is_asked_than_what_was_not_enough() -> None:
    memory, now = OutOfMemory(), Seconds(0)

    def fails(size: float) -> None:
        load = Load(A, (share(size),))
        memory.judge(Outcome("d-1", 0.0, load, Result.FAILED, OOM), now)

    def asks(size: float, *, sized: bool = False) -> float:
        found = memory.expect(Demand((share(size),), A), now, sized=sized)
        assert found is not None
        return found.shares[0].size / gib(1)

    assert not memory.has(A)
    fails(0)
    assert memory.has(A)
    assert asks(0) == 0
    fails(12)
    now = Seconds(60)
    assert (asks(13), asks(20)) == (15, 20)
    assert asks(3, sized=True) == 3  # the operator says so by now
    fails(20)
    now = Seconds(120)
    assert asks(21) == 25


def test_the_first_failure_is_tried_again_with_a_quarter_more_of_what_was_missing() -> None:
    story = Story()
    assert story.asks() == TAKES
    assert story.load()
    assert story.asks() == MORE
    assert list(story.memory.findings(story.now)) == []


def test_the_second_failure_is_refused_and_told_and_later_each_time() -> None:
    story = Story()
    assert story.load()
    assert not story.load()
    (finding,) = story.memory.findings(story.now)
    assert (finding.kind.value, finding.ref, finding.since) == ("no_fit", A, 1000.0)
    assert finding.detail == f"did not fit in 2 attempts: {OOM}"
    assert story.memory.refusal(A, story.now) == (
        f"ollama/a did not fit: {OOM}; it may be tried again in 10s"
    )
    pauses = [story.refused_for()]
    assert story.asks() == MORE
    assert list(story.memory.findings(story.now)) == []
    assert story.memory.refusal(A, story.now) is None
    for _ in range(6):
        assert not story.load()  # not twice: it has had its second chance
        pauses.append(story.refused_for())
    assert pauses == [10, 20, 40, 80, 160, 300, 300]


def test_a_success_makes_it_forgotten() -> None:
    story = Story()
    story.load()
    story.load()
    story.refused_for()
    assert not story.load("loaded", Result.DONE)
    assert story.asks() == TAKES
    assert story.load()  # from the beginning


def test_another_failure_is_not_this_ones_business() -> None:
    story = Story()
    assert not story.load("unknown model architecture")
    assert story.asks() == TAKES
    assert story.load()
    assert not story.load("404 no such model")  # the second attempt: and no third
    assert story.asks() == TAKES


def test_where_there_is_no_room_for_more_it_is_refused_at_once() -> None:
    story = Story()
    assert story.load()
    assert story.memory.ended(NO_ROOM, story.now) is None
    assert story.refused_for() == 10
    story = Story()
    assert story.load()
    assert not story.load("there is still not enough room for it", Result.SKIPPED)
    assert story.asks() is None


def test_a_plan_that_did_not_work_for_whoever_never_failed_is_nothing() -> None:
    story = Story()
    assert story.memory.ended(NO_ROOM, story.now) is None
    assert story.asks() == TAKES


def test_other_models_and_evictions_are_left_alone() -> None:
    story = Story()
    story.load()
    story.load()
    other = Demand(TAKES, ref("b"))
    assert story.memory.expect(other, story.now) == other
    foreign = Demand(TAKES)
    assert story.memory.expect(foreign, story.now) == foreign
    gone = Outcome("d-2", 0.0, Evict(ref("c"), (), Why.MAKES_ROOM), Result.FAILED, OOM)
    story.memory.judge(gone, story.now)
    assert story.memory.expect(Demand(TAKES, ref("c")), story.now) is not None


def test_on_another_device_it_may_take_what_is_expected_there() -> None:
    story = Story()
    story.load()
    elsewhere = Demand((Share(OTHER, gib(8)),), A)
    assert story.memory.expect(elsewhere, story.now) == elsewhere
    assert GPU != OTHER


def test_a_failure_that_nobody_comes_back_to_is_forgotten() -> None:
    story = Story()
    story.load()
    story.load()
    story.now = Seconds(story.now + 10 + FORGET)
    assert list(story.memory.findings(story.now)) == []
    assert story.memory._misfits == {}
