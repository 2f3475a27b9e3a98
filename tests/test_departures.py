"""Who left by itself is written down as such, and never what we did ourselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import Seconds
from supervisor.core.explain import of_departure, why
from supervisor.core.ladder import Rung
from supervisor.core.plan import Evict, Load, Why
from supervisor.core.policy import Policy
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import Installed, Snapshot, State
from supervisor.departures import ABOUT, OURS, SOON, Departures, Returns
from supervisor.journal.journal import Journal
from tests.builders import engine, machine, ref, resident

A = ref("a")
WALL = 1_790_000_000.0


class Story:
    """Snapshots, one after another; what was written down."""

    def __init__(self) -> None:
        self.journal = Journal(None)
        self.found = Departures(self.journal, lambda: WALL)

    def see(self, snapshot: Snapshot, leaving: tuple[Any, ...] = ()) -> list[str]:
        before = len(self.journal.departures(100))
        self.found.see(snapshot, leaving)
        fresh = len(self.journal.departures(100)) - before
        return [d["why"] for d in self.journal.departures(fresh)] if fresh else []


def there(at: float = 0, **changes: Any) -> Snapshot:
    return machine(replace(resident("a", 4), **changes), free=1, at=at)


def gone(at: float = 1, **installed: Any) -> Snapshot:
    return replace(machine(free=5, at=at), installed=(Installed(A, **installed),))


def evicted(rung: Rung = Rung.UNLOAD) -> Outcome:
    return Outcome("d-1", WALL, Evict(A, (), Why.ASKED), Result.DONE, rung=rung)


def test_a_model_that_nobody_told_to_go_has_left_by_itself_and_that_is_said_once() -> None:
    story = Story()
    assert story.see(there()) == []
    (told,) = story.see(gone())
    assert "by itself or because a client asked" in told
    assert story.see(gone(2)) == []
    assert story.found.counts == {"ollama": 1}
    (row,) = story.journal.departures(9, "a")
    assert row["model"] == "ollama/a"
    assert [s["size"] for s in row["held"]] == [4 << 30]


@pytest.mark.parametrize("left", [-100.0, ABOUT - 1])
def test_one_whose_keep_alive_had_run_out_left_for_that(left: float) -> None:
    story = Story()
    story.see(there(expires_at=WALL + left))
    assert story.see(gone()) == ["its engine unloaded it: its keep-alive had run out"]


def test_one_that_left_before_its_keep_alive_was_over_left_for_something_else() -> None:
    story = Story()
    story.see(there(expires_at=WALL + ABOUT + 1))
    assert "by itself or because a client asked" in story.see(gone())[0]


@pytest.mark.parametrize(("idle", "ran_out"), [(300, True), (300 - ABOUT, True), (200, False)])
def test_a_keep_alive_is_over_when_nobody_has_worked_with_it_for_so_long(
    idle: float, ran_out: bool
) -> None:
    story = Story()
    story.see(there(keep_alive=Seconds(300), idle_for=Seconds(idle)))
    assert ("its keep-alive had run out" in story.see(gone())[0]) == ran_out


def test_what_its_engine_says_of_its_end_is_the_reason() -> None:
    story = Story()
    story.see(there())
    assert story.see(gone(trouble="ended with exit code 137")) == ["ended with exit code 137"]


def test_what_we_did_ourselves_is_no_departure() -> None:
    for told in ("leaving", "outcome"):
        story = Story()
        story.see(there(), (A,) if told == "leaving" else ())
        if told == "outcome":
            story.found.tell(evicted(), Seconds(0))
        assert story.see(gone()) == []


def test_what_leaves_long_after_we_told_it_to_leaves_by_itself() -> None:
    story = Story()
    story.found.tell(evicted(), Seconds(0))
    story.see(there(at=OURS + 1))
    assert len(story.see(gone(OURS + 2))) == 1


def test_a_load_of_ours_excuses_nobody() -> None:
    story = Story()
    story.see(there())
    story.found.tell(Outcome("d-1", WALL, Load(A, ()), Result.DONE), Seconds(0))
    assert len(story.see(gone())) == 1


def test_whoever_goes_with_an_engine_that_we_ended_is_our_doing_too() -> None:
    story = Story()
    both = machine(resident("a", 4), resident("b", 4), free=1)
    story.see(both)
    story.found.tell(evicted(Rung.RESTART), Seconds(0))
    assert story.see(machine(free=9, at=1)) == []
    story = Story()
    story.see(both)
    story.found.tell(evicted(Rung.UNLOAD), Seconds(0))
    assert len(story.see(machine(free=9, at=1))) == 1


def test_a_model_whose_engine_is_silent_has_not_left_and_one_whose_process_ended_has() -> None:
    story = Story()
    story.see(there())
    down = (engine(fault="no answer"),)
    assert story.see(replace(there(1, state=State.UNKNOWN), engines=down)) == []
    (told,) = story.see(replace(gone(2), engines=down))
    assert told == "its process ended while its engine did not answer: no answer"


def test_a_load_that_failed_is_no_departure() -> None:
    story = Story()
    story.see(there(state=State.LOADING))
    assert story.see(gone()) == []


def test_why_tells_it_between_the_decisions_of_that_time() -> None:
    story = Story()
    story.see(there())
    story.see(gone())
    rows = story.journal.departures(9)
    (line,) = [x for x in why(A, gone(), Policy(), [], rows) if "not our doing" in x]
    assert line == of_departure(rows[0])
    assert line.startswith("not our doing: ollama/a left with 4.0 GiB of gpu:0: ")
    decisions: list[dict[str, Any]] = [
        {"id": f"d-{at}", "at": WALL + at, "cause": "x", "notes": [{"model": str(A), "why": note}]}
        for at, note in ((1, "busy"), (-1, "pinned"))
    ]
    told = [x for x in why(A, gone(), Policy(), decisions, rows) if not x.startswith(" ")]
    assert [x.split(":")[0] for x in told[2:]] == ["d-1", "not our doing", "d--1"]


def test_departures_outlive_the_daemon(tmp_path: Any) -> None:
    path = tmp_path / "journal.db"
    first = Journal(path)
    first.open()
    found = Departures(first, lambda: WALL)
    found.see(there(), ())
    found.see(gone(), ())
    first.close()
    again = Journal(path, lambda: WALL)
    again.open()
    found = Departures(again, lambda: WALL)
    found.see(there(), ())
    found.see(gone(), ())
    assert len(again.departures(9)) == 2
    assert again.flush()
    again.close()


class Came:
    """Who is there from second to second; `returns` as they are counted."""

    def __init__(self, why: Why = Why.MAKES_ROOM, result: Result = Result.DONE) -> None:
        self.returns = Returns()
        self.returns.see(there(0))
        self.returns.tell(Outcome("d-1", WALL, Evict(A, (), why), result), Seconds(1))

    def see(self, *snapshots: Snapshot) -> int:
        for snapshot in snapshots:
            self.returns.see(snapshot)
        return self.returns.counts["ollama"]


def test_who_is_loaded_again_soon_after_it_had_to_go_is_counted_once() -> None:
    came = Came()
    assert came.see(gone(2), gone(500)) == 0
    assert came.see(there(SOON), there(SOON)) == 1
    assert came.see(gone(601), there(602)) == 1, "that it left again was not our doing"


def test_who_comes_back_later_has_not_come_back_soon() -> None:
    assert Came().see(gone(2), there(SOON + 1)) == 0
    assert Came().see(gone(2), gone(SOON + 2), there(SOON + 3)) == 0


def test_who_was_asked_to_go_or_did_not_go_does_not_come_back() -> None:
    assert Came(Why.ASKED).see(gone(2), there(3)) == 0
    assert Came(result=Result.FAILED).see(gone(2), there(3)) == 0
    assert Came(result=Result.SKIPPED).see(gone(2), there(3)) == 0


def test_a_look_that_began_before_it_left_is_no_return() -> None:
    came = Came()
    assert came.see(there(1.1)) == 0
    assert came.see(gone(2), there(3, state=State.LOADING)) == 1


def test_who_was_put_to_sleep_and_is_woken_has_come_back_and_silence_is_neither() -> None:
    came = Came()
    assert came.see(there(2, state=State.UNKNOWN), there(3)) == 0
    assert came.see(there(4, state=State.SLEEPING), there(5)) == 1


def test_the_loop_tells_them_of_what_it_did() -> None:
    story = Story()
    story.see(there())
    forced = Outcome("d-1", WALL, Evict(A, (), Why.IDLE), Result.DONE)
    story.found.tell(forced, Seconds(1))
    story.see(gone(2))
    story.see(there(3))
    assert story.found.returns.counts == {"ollama": 1}
