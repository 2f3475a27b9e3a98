from __future__ import annotations

from collectors.reading import Seconds
from supervisor.core.activity import LOOK_AGAIN, LOOK_AGAIN_UNSEEN, Track, look_due, observe

FRESH = Seconds(5)


def see(
    before: Track | None,
    at: float,
    *,
    in_flight: int | None = None,
    mark: str | None = None,
    cpu: float | None = None,
) -> Track:
    seconds = None if cpu is None else Seconds(cpu)
    return observe(before, Seconds(at), in_flight=in_flight, mark=mark, cpu=seconds, fresh=FRESH)


def test_a_model_seen_for_the_first_time_has_just_worked() -> None:
    track = see(None, 100, in_flight=0)
    assert not track.busy
    assert track.idle_for(Seconds(107)) == 7


def test_requests_in_flight_are_busy_and_their_end_starts_the_idle_time() -> None:
    track = see(see(None, 100, in_flight=0), 110, in_flight=2)
    assert track.busy
    assert track.idle_for(Seconds(111)) == 0
    track = see(track, 120, in_flight=1)
    assert track.busy_for(Seconds(121)) == 11
    track = see(track, 130, in_flight=0)
    assert not track.busy
    assert track.idle_for(Seconds(131)) == 11  # last seen at work at 120


def test_a_request_between_two_looks_is_seen_by_its_mark() -> None:
    track = see(see(None, 100, in_flight=0, mark="1"), 200, in_flight=0, mark="2")
    assert track.idle_for(Seconds(201)) == 1


def test_what_nobody_can_tell_is_busy_while_the_last_sign_is_fresh() -> None:
    track = see(see(None, 100, mark="a"), 104, mark="a")
    assert track.busy
    assert not see(track, 106, mark="a").busy
    assert see(see(track, 106, mark="a"), 107, mark="b").busy


def test_cpu_time_tells_where_the_engine_does_not() -> None:
    resting = see(see(None, 100, cpu=1.0), 110, cpu=1.1)
    assert not resting.busy
    assert see(resting, 111, cpu=1.9).busy


def test_a_tick_or_two_of_the_kernels_clock_are_no_work_however_soon_they_are_seen() -> None:
    resting = see(see(None, 100, cpu=1.0), 110, cpu=1.1)
    assert not see(resting, 110.1, cpu=1.12).busy
    assert see(resting, 110.1, cpu=1.18).busy


def test_cpu_time_says_nothing_against_the_engine_s_own_count() -> None:
    track = see(see(None, 100, in_flight=0, cpu=1.0), 110, in_flight=0, cpu=9.0)
    assert track.idle_for(Seconds(110)) == 10


def test_a_model_whose_process_stands_still_need_not_be_asked() -> None:
    track = see(None, 100, in_flight=0, cpu=1.0)
    assert not look_due(track, Seconds(101), Seconds(1.0))
    assert look_due(track, Seconds(101), Seconds(1.5))
    assert look_due(track, Seconds(100 + LOOK_AGAIN), Seconds(1.0))
    assert look_due(None, Seconds(100), None)
    unseen = see(None, 100, in_flight=0)
    assert not look_due(unseen, Seconds(101), None)
    assert look_due(unseen, Seconds(100 + LOOK_AGAIN_UNSEEN), None)
    assert look_due(see(track, 101, in_flight=1, cpu=1.5), Seconds(101.1), Seconds(1.5))
