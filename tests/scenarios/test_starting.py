"""A daemon starts while memory is short: who goes, when, and never before it knows about whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import RAM, HostFacts, MemoryPool, PoolKind, Sample, Seconds, Tier, gib
from supervisor.beginning import MOST
from supervisor.core.foreign_rule import ForeignRule
from supervisor.core.policy import Amount, ModelPolicy, Policy, PoolPolicy
from supervisor.core.snapshot import EngineId
from supervisor.engines import ENGINES
from supervisor.events import EnginesFound, Pressed
from supervisor.journal.journal import Journal
from supervisor.strangers import BEFORE
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house
from tests.scenarios.test_strangers import POLICY as OFFICE
from tests.scenarios.test_strangers import Desk

# Of 64 GiB: soft at 8, hard at 4. Of the models "last" goes first, wherever it is.
LINES = PoolPolicy(
    reserve=Amount(size=gib(8)), hard=Amount(size=gib(4)), grace=Seconds(30), restore=None
)
POLICY = Policy(pools={RAM: LINES}, models={"last": ModelPolicy(priority=-10)})


class Full(Ram):
    """Models hold 10 GiB each, and somebody else so much that `free` GiB are left of the rest."""

    def __init__(self, free: float) -> None:
        super().__init__()
        self.left = free

    def read(self, tiers: Tier) -> Sample:
        pool = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(self.left))
        return Sample(pools=(pool,), host=HostFacts(gib(0), gib(0)))

    def went(self, model: str) -> None:
        self.left += 10


class Street:
    """A house with an engine that is named, and one that is found when it is looked for."""

    def __init__(self, home: House, here: FakeLlamaRouter, later: FakeLlamaRouter) -> None:
        self.home, self.here, self.later = home, here, later

    def finds(self, *names: str) -> None:
        """What the search for engines tells at its end."""
        made = ENGINES["llamacpp"](EngineId("later"), self.later.url, self.home.client, None)
        self.home.loop.post(EnginesFound((made,) if names else (), ()))

    def there(self) -> list[str]:
        return [*self.here.loaded, *self.later.loaded]


@asynccontextmanager
async def street(free: float) -> AsyncIterator[Street]:
    ram = Full(free)
    here = FakeLlamaRouter(["first"], on_unload=ram.went)
    later = FakeLlamaRouter(["last"], on_unload=ram.went)
    later.pids = {"last": 8001}
    async with here, later:
        here.take("first")
        later.take("last")
        async with house({"here": here}, (ram,), POLICY) as home:
            home.children.engines.append(later)
            home.children.anonymous = {7001: gib(10), 8001: gib(10)}
            home.loop.beginning.search()
            yield Street(home, here, later)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_nobody_goes_before_every_engine_was_asked_and_then_the_right_one() -> None:
    async def story() -> None:
        async with street(free=2) as told:
            home = told.home
            await home.tick(times=4)  # far below the hard line, and one engine is not known yet
            assert ("pressure", RAM) in home.findings()  # it is said
            assert home.decisions() == []
            assert not home.loop.runs
            told.finds("later")
            await home.tick(0.1)
            await home.settle()
            assert told.there() == ["first"]
            (decision,) = home.decisions()
            assert decision["trigger"] == "relief"

    run(story())


def test_an_alarm_at_the_start_makes_nobody_go_of_whom_nothing_is_known() -> None:
    """It is read at once, without asking any engine: all that models hold looks like strangers'."""

    async def story() -> None:
        async with street(free=2) as told:
            home = told.home
            told.finds("later")
            home.loop.post(Pressed())
            await home.loop.changed()
            while home.loop.beginning.over is False:
                assert home.decisions() == []
                await home.tick(0.1)
            await home.settle()
            assert told.there() == ["first"]

    run(story())


def test_below_the_hard_line_the_first_whole_snapshot_is_enough() -> None:
    async def story() -> None:
        async with street(free=2) as told:
            told.finds()  # nobody
            await told.home.tick(0.1)
            await told.home.settle()
            assert told.there() == ["last"]

    run(story())


def test_a_search_that_hangs_holds_up_the_hard_line_for_so_long_and_no_longer() -> None:
    async def story() -> None:
        async with street(free=2) as told:
            home = told.home
            await home.tick(1.0)
            await home.tick(MOST - 0.5)
            assert home.decisions() == []
            await home.tick(0.5)
            await home.settle()
            assert told.there() == ["last"]  # of those it knows

    run(story())


def test_the_soft_line_has_its_whole_grace_by_this_daemon_s_own_samples() -> None:
    async def story() -> None:
        async with street(free=6) as told:
            home = told.home
            told.finds("later")
            await home.tick(1.0)
            for _ in range(29):
                await home.tick(1.0)
                assert home.decisions() == []
            await home.tick(1.5)
            await home.settle()
            assert told.there() == ["first"]

    run(story())


@asynccontextmanager
async def office(
    file: Path, desk: Desk, rule: ForeignRule, began: float, **engines: FakeLlamaRouter
) -> AsyncIterator[House]:
    """A daemon on a desk's host, with the journal of the one before. Its models hold 10 GiB each,
    those of engines that it does not know as well."""
    policy = replace(OFFICE, foreign=rule)
    async with house(engines, (desk,), policy, journal=Journal(file), began=began) as home:
        home.loop.witnesses.relief.strangers.wall = home.clock
        home.children.anonymous = dict.fromkeys((7001, 7002, 8001, 8002), gib(10))
        yield home


@pytest.mark.parametrize("rule", [ForeignRule.ALERT, ForeignRule.YIELD])
def test_whom_a_rule_protects_from_a_game_it_protects_from_the_next_daemon_too(
    tmp_path: Path, rule: ForeignRule
) -> None:
    """What there was before the pool fell short is not known to one that begins when it is."""
    file, desk = tmp_path / "journal.db", Desk()

    async def story() -> None:
        async with server:
            server.take("old")
            server.take("new")
            async with office(file, desk, rule, 1000.0, llama=server) as home:
                await home.tick(10, times=6)
                desk.running["game"] = 21
                await home.tick(1, times=2)
                assert ("pressure", RAM) in home.findings()
                assert home.decisions() == []  # not yet, or never
            async with office(file, desk, rule, home.clock.now, llama=server) as home:
                await home.tick(1, times=20)
                await home.settle()
                protected = rule is ForeignRule.ALERT
                assert len(server.loaded) == (2 if protected else 1)
                assert [d["cause"] for d in home.decisions()] == (
                    [] if protected else ["ram: headroom is gone; game took 21.0 GiB"]
                )
                del desk.running["game"]
                await home.tick(10, times=4)
            # It is over: that look counts no more.
            async with office(file, desk, rule, home.clock.now, llama=server) as home:
                await home.tick(1)
                assert home.journal.shelves[BEFORE].all() == {}

    server = FakeLlamaRouter(["old", "new"], on_load=desk.came, on_unload=desk.went)
    run(story())


def test_whom_nobody_has_asked_yet_is_not_blamed_for_what_its_models_hold(tmp_path: Path) -> None:
    """The last daemon knew the engine: to the next one its models look like strangers, who came
    while memory was short."""
    file, desk, rule = tmp_path / "journal.db", Desk(), ForeignRule.REFUSE
    here = FakeLlamaRouter(["first"], on_load=desk.came)
    later = FakeLlamaRouter(["old", "new"], on_load=desk.came)
    later.pids = {"old": 8001, "new": 8002}

    async def story() -> None:
        async with here, later:
            here.take("first")
            later.take("old")
            later.take("new")
            async with office(file, desk, rule, 1000.0, here=here, later=later) as home:
                home.children.engines = [here, later]
                await home.tick(10, times=6)
                desk.running["game"] = 11
                await home.tick(1, times=2)
                assert ("foreign", RAM) in home.findings()
            desk.running |= {"llama-server": 20}
            desk.models = 1
            async with office(file, desk, rule, home.clock.now, here=here) as home:
                home.loop.beginning.search()
                await home.tick(1, times=3)
                found = [f.detail for f in home.loop.findings if f.subject == RAM]
                assert "free memory is below its soft line" in found
                assert not any("llama-server" in words for words in found), found

    run(story())
