"""The loop against the stand-in driver: two GPUs, a neighbour, losses and hangs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collectors.nvidia import NvidiaCollector
from collectors.reading import PoolId, Seconds, gib
from supervisor.core.policy import Policy
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import State
from tests.engines.fake import FakeLlamaRouter
from tests.nvml.fake_nvml import GIB
from tests.nvml.fake_nvml import State as Driver
from tests.scenarios.house import House, Ram, house

pytestmark = pytest.mark.slow

A, B = PoolId("GPU-aaaa"), PoolId("GPU-bbbb")
LOST = 15
BY_AGE = Policy(ranking=RANKINGS["lru"])  # that one and no other goes is what is told here


class Cards:
    """Two cards of 24 GiB in the stand-in driver; models and neighbours come and go on them."""

    def __init__(self, driver: Driver, where: dict[str, int], sizes: dict[str, int]) -> None:
        self.driver, self.where, self.sizes = driver, where, sizes
        self.used = [GIB, GIB]
        self.pids = {m: 7001 + i for i, m in enumerate(where)}
        for index, uuid in enumerate((A, B)):
            driver.gpu(index, name="NVIDIA RTX 4090", uuid=uuid, total=24 * GIB, reserved=0)
        self._say()

    def take(self, model: str) -> None:
        card = self.where[model]
        self.used[card] += self.sizes[model]
        self.driver.proc(card, "C", self.pids[model], self.sizes[model])
        self._say()

    def give_back(self, model: str) -> None:
        card = self.where[model]
        self.used[card] -= self.sizes[model]
        self.driver.drop(f"proc {card} C {self.pids[model]} ")
        self._say()

    def neighbour(self, card: int, size: int) -> None:
        self.used[card] += size
        self.driver.proc(card, "C", 999_999, size)
        self._say()

    def _say(self) -> None:
        for index, used in enumerate(self.used):
            self.driver.gpu(index, used=used)


@pytest.fixture
def cards(driver: Driver) -> Cards:
    where = {"old": 0, "fresh": 0, "other": 1, "oldest": 1}
    return Cards(driver, where, dict.fromkeys(where, 8 * GIB))


def router(cards: Cards, *loaded: str) -> FakeLlamaRouter:
    server = FakeLlamaRouter(list(cards.where), on_load=cards.take, on_unload=cards.give_back)
    for model in loaded:
        server.take(model)
    return server


def run(story: object) -> None:
    asyncio.run(story)  # type: ignore[arg-type]


def nvidia() -> NvidiaCollector:
    return NvidiaCollector(Path("/"))


async def _settled_in(home: House, server: FakeLlamaRouter) -> None:
    """Everybody has been idle for a while; "old" and "oldest" for the longest."""
    await home.tick()
    for model in ("fresh", "other"):
        server.worked[model] += 1
    await home.tick(30)
    await home.tick(30)


def test_models_are_measured_on_the_card_that_holds_them(cards: Cards) -> None:
    async def story() -> None:
        async with router(cards, "old", "other") as server:
            async with house({"llama": server}, [Ram(), nvidia()], BY_AGE) as home:
                snapshot = await home.tick()
                held = {r.model: {p: r.holds(p) for p in r.pools} for r in snapshot.residents}
                assert held["old"][A] == gib(8)
                assert held["other"][B] == gib(8)
                assert snapshot.free(A) == gib(15)

    run(story())


def test_a_neighbour_that_takes_vram_causes_relief_on_its_card_only(cards: Cards) -> None:
    async def story() -> None:
        async with router(cards, "old", "fresh", "other", "oldest") as server:
            async with house({"llama": server}, [Ram(), nvidia()], BY_AGE) as home:
                await _settled_in(home, server)
                assert home.decisions() == []
                cards.neighbour(0, 7 * GIB)  # nothing is left on the first card
                await home.tick()
                snapshot = await home.settle()
                assert [(f.pid, f.size) for f in snapshot.foreign] == [(999_999, 7 * GIB)]
                assert server.loaded == ["fresh", "other", "oldest"]
                (decision,) = home.decisions()
                assert decision["trigger"] == "relief"
                (outcome,) = decision["outcomes"]
                assert outcome["judgement"]["verdict"] == "recovered"
                assert outcome["judgement"]["returned"] == 8 * GIB
                notes = {n["model"]: n["why"] for n in decision["notes"]}
                assert notes["llama/oldest"] == "holds nothing where room is needed"
                assert notes["llama/fresh"] == "not needed"
                await home.tick(times=20)
                assert len(home.decisions()) == 1  # and it does not go on

    run(story())


def test_a_shortage_that_passes_within_the_grace_period_costs_nobody(cards: Cards) -> None:
    async def story() -> None:
        async with router(cards, "old", "fresh") as server:
            async with house({"llama": server}, [Ram(), nvidia()], BY_AGE) as home:
                await _settled_in(home, server)
                cards.neighbour(0, int(6.4 * GIB))  # 0.6 GiB left of a reserve of 0.72
                await home.tick(times=9)
                assert ("pressure", A) in home.findings()
                cards.neighbour(0, -int(6.4 * GIB))
                await home.tick(times=20)
                assert home.decisions() == []
                cards.neighbour(0, int(6.4 * GIB))
                await home.tick(times=12)
                await home.settle()
                assert server.loaded == ["fresh"]

    run(story())


def test_a_lost_gpu_makes_its_pool_blind_and_nothing_else(cards: Cards) -> None:
    async def story() -> None:
        async with router(cards, "old", "fresh", "other", "oldest") as server:
            async with house({"llama": server}, [Ram(), nvidia()], BY_AGE) as home:
                await _settled_in(home, server)
                cards.driver.fault(LOST, index=0)
                snapshot = await home.tick()
                assert set(snapshot.blind) == {A}
                assert snapshot.pool(B) is not None
                cards.neighbour(0, 7 * GIB)
                cards.neighbour(1, 7 * GIB)
                await home.tick(times=15)
                await home.settle()
                assert "old" in server.loaded  # nobody goes for a card that cannot be read
                assert "oldest" not in server.loaded  # and the other card is looked after
                cards.driver.drop("fault")
                await home.tick(times=2)
                await home.settle()
                assert "old" not in server.loaded

    run(story())


def test_a_driver_that_hangs_blinds_its_cards_while_ram_is_looked_after(cards: Cards) -> None:
    class Impatient(NvidiaCollector):
        deadline = Seconds(0.1)

    async def story() -> None:
        ram = Ram()
        async with router(cards, "old", "other") as server:
            async with house({"llama": server}, [ram, Impatient(Path("/"))], BY_AGE) as home:
                pids = server.pids
                home.children.anonymous = {pids["old"]: gib(3), pids["other"]: gib(1)}
                await _settled_in(home, server)
                cards.driver.hang("nvmlDeviceGetMemoryInfo")
                cards.driver.hang("nvmlDeviceGetMemoryInfo_v2")
                snapshot = await home.tick()
                assert set(snapshot.blind) == {A, B}
                assert home.sampler.health["nvidia"].fault is not None
                ram.free = gib(1)
                await home.tick()
                for run in list(home.loop.runs):
                    await run.done
                assert "old" not in server.loaded  # RAM has its relief without the driver
                cards.driver.drop("hang")
                for _ in range(200):  # the driver's thread returns in its own time
                    snapshot = await home.tick()
                    if not snapshot.blind:
                        break
                assert not snapshot.blind
                assert home.findings() & {("blind", A), ("blind", B)} == set()

    run(story())


def test_a_model_that_works_is_spared_and_the_next_one_goes(cards: Cards) -> None:
    async def story() -> None:
        async with router(cards, "old", "fresh") as server:
            async with house({"llama": server}, [Ram(), nvidia()], BY_AGE) as home:
                await _settled_in(home, server)
                server.busy["old"] = 1
                home.children.cpu[server.pids["old"]] = 99.0
                cards.neighbour(0, 7 * GIB)
                await home.tick()
                await home.settle()
                assert server.loaded == ["old"]
                notes = {n["model"]: n["why"] for n in home.decisions()[-1]["notes"]}
                assert notes["llama/old"] == "busy"

    run(story())


def test_an_engine_that_lies_about_an_unload_is_found_out_and_not_counted_on(cards: Cards) -> None:
    async def story() -> None:
        async with router(cards, "old", "fresh") as server:
            async with house({"llama": server}, [Ram(), nvidia()], BY_AGE) as home:
                await _settled_in(home, server)
                server.keeps = True  # gone from the list, its memory stays
                cards.neighbour(0, 7 * GIB)
                await home.tick()
                await home.settle()
                judged = [o["judgement"]["verdict"] for o in home.decisions()[0]["outcomes"]]
                assert judged == ["nothing came back", "nothing came back"]
                assert ("ineffective", "llama/old") in home.findings()

    run(story())


def test_a_silent_engine_s_models_are_unknown_and_nobody_is_evicted_for_it(cards: Cards) -> None:
    async def story() -> None:
        async with router(cards, "old", "fresh") as server:
            async with house({"llama": server}, [Ram(), nvidia()], BY_AGE) as home:
                await _settled_in(home, server)
                await server.stop()
                snapshot = await home.tick()
                assert {r.state for r in snapshot.residents} == {State.UNKNOWN}
                assert ("engine_down", "llama") in home.findings()
                cards.neighbour(0, 7 * GIB)
                await home.tick(times=15)
                await home.settle()
                assert server.loaded == ["old", "fresh"]
                assert home.decisions()[-1]["actions"] == []
                await server.start()
                for _ in range(50):
                    snapshot = await home.tick(0.1)
                    if State.UNKNOWN not in {r.state for r in snapshot.residents}:
                        break
                await home.settle()
                assert server.loaded == ["fresh"]  # found again, and relieved

    run(story())
