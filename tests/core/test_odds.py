"""What any estimate of the next request has to be true to."""

from __future__ import annotations

import json
import math
import random
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.odds import Odds
from supervisor.core.snapshot import ModelRef
from tests.builders import ref

HOUR = 3600.0
DAY = 24 * HOUR
A, B, C = ref("a"), ref("b"), ref("c")

requests = st.lists(
    st.tuples(
        st.sampled_from([A, B, C]),
        st.one_of(st.floats(0, 1e5), st.just(0.0), st.floats(1e5, 1e9), st.floats(-1e6, 0)),
    ),
    max_size=60,
)


def regular(odds: Odds, every: float, until: float, name: str = "a", since: float = 0.0) -> None:
    for n in range(int((until - since) / every) + 1):
        odds.arrived(ref(name), since + n * every)


def told(*models: tuple[str, float, float, float]) -> Odds:
    """Models that came `every` so many seconds, from a time to another."""
    odds = Odds()
    coming = [
        (since + n * every, name)
        for name, every, since, until in models
        for n in range(int((until - since) / every) + 1)
    ]
    for at, name in sorted(coming):
        odds.arrived(ref(name), at)
    return odds


def kept(odds: Odds, *refs: ModelRef) -> Odds:
    again = Odds()
    again.restore(json.loads(json.dumps(odds.save())))
    for one in refs:
        again.take(one, json.loads(json.dumps(odds.row(one))))
    return again


# -- whatever came


@given(requests, st.floats(0, 1e9), st.floats(0, 1e6), st.floats(0, 1e12))
def test_a_chance_is_a_chance_and_grows_with_the_horizon(
    came: list[tuple[ModelRef, float]], later: float, near: float, further: float
) -> None:
    odds, now = Odds(), 0.0
    for one, gap in came:
        now += gap  # some come before those that are known already
        odds.arrived(one, now)
    now += later
    for one in (A, B):
        soon = odds.chance(one, now, near)
        assert 0.0 <= soon <= 1.0
        assert odds.chance(one, now, near + further) >= soon - 1e-9
        assert odds.chance(one, now, 0.0) == 0.0
        assert soon - 1e-9 <= odds.keeping(one, now, near) <= 1.0
        assert odds.keeping(one, now, 0.0) == 0.0


@pytest.mark.parametrize("horizon", [1e-9, 1.0, 1e300, math.inf])
def test_no_horizon_is_too_short_or_too_long(horizon: float) -> None:
    odds = told(("a", 600, 0, DAY), ("b", 700, 0, DAY))
    for ask in (odds.chance, odds.keeping):
        for now in (DAY, 1e300, -1e300):
            assert 0.0 <= ask(A, now, horizon) <= 1.0
            assert 0.0 <= ask(C, now, horizon, 1e300) <= 1.0


def test_asking_changes_nothing() -> None:
    odds = told(("a", 300, 0, 4 * HOUR), ("b", 700, 0, 4 * HOUR))
    before = odds.save(), odds.row(A), odds.row(B)
    first = odds.keeping(A, 4 * HOUR + 200, 300)
    odds.chance(A, 9 * DAY, 1e5)
    assert odds.keeping(A, 4 * HOUR + 200, 300) == first
    assert (odds.save(), odds.row(A), odds.row(B)) == before


def test_a_clock_that_goes_back_stands_still() -> None:
    odds, still = Odds(), Odds()
    for one, at, latest in ((A, 0, 0), (B, 900, 900), (A, 300, 900), (B, 1500, 1500)):
        odds.arrived(one, at)
        still.arrived(one, latest)
    assert (odds.save(), odds.row(A), odds.row(B)) == (still.save(), still.row(A), still.row(B))


# -- by the gap


def test_who_comes_every_ten_minutes_is_expected_after_nine() -> None:
    odds = told(("a", 600, 0, 6 * HOUR))
    end = 6 * HOUR
    assert odds.chance(A, end + 540, 120) > 2 * odds.chance(A, end + 200, 120)
    assert odds.chance(A, end + 540, 120) > 0.4


def test_who_is_due_in_a_while_is_worth_more_than_its_chance_till_then() -> None:
    """Its rhythm says that nobody comes for half an hour, and then somebody does."""
    odds = told(("a", HOUR, 0, 3 * DAY), ("b", 500, 0, 3 * DAY))
    now = 3 * DAY + 0.4 * HOUR
    assert odds.chance(A, now, 400) < 0.1
    assert odds.keeping(A, now, 400) > 1.5 * odds.chance(A, now, 400)


def test_who_comes_whenever_it_likes_is_worth_its_chance() -> None:
    odds, dice, now = Odds(), random.Random(2), 0.0
    while now < 3 * DAY:
        odds.arrived(dice.choice([A, B, C]), now := now + dice.expovariate(1 / 700))
    for idle in (300, 2000, 4000):
        keeping, chance = (ask(A, now + idle, 400) for ask in (odds.keeping, odds.chance))
        assert keeping == pytest.approx(chance, rel=0.25)


def test_who_has_been_away_for_longer_than_ever_is_hardly_expected() -> None:
    odds = told(("a", 60, 0, DAY / 2), ("b", 100, 0, DAY))
    assert odds.chance(B, DAY + 30, 120) > 0.5
    assert odds.chance(A, DAY + 30, 120) < 0.1


def test_one_that_was_never_seen_is_judged_by_how_long_it_was_idle_and_by_all_others() -> None:
    odds = Odds()
    assert odds.chance(A, 0, 300, idle=10) > odds.chance(A, 0, 300, idle=5000) > 0
    before = odds.chance(B, 12 * HOUR, 300, idle=200)
    regular(odds, 250, 12 * HOUR)
    assert odds.chance(B, 12 * HOUR, 300, idle=200) > before


def test_the_silence_of_those_who_never_came_again_is_heard() -> None:
    """Of gaps that ended alone one would learn that all gaps end."""
    odds = Odds()
    first = odds.chance(C, 0, HOUR, idle=3 * HOUR)
    for n in range(30):
        odds.arrived(ref(f"gone-{n}"), n * 20.0)
        odds.arrived(ref(f"gone-{n}"), n * 20.0 + 5)
    for n in range(600):
        odds.arrived(ref("ab"[n % 2]), 600 + n * 60.0)
    assert odds.chance(C, 10 * HOUR, HOUR, idle=3 * HOUR) < 0.6 * first


def test_its_silence_counts_before_anybody_else_has_come() -> None:
    odds = told(("a", 500, 0, 5000))
    octave = 2.0**14
    early, late = (odds.chance(A, 5000 + octave * x, 10) for x in (1.01, 1.95))
    assert early > 1.15 * late


# -- by popularity


def test_of_two_that_came_just_now_the_one_who_comes_often_is_expected() -> None:
    odds = told(("a", 600, 0, DAY), ("b", 4 * HOUR, 0, DAY), ("c", 450, 0, DAY))
    odds.arrived(A, DAY + 10)
    odds.arrived(B, DAY + 10)
    assert odds.chance(A, DAY + 1000, 900) > 2 * odds.chance(B, DAY + 1000, 900)


def test_a_night_in_which_nobody_asks_for_anybody_takes_no_popularity() -> None:
    day = [("a", 600.0, 0.0, DAY / 2), ("b", 700.0, 0.0, DAY / 2)]
    quiet, busy = told(*day), told(*day, ("c", 90, DAY / 2 + 90, DAY), ("d", 70, DAY / 2, DAY))
    assert quiet.chance(A, DAY, 900) > 2 * busy.chance(A, DAY, 900)


def test_many_requests_in_a_row_are_one_visit() -> None:
    once = told(("a", 700, 0, DAY), ("b", 500, 0, DAY))
    often = Odds()
    for at, one in sorted(
        [(n * 700.0, "a") for n in range(124)] + [(n * 500.0, "b") for n in range(173)]
    ):
        for more in range(5 if one == "a" else 1):
            often.arrived(ref(one), at + more * 0.01)
    rows = [o.row(A) for o in (once, often)]
    assert rows[1]["brought"] == pytest.approx(rows[0]["brought"], rel=0.1)
    assert sum(rows[1]["events"]) > 4 * sum(rows[0]["events"])


def test_old_habits_fade() -> None:
    odds = told(("a", 100, 0, 10 * HOUR), ("b", 170, 0, 10 * HOUR))
    end = 10 * HOUR
    before = odds.chance(A, end + 90, 60)
    for n in range(30):  # a month of one request a day
        odds.arrived(B, end + (n + 0.5) * DAY)
        odds.arrived(A, end + (n + 1) * DAY)
    assert odds.chance(A, end + 30 * DAY + 90, 60) < before / 2
    assert sum(odds.row(A)["events"]) < 0.5 * 360 + 30


# -- by company


def test_who_always_follows_another_is_expected_when_that_one_comes() -> None:
    odds = Odds()
    for n in range(40):
        odds.arrived(A, n * 5000.0)
        odds.arrived(B, n * 5000.0 + 20)
        odds.arrived(C, n * 5000.0 + 2500)
    for ask in (odds.chance, odds.keeping):
        assert ask(B, 40 * 5000.0 - 1, 100) < 0.3
    odds.arrived(A, 40 * 5000.0)
    for ask in (odds.chance, odds.keeping):
        assert ask(B, 40 * 5000.0 + 1, 100) > 0.7
        assert ask(B, 40 * 5000.0 + 55, 100) < ask(B, 40 * 5000.0 + 1, 100)


# -- keeping


def test_who_is_forgotten_is_as_one_that_was_never_seen() -> None:
    odds = told(("a", 60, 0, HOUR), ("b", 90, 0, HOUR))
    odds.forget(A)
    assert odds.row(A) is None
    assert odds.chance(A, HOUR, 60, idle=500) == odds.chance(C, HOUR, 60, idle=500)
    for n in range(5):  # whoever's turn it was is nobody's
        odds.arrived(ref("bc"[n % 2]), HOUR + n)
    odds.forget(C)
    odds.forget(C)
    odds.arrived(C, 2 * HOUR)
    assert odds.row(C)["company"][0] == 1


def test_a_restart_changes_nothing() -> None:
    odds = told(("a", 600, 0, DAY), ("b", 1700, 0, DAY), ("c", 40, 0, DAY))
    again = kept(odds, A, B, C)
    for n in range(200):
        for one in (odds, again):
            one.arrived(ref("abc"[n % 3]), DAY + n * 37)
    for idle in (10, 300, 590, 5000, 2 * DAY):
        for model in (A, B, C):
            was, now = (o.keeping(model, DAY + 200 * 37 + idle, 900) for o in (odds, again))
            assert now == pytest.approx(was, rel=0.02, abs=1e-4)


def test_what_is_kept_of_one_is_not_counted_again_as_what_is_usual() -> None:
    odds = told(("gone", 60, 0, HOUR), ("a", 600, 0, 5 * DAY), ("b", 700, 0, 5 * DAY))
    stale = odds.row(ref("gone"))
    regular(odds, 600, 9 * DAY, "a", 5 * DAY)
    usual = odds.save()["exposure"]
    for _ in range(20):  # its row was not written since: nobody asked for it
        again = Odds()
        again.restore(json.loads(json.dumps(odds.save())))
        again.take(ref("gone"), json.loads(json.dumps(stale)))
        again.take(A, json.loads(json.dumps(odds.row(A))))
        for n in range(4):
            again.arrived(ref("ab"[n % 2]), 9 * DAY + n)
        odds = again
    assert sum(odds.save()["exposure"]) == pytest.approx(sum(usual), rel=0.01)


def spoil(row: object, data: st.DataObject) -> object:
    """The same with one thing in it that does not belong there."""
    wrong: object = data.draw(
        st.sampled_from([None, "x", {}, [[]], 0.0, float("nan"), -1e18, 1e300])
    )
    if isinstance(row, dict) and row:
        key = data.draw(st.sampled_from(sorted(row)))
        return {**row, key: spoil(row[key], data)}
    if isinstance(row, list) and row:
        at = data.draw(st.integers(0, len(row) - 1))
        return [*row[:at], spoil(row[at], data), *row[at + 1 :]]
    return wrong


@given(st.data())
def test_a_row_that_is_none_is_refused_or_harmless(data: st.DataObject) -> None:
    odds = told(("a", 600, 0, HOUR), ("b", 700, 0, HOUR))
    row = json.loads(json.dumps(odds.row(A)))
    common = json.loads(json.dumps(odds.save()))
    again = Odds()
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        again.restore(spoil(common, data))  # type: ignore[arg-type]
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        again.take(A, spoil(row, data))
    for ask in (again.chance, again.keeping):
        assert 0.0 <= ask(A, HOUR, 900) <= 1.0
    again.arrived(A, HOUR)
    again.arrived(B, 2 * HOUR)
    assert 0.0 <= again.keeping(A, 2 * HOUR, 900) <= 1.0


@pytest.mark.parametrize("key", ["events", "exposure", "heat", "brought", "due"])
@pytest.mark.parametrize("number", [-1.0, 1e300])
def test_what_nobody_can_have_counted_is_refused(key: str, number: float) -> None:
    odds = told(("a", 600, 0, HOUR), ("b", 700, 0, HOUR))
    row = odds.row(A)
    with pytest.raises(ValueError, match="counts"):
        Odds().take(A, {**row, key: [number, *row[key][1:]]})


# -- what it costs


def crowd(count: int, visits: int) -> tuple[Odds, list[ModelRef], float]:
    odds, dice, now = Odds(), random.Random(4), 0.0
    names = [ref(f"model-{i}") for i in range(count)]
    for _ in range(visits):
        now += dice.expovariate(1 / 9)
        odds.arrived(dice.choice(names), now)
    return odds, names, now


@pytest.mark.slow
def test_a_model_takes_less_than_a_kib_and_a_half() -> None:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    odds, names, _ = crowd(200, 4000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / len(names) < 1700
    assert max(len(json.dumps(odds.row(one))) for one in names) < 2048
