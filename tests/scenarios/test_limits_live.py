"""Limits by type, pool and group; changed while models are loaded; and single-model mode."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import RAM, gib
from supervisor.config.given import ConfigError
from supervisor.core.groups import Group, Rule
from supervisor.core.policy import Amount, ModelPolicy, PoolPolicy
from supervisor.core.types import ModelType
from supervisor.door import DoorError
from supervisor.limiting import Limiting
from tests.scenarios.inn import ROOMY, inn, run


def test_a_type_has_a_limit_of_its_own_and_other_types_do_not_count_against_it() -> None:
    async def story() -> None:
        policy = replace(ROOMY, types={ModelType.EMBEDDING: 1})
        models = ("nomic-embed-text", "bge-m3", "qwen3")
        async with inn(one=models, policy=policy) as home:
            await home.client_loads("nomic-embed-text", "qwen3")
            await home.rest()
            assert home.at.decisions() == []
            carried = await home.at.door.load("bge-m3")
            assert home.loaded == ["bge-m3", "qwen3"]
            assert [str(e.ref) for e in carried.decision.plan.evictions] == ["one/nomic-embed-text"]

    run(story)


def test_a_pool_for_one_model_at_a_time_has_one_and_a_pinned_one_keeps_it() -> None:
    async def story() -> None:
        exclusive = replace(ROOMY.pools[RAM], exclusive=True)
        policy = replace(ROOMY, pools={RAM: exclusive})
        async with inn(policy=policy) as home:
            await home.at.door.load("a")
            await home.rest()
            await home.at.door.load("b")
            assert home.loaded == ["b"]
            await home.at.door.pin("b")
            await home.rest()
            refused = await home.at.door.load("c", wait=False)
            assert refused.decision.plan.full == ("pool ram",)
            assert home.loaded == ["b"]

    run(story)


def test_an_npu_holds_one_model_unless_told_otherwise() -> None:
    async def story() -> None:
        on_npu = {m: ModelPolicy(npu=True) for m in ("a", "b")}
        async with inn(policy=replace(ROOMY, models=on_npu)) as home:
            await home.client_loads("a", "c")
            await home.rest()
            await home.at.door.load("b")
            assert home.loaded == ["b", "c"]
        async with inn(policy=replace(ROOMY, models=on_npu, npu_most=0)) as home:
            await home.client_loads("a", "b")
            await home.rest()
            assert home.loaded == ["a", "b"]

    run(story)


def test_a_limit_that_is_lowered_is_met_when_a_model_arrives_and_not_before() -> None:
    async def story() -> None:
        async with inn(one=("a", "b", "c", "d")) as home:
            await home.client_loads("a", "b", "c")
            change = await home.overrides.set("max_active_backends", "1")
            assert [str(r) for r in change.now] == ["one/a", "one/b"]  # if it were applied
            assert not change.apply_now
            await home.rest(30)
            assert home.loaded == ["a", "b", "c"]
            assert ("over_limit", "host") in home.at.findings()  # true, and told
            await home.client_loads("d")
            await home.rest()
            assert home.loaded == ["d"]

    run(story)


def test_whoever_leaves_and_comes_back_has_arrived() -> None:
    async def story() -> None:
        async with inn() as home:
            await home.client_loads("a", "b", "c")
            await home.overrides.set("max_active_backends", "1")
            await home.rest()
            home.server_of("c").drop("c")
            await home.rest()
            assert home.loaded == ["a", "b"]  # one less is no arrival
            await home.client_loads("c")
            await home.rest()
            assert home.loaded == ["c"]

    run(story)


def test_a_model_that_counts_against_another_limit_makes_nobody_go_for_this_one() -> None:
    async def story() -> None:
        async with inn(one=("a", "b"), two=("x",)) as home:
            home.overrides = home.settings(engines__one__url="http://127.0.0.1:1")
            await home.client_loads("a", "b")
            await home.overrides.set("engines.one.max_active_backends", "1")
            await home.client_loads("x")
            await home.rest()
            assert home.loaded == ["a", "b", "x"]

    run(story)


def test_with_apply_now_the_least_wanted_leave_at_once_and_it_is_said_before() -> None:
    async def story() -> None:
        async with inn() as home:
            await home.client_loads("a", "b", "c")
            await home.rest()
            dry = await home.overrides.set("max_active_backends", "1", dry_run=True)
            assert (
                "who is loaded stays for now; applied at once, one/a and one/b would leave"
                in dry.sentences
            )
            await home.rest()
            assert home.loaded == ["a", "b", "c"]
            change = await home.overrides.set("max_active_backends", "1", apply_now=True)
            await home.rest()
            gone = [str(r).removeprefix("one/") for r in change.now]
            assert home.loaded == sorted({"a", "b", "c"} - set(gone))
            assert len(home.loaded) == 1

    run(story)


def test_single_model_mode_switched_on_lets_two_be_until_a_third_loads() -> None:
    async def story() -> None:
        async with inn(sizes={"giant": 100}, one=("a", "b", "c", "giant")) as home:
            await home.client_loads("a", "b")
            change = await home.overrides.set("single_model_mode", "true")
            assert {str(r) for r in change.next_load["one"] or ()} == {"one/a", "one/b"}
            await home.rest(20)
            assert home.loaded == ["a", "b"]
            # The same model is a no-op.
            again = await home.at.door.load("a")
            assert again.decision.plan.actions == ()
            assert home.loaded == ["a", "b"]
            # One that can never fit makes nobody go.
            refused = await home.at.door.load("giant", wait=False)
            assert not refused.decision.plan.works
            assert home.loaded == ["a", "b"]
            await home.at.door.load("c")
            assert home.loaded == ["c"]

    run(story)


def test_before_a_pinned_model_loads_in_single_model_mode_everything_else_leaves() -> None:
    async def story() -> None:
        policy = replace(ROOMY, single=True)
        async with inn(policy=policy) as home:
            await home.at.door.pin("c")
            await home.at.door.load("a")
            await home.rest()
            await home.at.door.load("c")
            assert home.loaded == ["c"]
            await home.rest()
            await home.at.door.load("b")
            assert home.loaded == ["b", "c"]
            with pytest.raises(DoorError, match="is for one model at a time, and one/b and one/c"):
                await home.at.door.pin("b")

    run(story)


def test_models_that_are_never_together_make_way_for_one_another() -> None:
    async def story() -> None:
        groups = {"rivals": Group(Rule.NEVER_TOGETHER, ("a", "two/*"))}
        async with inn(two=("x", "y"), policy=replace(ROOMY, groups=groups)) as home:
            await home.client_loads("a", "b")
            await home.rest()
            await home.at.door.load("x")
            assert home.loaded == ["b", "x"]
            await home.rest()
            await home.client_loads("y")  # by itself: the one that was there leaves
            await home.rest()
            assert home.loaded == ["b", "y"]
            await home.at.door.pin("y")
            refused = await home.at.door.load("a", wait=False)
            assert refused.decision.plan.full == ("group rivals",)
            assert [(str(n.ref), n.why.value) for n in refused.decision.plan.notes][-2:] == [
                ("two/y", "pinned"),
                ("one/a", "wanted"),
            ]
            assert home.loaded == ["b", "y"]

    run(story)


def test_a_setting_that_cannot_be_is_refused_with_every_mistake_and_the_old_one_stays() -> None:
    async def story() -> None:
        async with inn() as home:
            await home.overrides.set("max_active_backends", "2")
            await home.at.tick()
            await home.at.door.pin("a")
            await home.at.door.pin("b")
            await home.at.tick()
            for key, text, said in (
                ("max_active_backends", "1", "is 1, and one/a and one/b are pinned"),
                ("max_active_backends", "many", "is not a count"),
                ("single_model_mode", "on", "one/a and one/b are pinned"),
                ("groups.g.models", "a,b", "are never together, and each of them is pinned"),
                ("pools.ram.reserve", "65GiB", "is 65.0 GiB, and ram has 64.0 GiB"),
                ("max_active_backend", "2", "did you mean max_active_backends?"),
                ("listen.port", "1", "is read at the start alone"),
            ):
                with pytest.raises(ConfigError, match=said):
                    await home.overrides.set(key, text)
            await home.at.tick()
            assert home.at.loop.policy.max_active == 2
            assert home.overrides.texts == {"max_active_backends": "2"}
            with pytest.raises(ConfigError) as wrong:
                await home.overrides.set("single_model_mode", "on")
            assert len(wrong.value.problems) == 1
            await home.overrides.unset("max_active_backends")
            await home.at.tick()
            assert home.at.loop.policy.max_active == 0

    run(story)


def test_what_was_set_survives_a_restart_and_what_does_not_fit_any_more_is_set_aside() -> None:
    async def story() -> None:
        async with inn() as home:
            await home.overrides.set("max_active_backends", "1")
            await home.overrides.set('models."a".priority', "3")
            later = home.settings()
            policy = later.recall()
            assert (policy.max_active, policy.models["a"].priority) == (1, 3)
            assert [r.value for r in later.rows() if r.source == "override"] == ["1", "3"]
            # The file has changed meanwhile, and one of them does not go with it.
            other = home.settings(models__a__pinned="true", models__b__pinned="true")
            policy = other.recall()
            assert (policy.max_active, policy.models["a"].priority) == (0, 3)
            assert "are pinned" in other.set_aside["max_active_backends"]

    run(story)


def test_a_limit_that_was_set_before_a_restart_makes_nobody_go_by_the_restart() -> None:
    async def story() -> None:
        async with inn() as home:
            await home.overrides.set("max_active_backends", "1")
            shelf = home.overrides.shelf.all()
        for lenient in (True, False):
            async with inn() as home:
                for key, body in shelf.items():
                    home.overrides.shelf.keep(key, body | {"applied": not lenient})
                home.at.loop.witnesses.rules.limiting = Limiting()
                home.at.loop.policy = home.at.loop.keeping.configured(home.overrides.recall())
                home.server_of("a").take("a")
                home.server_of("b").take("b")
                await home.rest()
                assert (len(home.loaded) == 2) is lenient

    run(story)


def test_the_budget_of_a_pool_may_be_set_while_running() -> None:
    async def story() -> None:
        async with inn() as home:
            await home.overrides.set("pools.ram.budget", "5GiB")
            await home.at.tick()
            own = home.at.loop.policy.pools[RAM]
            assert isinstance(own, PoolPolicy)
            assert own.budget is not None
            await home.client_loads("a", "b")
            await home.rest()
            await home.at.door.load("c")
            assert len(home.loaded) == 2

    run(story)


def test_what_the_machine_or_a_pin_makes_impossible_is_a_finding() -> None:
    async def story() -> None:
        pools = {RAM: PoolPolicy(reserve=Amount(size=gib(64)))}
        async with inn(policy=replace(ROOMY, pools=pools, single=True)) as home:
            assert ("settings", "pools.ram.reserve") in home.at.findings()
            pins = home.at.loop.keeping.pins  # as an earlier daemon left them
            for name in ("one/a", "one/b"):
                pins.set(name, None)
            home.at.loop.policy = home.at.loop.keeping.over(home.at.loop.policy)
            await home.at.tick(5)
            found = [f for f in home.at.loop.findings if f.subject == "single_active_backend"]
            assert "one/a and one/b are pinned" in found[0].detail
            since = found[0].since
            await home.at.tick(5)
            (again,) = [f for f in home.at.loop.findings if f.subject == "single_active_backend"]
            assert again.since == since
            pins.drop("one/a")
            home.at.loop.policy = home.at.loop.keeping.over(home.at.loop.policy)
            await home.at.tick(5)
            assert ("settings", "single_active_backend") not in home.at.findings()

    run(story)
