"""What was paid, what ghosts would have paid, and when one of them is better."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from collectors.reading import Bytes, PoolId, Seconds
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import ModelRef
from supervisor.journal.trail import Passed
from supervisor.replay.past import past
from supervisor.replay.savings import DAY, Known, Savings, Spent, outdone, savings, tell
from supervisor.replay.trace import Model
from tests.builders import ref

A, B, C = ref("a"), ref("b"), ref("c")
ONE, TWO = PoolId("one"), PoolId("two")
NOW = 1_790_000_000.0
LOADS = {A: 1.0, B: 2.0, C: 5.0}


def known(**pools: PoolId) -> dict[ModelRef, Known]:
    return {
        r: Known(pools.get(r.model, ONE), Model(Bytes(4), Seconds(load)))
        for r, load in LOADS.items()
    }


def asked(names: str, start: float, step: float = 60.0) -> list[Passed]:
    return [Passed(start + i * step, ref(name)) for i, name in enumerate(names)]


def told(
    passed: Sequence[Passed], ranking: str = "lru", days: float = 1, **pools: PoolId
) -> Savings:
    rooms = {ONE: Bytes(8), TWO: Bytes(4)}
    return savings(passed, known(**pools), rooms, RANKINGS[ranking], NOW - days * DAY, NOW)


def test_ghosts_pay_for_what_came_and_the_optimum_least() -> None:
    found = told(asked("abcab", NOW - 3600))
    assert found.ghosts["lru"].all == 11.0
    assert found.optimum == 9.0
    assert found.requests == 5
    assert set(found.ghosts) == {"lru", "value", "landlord"}


def test_what_was_really_paid_is_told_beside_it() -> None:
    passed = [Passed(NOW - 100, A, load=Seconds(7.0)), Passed(NOW - 50, A), Passed(NOW - 20, B)]
    found = told([Passed(NOW - 2 * DAY, C, load=Seconds(90.0)), *passed])
    assert (found.paid, found.loads, found.requests) == (7.0, 1, 3)


def test_who_was_there_when_the_time_begins_is_not_loaded_in_it() -> None:
    before = asked("ab", NOW - DAY - 600)
    assert told([*before, *asked("ab", NOW - 600)]).ghosts["lru"].all == 0
    assert told(asked("ab", NOW - 600)).ghosts["lru"].all == 3.0


def test_each_pool_has_its_own_ghosts() -> None:
    together = told(asked("acacac", NOW - 3600), c=ONE)
    apart = told(asked("acacac", NOW - 3600), c=TWO)
    assert together.ghosts["lru"].all == apart.ghosts["lru"].all == 6.0
    assert told(asked("abab", NOW - 3600), a=TWO, b=TWO).ghosts["lru"].all == 6.0  # one has room


def test_what_was_there_did_fit_however_little_there_is_now() -> None:
    found = savings(asked("a", NOW - 60), known(), {ONE: Bytes(0)}, RANKINGS["lru"], NOW - DAY, NOW)
    assert found.ghosts["lru"].all == 1.0


def test_of_whom_nothing_is_known_nothing_is_told() -> None:
    found = told([*asked("a", NOW - 600), Passed(NOW - 60, ref("stranger"))])
    assert (found.requests, found.left_out) == (1, 1)
    assert tell(found)[-1] == ("Left out: 1 request for models of which too little is known.")


def test_nothing_asked_for_is_said_in_one_sentence() -> None:
    assert tell(told([])) == ["Nothing was asked for in this time, as far as is known."]


def test_it_is_told_in_sentences() -> None:
    passed = [Passed(NOW - 8 * DAY, A), *asked("abcab", NOW - 3600)]
    passed.append(Passed(NOW - 10, A, load=Seconds(412.0)))
    first, second, third = tell(told(passed, days=7))
    assert first == "You paid 412 s of reloads in 7 days: 1 load for 6 requests."
    assert "landlord would have paid" in second
    assert second.endswith("the optimum was 8 s.")
    assert "lru, comes to 10 s" in third


def test_of_a_journal_that_is_younger_only_its_own_time_is_told() -> None:
    assert " in 2 hours:" in tell(told(asked("abcab", NOW - 7200), days=7))[0]
    assert " in 1 hour:" in tell(told(asked("abcab", NOW - 3600), days=7))[0]
    assert " in 10 minutes:" in tell(told(asked("abcab", NOW - 600), days=7))[0]
    assert " in 1 minute:" in tell(told(asked("a", NOW - 10), days=7))[0]


def ghosts(own: Sequence[float], other: Sequence[float], requests: int = 300) -> Savings:
    days = {"value": Spent(tuple(own)), "lru": Spent(tuple(other))}
    return Savings(NOW - 3 * DAY, NOW, NOW - 4 * DAY, requests, 0, 9, Seconds(9), "value", days)


@pytest.mark.parametrize(
    ("found", "better"),
    [
        (ghosts((200, 200, 200), (150, 150, 150)), ("lru",)),
        (ghosts((200, 200, 200), (185, 185, 185)), ()),  # less than a tenth
        (ghosts((200, 200, 200), (10, 10, 201)), ()),  # not on every day
        (ghosts((2, 2, 2), (1, 1, 1)), ()),  # nobody would notice
        (ghosts((200, 200, 200), (150, 150, 150), requests=199), ()),
    ],
)
def test_a_ghost_is_better_only_where_it_is_so_steadily(
    found: Savings, better: tuple[str, ...]
) -> None:
    assert outdone(found) == better


def test_days_are_told_apart() -> None:
    passed = [p for d in (3, 2, 1) for p in asked("abcab", NOW - d * DAY + 60)]
    found = told(passed, days=3)
    assert len(found.ghosts["lru"].days) == 3
    assert all(day > 0 for day in found.ghosts["lru"].days)


def test_a_past_knows_models_by_what_was_written_down_of_them() -> None:
    rows = [
        Passed(5.0, A, Seconds(3.0), Seconds(8.0), Bytes(100)),
        Passed(6.0, A, None, Seconds(4.0), Bytes(120)),
        Passed(2.0, A, None, Seconds(6.0), None),
        Passed(3.0, B, None, None, None),
        Passed(4.0, C, None, None, Bytes(10_000_000_000)),
    ]
    found = past(rows)
    assert [r.at for r in found.trace.requests] == [2, 4, 5, 6]
    assert found.trace.models[A] == (120, 6.0)
    assert found.trace.models[C].load > 1.0  # as is usual for the size
    assert (found.skipped, found.loads, found.paid) == (1, 3, 18.0)
