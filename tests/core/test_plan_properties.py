"""What is true of every plan, whatever the situation."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import Bytes, MemoryPool, PoolKind, Seconds
from supervisor.core.headroom import shortfall, without
from supervisor.core.plan import limit, plan, relieve
from supervisor.core.policy import Amount, EnginePolicy, Policy, PoolPolicy
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import (
    Demand,
    EngineId,
    Mapped,
    Resident,
    Share,
    Snapshot,
    State,
)
from tests.builders import GPU, OTHER, engine, ref

POOLS = [GPU, OTHER]


@st.composite
def situations(draw: st.DrawFn) -> tuple[Snapshot, Policy, Demand]:
    total = {p: draw(st.integers(1, 100)) for p in POOLS}
    left = dict(total)
    residents = []
    # Three files that any of them may have mapped: they are charged once, here as in the kernel.
    files = {f: (draw(st.sampled_from(POOLS)), draw(st.integers(1, 20))) for f in "xyz"}
    for p, size in {f: files[f] for f in "xyz"}.values():
        left[p] = max(0, left[p] - size)
    for i in range(draw(st.integers(0, 5))):
        parts = []
        for p in draw(st.sets(st.sampled_from(POOLS), min_size=1)):
            size = draw(st.integers(0, left[p]))
            left[p] -= size
            parts.append(Share(p, Bytes(size)))
        names = sorted(draw(st.sets(st.sampled_from("xyz"), max_size=2)))
        mapped = [Mapped(f, files[f][0], Bytes(files[f][1])) for f in names]
        residents.append(
            Resident(
                ref(f"m{i}", draw(st.sampled_from(["e", "f"]))),
                tuple(parts),
                tuple(mapped),
                draw(st.sampled_from([State.LOADED, State.LOADED, State.LOADING, State.UNKNOWN])),
                busy=draw(st.sampled_from([False, False, False, True])),
                idle_for=Seconds(draw(st.integers(0, 9))),
            )
        )
    pools = tuple(MemoryPool(p, PoolKind.DEDICATED, Bytes(total[p]), Bytes(left[p])) for p in POOLS)
    want = tuple(Share(p, Bytes(draw(st.integers(0, total[p] + 5)))) for p in POOLS)
    budgets = {p: draw(st.none() | st.integers(0, 100)) for p in POOLS}
    policy = Policy(
        pools={
            p: PoolPolicy(
                Amount(Bytes(draw(st.integers(0, 5)))),
                None if (b := budgets[p]) is None else Amount(Bytes(b)),
            )
            for p in POOLS
        },
        engines={EngineId("e"): EnginePolicy(max_active=draw(st.integers(0, 2)))},
        pinned=frozenset(
            str(r.ref) for r in residents if draw(st.sampled_from([False, False, False, True]))
        ),
        max_active=draw(st.integers(0, 4)),
        single=draw(st.sampled_from([False, False, False, True])),
        force_when_busy=draw(st.booleans()),
        restore_margin=Bytes(draw(st.integers(0, 3))),
        ranking=draw(st.sampled_from(list(RANKINGS.values()))),
    )
    engines = (engine("e"), engine("f", None if draw(st.booleans()) else "down"))
    return (
        Snapshot(Seconds(0), pools, tuple(residents), engines=engines),
        policy,
        Demand(want, ref("new", "e")),
    )


def _fits(snapshot: Snapshot, policy: Policy, want: Demand, gone: set) -> bool:
    """Worked out again from scratch, by other means than the planner's own."""
    rest = without(snapshot, gone)
    if shortfall(rest, policy, want.shares):
        return False
    active = [r.ref for r in rest.residents] + [want.ref]
    if policy.max_active and len(active) > policy.max_active:
        return False
    if policy.single and sum(not policy.is_pinned(a) for a in active if a) > 1:
        return False
    of_e = sum(1 for a in active if a and a.engine == "e")
    most = policy.max_active_of(EngineId("e"))
    return not most or of_e <= most


@given(situations())
def test_what_is_always_true_of_a_plan(situation: tuple[Snapshot, Policy, Demand]) -> None:
    snapshot, policy, want = situation
    got = plan(snapshot, policy, want)
    gone = {e.ref for e in got.evictions}
    by_ref = {r.ref: r for r in snapshot.residents}

    assert bool(got.actions) == got.works  # it works, or it says what is missing and does nothing
    assert {n.ref for n in got.notes} == {*by_ref, want.ref}  # everybody gets a reason
    for victim in gone:  # never a protected model
        assert not policy.is_pinned(victim)
        assert by_ref[victim].state is State.LOADED
        assert policy.force_when_busy or not by_ref[victim].busy
        assert snapshot.engine(victim.engine).up  # type: ignore[union-attr]
    if got.works:
        assert _fits(snapshot, policy, want, gone)
        for spare in gone:  # nobody is evicted in vain
            assert not _fits(snapshot, policy, want, gone - {spare})


@given(situations())
def test_a_refused_plan_could_not_have_worked(situation: tuple[Snapshot, Policy, Demand]) -> None:
    snapshot, policy, want = situation
    got = plan(snapshot, policy, want)
    if not got.works:
        may_go = {
            r.ref
            for r in snapshot.residents
            if r.state is State.LOADED
            and not policy.is_pinned(r.ref)
            and (policy.force_when_busy or not r.busy)
            and snapshot.engine(r.engine).up  # type: ignore[union-attr]
        }
        assert not _fits(snapshot, policy, want, may_go)


@given(situations(), st.data())
def test_the_order_things_were_listed_in_does_not_matter(
    situation: tuple[Snapshot, Policy, Demand], data: st.DataObject
) -> None:
    snapshot, policy, want = situation
    shuffled = data.draw(st.permutations(snapshot.residents))
    other = replace(snapshot, residents=tuple(shuffled))
    assert plan(snapshot, policy, want) == plan(other, policy, want)
    assert relieve(snapshot, policy) == relieve(other, policy)
    assert limit(snapshot, policy) == limit(other, policy)


@given(situations())
def test_relief_never_takes_more_than_is_needed(
    situation: tuple[Snapshot, Policy, Demand],
) -> None:
    snapshot, policy, _ = situation
    got = relieve(snapshot, policy)
    needy = {s.pool for s in shortfall(snapshot, policy, tuple(Share(p, Bytes(0)) for p in POOLS))}
    wanted = tuple(
        Share(p.id, Bytes(min(policy.restore_margin, p.total)))
        for p in snapshot.pools
        if p.id in needy
    )
    gone = {e.ref for e in got.evictions}
    left = shortfall(without(snapshot, gone), policy, wanted)
    assert left == got.unmet
    for spare in gone:  # without any one of them, more would be missing
        assert shortfall(without(snapshot, gone - {spare}), policy, wanted) != left
    if not needy:
        assert gone == set()
