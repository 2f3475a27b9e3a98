"""A game takes memory and gives it back: who leaves for it, who does not, and who comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import (
    RAM,
    Bytes,
    HostFacts,
    MemoryPool,
    PoolKind,
    Process,
    Sample,
    Tier,
    gib,
)
from supervisor.core.foreign_rule import ForeignRule, Stranger
from supervisor.core.history import History
from supervisor.core.policy import Amount, Policy, PoolPolicy, Watchdog
from supervisor.core.rank import RANKINGS
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Share
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house

pytestmark = pytest.mark.slow

# Who goes first is not what these stories are about: the longest idle.
POLICY = Policy(pools={RAM: PoolPolicy(reserve=Amount(size=gib(4)))}, ranking=RANKINGS["lru"])


class Desk(Ram):
    """A host of 64 GiB with models of 10 GiB each, and what else people run there."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[str, float] = {"desktop": 20}
        self.models = 0
        self.grown = 0.0  # by how much models hold more than they did

    def read(self, tiers: Tier) -> Sample:
        free = 64 - 10 * self.models - self.grown - sum(self.running.values())
        pool = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(free))
        table = tuple(
            Process(100 + i, 1, name, gib(size), Bytes(0))
            for i, (name, size) in enumerate(self.running.items())
        )
        listed = table if Tier.PROCESSES in tiers else None
        return Sample(pools=(pool,), processes=listed, host=HostFacts(Bytes(0), Bytes(0)))

    def came(self, model: str) -> None:
        self.models += 1

    def went(self, model: str) -> None:
        self.models -= 1


@asynccontextmanager
async def office(
    rule: ForeignRule = ForeignRule.YIELD,
    *strangers: Stranger,
    policy: Policy = POLICY,
    mode: Mode = Mode.ENFORCE,
) -> AsyncIterator[tuple[House, Desk, FakeLlamaRouter]]:
    """Two idle models, "new" used later than "old"; 24 GiB are free."""
    desk = Desk()
    server = FakeLlamaRouter(["old", "new", "big"], on_load=desk.came, on_unload=desk.went)
    async with server:
        server.take("old")
        server.take("new")
        policy = replace(policy, foreign=rule, strangers=strangers)
        async with house({"llama": server}, (desk,), policy, mode) as home:
            home.loop.witnesses.relief.strangers.wall = home.clock
            for model in server.models:
                home.children.anonymous[server.pids[model]] = gib(10)
                home.journal.remember(home_ref(model), (Share(RAM, gib(10)),))
            await home.tick(10, times=3)
            server.worked["new"] += 1
            await home.tick(10, times=3)
            yield home, desk, server


def home_ref(model: str) -> ModelRef:
    return ModelRef(EngineId("llama"), ModelId(model))


class Known(History):
    """Of whom it is known that just this one will be asked for."""

    def __init__(self, wanted: ModelRef) -> None:
        super().__init__()
        self.wanted = wanted

    def chance(self, ref: ModelRef, now: float, horizon: float, idle: float = 0.0) -> float:
        return 0.9 if ref == self.wanted else 0.1


async def later(home: House, seconds: int) -> None:
    step = 5 if seconds <= 60 else 10 if seconds <= 120 else 60
    for _ in range(seconds // step):
        await home.tick(step)
        if home.loop.runs:
            await home.settle()


def causes(home: House) -> list[str]:
    return [d["cause"] for d in home.decisions()]


def detail(home: House, kind: str) -> str:
    return "; ".join(f.detail for f in home.loop.findings if f.kind.value == kind)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_models_leave_for_a_game_and_come_back_when_it_has_ended() -> None:
    async def story() -> None:
        async with office() as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 15)
            assert server.loaded == ["new"]
            assert causes(home) == ["ram: headroom is gone; game took 22.0 GiB"]
            assert "game took 22.0 GiB: models leave for it; llama/old comes back" in detail(
                home, "foreign"
            )
            await later(home, 300)
            assert server.loaded == ["new"], "while it is there"
            del desk.running["game"]
            await later(home, 25)
            assert server.loaded == ["new"], "games end in order to start again"
            await later(home, 15)
            assert server.loaded == ["new", "old"]
            assert causes(home)[-1] == "llama/old had left for game, which has ended"
            assert ("foreign", RAM) not in home.findings()
            await later(home, 60)
            assert len(home.decisions()) == 2

    run(story())


def test_who_is_wanted_most_comes_back_first_and_nobody_has_to_leave_for_it() -> None:
    async def story() -> None:
        async with office() as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 15)
            desk.running["game"] = 33
            await later(home, 15)
            assert server.loaded == []
            home.loop.witnesses.history = Known(home_ref("new"))
            desk.running["game"] = 0.1
            desk.running["editor"] = 25  # room for one of them
            await later(home, 120)
            assert server.loaded == ["new"]
            assert ("pressure", RAM) not in home.findings()

    run(story())


def test_where_others_have_taken_the_room_nobody_comes_back() -> None:
    async def story() -> None:
        async with office() as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 15)
            assert server.loaded == ["new"]
            del desk.running["game"]
            server.take("big")  # by a client, at once
            desk.running["editor"] = 15
            await later(home, 120)
            assert sorted(server.loaded) == ["big", "new"]
            desk.running["editor"] = 0.1
            await later(home, 900)
            assert "old" in server.loaded, "there was room in time"

    run(story())


def test_who_finds_no_room_for_a_quarter_of_an_hour_is_not_brought_back_any_more() -> None:
    async def story() -> None:
        async with office() as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 15)
            del desk.running["game"]
            desk.running["editor"] = 22
            await later(home, 1020)
            del desk.running["editor"]
            await later(home, 120)
            assert server.loaded == ["new"]

    run(story())


def test_who_is_there_again_is_not_loaded_twice() -> None:
    async def story() -> None:
        async with office() as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 15)
            del desk.running["game"]
            await later(home, 10)
            assert home.loop.witnesses.relief.strangers.why(home_ref("old")) is not None
            server.take("old")
            await later(home, 120)
            assert home.loop.witnesses.relief.strangers.why(home_ref("old")) is None
            assert server.loaded == ["new", "old"]
            assert len(home.decisions()) == 1

    run(story())


def test_who_would_have_left_as_idle_meanwhile_is_not_wanted_any_more() -> None:
    async def story() -> None:
        policy = replace(POLICY, models={})
        policy = replace(policy, watchdog=Watchdog(True, policy.relief_pause * 3, False))  # type: ignore[arg-type]
        async with office(policy=policy) as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 15)
            assert "old" not in server.loaded
            await later(home, 240)
            del desk.running["game"]
            await later(home, 120)
            assert server.loaded == []

    run(story())


def test_an_operator_who_unloads_or_pins_another_has_decided_anew() -> None:
    async def story(pins: bool) -> None:
        async with office() as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 15)
            assert server.loaded == ["new"]
            if pins:
                await home.door.pin("big")
                await home.tick()
            else:
                asked = asyncio.create_task(home.door.evict(["new"]))
                while not asked.done():
                    await home.tick(1)
            del desk.running["game"]
            await later(home, 120)
            assert "old" not in server.loaded

    run(story(pins=True))
    run(story(pins=False))


def test_a_load_that_fails_is_not_tried_again() -> None:
    async def story() -> None:
        async with office() as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 15)
            del desk.running["game"]
            server.faults["POST /models/load"] = "error"
            await later(home, 240)
            assert server.loaded == ["new"]
            returns = [c for c in causes(home) if "had left" in c]
            assert len(returns) == 1

    run(story())


def test_what_is_ignored_makes_nobody_leave_not_even_below_the_hard_line() -> None:
    async def story() -> None:
        async with office(ForeignRule.YIELD, Stranger("game*", ForeignRule.IGNORE)) as (
            home,
            desk,
            server,
        ):
            desk.running["game-1"] = 23.5
            await later(home, 60)
            assert server.loaded == ["old", "new"]
            # It looked like somebody else for as long as it was in no list.
            told = [o["result"] for d in home.decisions() for o in d["outcomes"]]
            assert told in ([], ["skipped"])
            assert ("pressure", RAM) in home.findings()
            assert ("foreign", RAM) not in home.findings()
            desk.running["editor"] = 0.4  # somebody else's, who is nobody's concern
            await later(home, 60)
            assert server.loaded == ["old", "new"]
            desk.running["game-1"] = 1
            await later(home, 90)
            desk.running["editor"] = 22
            await later(home, 60)
            assert server.loaded == ["new"], "the editor is to blame for this"

    run(story())


def test_a_pool_that_ignores_strangers_still_minds_its_models() -> None:
    async def story() -> None:
        async with office(ForeignRule.IGNORE) as (home, desk, server):
            desk.running["game"] = 21
            await later(home, 30)
            assert server.loaded == ["old", "new"]
            desk.running["game"] = 18  # there is enough again, though not by much
            await later(home, 90)
            desk.grown = 3
            home.children.anonymous[server.pids["new"]] = gib(13)
            await later(home, 30)
            assert server.loaded == ["new"]

    run(story())


def test_while_a_refused_one_is_there_nobody_is_loaded_and_nobody_leaves() -> None:
    async def story() -> None:
        async with office(ForeignRule.YIELD, Stranger("game", ForeignRule.REFUSE, gib(1))) as (
            home,
            desk,
            server,
        ):
            desk.running["game"] = 5
            await later(home, 15)
            refused = home.door.plan_load("big")
            assert not refused.works
            assert refused.barred[0].pool == RAM
            assert "game took 5.0 GiB" in refused.barred[0].why
            carried = await home.door.load("big", wait=False)
            assert carried.outcomes == ()
            assert "big" not in server.loaded
            desk.running["game"] = 22
            await later(home, 60)
            assert server.loaded == ["old", "new"]
            assert home.decisions()[1:] == []
            del desk.running["game"]
            await later(home, 15)
            assert home.door.plan_load("big").works

    run(story())


def test_a_pool_that_refuses_does_so_once_it_is_short_and_until_that_is_over() -> None:
    async def story() -> None:
        async with office(ForeignRule.REFUSE) as (home, desk, server):
            desk.running["game"] = 5
            await home.tick(11)
            assert home.door.plan_load("big").works
            desk.running["game"] = 22
            await later(home, 30)
            assert server.loaded == ["old", "new"]
            assert home.door.plan_load("big").barred
            desk.running["game"] = 15  # there is room enough again, and it is still there
            await later(home, 30)
            assert home.door.plan_load("big").barred
            del desk.running["game"]
            await later(home, 30)
            assert home.door.plan_load("big").works

    run(story())


def test_an_alert_is_a_finding_and_nothing_else() -> None:
    async def story() -> None:
        async with office(ForeignRule.ALERT) as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 60)
            assert server.loaded == ["old", "new"]
            assert home.decisions() == []
            assert detail(home, "foreign") == "game took 22.0 GiB: nothing is done about it"
            desk.running["game"] = 1
            await later(home, 30)
            assert ("foreign", RAM) not in home.findings()

    run(story())


def test_in_advise_mode_nobody_leaves_and_so_nobody_comes_back() -> None:
    async def story() -> None:
        async with office(mode=Mode.ADVISE) as (home, desk, server):
            desk.running["game"] = 22
            await later(home, 60)
            del desk.running["game"]
            await later(home, 120)
            assert server.loaded == ["old", "new"]
            assert len(home.decisions()) == 1

    run(story())
