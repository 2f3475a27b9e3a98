from dataclasses import replace

import pytest

from collectors.reading import RAM, MemoryPool, PoolKind, Seconds, gib
from supervisor.core.plan import Evict, Why
from supervisor.core.snapshot import Resident, Share, Snapshot, Source, State
from supervisor.core.verdict import Verdict, judge
from tests.builders import GPU, OTHER, machine, ref, resident, share

EIGHT = Evict(ref("m"), (share(8),), Why.MAKES_ROOM)


@pytest.mark.parametrize(
    ("free_after", "verdict"),
    [
        (10, Verdict.RECOVERED),
        (8, Verdict.RECOVERED),
        (7.9, Verdict.PARTLY),
        (2.1, Verdict.PARTLY),
        (2.05, Verdict.NOTHING),  # pages of its process that move all the time
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


def neighbour(size: float, *pids: int, state: State = State.LOADED) -> Resident:
    return replace(resident("n", size, state=state), pids=pids)


def test_what_a_model_holds_that_came_meanwhile_had_come_back() -> None:
    """Else the victim's engine would be restarted, or its process ended, for nothing."""
    victim = replace(resident("m", 8), pids=(7,))
    for there, was in (
        ((), 0),
        ((neighbour(2, 9, state=State.LOADING),), 2),
        ((neighbour(1, 9, state=State.SLEEPING),), 1),
    ):
        before = machine(victim, *there, free=6)
        got = judge(EIGHT, before, machine(neighbour(5, 9), free=6 + 8 - (5 - was)))
        assert (got.verdict, got.returned) == (Verdict.RECOVERED, gib(8))
        got = judge(EIGHT, before, machine(neighbour(5, 9), free=6 - (5 - was)))
        assert got.verdict is Verdict.NOTHING  # it took of what was free


@pytest.mark.parametrize(
    ("there", "came"),
    [
        ((), neighbour(8, 7)),  # under another name
        ((), neighbour(8)),  # nobody knows where
        ((), replace(neighbour(8, 9), shares=(Share(GPU, gib(8), Source.REPORTED),))),
        ((neighbour(1, 9),), neighbour(9, 9)),  # it was there already
    ],
)
def test_what_may_be_the_victim_s_own_or_was_there_before_has_not(
    there: tuple[Resident, ...], came: Resident
) -> None:
    victim = replace(resident("m", 8), pids=(7,))
    got = judge(EIGHT, machine(victim, *there, free=2), machine(came, free=2))
    assert got.verdict is Verdict.NOTHING


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


RAM_OF_M = Evict(ref("m"), (Share(RAM, gib(8)),), Why.MAKES_ROOM)


def host(free: float, *, there: bool, lingering: float | None = None) -> Snapshot:
    model = resident("m", 8, pool=RAM)
    return Snapshot(
        Seconds(0),
        (MemoryPool(RAM, PoolKind.HOST, gib(64), gib(free)),),
        (replace(model, pids=(7,)),) if there else (),
        lingering={} if lingering is None else {ref("m"): gib(lingering)},
    )


def test_the_end_of_a_process_gives_its_ram_back_however_late_the_kernel_counts_it() -> None:
    got = judge(RAM_OF_M, host(10, there=True), host(11, there=False))
    assert got.verdict is Verdict.RECOVERED
    assert got.returned == gib(8)
    assert got.late
    assert not judge(RAM_OF_M, host(10, there=True), host(18, there=False)).late


def test_a_process_that_lingers_has_given_nothing_back() -> None:
    got = judge(RAM_OF_M, host(10, there=True), host(10, there=False, lingering=8))
    assert got.verdict is Verdict.NOTHING
    half = judge(RAM_OF_M, host(10, there=True), host(10, there=False, lingering=4))
    assert half.verdict is Verdict.PARTLY


def test_a_model_that_is_still_listed_is_judged_by_free_bytes_alone() -> None:
    got = judge(RAM_OF_M, host(10, there=True), host(10, there=True))
    assert got.verdict is Verdict.NOTHING


def test_an_accelerator_is_judged_by_free_bytes_alone() -> None:
    before = machine(replace(resident("m", 8), pids=(7,)), free=2)
    assert judge(EIGHT, before, machine(free=2)).verdict is Verdict.NOTHING
