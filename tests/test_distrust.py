"""Who is not counted on, and what is told although all ended well."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import Bytes, Seconds, gib
from supervisor.core.ladder import Rung
from supervisor.core.plan import Evict, Why
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import Resident, Snapshot
from supervisor.core.verdict import Judgement, Verdict
from supervisor.distrust import AGAIN, DISTRUST, Distrust
from tests.builders import engine, machine, ref, resident, share

A = ref("a")
EVICT = Evict(A, (share(8),), Why.ASKED, (Rung.UNLOAD, Rung.TERM))
GOOD = Judgement(Verdict.RECOVERED, gib(8), gib(8), gone=True)
BAD = Judgement(Verdict.NOTHING, gib(8), Bytes(0), gone=True)


def seen(*residents: Resident, at: float, up: bool = True) -> Snapshot:
    engines = (engine(fault=None if up else "no answer"),)
    return machine(*residents, free=4, at=at, engines=engines)


def outcome(judgement: Judgement, *slipped: str) -> Outcome:
    return Outcome(
        "d-1", 0.0, EVICT, Result.DONE, "", Seconds(1), judgement, Rung.TERM, tuple(slipped)
    )


def test_a_broken_promise_is_a_finding_and_is_not_counted_on() -> None:
    found = Distrust()
    found.judge(outcome(BAD), Seconds(0))
    assert found.refs == {A}
    assert [f.detail for f in found.findings] == ["gave back 0 B of 8.0 GiB"]


def test_who_gave_some_of_it_back_is_doubted_until_an_unload_of_it_gives_nothing() -> None:
    found = Distrust()
    found.judge(outcome(replace(BAD, verdict=Verdict.PARTLY, returned=gib(5))), Seconds(0))
    assert (found.refs, found.doubted) == ({A}, {A})
    found.judge(outcome(BAD), Seconds(1))
    assert (found.refs, found.doubted) == ({A}, frozenset())
    stays = replace(BAD, verdict=Verdict.PARTLY, returned=gib(5), gone=False)
    found.judge(outcome(stays), Seconds(2))
    assert found.doubted == frozenset(), "it has not gone, and is not told to once more"
    found.judge(outcome(replace(stays, gone=True)), Seconds(3))
    found.see(seen(at=DISTRUST + 3))
    assert (found.refs, found.doubted) == (frozenset(), frozenset())


def test_who_gave_nothing_is_tried_again_after_a_while_and_after_longer_each_time() -> None:
    found, at = Distrust(), Seconds(0)
    there = resident("a", 8)
    for rest in (AGAIN, 2 * AGAIN, 4 * AGAIN):
        found.judge(outcome(BAD), at)
        for later, doubted in ((0, set()), (rest - 1, set()), (rest, {A})):
            found.see(seen(there, at=at + later))
            assert (found.refs, found.doubted) == ({A}, doubted)
        at = Seconds(at + rest)
    found.judge(outcome(BAD), at)
    assert found.doubted == frozenset()
    found.judge(outcome(GOOD), at)
    assert found.refs == set(), "it has given its memory back since"
    found.judge(outcome(BAD), Seconds(at + 2))
    found.see(seen(there, at=at + 2 + AGAIN))
    assert found.doubted == {A}, "and it is counted anew"


def test_a_rung_that_slipped_is_told_although_the_next_one_held() -> None:
    found = Distrust()
    found.judge(outcome(GOOD, "unload ollama/a: 0 B of 8.0 GiB came back"), Seconds(0))
    assert found.refs == set(), "it did give its memory back"
    assert [f.detail for f in found.findings] == ["unload ollama/a: 0 B of 8.0 GiB came back"]
    found.judge(outcome(BAD), Seconds(1))
    assert len(found.findings) == 1, "one finding a model"


def test_what_went_well_is_not_told() -> None:
    found = Distrust()
    found.judge(outcome(GOOD), Seconds(0))
    assert found.findings == ()


def test_all_of_it_is_forgotten_in_time() -> None:
    found = Distrust()
    found.judge(outcome(BAD), Seconds(0))
    other = outcome(GOOD, "slipped")
    found.judge(replace(other, action=replace(EVICT, ref=ref("b"))), Seconds(0))
    found.see(seen(at=DISTRUST - 1))
    assert len(found.findings) == 2
    found.see(seen(at=DISTRUST))
    assert found.findings == ()


def test_who_only_took_too_long_to_go_is_counted_on_again_once_it_has_gone() -> None:
    found = Distrust()
    found.judge(outcome(replace(BAD, gone=False)), Seconds(0))
    found.see(seen(resident("a", 8), at=1))
    found.see(seen(up=False, at=2))  # who knows what became of it
    assert found.refs == {A}
    found.see(seen(at=3))
    assert found.refs == set()
    assert found.findings == ()


def test_whose_memory_stayed_when_it_went_is_not_counted_on_when_it_is_back() -> None:
    found = Distrust()
    found.judge(outcome(replace(BAD, gone=False)), Seconds(0))
    found.judge(outcome(BAD), Seconds(1))
    found.see(seen(at=3))
    assert found.refs == {A}
