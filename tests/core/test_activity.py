from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

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
    progress: str | None = None,
    pids: Collection[int] = (),
) -> Track:
    return observe(
        before,
        Seconds(at),
        in_flight=in_flight,
        mark=mark,
        cpu=None if cpu is None else Seconds(cpu),
        fresh=FRESH,
        progress=progress,
        pids=pids,
    )


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


def stalled(*looks: Mapping[str, Any], step: float = 10) -> float:
    """After looks so many seconds apart, from 100 s on."""
    track, now = None, 100.0
    for look in looks:
        track = see(track, now, **look)
        now += step
    assert track is not None
    return track.stalled_for(Seconds(now - step))


def test_progress_is_whatever_moves_while_it_is_busy() -> None:
    assert stalled({"in_flight": 1}, {"in_flight": 1}, {"in_flight": 1}) == 20
    still = {"in_flight": 1, "progress": "7"}
    assert stalled(still, still, still) == 20
    assert stalled(still, still | {"progress": "8"}, still | {"progress": "8"}) == 10
    assert stalled(still, still, still | {"progress": "8"}) == 0


def test_where_no_progress_is_told_the_mark_and_the_end_of_a_request_are_signs_of_it() -> None:
    one = {"in_flight": 1, "mark": "t1"}
    assert stalled(one, one, one) == 20
    assert stalled(one, one | {"mark": "t2"}, one | {"mark": "t2"}) == 10
    two = {"in_flight": 2}
    assert stalled(two, {"in_flight": 1}, {"in_flight": 1}) == 10
    assert stalled(two, {"in_flight": 3}, {"in_flight": 3}) == 20, "more is no progress"


def test_a_mark_that_moves_is_no_progress_where_progress_is_told() -> None:
    look = {"in_flight": 1, "progress": "7"}
    assert stalled(look | {"mark": "1"}, look | {"mark": "2"}, look | {"mark": "3"}) == 20


def test_an_engine_that_does_not_answer_makes_no_progress() -> None:
    look = {"in_flight": 1, "progress": "7"}
    assert stalled(look, {"mark": "x"}, look, {"mark": "y"}) == 30


def test_cpu_time_is_no_progress() -> None:
    burns = [{"in_flight": 1, "cpu": 10.0 * i} for i in range(4)]
    assert stalled(*burns) == 30


def test_at_rest_nothing_is_stalled_and_the_next_request_begins_anew() -> None:
    busy, rest = {"in_flight": 1}, {"in_flight": 0}
    assert stalled(busy, busy, rest) == 0
    assert stalled(busy, busy, rest, busy, busy) == 10


def test_a_model_in_other_processes_has_just_been_loaded() -> None:
    idle = see(see(None, 0, in_flight=0, pids=(7, 8)), 500, in_flight=0, pids=(7, 8))
    assert idle.idle_for(Seconds(500)) == 500
    assert see(idle, 501, in_flight=0, pids=(9,)).idle_for(Seconds(501)) == 0
    assert see(idle, 501, in_flight=0, pids=(7,)).idle_for(Seconds(501)) == 501, "a helper ended"
    hidden = see(idle, 501, in_flight=0)
    assert hidden.idle_for(Seconds(501)) == 501, "nobody could see them"
    assert see(hidden, 502, in_flight=0, pids=(9,)).idle_for(Seconds(502)) == 0
