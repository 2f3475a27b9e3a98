from __future__ import annotations

from collectors.reading import Seconds
from supervisor.core.headroom import rooms
from supervisor.core.pace import Pace
from supervisor.core.snapshot import Snapshot, State
from tests.builders import NO_RESERVE, machine, reserve, resident


def look(pace: Pace, snapshot: Snapshot, *, busy: bool = False, kept: float = 0) -> float:
    policy = reserve(kept) if kept else NO_RESERVE
    return pace.next(snapshot, rooms(snapshot, policy), busy=busy)


def test_at_rest_with_models_loaded_it_keeps_its_base() -> None:
    assert look(Pace(Seconds(1)), machine(resident("a", 4), free=16)) == 1


def test_with_nothing_loaded_it_looks_seldom() -> None:
    assert look(Pace(Seconds(1)), machine(free=24)) == 3


def test_while_a_plan_is_carried_out_it_looks_often() -> None:
    assert look(Pace(Seconds(1)), machine(free=24), busy=True) == 0.25


def test_while_a_model_loads_or_leaves_it_looks_often() -> None:
    for state in (State.LOADING, State.LEAVING):
        loading = machine(resident("a", 4, state=state), free=16)
        assert look(Pace(Seconds(1)), loading) == 0.25


def test_below_the_reserve_it_looks_often() -> None:
    assert look(Pace(Seconds(1)), machine(resident("a", 4), free=1), kept=2) == 0.25


def test_before_memory_that_falls_is_gone_it_looks_four_times() -> None:
    pace = Pace(Seconds(1))
    look(pace, machine(resident("a", 4), free=12, at=0))
    assert look(pace, machine(resident("a", 4), free=8, at=2)) == 1.0  # 8 / 2 a second / 4
    assert look(pace, machine(resident("a", 4), free=4, at=4)) == 0.5
    assert look(pace, machine(resident("a", 4), free=1, at=5.5)) == 0.25  # and never less


def test_a_fall_is_remembered_for_a_minute() -> None:
    pace = Pace(Seconds(1))
    look(pace, machine(resident("a", 4), free=12, at=0))
    look(pace, machine(resident("a", 4), free=4, at=2))  # 4 a second
    assert look(pace, machine(resident("a", 4), free=4, at=50)) == 0.25
    assert look(pace, machine(resident("a", 4), free=4, at=61)) == 0.25
    assert look(pace, machine(resident("a", 4), free=4, at=63)) == 1


def test_a_slower_fall_does_not_push_the_faster_one_out() -> None:
    pace = Pace(Seconds(1))
    for at, free in ((0, 20), (1, 16), (2, 15.9), (3, 15.8)):
        period = look(pace, machine(resident("a", 4), free=free, at=at))
    assert period < 1


def test_memory_that_comes_back_is_no_fall() -> None:
    pace = Pace(Seconds(1))
    look(pace, machine(resident("a", 4), free=2, at=0))
    assert look(pace, machine(resident("a", 4), free=16, at=1)) == 1
