import pytest

from supervisor.core.plan import Evict, Why
from supervisor.core.snapshot import Snapshot
from supervisor.core.verdict import Verdict, judge
from tests.builders import GPU, OTHER, machine, ref, resident, share

EIGHT = Evict(ref("m"), (share(8),), Why.MAKES_ROOM)


@pytest.mark.parametrize(
    ("free_after", "verdict"),
    [
        (10, Verdict.RECOVERED),
        (8, Verdict.RECOVERED),
        (7.9, Verdict.PARTLY),
        (2, Verdict.NOTHING),
        (1, Verdict.NOTHING),
    ],
)
def test_three_quarters_of_the_promise_is_a_yes(free_after: float, verdict: Verdict) -> None:
    before = machine(resident("m", 8), free=2)
    assert judge(EIGHT, before, machine(free=free_after)).verdict is verdict


def test_what_came_back_is_said_in_bytes_also_when_a_neighbour_took_more() -> None:
    got = judge(EIGHT, machine(resident("m", 8), free=2), machine(free=1))
    assert (got.promised, got.returned) == (8 << 30, -1 << 30)
    assert got.gone


def test_a_pool_that_went_blind_meanwhile_gives_no_verdict() -> None:
    after = Snapshot(machine(free=1).taken_at, (), blind={GPU: "lost"})
    assert judge(EIGHT, machine(free=2), after).verdict is Verdict.BLIND


def test_a_promise_of_nothing_cannot_be_measured() -> None:
    nothing = Evict(ref("m"), (), Why.ASKED)
    assert judge(nothing, machine(free=2), machine(free=2)).verdict is Verdict.BLIND


def test_the_engine_s_word_is_kept_apart_from_the_bytes() -> None:
    still = machine(resident("m", 8), free=10)
    got = judge(EIGHT, machine(resident("m", 8), free=2), still)
    assert got.verdict is Verdict.RECOVERED
    assert not got.gone


def test_only_the_pools_of_the_promise_count() -> None:
    elsewhere = Evict(ref("m"), (share(8, OTHER),), Why.MAKES_ROOM)
    assert judge(elsewhere, machine(free=2), machine(free=10)).verdict is Verdict.BLIND
