"""Since when models are there."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import Seconds
from supervisor.ages import Ages
from supervisor.core.snapshot import Resident, Snapshot, State
from tests.builders import engine, machine, ref, resident

A = ref("a")


def at(now: float, *residents: Resident, fault: str | None = None) -> Snapshot:
    return machine(*residents, free=9, at=now, engines=(engine(fault=fault),))


def test_only_of_those_who_were_seen_to_come_it_is_known() -> None:
    ages = Ages()
    ages.see(at(1, resident("there", 1)))
    ages.see(at(2, resident("there", 1), resident("a", 1, state=State.LOADING)))
    assert ages.since == {}
    ages.see(at(3, resident("there", 1), resident("a", 1)))
    ages.see(at(9, resident("there", 1), resident("a", 1)))
    assert ages.since == {A: Seconds(3)}


def test_who_comes_back_or_wakes_has_come_anew_and_a_silent_engine_changes_nothing() -> None:
    ages = Ages()
    one = resident("a", 1)
    for now, found in ((1, ()), (2, (one,)), (3, (replace(one, state=State.SLEEPING),))):
        ages.see(at(now, *found))
    assert ages.since == {}
    ages.see(at(4, one))
    ages.see(at(5, replace(one, state=State.UNKNOWN), fault="no answer"))
    ages.see(at(6, one))
    assert ages.since == {A: Seconds(4)}
    ages.see(at(7))
    ages.see(at(8, one))
    assert ages.since == {A: Seconds(8)}


def test_of_an_engine_that_was_down_nobody_saw_who_came() -> None:
    ages = Ages()
    ages.see(at(1, fault="no answer"))
    ages.see(at(2, resident("a", 1)))
    assert ages.since == {}
