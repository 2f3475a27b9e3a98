"""How long models stay that nobody's memory is needed for: pins, on demand, keep-alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from collectors.reading import Seconds, gib
from supervisor.core.plan import Why
from supervisor.core.policy import (
    FOREVER,
    EnginePolicy,
    ModelPolicy,
    Policy,
    Retention,
    Watchdog,
)
from supervisor.core.snapshot import EngineId
from supervisor.core.status import Hold
from supervisor.door import Unknown
from supervisor.journal.journal import Journal
from supervisor.keeping.retentions import HOST, Wish
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.scenarios.house import House, Ram, house

pytestmark = pytest.mark.slow

A, B = ref("a", "llama"), ref("b", "llama")
ON_DEMAND = Policy(retention=Retention.ON_DEMAND)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


def told(home: House, trigger: str) -> list[str]:
    return [d["cause"] for d in home.decisions() if d["trigger"] == trigger]


async def until_settled(home: House, seconds: float = 1.0, times: int = 1) -> None:
    await home.tick(seconds, times)
    await home.settle()


# -- on demand, and keep_alive


@pytest.mark.parametrize(
    "policy",
    [
        ON_DEMAND,
        Policy(keep_alive=Seconds(0)),
        Policy(engines={EngineId("llama"): EnginePolicy(retention=Retention.ON_DEMAND)}),
        Policy(models={"a": ModelPolicy(keep_alive=Seconds(0))}),
    ],
    ids=["on demand", "keep_alive 0", "on demand of its engine", "keep_alive 0 of the model"],
)
def test_a_model_goes_with_its_last_request_and_not_while_one_is_running(policy: Policy) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=policy) as home:
                server.busy["a"] = 2
                await until_settled(home, 30.0, times=4)
                assert server.loaded == ["a"]
                server.busy["a"] = 1  # one is running still
                await until_settled(home, times=9)
                assert server.loaded == ["a"]
                server.busy["a"] = 0
                await until_settled(home)
                assert server.loaded == []
                assert told(home, "unused") == ["nobody uses llama/a any more"]

    run(story)


def test_one_that_nobody_has_used_yet_is_given_a_minute_for_its_first_user() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            async with house({"llama": server}, policy=ON_DEMAND) as home:
                await home.tick()
                server.take("a")
                await home.tick()
                (keeper,) = home.claims.standing(A).keepers
                assert keeper.hold is Hold.FIRST
                await until_settled(home, 59.0)
                assert server.loaded == ["a"]
                await until_settled(home, 2.0)
                assert server.loaded == []

    run(story)


def test_a_request_that_comes_right_before_it_goes_keeps_it() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=ON_DEMAND) as home:
                server.busy["a"] = 1
                await home.tick()
                server.busy["a"] = 0
                await home.tick()  # it is decided, and not yet begun
                server.busy["a"] = 1
                await home.settle()
                assert server.loaded == ["a"]
                (outcome,) = home.decisions()[-1]["outcomes"]
                assert outcome["result"] == "skipped"
                server.busy["a"] = 0
                await until_settled(home)
                assert server.loaded == []

    run(story)


def test_a_keep_alive_counts_from_the_last_request_and_minus_one_never_ends() -> None:
    models = {
        "a": ModelPolicy(keep_alive=Seconds(300)),
        "b": ModelPolicy(keep_alive=FOREVER),
    }
    watchdog = Watchdog(True, Seconds(60), False, Seconds(300))

    async def story() -> None:
        policy = Policy(models=models, watchdog=watchdog)
        async with FakeLlamaRouter(["a", "b", "c"]) as server:
            for model in server.models:
                server.take(model)
            async with house({"llama": server}, policy=policy) as home:
                server.busy["a"] = 1
                await home.tick(times=5)
                server.busy["a"] = 0
                await until_settled(home, 65.0)
                assert server.loaded == ["a", "b"]  # "c" has the host's watchdog alone
                await until_settled(home, 200.0)
                assert server.loaded == ["a", "b"]
                await until_settled(home, 40.0)
                assert server.loaded == ["b"]
                await until_settled(home, 9999.0)
                assert server.loaded == ["b"]

    run(story)


def test_a_watchdog_of_a_model_counts_more_than_the_keep_alive_of_the_host() -> None:
    async def story() -> None:
        own = ModelPolicy(watchdog=Watchdog(idle_timeout=Seconds(50), idle=True))
        policy = Policy(keep_alive=FOREVER, models={"a": own})
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}, policy=policy) as home:
                await home.tick()
                await until_settled(home, 60.0)
                assert server.loaded == ["b"]

    run(story)


# -- set while running


def test_a_retention_set_while_running_counts_at_once_and_survives_a_restart(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            file = tmp_path / "journal.db"
            async with house({"llama": server}, journal=Journal(file)) as home:
                await home.tick()
                home.claims.set_retention(
                    home.claims.scope("a", None), Wish(Retention.KEEP_ALIVE, Seconds(600))
                )
                home.claims.set_retention(HOST, Wish(Retention.ON_DEMAND))
                await home.tick()
                assert home.loop.policy.idle_timeout_of(A) == 600
                assert home.loop.policy.goes_unused(B)
            async with house({"llama": server}, journal=Journal(file), began=1100.0) as home:
                assert home.loop.policy.idle_timeout_of(A) == 600
                assert home.loop.policy.retention_of(B) is Retention.ON_DEMAND
                await home.tick()
                assert home.claims.reset_retention("host")
                assert not home.claims.reset_retention("host")
                await home.tick()
                assert home.loop.policy.retention_of(B) is None
                with pytest.raises(Unknown):
                    home.claims.scope(None, "nobody")

    run(story)


# -- pins


def test_a_pinned_model_stays_whatever_happens_until_its_pin_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ullage.loop")

    async def story() -> None:
        ram = Ram()
        policy = Policy(retention=Retention.ON_DEMAND, max_active=1)
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            async with house({"llama": server}, [ram], policy) as home:
                home.children.anonymous[server.pids["a"]] = gib(20)
                await home.tick()
                assert await home.door.pin("a", Seconds(7200)) == "llama/a"
                ram.free = gib(1)  # far below the reserve
                server.busy["a"] = 1
                await until_settled(home, times=30)
                server.busy["a"] = 0
                await until_settled(home, 30.0, times=10)
                assert server.loaded == ["a"]
                plan = home.door.plan_evict(["a"])
                assert [n.why for n in plan.notes] == [Why.PINNED]
                (keeper,) = home.claims.standing(A).keepers
                assert keeper.ends is not None
                assert 6800 < keeper.ends - home.clock.now < 6900
                ram.free = gib(40)
                await until_settled(home, 6800.0)
                assert server.loaded == ["a"]
                await until_settled(home, 100.0)
                assert "the pin of llama/a has ended" in caplog.text
                assert server.loaded == []  # and it had been used, so it goes at once
                assert home.loop.keeping.pins.names == frozenset()

    run(story)


def test_pins_are_in_force_before_the_first_decision_of_the_next_daemon(tmp_path: Path) -> None:
    async def story() -> None:
        ram, file = Ram(), tmp_path / "journal.db"
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}, [ram], journal=Journal(file)) as home:
                await home.tick()
                await home.door.pin("a")
                await home.door.pin("b", Seconds(60))
            ram.free = gib(1)
            journal = Journal(file)
            async with house({"llama": server}, [ram], journal=journal, began=1100.0) as home:
                for model in "ab":
                    home.children.anonymous[server.pids[model]] = gib(15)
                await until_settled(home, times=3)
                assert server.loaded == ["a"]  # the pin of "b" has run out meanwhile

    run(story)


def test_a_model_that_is_not_there_to_load_cannot_be_pinned() -> None:
    async def story() -> None:
        async with FakeOllama(["qwen3:8b"]) as server, house({"ollama": server}) as home:
            await home.tick()
            with pytest.raises(Unknown, match="`ollama pull nobody`") as caught:
                await home.door.pin("nobody")
            assert "no model is called 'nobody'" in str(caught.value)
            with pytest.raises(Unknown, match="did you mean qwen3:8b"):
                await home.door.pin("qwen")
            assert home.loop.keeping.pins.names == frozenset()
            assert await home.door.pin("qwen3:8b") == "ollama/qwen3:8b"  # on disk is enough

    run(story)
