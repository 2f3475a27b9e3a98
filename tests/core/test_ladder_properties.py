"""What is true of every plan in which models may sleep, whatever the situation."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import RAM, Bytes, MemoryPool, PoolKind, Seconds
from supervisor.core.headroom import rooms, shortfall, without
from supervisor.core.ladder import ASLEEP, Rung, weights
from supervisor.core.plan import Plan, Trigger, dismiss, plan
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import Ability, Demand, Resident, Share, Snapshot, State
from tests.builders import GPU, engine, ref

ABLE = st.sets(st.sampled_from([Ability.SLEEP, Ability.DEEP_SLEEP, Ability.UNLOAD]))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Snapshot, Policy, Demand]:
    left, residents, residues = 100, [], {}
    for i in range(draw(st.integers(0, 4))):
        size = draw(st.integers(0, left))
        left -= size
        found = Resident(
            ref(f"m{i}", draw(st.sampled_from("ef"))),
            (Share(GPU, Bytes(size)),),
            state=draw(st.sampled_from([State.LOADED, State.LOADED, State.SLEEPING])),
            busy=draw(st.sampled_from([False, False, True])),
            idle_for=Seconds(draw(st.integers(0, 9))),
        )
        residents.append(found)
        residues[found.ref] = (Share(GPU, Bytes(draw(st.integers(0, 10)))),)
    ram = draw(st.integers(0, 60))
    pools = (
        MemoryPool(GPU, PoolKind.DEDICATED, Bytes(100), Bytes(left)),
        MemoryPool(RAM, PoolKind.HOST, Bytes(60), Bytes(ram)),
    )
    engines = tuple(
        replace(engine(e), abilities=frozenset(draw(ABLE) | {Ability.LIST})) for e in "ef"
    )
    allowed = tuple(sorted(draw(st.sets(st.sampled_from([*ASLEEP, Rung.UNLOAD]))), key=str))
    policy = Policy(
        pools={p: PoolPolicy(Amount(Bytes(draw(st.integers(0, 3))))) for p in (GPU, RAM)},
        ladder=allowed,
    )
    snapshot = Snapshot(Seconds(0), pools, tuple(residents), engines=engines, residues=residues)
    want = (
        Share(GPU, Bytes(draw(st.integers(0, 110)))),
        Share(RAM, Bytes(draw(st.integers(0, 9)))),
    )
    return snapshot, policy, Demand(want, ref("new", "e"))


def carried_out(snapshot: Snapshot, done: Plan) -> Snapshot:
    """The world after the first rung of each eviction."""
    by_ref = {r.ref: r for r in snapshot.residents}
    after = without(snapshot, {e.ref for e in done.evictions})
    card, ram = after.pools
    asleep = []
    for eviction in done.evictions:
        if eviction.ladder[0] in ASLEEP:
            sleeper = by_ref[eviction.ref]
            kept = min(sleeper.holds(GPU), snapshot.residues[sleeper.ref][0].size)
            asleep.append(replace(sleeper, state=State.SLEEPING, shares=(Share(GPU, Bytes(kept)),)))
            card = replace(card, free=Bytes(card.free - kept))
            if eviction.ladder[0] is Rung.SLEEP:
                ram = replace(ram, free=Bytes(ram.free - weights(sleeper, snapshot)))
    return replace(after, pools=(card, ram), residents=(*after.residents, *asleep))


@given(situations())
def test_a_plan_with_sleep_in_it_fits_and_asks_for_nothing_that_cannot_be(
    situation: tuple[Snapshot, Policy, Demand],
) -> None:
    snapshot, policy, want = situation
    got = plan(snapshot, policy, want)
    assert bool(got.actions) == got.works
    assert {n.ref for n in got.notes} == {*(r.ref for r in snapshot.residents), want.ref}
    for eviction in got.evictions:
        victim = snapshot.resident(eviction.ref)
        able = snapshot.engine(eviction.ref.engine)
        assert victim is not None
        assert able is not None
        assert eviction.ladder
        for rung in eviction.ladder:
            assert rung in policy.ladder
            assert Ability(rung.value) in able.abilities
        if eviction.ladder[0] in ASLEEP:
            assert victim.state is State.LOADED
            assert [s.pool for s in eviction.frees] == [GPU]
    if got.works:
        after = carried_out(snapshot, got)
        assert not shortfall(after, policy, want.shares)
        slept = any(e.ladder[0] is Rung.SLEEP for e in got.evictions)
        (room,) = rooms(after, policy, (RAM,))
        assert not slept or room.headroom >= 0  # nobody slept in room that was not there


@given(situations())
def test_one_who_is_told_to_go_sleeps_only_where_it_can_do_nothing_else(
    situation: tuple[Snapshot, Policy, Demand],
) -> None:
    snapshot, policy, _ = situation
    refs = [r.ref for r in snapshot.residents]
    for eviction in dismiss(snapshot, policy, refs, Trigger.OPERATOR).evictions:
        able = snapshot.engine(eviction.ref.engine)
        assert able is not None
        unloads = Ability.UNLOAD in able.abilities and Rung.UNLOAD in policy.ladder
        assert (eviction.ladder == (Rung.UNLOAD,)) == unloads
