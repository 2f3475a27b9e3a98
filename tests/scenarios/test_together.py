"""Models that are always together: by us, by clients, by accident, and when one of them cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from supervisor.core.groups import Group, Rule
from supervisor.core.policy import Watchdog
from supervisor.door import DoorError
from tests.scenarios.inn import A_MINUTE, ROOMY, Inn, inn, run

PAIR = replace(ROOMY, groups={"pair": Group(Rule.ALWAYS_TOGETHER, ("a", "two/x"))})
GIANT = {"a": 3, "x": 38}  # GiB: each would fit, and both do not


def models_of(row: dict[str, Any]) -> list[str]:
    return [f"{a['action']} {a['model']}" for a in row["actions"]]


async def both(home: Inn) -> None:
    await home.at.door.load("a")
    await home.rest()
    assert home.loaded == ["a", "x"]


def test_with_one_the_other_is_loaded_in_one_plan() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=PAIR) as home:
            carried = await home.at.door.load("x")
            assert home.loaded == ["a", "x"]
            assert [o.result.value for o in carried.outcomes] == ["done", "done"]
            await home.rest(30)
            assert len(home.at.decisions()) == 1

    run(story)


def test_none_is_loaded_and_nobody_leaves_where_there_is_not_room_for_both() -> None:
    async def story() -> None:
        async with inn(two=("x",), sizes=GIANT, policy=PAIR) as home:
            await home.client_loads("b")
            await home.rest()
            for name in ("a", "x"):
                refused = await home.at.door.load(name, wait=False)
                assert not refused.decision.plan.works
            assert home.loaded == ["b"]

    run(story)


def test_whoever_is_told_to_go_takes_the_other_along() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=PAIR) as home:
            await both(home)
            await home.client_loads("b")
            await home.rest()
            carried = await home.at.door.evict(["x"])
            assert {str(e.ref) for e in carried.decision.plan.evictions} == {"one/a", "two/x"}
            assert home.loaded == ["b"]

    run(story)


def test_the_other_stays_where_the_one_who_was_told_to_go_could_not() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=PAIR) as home:
            await both(home)
            home.server_of("a").faults["POST /api/generate"] = "error"
            carried = await home.at.door.evict(["a"])
            results = [(o.action.ref.model, o.result.value) for o in carried.outcomes]
            assert results == [("a", "failed"), ("x", "skipped")]
            assert home.loaded == ["a", "x"]

    run(story)


def test_the_other_stays_where_it_was_pinned_while_the_one_went() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=PAIR) as home:
            await both(home)
            server = home.server_of("a")
            given_back = server.on_unload

            def pins_the_other(model: str) -> None:
                given_back(model)
                home.at.loop.keeping.pins.set("two/x", None)

            server.on_unload = pins_the_other
            carried = await home.at.door.evict(["a"])
            assert [o.detail for o in carried.outcomes][1:] == ["spared after all: pinned"]
            await home.rest()
            assert home.loaded == ["x"]

    run(story)


def test_to_make_room_both_leave_or_none_and_a_pin_keeps_both() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=replace(PAIR, max_active=3)) as home:
            await both(home)
            await home.client_loads("b")
            await home.rest()
            await home.used("b")
            await home.rest()
            await home.at.door.pin("x")
            await home.at.tick()
            await home.at.door.load("c")
            assert home.loaded == ["a", "c", "x"]  # the one who goes has no other to mind
            await home.at.door.unpin("x")
            await home.rest()
            await home.used("c")
            await home.rest()
            await home.at.door.load("b")
            await home.rest()
            assert home.loaded in (["b", "c"], ["a", "b", "x"])
            going = models_of(home.last())
            assert ("evict one/a" in going) == ("evict two/x" in going)

    run(story)


def test_a_client_that_loads_one_brings_the_other_and_one_that_leaves_takes_it_along() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=PAIR) as home:
            await home.client_loads("a")
            await home.rest()
            assert home.loaded == ["a", "x"]
            assert "pair is always together" in home.last()["cause"]
            home.server_of("x").drop("x")  # an idle timer of its engine
            await home.rest()
            assert home.loaded == []
            assert home.last()["trigger"] == "together"

    run(story)


def test_what_was_there_before_us_is_left_as_it_is() -> None:
    async def story() -> None:
        async with inn(two=("x",)) as home:
            await home.client_loads("a")
            home.at.loop.policy = home.at.loop.keeping.configured(PAIR)
            await home.rest(20)
            assert home.loaded == ["a"]

    run(story)


def test_one_that_cannot_be_loaded_makes_the_other_leave_and_is_not_tried_for_ever() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=PAIR) as home:
            home.server_of("x").fails_loads = True
            carried = await home.at.door.load("a")
            assert [o.result.value for o in carried.outcomes][-1] == "failed"
            await home.rest(60)  # it is tried once more, by itself, and then let be
            await home.rest(60)
            assert home.loaded == []
            tried = home.server_of("x").calls("POST /api/generate")
            assert len([b for b in tried if b.get("keep_alive") != 0]) <= 2

    run(story)


def test_one_that_fails_before_anybody_looks_makes_the_other_leave_all_the_same() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=PAIR) as home:
            order = "POST /api/generate"
            home.server_of("x").faults[order] = "error"
            await home.at.door.load("a")
            await home.rest(60)
            await home.rest(60)
            assert home.loaded == []
            assert len(home.server_of("x").calls(order)) <= 2

    run(story)


def test_after_one_that_failed_the_next_is_not_begun() -> None:
    async def story() -> None:
        async with inn(two=("x",), policy=PAIR) as home:
            home.server_of("a").fails_loads = True
            carried = await home.at.door.load("a")
            results = [(o.action.ref.model, o.result.value) for o in carried.outcomes]
            assert results[:2] == [("a", "failed"), ("x", "skipped")]
            assert home.server_of("x").calls("POST /api/generate") == []
            await home.rest(20)
            assert home.loaded == []

    run(story)


@pytest.mark.slow
def test_idle_is_who_is_idle_with_all_of_its_group() -> None:
    async def story() -> None:
        watchdog = Watchdog(True, A_MINUTE, False, A_MINUTE)
        async with inn(two=("x",), policy=replace(PAIR, watchdog=watchdog)) as home:
            await both(home)
            for _ in range(12):
                await home.used("x")
                await home.rest(9)
            assert home.loaded == ["a", "x"]  # one of them is in use
            await home.rest(90)
            assert home.loaded == []

    run(story)


def test_a_group_whose_other_member_no_engine_has_is_told() -> None:
    async def story() -> None:
        async with inn(policy=PAIR) as home:
            with pytest.raises(DoorError, match=r"always together with two/x .*no engine has"):
                await home.at.door.load("a")
            assert home.loaded == []

    run(story)
