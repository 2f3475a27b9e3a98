"""Who follows whom, and who only seems to."""

from __future__ import annotations

import random

import pytest

from supervisor.core.company import MOST, VISITS, WINDOW, Company
from tests.builders import ref

A, B, C = ref("a"), ref("b"), ref("c")


def lift(company: Company, name: str, now: float) -> float:
    return max((lift * left for lift, left in company.look(now).get(ref(name), ())), default=0.0)


def together(*names: str, times: int, apart: float = 20.0, every: float = 1000.0) -> Company:
    company = Company()
    for n in range(times):
        for i, name in enumerate(names):
            company.arrived(ref(name), n * every + i * apart)
    return company


def test_who_follows_one_and_nobody_else_is_announced_by_it() -> None:
    company = together("a", "b", times=20)
    for n in range(10):
        company.arrived(C, 49_100 + n * 100.0)
    assert lift(company, "b", 50_001) == 0
    company.arrived(A, 60_000)
    assert lift(company, "b", 60_001) > 0.6
    assert 0 < lift(company, "b", 60_000 + WINDOW * 0.9) < 0.2
    assert lift(company, "b", 60_001 + WINDOW) == 0


def test_who_came_together_twice_may_have_done_so_by_chance() -> None:
    company = together("a", "b", times=2)
    company.arrived(C, 10_000)
    company.arrived(A, 20_000)
    assert lift(company, "b", 20_001) < 0.2


def test_who_follows_anybody_is_announced_by_nobody() -> None:
    """Independent of each other, and often within a minute."""
    company, dice, now = Company(), random.Random(3), 0.0
    worst = 0.0
    for n in range(3000):
        now += dice.expovariate(1 / 15)
        company.arrived(dice.choice([A, B, C, ref("d")]), now)
        if n > 100:
            worst = max(worst, *(lift(company, name, now) for name in "abcd"))
    assert worst < 0.15


def test_requests_close_together_are_one_visit() -> None:
    few, many = Company(), Company()
    for n in range(10):
        for company, times in ((few, 1), (many, 20)):
            for i in range(times):
                company.arrived(A, n * 1000.0 + i)
            company.arrived(B, n * 1000.0 + 25)
    assert many.row(A) == few.row(A)


def test_only_the_most_frequent_followers_are_remembered() -> None:
    company = Company()
    for n in range(200):
        company.arrived(A, n * 1000.0)
        company.arrived(B, n * 1000.0 + 10)
        company.arrived(ref(f"m{n}"), n * 1000.0 + 20)
    followers = company.row(A)[2]
    assert len(followers) == MOST
    assert max(followers, key=lambda f: f[2])[:2] == list(B)


def test_company_changes() -> None:
    """Those who came together long ago, and do so no more, are not announced for ever."""
    company = together("a", "b", times=50)
    now = 50_000.0
    for n in range(5 * VISITS):
        now += 100
        company.arrived(A if n % 5 == 0 else ref(f"m{n % 7}"), now)
    company.arrived(A, now + 1000)
    assert lift(company, "b", now + 1001) == 0
    assert company.row(A)[0] < VISITS


def test_who_is_forgotten_announces_nobody_and_is_announced_by_nobody_new() -> None:
    company = together("a", "b", times=20)
    company.forget(A)
    assert company.row(A) is None
    assert lift(company, "b", 20_000) == 0
    company.arrived(A, 30_000)
    assert lift(company, "b", 30_001) == 0


@pytest.mark.parametrize("row", [None, [], [1, 2], [1, 2, [["a"]]], [-1, 0, []], [1, "x", []]])
def test_what_is_no_row_is_refused(row: object) -> None:
    company = Company()
    with pytest.raises((ValueError, TypeError)):
        company.take(A, row)
    assert company.row(A) is None


def test_what_is_kept_reads_back_as_it_was() -> None:
    company, again = together("a", "b", "c", times=20), Company()
    again.restore(company.save())
    for one in (A, B, C):
        again.take(one, company.row(one))
    for known in (company, again):
        known.arrived(A, 90_000)
    assert again.look(90_001) == company.look(90_001)
