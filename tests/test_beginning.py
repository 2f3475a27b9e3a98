"""When a daemon knows enough to decide by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Seconds
from supervisor.beginning import MOST, Beginning
from supervisor.core.snapshot import Ability, EngineId, EngineState
from supervisor.limiting import Limiting
from tests.builders import NO_RESERVE, machine, ref, resident

A, B = EngineId("a"), EngineId("b")


def seen(*engines: EngineId, at: float = 100.0):
    states = tuple(EngineState(e, "ollama", "", frozenset(Ability)) for e in engines)
    return replace(machine(free=4), engines=states, taken_at=Seconds(at))


def searching() -> Beginning:
    found = Beginning()
    found.search()
    return found


def test_where_nobody_searches_it_is_over_from_the_start():
    assert Beginning().over


@pytest.mark.parametrize("engines", [(), (A,), (A, B)])
def test_it_is_over_with_the_first_snapshot_that_has_every_engine(engines):
    begun = searching()
    begun.see(seen(*engines), set(engines))
    assert not begun.over  # the search is not over
    begun.found()
    assert not begun.over  # and what it found was not asked yet
    for engine in engines:
        begun.see(seen(*(e for e in engines if e != engine)), set(engines))
        assert not begun.over  # as one that was begun before, or for an alarm
    begun.see(seen(*engines), set(engines))
    assert begun.over


def test_what_is_over_stays_over_though_engines_come_later():
    begun = searching()
    begun.found()
    begun.see(seen(A), {A})
    begun.see(seen(A), {A, B})
    assert begun.over


def test_a_search_that_never_ends_is_not_waited_for_for_ever(caplog):
    begun = searching()
    begun.see(seen(A, at=100.0), {A})
    begun.see(seen(A, at=100.0 + MOST - 0.1), {A})
    assert not begun.over
    begun.see(seen(A, at=100.0 + MOST), {A})
    assert begun.over
    assert "not every engine is known after 10 s" in caplog.text


def test_those_whom_a_start_lets_be_are_found_with_the_last_of_the_engines():
    """Else those of an engine that was found a moment later would have to go for a limit that was
    not to make anybody go."""
    first, whole = (
        machine(resident("a", 1), free=9),
        machine(resident("a", 1), resident("b", 1), free=8),
    )
    limits = Limiting(lenient=True)
    for snapshot in (first, whole):
        limits.begin()
        limits.see(snapshot, NO_RESERVE)
    assert limits.tolerated == {ref("a"), ref("b")}
    limits.see(machine(*(resident(m, 1) for m in "abc"), free=7), NO_RESERVE)
    assert limits.tolerated == {ref("a"), ref("b")}
