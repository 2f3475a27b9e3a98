"""A client that moves on; how long a model stays at least; how often there may be a swap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import RAM, Seconds, gib
from supervisor.clients import SILENT
from supervisor.core.policy import Amount, Brake, ModelPolicy, PoolPolicy, Switch, Watchdog
from tests.builders import ref
from tests.scenarios.inn import ROOMY, Inn, inn, run

ENGINE = replace(ROOMY, unload_on_switch=Switch.ENGINE)
HOST = replace(ROOMY, unload_on_switch=Switch.HOST)


def test_what_a_client_moves_on_from_leaves_and_what_others_use_stays() -> None:
    async def story() -> None:
        async with inn(policy=ENGINE) as home:
            await home.at.door.load("a", client="agent")
            await home.client_loads("c")  # of somebody who does not say who it is
            await home.rest()
            await home.at.door.load("b", client="agent")
            assert home.loaded == ["b", "c"]
            assert home.last()["cause"] == "agent asked to load one/b"
            await home.rest()
            await home.at.door.load("b", client="agent")  # the same again
            assert home.loaded == ["b", "c"]

    run(story)


def test_one_that_another_client_holds_stays_until_that_moves_on_too() -> None:
    async def story() -> None:
        async with inn(policy=ENGINE) as home:
            await home.at.door.load("a", client="agent")
            await home.at.door.load("a", client="other")
            await home.rest()
            await home.at.door.load("b", client="agent")
            await home.rest()
            assert home.loaded == ["a", "b"]
            await home.at.door.load("b", client="other")
            await home.rest()
            assert home.loaded == ["b"]

    run(story)


def test_a_lease_holds_it_and_so_does_a_pin() -> None:
    async def story() -> None:
        async with inn(policy=ENGINE) as home:
            await home.at.door.load("a", client="agent")
            await home.rest()
            await home.at.door.pin("a")
            await home.at.door.load("b", client="agent")
            await home.rest()
            assert home.loaded == ["a", "b"]
            assert home.at.loop.policy.is_pinned(ref("a", "one"))

    run(story)


@pytest.mark.parametrize(("policy", "stays"), [(ENGINE, True), (HOST, False), (ROOMY, True)])
def test_how_far_a_client_has_to_move_is_a_setting(policy: object, stays: bool) -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=policy) as home:  # type: ignore[arg-type]
            await home.at.door.load("a", client="agent")
            await home.rest()
            await home.at.door.load("x", client="agent")
            await home.rest()
            assert ("a" in home.loaded) is stays

    run(story)


def test_the_setting_of_the_model_that_is_left_decides() -> None:
    async def story() -> None:
        kept = replace(HOST, models={"a": ModelPolicy(unload_on_switch=Switch.OFF)})
        async with inn(policy=kept) as home:
            for model in ("a", "b", "c"):
                await home.at.door.load(model, client="agent")
                await home.rest()
            assert home.loaded == ["a", "c"]

    run(story)


def test_one_at_work_leaves_when_it_has_ended_and_not_if_its_client_comes_back() -> None:
    async def story() -> None:
        async with inn(policy=ENGINE) as home:
            await home.at.door.load("a", client="agent")
            await home.rest()
            for _ in range(3):  # still streaming
                await home.used("a")
            await home.at.door.load("b", client="agent", wait=False)
            await home.used("a")
            assert home.loaded == ["a", "b"]
            await home.rest()
            assert home.loaded == ["b"]
            await home.used("b")
            await home.at.door.load("c", client="agent", wait=False)
            await home.used("b")
            await home.at.door.load("b", client="agent")
            await home.rest(30)
            assert home.loaded == ["b"]

    run(story)


def test_a_client_that_is_silent_for_an_hour_holds_nothing() -> None:
    async def story() -> None:
        async with inn(policy=ENGINE) as home:
            await home.at.door.load("a", client="agent")
            await home.at.door.load("a", client="gone")
            await home.at.tick(SILENT - 30)
            await home.at.door.load("a", client="agent")
            await home.at.tick(60)
            await home.at.door.load("b", client="agent")
            await home.rest()
            assert home.loaded == ["b"]

    run(story)


def test_nobody_leaves_for_a_model_that_its_client_cannot_have() -> None:
    async def story() -> None:
        async with inn(sizes={"b": 100}, policy=ENGINE) as home:
            await home.at.door.load("a", client="agent")
            await home.rest()
            refused = await home.at.door.load("b", client="agent", wait=False)
            assert not refused.decision.plan.works
            await home.rest(30)
            assert home.loaded == ["a"]

    run(story)


def test_what_is_left_behind_is_the_first_to_make_room() -> None:
    async def story() -> None:
        async with inn(sizes={"a": 12, "c": 12, "b": 24}, policy=ENGINE) as home:
            await home.client_loads("c")
            await home.at.door.load("a", client="agent")
            await home.rest()
            await home.used("a")  # the most recently used of the two
            await home.rest()
            carried = await home.at.door.load("b", client="agent")
            assert [e.ref.model for e in carried.decision.plan.evictions] == ["a"]
            assert home.loaded == ["b", "c"]

    run(story)


def test_a_lease_on_another_model_moves_its_client_once_the_old_one_is_closed() -> None:
    async def story() -> None:
        async with inn(policy=ENGINE) as home:
            await home.client_loads("a", "b")
            await home.rest()
            leases = home.at.loop.keeping.leases
            first = leases.open(ref("a", "one"), "agent", Seconds(600))
            await home.at.tick()
            leases.open(ref("b", "one"), "agent", Seconds(600))
            await home.rest()
            assert home.loaded == ["a", "b"]  # it holds both, and says so
            leases.close(first.id)
            await home.rest()
            assert home.loaded == ["b"]

    run(story)


def young(home_policy: object = ROOMY, **changes: object) -> object:
    return replace(home_policy, min_residency=Seconds(120), **changes)  # type: ignore[type-var]


def test_a_model_stays_for_as_long_as_it_should_but_for_who_asks_and_for_memory() -> None:
    async def story() -> None:
        policy = young(max_active=1, watchdog=Watchdog(True, Seconds(30), False, Seconds(300)))
        async with inn(policy=policy) as home:  # type: ignore[arg-type]
            await home.client_loads("a")
            await home.rest(60)
            assert home.loaded == ["a"]  # idle for longer than its timeout, and too young
            refused = await home.at.door.load("b", wait=False)
            assert refused.decision.plan.full == ("host",)
            notes = {str(n.ref): n.why.value for n in refused.decision.plan.notes}
            assert notes["one/a"] == "has not been there for long enough"
            await home.at.door.evict(["a"])
            assert home.loaded == []
            await home.client_loads("a")
            await home.rest(130)
            assert home.loaded == []  # old enough now, and idle

    run(story)


def test_short_memory_does_not_wait_for_a_model_to_grow_old() -> None:
    async def story() -> None:
        pools = {RAM: PoolPolicy(reserve=Amount(size=gib(4)))}
        async with inn(policy=young(pools=pools)) as home:  # type: ignore[arg-type]
            await home.client_loads("a")
            await home.rest(20)
            home.ram.free = gib(1)
            await home.rest(20)
            assert home.loaded == []

    run(story)


def test_a_load_waits_for_a_model_to_be_old_enough() -> None:
    async def story() -> None:
        policy = replace(ROOMY, max_active=1, min_residency=Seconds(20))
        async with inn(policy=policy) as home:
            await home.client_loads("a")
            await home.rest(8)
            carried = await home.at.door.load("b")
            assert home.loaded == ["b"]
            assert "tries while busy" in carried.decision.cause

    run(story)


async def swaps(home: Inn, *models: str) -> list[str]:
    causes = []
    for model in models:
        carried = await home.at.door.load(model)
        causes.append(carried.decision.cause)
        await home.rest(7)
    return causes


def test_the_brake_holds_swaps_beyond_its_count_until_the_next_may_be() -> None:
    async def story() -> None:
        pools = {RAM: replace(ROOMY.pools[RAM], brake=Brake(2, Seconds(120)))}
        async with inn(policy=replace(ROOMY, pools=pools, max_active=1)) as home:
            causes = await swaps(home, "a", "b", "c")  # the first needed nobody to leave
            assert not any("held" in cause for cause in causes)
            refused = await home.at.door.load("a", wait=False)
            (barred,) = refused.decision.plan.barred
            assert barred.wait is not None
            assert 40 < barred.wait < 60
            assert "the next may leave in" in barred.why
            assert home.loaded == ["c"]
            before = home.at.clock.now
            carried = await home.at.door.load("a")
            assert "held by a swap brake" in carried.decision.cause
            assert home.loaded == ["a"]
            assert 40 < home.at.clock.now - before < 70

    run(story)


def test_the_brake_lets_pass_whoever_needs_nobody_to_leave_and_what_a_person_asks() -> None:
    async def story() -> None:
        pools = {RAM: replace(ROOMY.pools[RAM], brake=Brake(1, Seconds(600)))}
        async with inn(policy=replace(ROOMY, pools=pools, max_active=2)) as home:
            await swaps(home, "a", "b", "c")
            await home.at.door.evict([home.loaded[0]])
            missing = next(m for m in ("a", "b", "c") if m not in home.loaded)
            carried = await home.at.door.load(missing, wait=False)
            assert carried.decision.plan.works
            assert len(home.loaded) == 2

    run(story)


def test_only_a_swap_counts_and_not_what_a_person_or_a_limit_unloads() -> None:
    async def story() -> None:
        pools = {RAM: replace(ROOMY.pools[RAM], brake=Brake(1, Seconds(600)))}
        async with inn(policy=replace(ROOMY, pools=pools, max_active=1)) as home:
            await swaps(home, "a")
            await home.at.door.evict(["a"])
            await home.client_loads("a", "b")
            await home.rest()
            assert len(home.loaded) == 1  # the limit was met
            await home.at.door.load("c", wait=False)
            assert home.loaded == ["c"]

    run(story)
