"""Is a model still to come? What an engine that is away does to whoever waits for it."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import Seconds
from supervisor.awaited import ANEW, BACK, LISTED, LISTED_ANEW, NOWHERE, WENT, Awaited
from supervisor.core.snapshot import EngineId, EngineState, Snapshot, State
from tests.builders import machine, ref, resident

A = ref("a")
UP = EngineState(EngineId("ollama"), "ollama", "http://x")
HANGS = replace(UP, fault="list: no answer within 2 s")
REFUSES = replace(UP, fault="list: Connection refused", refuses=True)


def seen(engine: EngineState, *, there: State | None = None) -> Snapshot:
    residents = () if there is None else (resident("a", 1, state=there),)
    return machine(*residents, free=1, engines=(engine,))


def told(*looks: Snapshot) -> list[str | None]:
    """One look in each half of the time that an engine has to come back."""
    awaited = Awaited(A)
    return [awaited.lost(look, Seconds(i * BACK / 2)) for i, look in enumerate(looks)]


def test_a_load_is_given_up_where_nobody_listens_any_more_and_nobody_comes_back() -> None:
    assert told(seen(UP), *[seen(REFUSES)] * 3) == [None, None, None, WENT]


def test_an_engine_that_crashes_before_the_first_look_has_crashed() -> None:
    awaited = Awaited(A, seen(UP))
    looks = [awaited.lost(seen(REFUSES), Seconds(i * BACK / 2)) for i in range(3)]
    assert looks == [None, None, WENT]


def test_a_model_that_was_seen_to_come_is_given_up_with_its_engine() -> None:
    gone = seen(REFUSES, there=State.UNKNOWN)
    assert told(seen(UP, there=State.LOADING), *[gone] * 3)[-1] == WENT


def test_an_engine_that_is_started_for_a_load_has_not_crashed() -> None:
    assert told(*[seen(REFUSES)] * 9) == [None] * 9


def test_an_engine_that_is_too_busy_to_answer_has_not_crashed() -> None:
    assert told(seen(UP), *[seen(HANGS)] * 9) == [None] * 10


def test_an_engine_that_was_too_busy_for_a_moment_still_loads_what_it_does_not_list() -> None:
    awaited = Awaited(A, seen(UP))
    looks = (seen(UP), seen(HANGS), *[seen(UP)] * 9)
    found = [awaited.lost(look, Seconds(i * LISTED_ANEW)) for i, look in enumerate(looks)]
    assert found == [None] * 11
    assert awaited.lost(seen(UP), Seconds(2 * LISTED_ANEW + LISTED)) == NOWHERE


def test_an_engine_that_lists_what_it_loads_has_lost_what_is_in_no_list() -> None:
    awaited = Awaited(A, seen(UP), lists=True)
    looks = (seen(UP), seen(UP), seen(UP, there=State.LOADING), seen(UP, there=State.LOADING))
    assert [awaited.lost(look, Seconds(i)) for i, look in enumerate(looks)] == [None] * 4
    awaited = Awaited(A, seen(UP), lists=True)
    times = (0.0, LISTED_ANEW - 0.1, LISTED_ANEW)
    assert [awaited.lost(seen(UP), Seconds(at)) for at in times] == [None, None, NOWHERE]


def test_an_engine_that_went_and_came_back_without_it_is_waited_for_no_longer() -> None:
    for gone in (REFUSES, replace(HANGS, degraded=True)):
        went_and_came_back(gone)


def went_and_came_back(gone: EngineState) -> None:
    awaited = Awaited(A, seen(UP))
    looks = (seen(UP), seen(gone), seen(UP), seen(UP))
    times = (0.0, 0.1, 0.2, 0.2 + LISTED_ANEW)
    found = [awaited.lost(look, Seconds(at)) for look, at in zip(looks, times, strict=True)]
    assert found == [None, None, None, ANEW]


def test_an_engine_that_comes_back_begins_anew() -> None:
    one = (seen(UP), seen(REFUSES), seen(REFUSES), seen(HANGS))
    assert told(*one, *one) == [None] * 8
