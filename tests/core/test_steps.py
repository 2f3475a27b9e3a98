from __future__ import annotations

from collectors.reading import Seconds
from supervisor.core.steps import Climb, Step, advance, taken

STEPS = (Step.REPORT, Step.CANCEL, Step.UNLOAD)


def at(climb: Climb, now: float) -> Climb:
    return advance(climb, STEPS, Seconds(30), Seconds(now))


def test_a_step_that_is_yet_to_be_taken_is_waited_for_however_long_it_takes() -> None:
    assert at(Climb(1), 1e6) == Climb(1)


def test_the_next_step_follows_when_the_one_before_has_had_its_time() -> None:
    climb = taken(Climb(), Seconds(100))
    assert at(climb, 129) == climb
    assert at(climb, 130) == Climb(1)


def test_the_last_step_is_taken_again_each_interval() -> None:
    climb = taken(Climb(2), Seconds(100))
    assert at(climb, 129) == climb
    assert at(climb, 130) == Climb(2)
