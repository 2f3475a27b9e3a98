"""A vLLM that can only sleep, and a router beside it, on one card of the stand-in driver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from collectors.nvidia import NvidiaCollector
from collectors.reading import Bytes, PoolId, gib
from supervisor.core.ladder import Rung
from supervisor.core.policy import EnginePolicy, Policy
from supervisor.core.snapshot import EngineId, ModelRef, Share, State
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter
from tests.engines.fakes.vllm import FakeVllm
from tests.nvml.fake_nvml import GIB
from tests.nvml.fake_nvml import State as Driver
from tests.scenarios.house import House, Ram, house

pytestmark = pytest.mark.slow

CARD = PoolId("GPU-aaaa")
BIG, SMALL = ref("big", "vllm"), ref("small", "llama")


class Card:
    """24 GiB, of which 1 is taken. `big` holds 16 GiB awake and 2 asleep, `small` 8."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.held: dict[int, int] = {}
        self.pids = {"big": 7001, "small": 7002}
        self.leaks = False
        driver.gpu(0, name="NVIDIA RTX 4090", uuid=CARD, total=24 * GIB, reserved=0)

    def hold(self, model: str, size: int) -> None:
        pid = self.pids[model]
        self.driver.drop(f"proc 0 C {pid} ")
        self.held[pid] = size * GIB
        if size:
            self.driver.proc(0, "C", pid, size * GIB)
        self.driver.gpu(0, used=GIB + sum(self.held.values()))


def vllm(card: Card) -> FakeVllm:
    server = FakeVllm(
        ["big"],
        on_load=lambda m: card.hold(m, 16),
        on_unload=lambda m: card.hold(m, 16 if card.leaks else 2),
    )
    server.pids = card.pids
    return server


def router(card: Card) -> FakeLlamaRouter:
    server = FakeLlamaRouter(
        ["small"], on_load=lambda m: card.hold(m, 8), on_unload=lambda m: card.hold(m, 0)
    )
    server.pids = card.pids
    return server


def play(
    driver: Driver, story: Callable[[House, Card, Ram], Awaitable[None]], **policy: object
) -> None:
    async def scene() -> None:
        card, ram = Card(driver), Ram()
        collectors = [NvidiaCollector(), ram]
        async with vllm(card) as big, router(card) as small:
            card.engines = {"vllm": big, "llama": small}  # type: ignore[attr-defined]
            async with house(card.engines, collectors, policy=Policy(**policy)) as home:  # type: ignore[attr-defined, arg-type]
                home.journal.remember(SMALL, (Share(CARD, gib(8)),))
                await home.tick(times=20)
                await story(home, card, ram)

    asyncio.run(asyncio.wait_for(scene(), 30))


def states(home: House) -> dict[ModelRef, State]:
    assert home.loop.snapshot is not None
    return {r.ref: r.state for r in home.loop.snapshot.residents}


def held(home: House, model: ModelRef) -> Bytes:
    assert home.loop.snapshot is not None
    found = home.loop.snapshot.resident(model)
    return Bytes(0) if found is None else found.holds(CARD)


def test_a_model_that_can_only_sleep_makes_room_by_that_and_its_residue_is_known(
    driver: Driver,
) -> None:
    async def story(home: House, card: Card, ram: Ram) -> None:
        assert (states(home), held(home, BIG)) == ({BIG: State.LOADED}, gib(16))
        carried = await home.door.load("small")
        sleep, _ = carried.outcomes
        assert (sleep.action.ref, sleep.rung, sleep.result.value) == (BIG, Rung.SLEEP, "done")
        assert sleep.judgement is not None
        assert (sleep.judgement.promised, sleep.judgement.returned) == (gib(15), gib(14))
        await home.settle()
        assert states(home) == {BIG: State.SLEEPING, SMALL: State.LOADED}
        assert held(home, BIG) == gib(2)
        (kept,) = home.journal.residues()[BIG]
        assert (kept.pool, kept.size) == (CARD, gib(2))

    play(driver, story)


def test_a_sleeping_model_that_is_wanted_again_is_woken_and_somebody_else_makes_room(
    driver: Driver,
) -> None:
    async def story(home: House, card: Card, ram: Ram) -> None:
        await home.door.load("small")
        await home.settle()
        await home.tick(times=20)
        carried = await home.door.load("big")
        assert [o.result.value for o in carried.outcomes] == ["done", "done"]
        assert carried.outcomes[0].rung is Rung.UNLOAD
        await home.settle()
        assert states(home) == {BIG: State.LOADED}

    play(driver, story)


def test_without_room_in_ram_it_gives_its_weights_up(driver: Driver) -> None:
    async def story(home: House, card: Card, ram: Ram) -> None:
        ram.free = gib(12)
        await home.tick()
        carried = await home.door.load("small")
        assert carried.outcomes[0].rung is Rung.DEEP_SLEEP

    play(driver, story)


def test_a_sleep_that_gives_nothing_back_is_found_out_and_told(driver: Driver) -> None:
    async def story(home: House, card: Card, ram: Ram) -> None:
        card.leaks = True
        carried = await home.door.load("small")
        sleep, load = carried.outcomes
        assert sleep.judgement is not None
        assert sleep.judgement.returned == 0
        assert load.result.value == "skipped"
        await home.tick()
        assert ("ineffective", str(BIG)) in home.findings()

    play(driver, story)


@pytest.mark.parametrize("allowed", [(Rung.UNLOAD,), (Rung.DEEP_SLEEP,)])
def test_what_the_operator_does_not_allow_is_not_done(
    driver: Driver, allowed: tuple[Rung, ...]
) -> None:
    async def story(home: House, card: Card, ram: Ram) -> None:
        carried = await home.door.load("small")
        rungs = [o.rung for o in carried.outcomes if o.rung is not None]
        assert rungs == ([Rung.DEEP_SLEEP] if Rung.DEEP_SLEEP in allowed else [])
        assert (SMALL in states(home)) == bool(rungs)

    play(driver, story, engines={EngineId("vllm"): EnginePolicy(ladder=allowed)})
