from __future__ import annotations

from collectors.reading import Seconds
from supervisor.core.patience import Patience, Said
from supervisor.core.plan import relieve
from tests.builders import machine, reserve, resident


def test_patience_ends_after_so_many_tries_one_per_interval() -> None:
    patience = Patience(tries=2, interval=Seconds(1))
    assert [patience.give_up("k", Seconds(t)) for t in (0, 0.5, 1, 1.9)] == [False] * 4
    assert patience.give_up("k", Seconds(2))
    patience.forget("k")
    assert not patience.give_up("k", Seconds(3))


def test_the_same_answer_is_news_once_and_again_when_it_changes() -> None:
    said = Said()
    old, fresh = resident("old", 4, idle=9), resident("fresh", 4, idle=1)
    first = relieve(machine(old, fresh, free=0.5), reserve(1))
    assert said.is_news("relief", first)
    assert not said.is_news("relief", relieve(machine(old, fresh, free=0.4), reserve(1)))
    assert said.is_news("limit", first)  # another wish
    assert said.is_news("relief", relieve(machine(old, fresh, free=0.5), reserve(5)))
    said.forget("limit")
    assert said.is_news("limit", first)


def test_who_is_busy_matters_only_while_nobody_can_go() -> None:
    said = Said()
    busy = relieve(machine(resident("a", 4, busy=1), free=0.5), reserve(1))
    assert said.is_news("relief", busy)
    pinned = relieve(machine(resident("b", 4, busy=1), free=0.5), reserve(1))
    assert said.is_news("relief", pinned)
