"""The ladder of an eviction: what is milder comes first, and only what the operator allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import RAM, MemoryPool, PoolId, PoolKind, Seconds, gib
from supervisor.core.groups import Group, Rule
from supervisor.core.ladder import DEFAULT, RESIDUE, Rung, asleep, ladder
from supervisor.core.limits import Slots
from supervisor.core.plan import Evict, Trigger, Why, dismiss, plan, relieve
from supervisor.core.policy import EnginePolicy, Policy
from supervisor.core.snapshot import Ability, EngineId, Snapshot, State
from supervisor.core.verdict import judge
from tests.builders import GPU, demand, engine, machine, reserve, resident, share

VLLM = frozenset({Ability.LIST, Ability.SLEEP, Ability.DEEP_SLEEP, Ability.IN_FLIGHT})
ALL = tuple(Rung)


def host(snapshot: Snapshot, ram: float, *abilities: frozenset[Ability]) -> Snapshot:
    """With RAM, `ram` GiB of it free, and the first engines able to do these."""
    pool = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(ram))
    engines = tuple(
        replace(e, abilities=able)
        for e, able in zip(snapshot.engines, abilities or (VLLM,), strict=False)
    )
    left = snapshot.engines[len(engines) :]
    return replace(snapshot, pools=(*snapshot.pools, pool), engines=(*engines, *left))


def allow(*rungs: Rung, policy: Policy | None = None) -> Policy:
    base = policy or reserve(0)
    pools = dict(base.pools) | {RAM: reserve(0, RAM).pools[RAM]}
    return replace(base, pools=pools, ladder=rungs or DEFAULT)


BIG = resident("big", 16, idle=60)


# -- which rungs there are


def test_every_rung_is_there_that_the_engine_gives_and_the_operator_allows() -> None:
    able = replace(
        engine(), abilities=VLLM | {Ability.UNLOAD, Ability.RESTART}, service="x.service"
    )
    big = replace(BIG, pids=(7,))
    assert ladder(big, able, ALL, alone=True) == ALL
    assert ladder(big, able, DEFAULT, alone=True) == DEFAULT
    assert ladder(big, able, (Rung.KILL, Rung.UNLOAD), alone=True) == (Rung.UNLOAD, Rung.KILL)


@pytest.mark.parametrize(
    ("lack", "missing"),
    [
        ({"abilities": frozenset({Ability.LIST})}, {Rung.SLEEP, Rung.DEEP_SLEEP, Rung.UNLOAD}),
        ({"service": None}, {Rung.RESTART, Rung.STOP}),
    ],
)
def test_what_an_engine_cannot_give_is_never_asked_of_it(
    lack: dict[str, object], missing: set[Rung]
) -> None:
    able = replace(engine(), abilities=VLLM | {Ability.UNLOAD}, service="x.service")
    found = ladder(replace(BIG, pids=(7,)), replace(able, **lack), ALL, alone=True)  # type: ignore[arg-type]
    assert missing.isdisjoint(found)
    assert missing | set(found) == set(ALL)


def test_a_process_that_nobody_knows_cannot_be_ended() -> None:
    assert ladder(BIG, engine(), ALL, alone=True) == (Rung.UNLOAD,)


def test_a_whole_engine_is_not_ended_under_a_model_that_has_to_stay() -> None:
    able = replace(engine(), service="ollama.service")
    pinned = resident("dear", 4)
    world = replace(machine(BIG, pinned, free=1), engines=(able,))
    policy = replace(allow(*ALL), pinned=frozenset({"dear"}))
    (only,) = plan(world, policy, demand("new", 12)).evictions
    assert only.ladder == (Rung.UNLOAD,)
    (alone,) = plan(world, allow(*ALL), demand("new", 12)).evictions
    assert alone.ladder == (Rung.UNLOAD, Rung.RESTART, Rung.STOP)


def test_a_stuck_model_does_not_take_another_that_works_with_it() -> None:
    able = replace(engine(), service="ollama.service")
    stuck, works = resident("stuck", 4, busy=900), resident("works", 4, busy=1)
    for other, rungs in ((works, {Rung.UNLOAD}), (resident("works", 4), set(ALL[2:5]))):
        world = replace(machine(stuck, other, free=1), engines=(able,))
        found = dismiss(world, allow(*ALL), [stuck.ref], Trigger.BUSY, even_busy=True)
        assert set(found.evictions[0].ladder) == rungs


def test_a_sleeping_model_is_not_told_to_sleep() -> None:
    able = replace(engine(), abilities=VLLM | {Ability.UNLOAD})
    assert ladder(replace(BIG, state=State.SLEEPING), able, ALL, alone=True) == (Rung.UNLOAD,)


# -- what sleeping gives


def test_what_a_sleeping_model_keeps_is_as_it_was_seen_else_as_is_usual() -> None:
    world = machine(BIG, free=8)
    first = asleep(BIG, world)
    assert first is not None
    assert first.holds(GPU) == gib(16) - RESIDUE
    seen = asleep(BIG, replace(world, residues={BIG.ref: (share(3),)}))
    assert seen is not None
    assert seen.holds(GPU) == gib(13)


def test_a_model_in_memory_that_the_gpu_shares_with_the_host_gives_nothing_by_sleeping() -> None:
    pool = MemoryPool(GPU, PoolKind.UNIFIED, gib(24), gib(1))
    world = replace(host(machine(BIG, free=1), 60), pools=(pool,))
    assert asleep(BIG, world) is None
    wish = plan(world, allow(), demand("new", 12))
    assert not wish.evictions
    assert [n.why for n in wish.notes if n.ref == BIG.ref] == [Why.NO_BED]


# -- plans with sleep in them


def only(world: Snapshot, policy: Policy, size: float = 12) -> Evict:
    (found,) = plan(world, policy, demand("new", size)).evictions
    return found


def test_who_can_sleep_sleeps_and_promises_no_more_than_that_gives() -> None:
    world = host(machine(BIG, free=4), 40, VLLM | {Ability.UNLOAD})
    found = only(world, allow())
    assert found.ladder == (Rung.SLEEP, Rung.DEEP_SLEEP, Rung.UNLOAD)
    assert [s.size for s in found.frees] == [gib(16) - RESIDUE]


def test_weights_go_to_ram_only_where_it_has_room_for_them() -> None:
    world = host(machine(BIG, free=4), 10)
    assert only(world, allow()).ladder == (Rung.DEEP_SLEEP,)
    able = host(machine(BIG, free=4), 10, VLLM - {Ability.DEEP_SLEEP} | {Ability.UNLOAD})
    assert only(able, allow()).ladder == (Rung.UNLOAD,)


def test_two_models_do_not_sleep_in_the_same_room() -> None:
    a, b = resident("a", 10, idle=9), resident("b", 10, idle=1)
    world = host(machine(a, b, free=2), 15)
    one, other = plan(world, allow(), demand("new", 19)).evictions
    assert (one.ladder[0], other.ladder[0]) == (Rung.SLEEP, Rung.DEEP_SLEEP)


def test_ram_that_the_newcomer_needs_is_not_slept_in() -> None:
    world = host(machine(BIG, free=4), 20)
    wish = replace(demand("new", 12), shares=(share(12), share(10, RAM)))
    (found,) = plan(world, allow(), wish).evictions
    assert found.ladder == (Rung.DEEP_SLEEP,)


def test_one_that_can_only_sleep_stays_where_there_is_no_room_for_it() -> None:
    world = host(machine(BIG, free=4), 10, VLLM - {Ability.DEEP_SLEEP})
    wish = plan(world, allow(), demand("new", 12))
    assert not wish.evictions
    assert Why.NO_BED in {n.why for n in wish.notes}


def test_where_sleeping_is_not_enough_whoever_can_goes_for_good() -> None:
    world = host(machine(BIG, free=4), 40, VLLM | {Ability.UNLOAD})
    assert only(world, allow(), 19).ladder[0] is Rung.SLEEP  # 4 + 16 - 1
    assert only(world, allow(), 19.5).ladder == (Rung.UNLOAD,)
    refused = plan(host(machine(BIG, free=4), 40), allow(), demand("new", 19.5))
    assert not refused.evictions
    assert not refused.works


def test_sleep_that_the_operator_does_not_allow_is_not_asked_for() -> None:
    world = host(machine(BIG, free=4), 40, VLLM | {Ability.UNLOAD})
    assert only(world, allow(Rung.UNLOAD)).ladder == (Rung.UNLOAD,)
    one = replace(allow(), engines={EngineId("ollama"): EnginePolicy(ladder=(Rung.UNLOAD,))})
    assert only(world, one).ladder == (Rung.UNLOAD,)


def test_relief_lets_models_sleep_too() -> None:
    world = host(machine(BIG, free=1), 40)
    (found,) = relieve(world, allow(policy=reserve(2))).evictions
    assert found.ladder == (Rung.SLEEP, Rung.DEEP_SLEEP)


# -- who is told to go


def test_an_operators_unload_is_an_unload_where_there_is_one() -> None:
    world = host(machine(BIG, free=4), 40, VLLM | {Ability.UNLOAD})
    (found,) = dismiss(world, allow(), [BIG.ref], Trigger.OPERATOR).evictions
    assert found.ladder == (Rung.UNLOAD,)
    assert [s.size for s in found.frees] == [gib(16)]
    (sleeps,) = dismiss(host(world, 40), allow(), [BIG.ref], Trigger.OPERATOR).evictions
    assert sleeps.ladder == (Rung.SLEEP, Rung.DEEP_SLEEP)
    assert [s.size for s in sleeps.frees] == [gib(15)]


def test_one_that_is_idle_for_too_long_sleeps_first() -> None:
    world = host(machine(BIG, free=4), 40, VLLM | {Ability.UNLOAD})
    (found,) = dismiss(world, allow(), [BIG.ref], Trigger.IDLE).evictions
    assert found.ladder[0] is Rung.SLEEP
    full = host(machine(BIG, free=4), 1, frozenset({Ability.LIST, Ability.SLEEP}))
    gone = dismiss(full, allow(), [BIG.ref], Trigger.IDLE)
    assert (gone.evictions, [n.why for n in gone.notes]) == ((), [Why.NO_BED])


@pytest.mark.parametrize("pool", [GPU, RAM])
def test_nobody_goes_beside_one_that_can_only_sleep_and_has_no_bed(pool: PoolId) -> None:
    mate = resident("mate", 4, pool=pool, engine="two", idle=90)
    group = Group(Rule.ALWAYS_TOGETHER, ("big", "mate"))
    policy = replace(allow(), groups={"pair": group})
    full = host(machine(BIG, mate, free=4), 1, frozenset({Ability.LIST, Ability.SLEEP}))
    for trigger in (Trigger.IDLE, Trigger.OPERATOR):
        gone = dismiss(full, policy, [BIG.ref, mate.ref], trigger)
        assert (gone.evictions, {n.ref: n.why for n in gone.notes}) == (
            (),
            {BIG.ref: Why.NO_BED, mate.ref: Why.STAYS_TOGETHER},
        )
    for wanted in (demand("new", 6), demand("new", 3, RAM)):
        wish = plan(full, policy, wanted)
        assert not wish.evictions
    roomy = host(machine(BIG, mate, free=4), 40, frozenset({Ability.LIST, Ability.SLEEP}))
    assert {e.ref for e in plan(roomy, policy, demand("new", 6)).evictions} == {BIG.ref, mate.ref}


# -- waking


def test_a_sleeping_model_needs_only_what_it_has_not_kept() -> None:
    sleeper = resident("new", 2, state=State.SLEEPING)
    world = machine(BIG, sleeper, free=6)
    wish = plan(world, reserve(0), demand("new", 8))
    assert wish.works
    assert not wish.evictions
    assert plan(world, reserve(0), demand("new", 9)).evictions


def test_a_sleeping_model_takes_no_slot() -> None:
    sleeper = replace(BIG, state=State.SLEEPING)
    world = machine(sleeper, resident("b", 1), free=4, at=Seconds(0))
    assert Slots(world, Policy(max_active=1)).full() == ()
    assert Slots(world, Policy(max_active=1), demand("c", 1)).full() == ("host",)


def test_a_model_that_only_sleeps_after_an_unload_is_not_gone() -> None:
    action = Evict(BIG.ref, (share(16),), Why.ASKED)
    after = machine(replace(BIG, state=State.SLEEPING), free=8)
    assert not judge(action, machine(BIG, free=8), after).gone
    assert judge(action, machine(BIG, free=8), after, Rung.SLEEP).gone
