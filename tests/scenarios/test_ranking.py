"""Who goes is learned from what is asked for; and what is due is there, where nobody has to go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import RAM, gib
from supervisor.core.odds import Odds
from supervisor.core.policy import ModelPolicy, Policy
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import ModelRef, Share
from supervisor.events import Arrived, SettingsChanged
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house

NAMES = ("daily", "often", "rarely", "wanted")
DAILY, OFTEN, RARELY, WANTED = (ref(name, "llama") for name in NAMES)
SIZE = gib(8)


class Stage:
    """64 GiB of RAM of which 40 are free and 7.7 are the reserve: there is room for four models
    of 8 GiB."""

    def __init__(self, home: House, ram: Ram, server: FakeLlamaRouter) -> None:
        self.home, self.ram, self.server = home, ram, server

    def take(self, name: str) -> None:
        self.ram.free = gib(self.ram.free / gib(1) - 8)
        self.home.children.anonymous[self.server.pids[name]] = SIZE

    def give_back(self, name: str) -> None:
        self.ram.free = gib(self.ram.free / gib(1) + 8)
        del self.home.children.anonymous[self.server.pids[name]]

    def fill(self, size: float) -> None:
        """Somebody else takes so many GiB, or gives them back."""
        self.ram.free = gib(self.ram.free / gib(1) - size)

    async def request(self, model: ModelRef) -> None:
        """A client asks for it behind our back, and is served."""
        self.server.take(model.model)
        self.server.busy[model.model] = 1
        cpu, pid = self.home.children.cpu, self.server.pids[model.model]
        cpu[pid] = cpu.get(pid, 0.0) + 5  # whose process has not moved is asked once a minute
        await self.home.tick()
        self.server.busy[model.model] = 0
        self.server.worked[model.model] += 1
        await self.home.tick(10)

    async def rhythm(self, model: ModelRef, every: float, times: int) -> None:
        for _ in range(times):
            self.home.clock.now += every - 11
            await self.request(model)

    @property
    def loaded(self) -> list[str]:
        return sorted(self.server.loaded)


Act = Callable[[Stage], Awaitable[None]]


def play(story: Act, policy: Policy | None = None) -> None:
    async def scene() -> None:
        stage: Any = None
        server = FakeLlamaRouter(
            list(NAMES),
            on_load=lambda m: stage.take(m),
            on_unload=lambda m: stage.give_back(m),
        )
        ram = Ram()
        async with server, house({"llama": server}, [ram], policy) as home:
            stage = Stage(home, ram, server)
            for name in NAMES:
                home.journal.remember(ref(name, "llama"), (Share(RAM, SIZE),))
            await home.tick()
            await story(stage)

    asyncio.run(asyncio.wait_for(scene(), 30))


async def _one_often_one_rarely(stage: Stage) -> None:
    """ "often" comes every ten minutes, and was here nine minutes ago; "rarely" is the latest of
    two requests in a day."""
    await stage.request(RARELY)
    await stage.rhythm(OFTEN, 600, 12)
    await stage.home.tick(300)
    await stage.request(RARELY)
    await stage.home.tick(230)
    stage.fill(11)
    await stage.home.tick()


def test_who_comes_often_stays_although_it_was_idle_for_longer() -> None:
    async def story(stage: Stage) -> None:
        await _one_often_one_rarely(stage)
        carried = await stage.home.door.load("wanted")
        assert [o.result.value for o in carried.outcomes] == ["done", "done"]
        assert stage.loaded == ["often", "wanted"]
        text = "\n".join(_told(stage, "rarely"))
        assert "llama/rarely was chosen to go: it makes room" in text
        assert "expected loss, the least of those that free enough" in text

    play(story)


def test_by_lru_the_same_machine_lets_the_other_go() -> None:
    async def story(stage: Stage) -> None:
        await _one_often_one_rarely(stage)
        await stage.home.door.load("wanted")
        assert stage.loaded == ["rarely", "wanted"]
        assert "by lru: who was idle for longest" in "\n".join(_told(stage, "often"))

    play(story, Policy(ranking=RANKINGS["lru"]))


def test_a_priority_holds_one_that_would_have_gone() -> None:
    async def story(stage: Stage) -> None:
        await _one_often_one_rarely(stage)
        await stage.home.door.load("wanted")
        assert stage.loaded == ["rarely", "wanted"]

    play(story, Policy(models={"rarely": ModelPolicy(priority=20)}))


def test_a_ranking_can_be_changed_while_running() -> None:
    async def story(stage: Stage) -> None:
        await _one_often_one_rarely(stage)
        policy = replace(stage.home.loop.policy, ranking=RANKINGS["lru"])
        stage.home.loop.post(SettingsChanged(policy))
        await stage.home.tick()
        await stage.home.door.load("wanted")
        assert stage.loaded == ["rarely", "wanted"]

    play(story)


def test_what_a_load_takes_is_timed_and_remembered() -> None:
    async def story(stage: Stage) -> None:
        history = stage.home.loop.witnesses.history
        stage.server.slow_loads = True
        load = asyncio.create_task(stage.home.door.load("wanted"))
        began = None
        while not stage.server.loading:
            await asyncio.sleep(0)
        began = stage.home.clock.now
        await stage.home.tick(40)
        stage.server.finish("wanted")
        await load
        took = history.reload_of(WANTED)
        assert took is not None
        assert 40 <= took <= stage.home.clock.now - began + 1
        assert history.held(WANTED) == (Share(RAM, SIZE),)
        assert history.last(WANTED) is not None  # who asked for it is a request

    play(story)


def _told(stage: Stage, model: str) -> list[str]:
    from supervisor.core.explain import tell

    decision = stage.home.decisions()[-1]
    return [line for line in tell(decision) if f"llama/{model} " in line]


# -- ahead of demand


class EveryTwentyMinutes(Odds):
    """Who was asked for is due again after so long; it need not be learned here."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[ModelRef, float] = {}

    def arrived(self, ref: ModelRef, now: float) -> None:
        super().arrived(ref, now)
        self.last[ref] = now

    def chance(self, ref: ModelRef, now: float, horizon: float, idle: float = 0.0) -> float:
        return 0.9 if ref in self.last and now - self.last[ref] + horizon > 1200 else 0.0


PREFETCH = Policy(prefetch=True)


async def _daily_is_due(stage: Stage) -> None:
    """ "daily" came every twenty minutes, its engine let it go, and now there is no room for it."""
    stage.home.loop.witnesses.history.odds = EveryTwentyMinutes()
    await stage.home.tick(1190)
    await stage.request(DAILY)
    stage.server.drop("daily")
    stage.fill(30)
    await stage.home.tick(30)


def _ahead(stage: Stage) -> list[dict[str, Any]]:
    return [d for d in stage.home.decisions() if d["trigger"] == "ahead"]


def test_what_is_due_is_loaded_ahead_of_the_request_where_there_is_room() -> None:
    async def story(stage: Stage) -> None:
        await _daily_is_due(stage)
        await stage.home.tick(600)
        stage.fill(-30)
        await stage.home.tick(20)
        assert _ahead(stage) == []  # not for a while yet
        await stage.home.tick(500)
        await stage.home.settle()
        assert stage.loaded == ["daily"]
        (decision,) = _ahead(stage)
        assert "llama/daily is asked for within" in decision["cause"]
        assert [o["result"] for o in decision["outcomes"]] == ["done"]
        was = stage.home.loop.witnesses.history.last(DAILY)
        assert was is not None  # and a load of ours is nobody's request
        assert stage.home.loop.witnesses.history.time(stage.home.clock.now) - was > 1000

    play(story, PREFETCH)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(Policy(), id="it-is-off-unless-somebody-sets-it"),
        pytest.param(replace(PREFETCH, max_active=1), id="a-limit-is-kept"),
    ],
)
def test_nothing_is_loaded_ahead_that_nobody_allows(policy: Policy) -> None:
    async def story(stage: Stage) -> None:
        await _daily_is_due(stage)
        stage.fill(-30)
        stage.server.take("rarely")
        await stage.home.tick(1100)
        await stage.home.settle()
        assert stage.loaded == ["rarely"]
        assert _ahead(stage) == []

    play(story, policy)


def test_nobody_goes_for_what_is_only_likely() -> None:
    async def story(stage: Stage) -> None:
        await _daily_is_due(stage)
        stage.fill(-30 + 25)
        stage.server.take("rarely")  # there is no room beside it
        await stage.home.tick(1100)
        await stage.home.settle()
        assert (stage.loaded, _ahead(stage)) == (["rarely"], [])

    play(story, PREFETCH)


def test_a_wrong_guess_is_made_once() -> None:
    async def story(stage: Stage) -> None:
        await _daily_is_due(stage)
        stage.fill(-30)
        await stage.home.tick(1100)
        await stage.home.settle()
        assert stage.loaded == ["daily"]
        stage.server.drop("daily")  # its engine lets it go: nobody came
        await stage.home.tick(5, times=4)
        await stage.home.settle()
        assert (stage.loaded, len(_ahead(stage))) == ([], 1)

    play(story, PREFETCH)


def test_who_was_told_to_go_is_not_brought_back() -> None:
    async def story(stage: Stage) -> None:
        stage.home.loop.witnesses.history.odds = EveryTwentyMinutes()
        await stage.home.tick(1190)
        await stage.request(DAILY)
        await stage.home.door.evict(["daily"])
        await stage.home.tick(1100)
        await stage.home.settle()
        assert (stage.loaded, _ahead(stage)) == ([], [])

    play(story, PREFETCH)


def test_a_request_that_comes_while_it_is_loaded_ahead_is_served_by_that_load() -> None:
    async def story(stage: Stage) -> None:
        await _daily_is_due(stage)
        stage.fill(-30)
        stage.server.slow_loads = True
        await stage.home.tick(1100)
        while not stage.server.loading:
            await asyncio.sleep(0)
        stage.home.loop.post(Arrived(DAILY))
        stage.server.finish("daily")
        stage.server.busy["daily"] = 1
        await stage.home.settle()
        await stage.home.tick()
        assert stage.loaded == ["daily"]
        assert len(stage.server.calls("POST /models/load")) == 1
        last = stage.home.loop.witnesses.history.last(DAILY)
        assert last is not None
        assert stage.home.loop.witnesses.history.time(stage.home.clock.now) - last < 60

    play(story, PREFETCH)
