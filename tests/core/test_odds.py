"""What any estimate of the next request has to be true to."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.odds import Odds
from tests.builders import ref

HOUR = 3600.0
A, B, C = ref("a"), ref("b"), ref("c")


def regular(odds: Odds, every: float, until: float, name: str = "a") -> None:
    for n in range(int(until / every) + 1):
        odds.arrived(ref(name), n * every)


@given(
    st.lists(st.tuples(st.sampled_from([A, B, C]), st.floats(0, 1e5)), max_size=60),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
)
def test_a_chance_is_a_chance_and_grows_with_the_horizon(
    requests: list[tuple[object, float]], later: float, near: float, further: float
) -> None:
    odds, now = Odds(), 0.0
    for one, gap in requests:
        now += gap
        odds.arrived(one, now)  # type: ignore[arg-type]
    now += later
    soon = odds.chance(A, now, near)
    assert 0.0 <= soon <= 1.0
    assert odds.chance(A, now, near + further) >= soon
    assert odds.chance(A, now, 0.0) <= soon


def test_asking_changes_nothing() -> None:
    odds = Odds()
    regular(odds, 300, 4 * HOUR)
    first = odds.chance(A, 4 * HOUR + 200, 300)
    assert all(odds.chance(A, 4 * HOUR + 200, 300) == first for _ in range(3))


def test_who_comes_every_ten_minutes_is_expected_after_nine() -> None:
    odds = Odds()
    regular(odds, 600, 6 * HOUR)
    end = 6 * HOUR
    assert odds.chance(A, end + 540, 120) > 2 * odds.chance(A, end + 200, 120)
    assert odds.chance(A, end + 540, 120) > 0.4


def test_who_has_been_away_for_longer_than_ever_is_hardly_expected() -> None:
    odds = Odds()
    regular(odds, 60, 12 * HOUR)
    end = 12 * HOUR
    assert odds.chance(A, end + 12 * HOUR, 120) < 0.1
    assert odds.chance(A, end + 30, 120) > 10 * odds.chance(A, end + 12 * HOUR, 120)


def test_one_that_was_never_seen_is_judged_by_how_long_it_was_idle_and_by_all_others() -> None:
    odds = Odds()
    assert odds.chance(A, 0, 300, idle=10) > odds.chance(A, 0, 300, idle=5000) > 0
    before = odds.chance(B, 12 * HOUR, 300, idle=200)
    regular(odds, 250, 12 * HOUR)
    assert odds.chance(B, 12 * HOUR, 300, idle=200) > before


def test_who_always_follows_another_is_expected_when_that_one_comes() -> None:
    odds = Odds()
    for n in range(40):
        odds.arrived(A, n * 5000.0)
        odds.arrived(B, n * 5000.0 + 30)
    alone = odds.chance(B, 40 * 5000.0 + 1, 100)
    odds.arrived(A, 40 * 5000.0)
    together = odds.chance(B, 40 * 5000.0 + 1, 100)
    assert together > 0.8
    assert together > alone + 0.3
    assert odds.chance(B, 40 * 5000.0 + 119, 100) < together


def test_old_habits_fade() -> None:
    odds = Odds()
    regular(odds, 100, 10 * HOUR)
    end = 10 * HOUR
    before = odds.chance(A, end + 90, 60)
    for n in range(30):  # a month of one request a day
        odds.arrived(A, end + (n + 1) * 24 * HOUR)
    assert odds.chance(A, end + 30 * 24 * HOUR + 90, 60) < 0.7 * before


def test_who_is_forgotten_is_as_one_that_was_never_seen() -> None:
    odds = Odds()
    regular(odds, 60, HOUR)
    odds.forget(A)
    assert odds.row(A) is None
    assert odds.chance(A, HOUR, 60, idle=500) == odds.chance(C, HOUR, 60, idle=500)


def test_what_is_kept_reads_back_as_it_was() -> None:
    odds = Odds()
    regular(odds, 600, 6 * HOUR)
    again = Odds()
    again.restore(json.loads(json.dumps(odds.save())))
    again.take(A, json.loads(json.dumps(odds.row(A))))
    for idle in (10, 300, 590, 5000):
        was, now = (o.chance(A, 6 * HOUR + idle, 120) for o in (odds, again))
        assert abs(was - now) < 0.01
