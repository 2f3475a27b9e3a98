"""Requests are told from what is seen of models, each once, and kept over restarts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from collectors.reading import Seconds
from supervisor.arrivals import Arrivals
from supervisor.core.history import History, Tier
from supervisor.core.plan import Evict, Load, Why
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import Installed, ModelRef, Resident, State
from supervisor.journal.journal import Journal
from supervisor.journal.trail import Passed
from tests.builders import engine, machine, ref, resident, share

A, B = ref("a"), ref("b")
WALL = 1_790_000_000.0
IDLE, BUSY = resident("a", 4, idle=-1), resident("a", 4, busy=1)  # since it worked last
LOADING = resident("a", 2, state=State.LOADING)
ASLEEP = resident("a", 1, idle=900, state=State.SLEEPING)


class Story:
    """Looks at a machine, and what they were taken for. Time begins with the first."""

    def __init__(self, journal: Journal | None = None, wall: float = WALL) -> None:
        self.journal = journal or Journal(None)
        self.history = History()
        self.found = Arrivals(self.history, self.journal, lambda: wall)
        self.at = 0.0
        self.worked = -50.0

    def see(
        self, *residents: Resident, after: float = 1, ours: Iterable[ModelRef] = (), **world: Any
    ) -> None:
        self.at += after
        rested = Seconds(self.at - self.worked)
        seen = [replace(r, idle_for=rested) if r.idle_for == -1 else r for r in residents]
        if any(r.busy and r.ref == A for r in residents):
            self.worked = self.at
        snapshot = machine(*seen, free=1, at=self.at, **world)
        installed = (Installed(A), Installed(B))
        self.found.see(replace(snapshot, installed=installed), set(ours))

    def did(self, *outcomes: Outcome) -> None:
        self.found.ended(outcomes, self.at)

    def passed(self) -> list[Passed]:
        self.found.save()
        return self.journal.trail.since(0)

    def times(self, model: ModelRef = A) -> list[float]:
        """When `model` was asked for, since the first look."""
        return [p.at - WALL for p in self.passed() if p.ref == model]


def begun(*residents: Resident) -> Story:
    story = Story()
    story.see(*residents)
    return story


def loaded(took: float = 30) -> Outcome:
    return Outcome("d-1", WALL, Load(A, (share(4),)), Result.DONE, "", Seconds(took))


def evicted(why: Why) -> Outcome:
    return Outcome("d-1", WALL, Evict(A, (share(4),), why), Result.DONE)


def test_who_is_there_when_the_daemon_starts_was_not_asked_for_now() -> None:
    story = begun(IDLE, resident("b", 4, busy=9))
    assert story.history.last(A) is None
    assert story.history.held(A) == (share(4),)
    assert story.history.last(B) is None
    story.see(IDLE, resident("b", 4, idle=3))
    assert story.passed() == []


def test_a_model_that_falls_to_work_was_asked_for_and_its_service_is_timed() -> None:
    story = begun(IDLE)
    story.see(BUSY)
    story.see(BUSY, after=5)
    story.see(resident("a", 4, idle=1), after=2)
    (passed,) = story.passed()
    assert (passed.ref, passed.service, passed.load) == (A, 6, None)
    assert story.times() == [1]


def test_work_that_began_and_ended_between_two_looks_is_seen_by_the_idle_time() -> None:
    story = begun(IDLE)
    story.see(resident("a", 4, idle=51.8), after=1)  # clocks are not alike to the second
    assert story.times() == []
    story.see(resident("a", 4, idle=0.5), after=5)
    story.see(resident("a", 4, idle=1.5), after=1)
    assert len(story.times()) == 1


def test_more_requests_in_flight_than_before_are_another_request() -> None:
    story = begun(IDLE)
    story.see(BUSY)
    story.see(replace(BUSY, in_flight=3), after=4)
    story.see(replace(BUSY, in_flight=1), after=4)
    story.see(IDLE, after=4)
    first, second = story.passed()
    assert (first.service, second.service) == (None, 4)  # when the first ended, nobody knows
    assert story.times() == [1, 5]


def test_a_model_that_appears_was_asked_for_once_though_it_then_falls_to_work() -> None:
    story = begun()
    story.see(LOADING)
    story.see(LOADING, after=20)
    story.see(BUSY, after=10)
    story.see(resident("a", 4, idle=0.5), after=5)
    (passed,) = story.passed()
    assert (passed.load, passed.size) == (30, IDLE.size)
    assert story.history.reload_of(A) == 30
    assert story.times() == [1]


def test_a_load_that_nobody_saw_under_way_is_an_arrival_of_unknown_cost() -> None:
    story = begun()
    story.see(IDLE)
    assert story.history.last(A) is not None
    assert story.history.reload_of(A) is None
    assert story.history.held(A) == (share(4),)


def test_the_models_of_an_engine_that_was_down_were_not_asked_for_when_it_is_back() -> None:
    story = Story()
    down = (engine(fault="no answer"),)
    story.see(engines=down)
    story.see(IDLE, engines=down)
    assert story.history.last(A) is None
    story.see(IDLE)
    assert story.history.last(A) is None
    story.see(BUSY)
    assert story.history.last(A) is not None


def test_what_cannot_be_seen_changes_nothing() -> None:
    story = begun(IDLE)
    unknown = resident("a", 4, idle=60, state=State.UNKNOWN)
    story.see(unknown, after=5)
    story.see(IDLE, after=10)
    story.see(replace(unknown, state=State.LEAVING), after=1)
    assert story.times() == []


def test_our_own_loads_are_timed_by_their_outcome_and_are_nobody_s_request() -> None:
    story = begun()
    story.see(LOADING, ours=[A])
    story.see(IDLE, after=99, ours=[A])
    story.did(loaded(took=30))
    assert story.history.reload_of(A) == 30
    assert story.times() == []
    story.see(IDLE, after=60)
    story.see(BUSY, after=20)
    assert len(story.times()) == 0  # still open
    story.see(IDLE)
    assert len(story.times()) == 1


def test_who_asks_us_for_a_load_is_a_request_and_the_work_that_follows_is_the_same() -> None:
    story = begun()
    story.found.told(A, story.at)
    story.see(LOADING, ours=[A])
    story.see(IDLE, after=30, ours=[A])
    story.did(loaded(took=30))
    story.see(BUSY, after=3)
    story.see(IDLE, after=3)
    (passed,) = story.passed()
    assert passed.load == 30
    assert story.times() == [0]


def test_a_load_that_begins_long_after_the_request_is_for_that_request() -> None:
    story = begun()
    story.found.told(A, story.at)
    story.see(LOADING, after=30)  # by its engine itself, which had to make room
    story.see(BUSY, after=20)
    story.see(IDLE, after=5)
    assert story.times() == [0]


def test_a_request_for_a_model_that_never_came_ends_when_its_engine_has_it_no_more() -> None:
    story = begun()
    renamed = ref("renamed")
    story.found.told(A, story.at)
    story.found.told(renamed, story.at)
    story.see()  # the engine has A and B
    (passed,) = story.passed()
    assert (passed.ref, passed.service, passed.load) == (renamed, None, None)


def test_a_request_that_was_told_of_is_not_found_again() -> None:
    story = begun(IDLE)
    story.found.told(A, story.at + 0.9)
    story.see(BUSY)
    story.see(IDLE, after=5)
    assert len(story.times()) == 1
    story.see(BUSY, after=60)
    story.see(IDLE, after=5)
    assert len(story.times()) == 2  # this one nobody told of


def test_a_wake_is_timed_apart_from_a_load() -> None:
    story = begun(IDLE)
    story.see(ASLEEP)
    story.see(ASLEEP, ours=[A], after=100)
    story.did(loaded(took=2))
    story.see(IDLE)
    assert story.history.reload_of(A) is None
    assert story.history.reload_of(A, Tier.ASLEEP) == 2
    story.see(ASLEEP)
    story.see(LOADING)
    story.see(BUSY, after=4)
    assert story.history.reload_of(A, Tier.ASLEEP) == 2 + 0.3 * (4 - 2)
    assert story.history.last(A) is not None  # somebody woke it


def test_a_load_that_failed_teaches_nothing() -> None:
    story = begun()
    story.see(LOADING, ours=[A])
    story.see(ours=[A])
    story.did(replace(loaded(), result=Result.FAILED))
    assert story.history.reload_of(A) is None


def test_who_was_told_to_go_by_a_person_is_not_wanted_until_it_is_asked_for() -> None:
    story = begun(IDLE)
    story.see(BUSY)
    story.did(evicted(Why.MAKES_ROOM))
    assert story.history.is_wanted(A)
    story.did(evicted(Why.ASKED))
    assert not story.history.is_wanted(A)
    story.see()
    story.see(BUSY, after=9)
    assert story.history.is_wanted(A)


def test_one_that_left_takes_its_open_request_along() -> None:
    story = begun(IDLE)
    story.see(BUSY)
    story.see(after=5)
    assert len(story.times()) == 1
    assert story.history.last(A) is not None


def test_nothing_is_told_before_the_first_look() -> None:
    story = Story()
    story.found.told(A, 0)
    assert story.history.last(A) is None


def test_what_was_learned_survives_a_restart_and_is_written_once_a_minute(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.open()
    story = Story(journal)
    story.see()
    story.see(LOADING)
    story.see(BUSY, after=20)
    story.see(IDLE)
    assert journal.shelves["history"].all() == {}
    story.see(IDLE, after=60)
    assert set(journal.shelves["history"].all()) == {"", "ollama/a"}
    journal.close()

    again = Journal(tmp_path / "j.db")
    again.open()
    later = Story(again, wall=WALL - 500)  # set back meanwhile
    later.see(IDLE)
    assert later.history.reload_of(A) == 20
    assert later.history.time(later.at) >= WALL + 20
    (passed,) = again.trail.since(0)
    assert (passed.ref, passed.load) == (A, 20)
    assert again.trail.since(passed.at + 1) == []
    again.close()


def test_lines_that_cannot_be_read_are_said_and_passed_over(caplog: Any) -> None:
    journal = Journal(None)
    journal.shelves["history"].keep("ollama/a", {"of": "nonsense"})
    story = Story(journal)
    story.see(IDLE)
    assert "1 lines of what was learned of models cannot be read" in caplog.text
