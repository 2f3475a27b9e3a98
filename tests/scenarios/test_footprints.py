"""What a model takes: worked out, declared, learned, drifting; and what did not fit after all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.nvidia import NvidiaCollector
from collectors.reading import PoolId, Process, Sample, Seconds, Tier, gib, mib
from supervisor.core import explain
from supervisor.core.estimate import DEVICE_OVERHEAD, estimate
from supervisor.core.footprint import MARGINS, Moment
from supervisor.core.policy import Amount, ModelPolicy, Policy
from supervisor.core.snapshot import ModelRef, Share, Source
from supervisor.door import Carried, DoesNotFit, DoorError
from supervisor.engines.commands import llamacpp
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.gguf_files import EXPECTED, LLAMA, TENSORS, Writer
from tests.nvml.fake_nvml import GIB
from tests.nvml.fake_nvml import State as Driver
from tests.scenarios.house import PATIENCE, House, Ram, house

pytestmark = pytest.mark.slow

CARD = PoolId("GPU-aaaa")
BIG, SMALL = ref("big", "llama"), ref("small", "ollama")


class Card:
    """24 GiB, of which 1 is taken."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        driver.without_gpu(1)
        self.held: dict[int, float] = {}
        self.pids = {"big": 7001, "small": 7002}
        driver.gpu(0, name="NVIDIA RTX 4090", uuid=CARD, total=24 * GIB, reserved=0)
        self.hold("big", 0)

    def hold(self, model: str, size: float) -> None:
        pid = self.pids[model]
        self.driver.drop(f"proc 0 C {pid} ")
        self.held[pid] = size
        if size:
            self.driver.proc(0, "C", pid, int(size * GIB))
        self.driver.gpu(0, used=GIB + int(sum(self.held.values()) * GIB))


class Lists(Ram):
    """And the table of processes, in which there is one."""

    def read(self, tiers: Tier) -> Sample:
        some = (Process(1, 0, "init", mib(4), mib(4)),) if Tier.PROCESSES in tiers else None
        return replace(super().read(tiers), processes=some)


class Scene:
    def __init__(self, driver: Driver) -> None:
        self.card = Card(driver)
        self.big, self.small = 13.0, 8.0  # GiB, once loaded
        hold = self.card.hold
        self.llama = FakeLlamaRouter(
            ["big"], on_load=lambda m: hold(m, self.big), on_unload=self.big_left
        )
        self.ollama = FakeOllama(
            ["small"], on_load=lambda m: hold(m, self.small), on_unload=lambda m: hold(m, 0)
        )
        self.llama.pids = self.ollama.pids = self.card.pids
        self.is_enough_without_big = False

    def big_left(self, model: str) -> None:
        self.card.hold(model, 0)
        if self.is_enough_without_big:
            self.ollama.fails_loads = False


def play(driver: Driver, story: Callable[[House, Scene], Awaitable[None]], **policy: Any) -> None:
    async def scene() -> None:
        at = Scene(driver)
        collectors = [NvidiaCollector(), Lists()]
        async with at.llama, at.ollama:
            servers = {"llama": at.llama, "ollama": at.ollama}
            async with house(servers, collectors, policy=Policy(**policy)) as home:
                await home.tick()
                await story(home, at)

    asyncio.run(asyncio.wait_for(scene(), 60))


def here(home: House) -> set[ModelRef]:
    assert home.loop.snapshot is not None
    return {r.ref for r in home.loop.snapshot.residents}


def results(carried: Carried) -> list[tuple[str, str]]:
    return [(str(o.action.ref), o.result.value) for o in carried.outcomes]


def why(home: House, model: ModelRef) -> str:
    assert home.loop.snapshot is not None
    found = home.journal.decisions(20, model=str(model))
    loop = home.loop
    return "\n".join(explain.why(model, home.loop.snapshot, loop.policy, found, (), loop.findings))


async def big_is_there(home: House, at: Scene) -> None:
    at.llama.take("big")
    home.journal.remember(SMALL, (Share(CARD, gib(8)),))
    await home.tick(times=20)
    assert here(home) == {BIG}


# -- learned


def test_one_that_stays_for_a_moment_is_known_the_next_time(driver: Driver) -> None:
    """Nobody knew its size, and the executor is the first to see that it is there."""

    async def story(home: House, at: Scene) -> None:
        await home.door.load("small")
        await home.tick(times=2)
        at.ollama.drop("small")
        await home.tick()
        assert home.journal.footprint(SMALL) == (Share(CARD, gib(8), Source.LEARNED),)

    play(driver, story)


# -- out of memory


def test_what_did_not_fit_is_loaded_again_with_more_room_made_for_it(driver: Driver) -> None:
    async def story(home: House, at: Scene) -> None:
        await big_is_there(home, at)
        at.ollama.fails_loads = at.is_enough_without_big = True
        carried = await home.door.load("small")
        assert results(carried) == [
            ("ollama/small", "failed"),
            ("llama/big", "done"),
            ("ollama/small", "done"),
        ]
        first, again = home.decisions()
        assert [a["shares"][0]["size"] for a in first["actions"]] == [gib(8)]
        assert again["cause"] == "ollama/small did not fit: once more, with more room"
        assert again["actions"][-1]["shares"][0]["size"] == gib(10)
        await home.settle()
        assert here(home) == {SMALL}
        assert home.findings() == set()

    play(driver, story)


def test_a_pinned_model_does_not_leave_for_a_second_attempt(driver: Driver) -> None:
    async def story(home: House, at: Scene) -> None:
        await big_is_there(home, at)
        await home.door.pin("big")
        await home.tick()
        at.ollama.fails_loads = at.is_enough_without_big = True
        carried = await home.door.load("small")
        assert results(carried) == [("ollama/small", "failed")]
        await home.tick()
        assert here(home) == {BIG}
        assert home.findings() == {("no_fit", str(SMALL))}
        with pytest.raises(DoesNotFit, match=r"no room for a quarter more.* in \ds"):
            await home.door.load("small")
        assert "pinned" in why(home, SMALL) or "no room" in why(home, SMALL)

    play(driver, story)


def test_what_fails_twice_is_refused_for_a_while_and_forgotten_once_it_loads(
    driver: Driver,
) -> None:
    async def story(home: House, at: Scene) -> None:
        home.journal.remember(SMALL, (Share(CARD, gib(8)),))
        at.ollama.fails_loads = True
        carried = await home.door.load("small")
        assert results(carried) == [("ollama/small", "failed")] * 2
        calls = len(at.ollama.calls("POST /api/generate"))
        await home.tick()
        assert ("no_fit", str(SMALL)) in home.findings()
        assert "it did not fit in 2 attempts" in why(home, SMALL)
        for ask in (home.door.load("small"), _planned(home)):
            with pytest.raises(DoesNotFit, match="out of memory; it may be tried again in"):
                await ask
        assert len(at.ollama.calls("POST /api/generate")) == calls
        await home.tick(10)
        assert home.findings() == set()
        assert results(await home.door.load("small")) == [("ollama/small", "failed")]  # once
        await home.tick(19)
        with pytest.raises(DoesNotFit):
            await home.door.load("small")
        await home.tick(1)
        at.ollama.fails_loads = False
        assert results(await home.door.load("small")) == [("ollama/small", "done")]
        await home.settle()
        assert home.loop.witnesses.footprints.out_of_memory._misfits == {}

    play(driver, story)


async def _planned(home: House) -> object:
    return home.door.plan_load("small")


def test_a_failure_of_another_kind_is_not_tried_again(driver: Driver) -> None:
    async def story(home: House, at: Scene) -> None:
        home.journal.remember(SMALL, (Share(CARD, gib(8)),))
        at.ollama.faults["POST /api/generate"] = "error"
        assert results(await home.door.load("small")) == [("ollama/small", "failed")]
        assert results(await home.door.load("small")) == [("ollama/small", "failed")]
        assert home.loop.witnesses.footprints.refusal(SMALL) is None

    play(driver, story)


# -- what was never seen


def test_what_nobody_knows_is_loaded_and_known_from_then_on(driver: Driver) -> None:
    async def story(home: House, at: Scene) -> None:
        with pytest.raises(DoorError, match=r'memory in \[models."llama/big"\]'):
            home.door.demand("big", spanned=True)  # another host would count on it
        (load,) = home.door.plan_load("big").actions
        assert load.takes == (Share(CARD, gib(0), Source.ESTIMATED),)  # type: ignore[union-attr]
        assert results(await home.door.load("big")) == [("llama/big", "done")]
        await home.tick(times=12)
        (load,) = (await _unloaded(home)).actions
        assert load.takes == (Share(CARD, gib(13), Source.LEARNED),)  # type: ignore[union-attr]

    play(driver, story)


def test_what_is_declared_is_made_room_for_until_it_was_seen(driver: Driver) -> None:
    async def story(home: House, at: Scene) -> None:
        (load,) = home.door.plan_load("big").actions
        assert load.takes == (Share(CARD, gib(12), Source.DECLARED),)  # type: ignore[union-attr]
        assert results(await home.door.load("big")) == [("llama/big", "done")]
        await home.tick(times=12)
        (load,) = (await _unloaded(home)).actions
        assert load.takes == (Share(CARD, gib(13), Source.LEARNED),)  # type: ignore[union-attr]

    play(driver, story, models={"big": ModelPolicy(memory=Amount(size=gib(12)))})


async def _unloaded(home: House) -> Any:
    await home.door.evict(["big"])
    await home.settle()
    return home.door.plan_load("big")


def test_what_is_declared_beyond_what_there_is_is_not_loaded(driver: Driver) -> None:
    async def story(home: House, at: Scene) -> None:
        assert not home.door.plan_load("big").works

    play(driver, story, models={"big": ModelPolicy(memory=Amount(size=gib(30)))})


def test_a_model_that_was_never_loaded_is_worked_out_from_its_file(
    driver: Driver, tmp_path: Path
) -> None:
    file = tmp_path / "big.gguf"
    file.write_bytes(Writer().file(LLAMA, TENSORS))
    words = ["llama-server", "--model", str(file), "--ctx-size", "4096", "--parallel", "1"]

    async def story(home: House, at: Scene) -> None:
        at.llama.argv = lambda m: [*words, "--alias", m]
        headers = home.sampler.headers
        async with asyncio.timeout(PATIENCE):
            # On a busy machine an engine may answer only the next time.
            while headers.get(str(file)) is None:
                await home.tick()
                await headers.settled()
        await home.tick()
        (load,) = home.door.plan_load("big").actions
        found = estimate(EXPECTED, llamacpp(words))
        assert found.cache == mib(512)
        there = found.weights + found.cache + found.compute + DEVICE_OVERHEAD
        takes = {s.pool: s for s in load.takes}  # type: ignore[union-attr]
        assert takes[CARD].size == int(there * MARGINS[Source.ESTIMATED])
        assert takes[CARD].source is Source.ESTIMATED
        words[words.index("4096")] = "8192"  # the operator has changed its preset
        await home.tick()
        (load,) = home.door.plan_load("big").actions
        assert load.takes[0].size - takes[CARD].size > mib(500)  # type: ignore[union-attr]

    play(driver, story)


# -- what was seen


def test_each_setup_is_learned_apart_with_the_height_of_its_load(
    driver: Driver, tmp_path: Path
) -> None:
    words = ["llama-server", "--ctx-size", "4096", "--parallel", "1"]

    async def story(home: House, at: Scene) -> None:
        at.llama.argv = lambda m: [*words, "--alias", m]
        for tokens, size in (("4096", 9.0), ("8192", 13.0)):
            words[2], at.big = tokens, size
            home.journal.remember(BIG, (Share(CARD, gib(1)),), context=int(tokens), slots=1)
            at.llama.slow_loads = True
            await home.tick()
            asked = asyncio.create_task(home.door.load("big"))
            while "big" not in at.llama.loading:
                await asyncio.sleep(0)
            await home.tick()
            at.card.hold("big", size + 1)  # at the height of its load
            await home.tick()
            at.llama.finish("big")
            await asked
            await home.tick(times=12)
            await _unloaded(home)
        for tokens, size in (("4096", 9.0), ("8192", 13.0)):
            words[2] = tokens
            await home.tick()
            (load,) = home.door.plan_load("big").actions
            assert load.takes == (Share(CARD, gib(size + 1), Source.LEARNED),)  # type: ignore[union-attr]
            held = [home.journal.footprint(BIG, m, int(tokens), 1) for m in Moment][:2]
            assert [s[0].size for s in held if s] == [gib(size), gib(size + 1)]

    play(driver, story)


def test_a_model_that_holds_more_than_it_did_is_told_and_explained(driver: Driver) -> None:
    async def story(home: House, at: Scene) -> None:
        home.journal.remember(BIG, (Share(CARD, gib(8)),))
        at.llama.take("big")  # 13 GiB
        await home.tick(times=20)
        assert home.findings() == set()
        await home.tick(Seconds(15.0), times=20)
        assert home.findings() == {("drift", str(BIG))}
        assert "it holds 13.0 GiB, and 8.0 GiB were learned of it" in why(home, BIG)
        at.llama.drop("big")
        await home.tick(times=12)
        assert home.findings() == set()

    play(driver, story)
