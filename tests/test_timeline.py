"""How full each pool was, step by step, and when models came and went."""

from __future__ import annotations

from typing import Any

from collectors.reading import Bytes, PoolId, gib
from supervisor.core.headroom import Room
from supervisor.timeline import COARSE, DAY, FINE, HOUR, MARKS, Timeline

GPU, OTHER = PoolId("gpu:0"), PoolId("gpu:1")
NOW = 1_790_000_040.0  # a multiple of both steps


def room(headroom: float, pool: PoolId = GPU) -> Room:
    """Of 24 GiB, 1 of them reserved."""
    free, held = gib(headroom + 1), gib(23 - headroom)
    none, left = Bytes(0), gib(headroom)
    return Room(pool, gib(24), free, gib(1), None, held, none, none, left, left)


def test_a_step_has_its_tightest_moment() -> None:
    line = Timeline()
    for second, headroom in enumerate((8, 3, 5, 9, 9, 7, 6)):
        line.see(NOW + second, [room(headroom)])
    told = line.told(NOW + 7, 60)
    assert told["step"] == FINE
    pool = told["pools"][GPU]
    assert (pool["total"], pool["reserve"]) == (gib(24), gib(1))
    assert pool["t"] == [NOW, NOW + 5]
    assert pool["headroom"] == [gib(3), gib(6)]
    assert (pool["free"], pool["held"]) == ([gib(4), gib(7)], [gib(20), gib(17)])


def test_what_could_not_be_read_is_none_and_not_nothing() -> None:
    line = Timeline()
    line.see(NOW, [room(8)])
    line.see(NOW + 5, [], [GPU])
    line.see(NOW + 10, [], [GPU])
    line.see(NOW + 11, [room(-2)])  # it can be read again, in the same step
    line.see(NOW + 12, [], [GPU])
    pool = line.told(NOW + 12, 60)["pools"][GPU]
    assert pool["headroom"] == [gib(8), None, gib(-2)]
    assert pool["free"] == [gib(9), None, gib(-1)]


def test_a_pool_that_was_never_read_has_no_size() -> None:
    line = Timeline()
    line.see(NOW, [], [GPU])
    pool = line.told(NOW, 60)["pools"][GPU]
    assert (pool["total"], pool["t"], pool["headroom"]) == (None, [NOW], [None])


def test_up_to_an_hour_is_told_finely_and_up_to_a_day_coarsely() -> None:
    line = Timeline()
    for second in range(0, 7200, 5):
        line.see(NOW + second, [room(second / 1000)])
    end = NOW + 7195
    hour = line.told(end, 60)
    assert hour["step"] == FINE
    assert hour["pools"][GPU]["t"] == [end - HOUR + n * FINE for n in range(HOUR // FINE + 1)]
    more = line.told(end, 61)
    assert more["step"] == COARSE
    assert more["pools"][GPU]["t"][-1] == NOW + 7140
    assert more["pools"][GPU]["headroom"][-1] == gib(7.14)
    little = line.told(end, 1)["pools"][GPU]["t"]
    assert little == [end - 60 + n * 5 for n in range(13)]


def test_no_more_is_kept_than_a_day_has_steps_twice_over() -> None:
    line = Timeline()
    for minute in range(2 * DAY // COARSE + 50):
        line.see(NOW + minute * COARSE, [room(8)])
    pool = line._pools[GPU]
    for points, most in ((pool.fine, HOUR // FINE), (pool.coarse, DAY // COARSE)):
        assert all(most < len(column) <= 2 * most + 1 for column in points._columns)
    end = NOW + (2 * DAY // COARSE + 49) * COARSE
    assert len(line.told(end, 1440)["pools"][GPU]["t"]) == DAY // COARSE + 1


def test_a_clock_that_is_set_back_leaves_no_point_in_the_future() -> None:
    line = Timeline()
    for second in range(0, 60, 5):
        line.see(NOW + second, [room(8)])
    line.see(NOW + 12, [room(2)])
    pool = line.told(NOW + 12, 60)["pools"][GPU]
    assert pool["t"] == [NOW, NOW + 5, NOW + 10]
    assert pool["headroom"] == [gib(8), gib(8), gib(2)]


def test_a_pool_that_is_gone_for_a_day_is_forgotten() -> None:
    line = Timeline()
    line.see(NOW, [room(8), room(8, OTHER)])
    line.see(NOW + DAY, [room(8)])
    assert set(line.told(NOW + DAY, 1440)["pools"]) == {GPU, OTHER}
    line.see(NOW + DAY + 1, [room(8)])
    assert set(line.told(NOW + DAY + 1, 1440)["pools"]) == {GPU}


def outcome(action: str = "evict", result: str = "done", **more: Any) -> dict[str, Any]:
    shares = [{"pool": GPU, "size": gib(6)}, {"pool": "host", "size": 0}]
    told = {"decision": "d-000001", "at": NOW, "action": action, "model": "o/a", "result": result}
    return {**told, "shares": shares, "detail": "it said no", **more}


def marks(line: Timeline) -> list[tuple[Any, ...]]:
    found = line.told(NOW + 1, 60)["marks"]
    return [
        tuple(m[k] for k in ("model", "pool", "size", "what", "why", "decision")) for m in found
    ]


def test_who_went_and_who_came_is_marked_with_the_reason() -> None:
    line = Timeline()
    line.outcome(outcome(why="makes room"), "a request waits for o/b")
    line.outcome(outcome("load", model="o/b"), "a request waits for o/b")
    line.outcome(outcome("load", "failed", model="o/c"), "asked to load o/c")
    line.outcome(outcome(result="skipped"))
    line.outcome(outcome("cancel"))
    line.departure({"model": "o/d", "at": NOW, "why": "its keep-alive had run out", "held": []})
    assert marks(line) == [
        ("o/a", GPU, gib(6), "evicted", "makes room: a request waits for o/b", "d-000001"),
        ("o/b", GPU, gib(6), "loaded", "a request waits for o/b", "d-000001"),
        ("o/c", GPU, gib(6), "failed", "it said no", "d-000001"),
        ("o/d", None, None, "left", "its keep-alive had run out", None),
    ]


def test_a_model_of_two_pools_is_marked_in_each() -> None:
    line = Timeline()
    shares = [{"pool": GPU, "size": 5}, {"pool": OTHER, "size": 7}]
    line.outcome(outcome(shares=shares))
    assert [(m[1], m[2]) for m in marks(line)] == [(GPU, 5), (OTHER, 7)]


def test_only_the_marks_of_that_time_are_told_and_the_oldest_are_forgotten() -> None:
    line = Timeline()
    for second in range(MARKS + 10):
        line.outcome(outcome(at=NOW + second, why=""))
    assert len(line._marks) == MARKS
    end = NOW + MARKS + 9
    assert [m["at"] for m in line.told(end, 1)["marks"]] == [end - 60 + n for n in range(61)]
