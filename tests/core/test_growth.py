"""The slope of a model's bytes over its busy time, whatever comes and goes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import Bytes, Seconds, gib, mib
from supervisor.core.drift import LASTS, grows, off, sentence
from supervisor.core.growth import POINTS, Growth

MINUTE = Seconds(60.0)


def after(minutes: int, size: object) -> Growth:
    growth = Growth()
    growth.see(Seconds(0.0), Bytes(int(size(0))))  # type: ignore[operator]
    for n in range(1, minutes + 1):
        growth.see(MINUTE, Bytes(int(size(n))))  # type: ignore[operator]
    return growth


def test_a_leak_is_measured_in_bytes_an_hour_of_work() -> None:
    found = after(120, lambda n: gib(4) + n * mib(2)).per_hour
    assert found == pytest.approx(mib(120))


def test_what_comes_and_goes_is_no_growth() -> None:
    rng = random.Random(7)
    found = after(240, lambda n: gib(4) + rng.choice([0, 0, 0, mib(900)])).per_hour
    assert found is not None
    assert abs(found) < mib(1)


def test_a_leak_is_seen_through_what_comes_and_goes() -> None:
    rng = random.Random(7)
    found = after(240, lambda n: gib(4) + n * mib(3) + rng.choice([0, 0, 0, 0, mib(900)])).per_hour
    assert found == pytest.approx(mib(180), rel=0.25)


def test_nothing_is_said_before_half_an_hour_of_work_nor_of_whoever_rests() -> None:
    assert after(29, lambda n: n * mib(9)).per_hour is None
    assert after(31, lambda n: n * mib(9)).per_hour is not None
    resting = Growth()
    for n in range(1000):
        resting.see(Seconds(0.0), Bytes(n))
    assert resting.per_hour is None


def test_a_long_watch_keeps_few_points_and_still_the_first() -> None:
    growth = after(5000, lambda n: n * mib(1))
    assert len(growth._points) <= POINTS
    assert growth._points[0] == (0.0, 0)
    assert growth.per_hour == pytest.approx(mib(60))


@given(st.lists(st.tuples(st.floats(0, 10_000), st.integers(0, 10**12)), max_size=200))
def test_it_takes_little_however_long_it_is_watched(seen: list[tuple[float, int]]) -> None:
    growth = Growth()
    for busy, size in seen:
        growth.see(Seconds(busy), Bytes(size))
    assert len(growth._points) <= POINTS
    assert growth.per_hour is None or abs(growth.per_hour) < float("inf")


@pytest.mark.parametrize(
    ("held", "learned", "busy", "odd"),
    [
        (gib(10), gib(8), 0, False),  # a quarter is the margin
        (gib(10.1), gib(8), 0, True),
        (mib(500), mib(250), 0, False),  # twice, and not worth it
        (mib(507), mib(250), 0, True),
        (gib(5), gib(8), 0, False),  # it may still take it
        (gib(5), gib(8), 600, True),
        (gib(7), gib(8), 600, False),
    ],
)
def test_drift_is_more_than_a_quarter_and_worth_saying(
    held: Bytes, learned: Bytes, busy: float, odd: bool
) -> None:
    assert off(held, learned, Seconds(busy)) is odd
    assert LASTS > 60


def test_growth_counts_where_it_is_much_an_hour_and_much_of_the_model() -> None:
    assert grows(gib(1), mib(64))
    assert not grows(gib(1), mib(63))
    assert not grows(gib(40), mib(64))
    assert not grows(gib(1), None)
    assert not grows(gib(1), -float(mib(64)))


def test_both_are_said() -> None:
    assert sentence(gib(12), gib(8), float(mib(80))) == (
        "holds 12.0 GiB, and 8.0 GiB were learned of it; grows by 80.0 MiB with each hour of work"
    )
