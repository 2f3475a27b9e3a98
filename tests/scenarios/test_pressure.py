"""Memory that goes up and down, and models that grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import RAM, Seconds, gib
from supervisor.core.policy import Amount, PoolPolicy
from tests.scenarios.house import House
from tests.scenarios.shelf import POLICY, Shelf, later, other, run, shelf

pytestmark = pytest.mark.slow

# -- lines


def test_one_sample_below_the_line_makes_nobody_leave() -> None:
    async def story() -> None:
        async with shelf(a=10, b=10) as (home, ram, _):
            for _ in range(10):
                await other(home, ram, 41, 2)  # 3 GiB are free, of a reserve of 4
                await other(home, ram, 30, 2)
            assert home.decisions() == []

    run(story())


def test_after_relief_the_soft_line_is_left_alone_for_a_while_and_the_hard_one_never() -> None:
    async def story(pause: float, left: list[list[str]]) -> None:
        policy = replace(POLICY, relief_pause=Seconds(pause))
        async with shelf(policy, a=2, b=2, c=2, d=2) as (home, ram, server):
            seen = []
            for size in (53, 55, 55.1, 57.2):  # a GiB short, each time; at last three
                await other(home, ram, size, 20)
                seen.append("".join(server.loaded))
            assert seen == left

    run(story(0, ["bcd", "cd", "cd", "d"]))  # type: ignore[list-item]
    run(story(60, ["bcd", "bcd", "bcd", "d"]))  # type: ignore[list-item]


def test_the_calm_ends_and_what_is_short_by_then_is_relieved() -> None:
    async def story() -> None:
        policy = replace(POLICY, relief_pause=Seconds(60))
        async with shelf(policy, a=2, b=2) as (home, ram, server):
            await other(home, ram, 57)
            assert server.loaded == ["b"]
            await other(home, ram, 59, 40)
            assert server.loaded == ["b"]
            await later(home, 30)
            assert server.loaded == []

    run(story())


def test_relief_that_did_not_reach_the_line_goes_on() -> None:
    async def story() -> None:
        async with shelf(a=1, b=3) as (home, ram, server):
            server.busy["b"] = 1
            await other(home, ram, 58, 15)
            assert server.loaded == ["b"], "the line is not met by that"
            server.busy["b"] = 0
            await later(home, 15)
            assert server.loaded == []

    run(story())


def test_a_pool_s_own_lines_count_in_the_loop_too() -> None:
    async def story() -> None:
        lines = PoolPolicy(
            reserve=Amount(size=gib(8)),
            soft=Amount(size=gib(4)),
            restore=Amount(size=gib(12)),
            grace=Seconds(3),
        )
        async with shelf(replace(POLICY, pools={RAM: lines}), a=5, b=5, c=5) as (home, ram, server):
            await other(home, ram, 44, 20)  # five are free: within the reserve
            assert len(server.loaded) == 3
            await other(home, ram, 46, 5)
            assert server.loaded == ["c"]
            assert home.loop.snapshot is not None
            assert home.loop.snapshot.free(RAM) >= gib(12)

    run(story())


# -- growth


async def grow(home: House, ram: Shelf, server: Any, model: str, mibs: float, seconds: int) -> None:
    """It takes so many MiB more each second."""
    for _ in range(seconds):
        if model in ram.held:
            ram.held[model] += mibs / 1024
            home.children.anonymous[server.pids[model]] = gib(ram.held[model])
            ram.weigh()
        await home.tick(1)
        if home.loop.runs:
            await home.settle()


def growing(home: House) -> dict[str, str]:
    return {f.subject: f.detail for f in home.loop.findings if f.kind.value == "growth"}


def test_an_idle_model_leaves_before_a_growing_one_has_met_the_line() -> None:
    async def story(horizon: float, leaves: bool) -> None:
        policy = replace(POLICY, growth_horizon=Seconds(horizon))
        async with shelf(policy, idle=10, grows=10) as (home, ram, server):
            server.busy["grows"] = 1
            ram.other = 64 - 20 - 8  # 8 GiB are free, 4 beyond the reserve
            ram.weigh()
            await grow(home, ram, server, "grows", 80, 46)  # 3.6 GiB by now, of 4
            assert ("pressure", RAM) not in home.findings()
            assert ("idle" not in server.loaded) is leaves
            if leaves:
                (decision,) = home.decisions()
                assert decision["trigger"] == "growth"
                assert "llama/grows grows by" in decision["cause"]
                assert "ram meets its soft line in" in decision["cause"]
                assert "grows" in server.loaded
            else:
                assert "a minute: ram meets its soft line in" in growing(home)["llama/grows"]

    run(story(30, leaves=True))
    run(story(0, leaves=False))


def test_growth_that_stops_makes_nobody_leave() -> None:
    async def story() -> None:
        async with shelf(idle=10, grows=10) as (home, ram, server):
            server.busy["grows"] = 1
            ram.other = 64 - 20 - 12
            ram.weigh()
            await grow(home, ram, server, "grows", 80, 40)
            assert "llama/grows" in growing(home)
            await grow(home, ram, server, "grows", 0, 40)
            assert growing(home) == {}
            assert home.decisions() == []

    run(story())


def test_noise_just_above_the_line_makes_nobody_leave() -> None:
    async def story() -> None:
        async with shelf(idle=10, works=10) as (home, ram, server):
            server.busy["works"] = 1
            ram.other = 64 - 20 - 4.5
            for i in range(82):  # each of its 41 steps twice
                ram.held["works"] = 10 + (i * 37 % 41) / 100  # up and down by 400 MiB
                home.children.anonymous[server.pids["works"]] = gib(ram.held["works"])
                ram.weigh()
                await home.tick(1)
            assert home.decisions() == []
            assert growing(home) == {}

    run(story())


def test_a_model_that_grows_at_rest_is_said_to_leak_and_goes_first_when_it_matters() -> None:
    async def story() -> None:
        async with shelf(leaks=5, kept=5) as (home, ram, server):
            for _ in range(40):
                ram.held["leaks"] += 0.05
                home.children.anonymous[server.pids["leaks"]] = gib(ram.held["leaks"])
                ram.weigh()
                await home.tick(10)
            assert "although it is idle: it may leak" in growing(home)["llama/leaks"]
            assert home.decisions() == []
            server.worked["leaks"] += 1
            await home.tick(10)
            assert growing(home) == {}

    run(story())
