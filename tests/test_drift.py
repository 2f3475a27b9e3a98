"""Who holds something else than was learned of it, and who grows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Seconds, gib, mib
from supervisor.core.snapshot import Share, Source
from supervisor.core.watch import Finding, Kind
from supervisor.drift import SHELF, Drift
from supervisor.journal.holdings import KEPT
from supervisor.journal.journal import Journal
from supervisor.learned import Learned
from tests.builders import GPU, OTHER, machine, ref, resident

A = ref("a")


class Story:
    """A model that is looked at once a minute."""

    def __init__(self, learned: float | None = None) -> None:
        self.journal = Journal(None)
        self.now, self.unix = 0.0, 1e9
        self.drift = Drift(self.journal, lambda: self.unix)
        if learned is not None:
            self.journal.remember(A, (Share(GPU, gib(learned)),))

    def look(
        self, size: float, times: int = 1, *, busy: bool = False, **others: object
    ) -> tuple[Finding, ...]:
        """`busy`: it has worked since the last look."""
        for _ in range(times):
            self.now += 60
            there = resident("a", size, busy=60.0 if busy else None)
            seen = machine(replace(there, **others), free=1, at=self.now)  # type: ignore[arg-type]
            self.drift.see(seen)
        return self.drift.findings

    def leave(self) -> None:
        self.now += 60
        self.drift.see(machine(free=1, at=self.now))


def test_a_model_that_holds_far_more_than_was_learned_is_told_after_a_while() -> None:
    story = Story(learned=8)
    assert story.look(12, times=5) == ()
    (finding,) = story.look(12)
    assert (finding.kind, finding.subject, finding.ref) == (Kind.DRIFT, "ollama/a", A)
    assert finding.detail == "holds 12.0 GiB, and 8.0 GiB were learned of it"
    assert finding.since == 60
    assert story.look(8.5) == ()  # it clears itself


def test_what_is_learned_meanwhile_does_not_hide_the_drift() -> None:
    story = Story(learned=8)
    learned = Learned(story.journal)
    for _ in range(6):
        story.look(12)
        learned.see(machine(resident("a", 12), free=1, at=story.now))
    assert story.journal.footprint(A) == (Share(GPU, gib(12), Source.LEARNED),)
    assert story.drift.findings
    story.leave()
    assert story.look(12, times=10) == ()  # the next stay is compared with what is known by then


def test_one_look_that_is_off_is_nothing() -> None:
    story = Story(learned=8)
    story.look(12, times=4)
    story.look(8)
    assert story.look(12, times=5) == ()


@pytest.mark.parametrize(("busy", "told"), [(True, True), (False, False)])
def test_less_than_was_learned_counts_once_it_has_worked(busy: bool, told: bool) -> None:
    assert bool(Story(learned=8).look(4, times=20, busy=busy)) is told


def test_another_setup_or_another_device_is_no_drift() -> None:
    assert Story(learned=8).look(12, times=9, context=8192) == ()
    assert Story(learned=8).look(12, times=9, slots=4) == ()
    elsewhere = (Share(OTHER, gib(12)),)
    assert Story(learned=8).look(12, times=9, shares=elsewhere) == ()


def test_a_guess_drifts_from_nothing() -> None:
    guess = (Share(GPU, gib(12), Source.ESTIMATED),)
    assert Story(learned=8).look(12, times=9, shares=guess) == ()


def test_where_nobody_can_look_nothing_is_concluded() -> None:
    story = Story(learned=8)
    story.look(12, times=8)
    before = story.drift.findings
    assert before
    story.drift.see(replace(machine(resident("a", 8), free=1), blind={OTHER: "lost"}))
    assert story.drift.findings == before


def leak(story: Story, minutes: int) -> None:
    for minute in range(minutes):
        story.look(4 + minute * 2 / 1024, busy=True)


def test_a_model_that_grows_as_it_works_is_told_and_kept() -> None:
    story = Story(learned=4)
    leak(story, 29)
    assert story.drift.findings == ()
    leak(story, 0)
    for minute in range(29, 90):
        story.look(4 + minute * 2 / 1024, busy=True)
    (finding,) = story.drift.findings
    assert finding.detail == "grows by 120.0 MiB with each hour of work"
    assert story.drift.per_hour(A) == pytest.approx(mib(120), rel=0.01)
    story.leave()
    assert story.drift.findings == ()
    (body,) = story.journal.shelves[SHELF].all().values()
    assert body["per_hour"] == pytest.approx(mib(120), rel=0.01)
    assert body["at"] == 1e9
    later = Drift(story.journal, lambda: story.unix)
    assert later.per_hour(A) == pytest.approx(mib(120), rel=0.01)
    assert later.per_hour(ref("b")) is None


def test_whoever_rests_or_came_just_now_does_not_grow() -> None:
    story = Story()
    for minute in range(200):
        story.look(4 + minute * 2 / 1024)
    assert story.drift.findings == ()
    assert story.drift.per_hour(A) is None


def test_growth_that_was_not_seen_for_ninety_days_is_forgotten() -> None:
    story = Story()
    shelf = story.journal.shelves[SHELF]
    shelf.keep("ollama/old 0 0 ", {"per_hour": 1, "busy": 1, "at": story.unix - KEPT})
    shelf.keep("ollama/new 0 0 ", {"per_hour": 1, "busy": 1, "at": story.unix - KEPT + 60})
    leak(story, 90)
    story.leave()
    assert {key.split()[0] for key in shelf.all()} == {"ollama/new", "ollama/a"}


def test_whoever_is_gone_is_not_remembered() -> None:
    story = Story()
    story.look(4)
    story.leave()
    assert story.drift._stays == {}


def test_time_at_work_is_what_it_worked_between_two_looks_and_no_more() -> None:
    story = Story()
    story.look(4)
    there = resident("a", 4, busy=5.0)
    story.drift.see(machine(there, free=1, at=story.now + 60))
    assert story.drift._stays[A].growth.busy == Seconds(5.0)
