"""What becomes of models that sleep: when they have rested for long, beside others that go together
with them, and where their client has moved on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Seconds, gib
from supervisor.brakes import Brakes
from supervisor.core.brake import Bucket
from supervisor.core.explain import why
from supervisor.core.groups import Group, Rule
from supervisor.core.ladder import RESIDUE, Rung
from supervisor.core.plan import Trigger, Why, dismiss, plan
from supervisor.core.policy import Brake, ModelPolicy, PoolPolicy, Switch, Watchdog
from supervisor.core.snapshot import Ability, State
from supervisor.core.switch import switch
from supervisor.core.watch import Kind, watch
from tests.builders import GPU, demand, machine, ref, resident
from tests.core.test_ladder import BIG, VLLM, allow, host

BOTH = VLLM | {Ability.UNLOAD}


@pytest.mark.parametrize(
    ("rungs", "found"), [((), False), ((Rung.SLEEP, Rung.UNLOAD), False), ((Rung.UNLOAD,), True)]
)
def test_one_that_sleeps_because_it_was_idle_is_left_asleep(
    rungs: tuple[Rung, ...], found: bool
) -> None:
    """Else its weights would go to RAM, and a moment later for good."""
    policy = replace(allow(*rungs), watchdog=Watchdog(idle=True, idle_timeout=Seconds(60)))
    asleep = resident("big", 1, idle=900, state=State.SLEEPING)
    world = host(machine(asleep, free=20), 40, BOTH)
    assert (Kind.IDLE in {f.kind for f in watch(world, policy)}) is found
    lines = why(ref("big"), world, policy, ())
    assert any("it sleeps until it is used" in line for line in lines) is not found
    assert any("unless it is used" in line for line in lines) is found
    awake = host(machine(replace(BIG, idle_for=Seconds(900)), free=4), 40, BOTH)
    assert Kind.IDLE in {f.kind for f in watch(awake, policy)}


def test_the_second_of_a_pair_goes_after_the_first_that_can_only_sleep() -> None:
    pair = Group(Rule.ALWAYS_TOGETHER, ("a", "b"))
    policy = replace(allow(), groups={"pair": pair})
    a, b = resident("a", 10, idle=60), resident("b", 10, idle=60)
    world = host(machine(a, b, free=4), 40, VLLM)
    assert len(plan(world, policy, demand("new", 20)).evictions) == 2
    lulled = replace(a, state=State.SLEEPING, shares=(replace(a.shares[0], size=RESIDUE),))
    half = host(machine(lulled, b, free=13), 40, VLLM)
    for trigger in (Trigger.IDLE, Trigger.OPERATOR, Trigger.TOGETHER):
        assert [e.ref for e in dismiss(half, policy, [b.ref], trigger).evictions] == [b.ref]
    assert [e.ref for e in plan(half, policy, demand("new", 20)).evictions] == [b.ref]
    pinned = replace(policy, pinned=frozenset({"a"}))
    (note,) = (n for n in dismiss(half, pinned, [b.ref], Trigger.OPERATOR).notes if n.ref == b.ref)
    assert note.why is Why.STAYS_TOGETHER, "somebody wants the first one to stay as it is"


def test_of_a_pair_that_was_idle_for_long_both_sleep_though_they_could_unload() -> None:
    pair = Group(Rule.ALWAYS_TOGETHER, ("a", "b"))
    policy = replace(allow(), groups={"pair": pair})
    a, b = resident("a", 8, idle=900), resident("b", 8, idle=900)
    world = host(machine(a, b, free=4), 60, BOTH)
    first, second = dismiss(world, policy, [a.ref, b.ref], Trigger.IDLE).evictions
    assert first.ladder[0] is second.ladder[0] is Rung.SLEEP
    lulled = replace(a, state=State.SLEEPING, shares=(replace(a.shares[0], size=RESIDUE),))
    half = host(machine(lulled, b, free=11), 50, BOTH)
    (one,) = dismiss(half, policy, [b.ref], Trigger.IDLE).evictions
    assert (one.ref, one.ladder[0]) == (b.ref, Rung.SLEEP)
    both = dismiss(half, policy, [b.ref], Trigger.OPERATOR).evictions
    assert {e.ref for e in both} == {a.ref, b.ref}, "who is told to go takes the other along"


def test_one_goes_for_good_where_asleep_it_would_cost_somebody_else_its_place() -> None:
    """It keeps a GiB asleep: for that another would have to go, who will be missed."""
    dear = resident("dear", 4, idle=1)
    policy = replace(allow(), models={"dear": ModelPolicy(priority=5)})
    world = host(machine(BIG, dear, free=4), 40, BOTH)
    (one,) = plan(world, policy, demand("new", 20)).evictions
    assert (one.ref, one.ladder) == (BIG.ref, (Rung.UNLOAD,))
    (one,) = plan(world, policy, demand("new", 19)).evictions
    assert (one.ref, one.ladder[0]) == (BIG.ref, Rung.SLEEP)
    cheap = replace(allow(), models={"big": ModelPolicy(priority=9)})
    first, second = sorted(plan(world, cheap, demand("new", 20)).evictions, key=lambda e: e.ref)
    assert (first.ref, first.ladder[0]) == (BIG.ref, Rung.SLEEP)
    assert second.ref == dear.ref
    only = host(
        machine(BIG, dear, free=4),
        40,
        VLLM,
    )
    assert len(plan(only, policy, demand("new", 20)).evictions) == 2, "it can do no more"


def test_a_client_that_moves_on_from_one_that_can_only_sleep_gets_what_that_frees() -> None:
    old = resident("old", 20, idle=1)
    world = host(machine(old, free=4), 40, VLLM)
    policy = replace(allow(), unload_on_switch=Switch.HOST)
    assert not switch(world, policy, demand("new", 23.5), [old.ref]).works
    assert switch(world, policy, demand("new", 23.5), [old.ref]).evictions == ()
    made = switch(world, policy, demand("new", 23), [old.ref])
    assert made.works
    assert [(e.ref, e.why) for e in made.evictions] == [(old.ref, Why.SWITCHED)]
    assert sum(s.size for s in made.evictions[0].frees) == gib(19)


def test_a_client_that_moves_on_swaps_nobody() -> None:
    """A brake neither holds it up nor counts it, and holds nobody else up for it."""
    old = resident("old", 8, idle=1)
    policy = replace(
        allow(), unload_on_switch=Switch.HOST, pools={GPU: PoolPolicy(brake=Brake(2, Seconds(600)))}
    )
    world = host(machine(old, free=12), 40, BOTH)
    made = switch(world, policy, demand("new", 8), [old.ref])
    assert [e.why for e in made.evictions] == [Why.SWITCHED]
    brakes = Brakes()
    for _ in range(20):
        brakes.begun(made, policy, Seconds(0))
    assert brakes.braked(policy, Seconds(0)) == {}
    swap = plan(world, policy, demand("new", 14))
    for _ in range(2):
        brakes.begun(swap, policy, Seconds(0))
    assert brakes.braked(policy, Seconds(0)) == {GPU: 300}


def test_a_brake_that_was_passed_is_on_no_longer_than_it_says() -> None:
    brake, bucket = Brake(2, Seconds(600)), Bucket(2, Seconds(0))
    for _ in range(20):
        bucket = bucket.take(brake, Seconds(0))
    assert bucket.wait(brake, Seconds(0)) == 300
