"""What a plan may still do when it is made afresh, beside others that are under way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from collectors.reading import RAM, PoolId, Seconds, gib
from supervisor.core.actions import Action, Evict, Load, Plan, Trigger, Why
from supervisor.core.record import Decision, Mode, Outcome, Result
from supervisor.core.snapshot import Share
from supervisor.events import Run
from supervisor.goings import Goings
from tests.builders import GPU, OTHER, machine, ref


def under_way(*actions: Action, trigger: Trigger = Trigger.LIMIT) -> Run:
    plan = Plan(trigger, actions)
    decision = Decision("d-1", 0.0, Mode.ENFORCE, "a test", plan)
    return Run(decision, lambda snapshot, policy, experience: plan, asyncio.Future())


def evict(name: str, pool: PoolId) -> Evict:
    return Evict(ref(name), (Share(pool, gib(2)),), Why.MAKES_ROOM)


def test_who_was_not_to_go_stays_where_another_plan_is_under_way() -> None:
    async def story() -> None:
        loading = under_way(Load(ref("new"), (Share(GPU, gib(4)),)), trigger=Trigger.DEMAND)
        limit = under_way(evict("other", OTHER))
        goings = Goings([loading, limit], lambda: 0.0)
        afresh = Plan(Trigger.LIMIT, (evict("there", GPU),))
        made = goings.within(limit, afresh)
        assert made.evictions == ()
        assert not made.works  # and no load is begun as if there were room now
        assert [s.pool for s in made.unmet] == [GPU]
        goings.runs.remove(loading)
        assert goings.within(limit, afresh) is afresh

    asyncio.run(story())


def test_who_was_to_go_and_who_goes_instead_in_the_same_pool_go_on() -> None:
    async def story() -> None:
        loading = under_way(Load(ref("new"), (Share(GPU, gib(4)),)), trigger=Trigger.DEMAND)
        limit = under_way(evict("other", OTHER))
        goings = Goings([loading, limit], lambda: 0.0)
        for afresh in (Plan(Trigger.LIMIT, (evict(n, OTHER),)) for n in ("other", "instead")):
            assert goings.within(limit, afresh) is afresh

    asyncio.run(story())


def test_two_who_ask_for_a_model_do_not_both_have_it_loaded() -> None:
    """However many loads may be side by side, and wherever the second plan has found room."""

    async def story() -> None:
        first = under_way(Load(ref("new"), (Share(GPU, gib(4)),)), trigger=Trigger.DEMAND)
        goings = Goings([first], lambda: 0.0, side_by_side=2)
        for pool in (GPU, OTHER):
            second = Plan(Trigger.DEMAND, (Load(ref("new"), (Share(pool, gib(4)),)),))
            assert goings.in_the_way(second)
            beside = Plan(Trigger.DEMAND, (Load(ref("another"), (Share(pool, gib(4)),)),))
            assert not goings.in_the_way(beside)

    asyncio.run(story())


def blind(goings: Goings, *pools: PoolId) -> None:
    goings.saw(replace(machine(free=4), blind=dict.fromkeys(pools, "lost")), Seconds(1.0))


def test_who_is_seen_in_ram_alone_may_be_on_a_gpu_that_nobody_can_read() -> None:
    async def story() -> None:
        first = under_way(evict("in-ram", PoolId(RAM)), trigger=Trigger.UNUSED)
        goings = Goings([first], lambda: 0.0)
        other = Plan(Trigger.BUSY, (evict("there", OTHER),))
        assert not goings.in_the_way(other)
        blind(goings, OTHER)
        assert goings.in_the_way(other)
        gone = Outcome("d-1", 2.0, first.decision.plan.actions[0], Result.DONE)
        first.outcomes.append(gone)
        assert not goings.in_the_way(other)

    asyncio.run(story())


def test_who_was_told_to_go_while_a_gpu_could_not_be_read_may_be_on_it_when_it_can() -> None:
    async def amended(decision: Decision) -> None:
        pass

    async def story() -> None:
        first = under_way(evict("in-ram", PoolId(RAM)), trigger=Trigger.UNUSED)
        goings = Goings([first], lambda: 0.0)
        other = Plan(Trigger.RELIEF, (evict("there", OTHER),))
        blind(goings, OTHER)
        await goings.leave(first, first.decision.plan.evictions[0], amended)
        blind(goings)
        assert goings.in_the_way(other)
        assert not goings.in_the_way(Plan(Trigger.RELIEF, (evict("elsewhere", GPU),)))
        gone = Outcome("d-1", 2.0, first.decision.plan.actions[0], Result.DONE)
        first.outcomes.append(gone)
        assert not goings.in_the_way(other)

    asyncio.run(story())


def test_a_gpu_that_nobody_can_read_keeps_nobody_from_two_others() -> None:
    async def story() -> None:
        room = (evict("a", GPU), Load(ref("new"), (Share(GPU, gib(4)),)))
        goings = Goings([under_way(*room, trigger=Trigger.DEMAND)], lambda: 0.0)
        blind(goings, PoolId("GPU-lost"))
        assert not goings.in_the_way(Plan(Trigger.RELIEF, (evict("b", OTHER),)))

    asyncio.run(story())


def test_who_goes_from_ram_alone_waits_for_whoever_takes_some_of_it_besides() -> None:
    """Else nobody could tell whether its memory has come back."""

    async def story() -> None:
        beside = (Share(PoolId(RAM), gib(1)),)
        first = under_way(Load(ref("a"), (Share(GPU, gib(4)), *beside)), trigger=Trigger.DEMAND)
        goings = Goings([first], lambda: 0.0, side_by_side=2)
        load = Load(ref("b"), (Share(OTHER, gib(4)), *beside))
        assert not goings.in_the_way(Plan(Trigger.DEMAND, (load,)))
        for pool, waits in ((OTHER, False), (PoolId(RAM), True)):
            assert goings.in_the_way(Plan(Trigger.DEMAND, (evict("old", pool), load))) is waits
        second = under_way(evict("old", PoolId(RAM)), load, trigger=Trigger.DEMAND)
        goings.runs[:] = [second]
        other = Plan(Trigger.DEMAND, first.decision.plan.actions)
        assert goings.in_the_way(other)
        second.outcomes.append(Outcome("d-1", 2.0, second.decision.plan.actions[0], Result.DONE))
        assert not goings.in_the_way(other)  # it has gone, and was seen to

    asyncio.run(story())
