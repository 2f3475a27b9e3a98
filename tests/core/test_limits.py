"""How many models are active, and for whom somebody has to leave."""

from __future__ import annotations

from supervisor.core.limits import Slots
from supervisor.core.plan import limit, plan
from supervisor.core.policy import Policy
from supervisor.core.snapshot import State
from tests.builders import demand, machine, ref, resident

LOST = resident("lost", 4, state=State.UNKNOWN, engine="silent")


def test_nobody_leaves_for_models_of_an_engine_that_does_not_answer() -> None:
    world = machine(LOST, resident("a", 4, idle=9), resident("b", 4), free=9)
    assert limit(world, Policy(max_active=2)).actions == ()
    assert limit(world, Policy(single=True)).evictions[0].ref == ref("a")  # for b, not for lost
    alone = machine(LOST, resident("a", 4, idle=9), free=9)
    assert limit(alone, Policy(single=True)).actions == ()


def test_a_newcomer_is_counted_beside_them_for_they_may_well_be_there() -> None:
    world = machine(LOST, free=9)
    assert Slots(world, Policy(max_active=1), demand("new", 1)).full() == ("host",)
    assert plan(world, Policy(max_active=1), demand("new", 1)).full == ("host",)
