"""Alerts that let models sleep, and that restart engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from supervisor.alerting import Alerting
from supervisor.config.alerted import Kind
from supervisor.core.policy import Amount
from supervisor.core.snapshot import EngineId
from supervisor.core.steps import Step
from supervisor.engines.base import EngineRefused
from tests.alerting.post import CHIEF, Post, action, config
from tests.engines.fake import FakeLlamaRouter
from tests.nvml.fake_nvml import State as Driver
from tests.scenarios.house import House, Ram
from tests.scenarios.shelf import run
from tests.scenarios.test_sleep import CARD, Card, play
from tests.scenarios.test_stuck import Service, stuck

pytestmark = pytest.mark.slow

ENGINE = EngineId("engine")
RESTART = action(Kind.RESTART, "again", engine="engine")


def post(home: House, *actions: Any, **more: Any) -> Post:
    box = Post(Alerting(config(*actions, **more), home.door))
    box.alerting.start()
    return box


async def came(home: House, box: Post, id: str = "f1", at: float = 0.0) -> str | None:
    """Looks until it is known."""
    for _ in range(40):
        if box.came(id, at=at) is not None:
            break
        await home.tick(0.5)
        await asyncio.sleep(0)
    return box.came(id, at=at)


# -- sleep


def test_models_that_can_sleep_do_and_the_others_stay(driver: Driver) -> None:
    async def story(home: House, card: Card, ram: Ram) -> None:
        engines: Any = card.engines  # type: ignore[attr-defined]
        box = post(
            home,
            action(Kind.SLEEP, "hush", below=Amount(fraction=0.5), match={"m": "free"}),
            action(Kind.SLEEP, "those", models=("small",), below=Amount(fraction=1.0)),
        )
        await box.fire("free", m="free", pool=str(CARD))
        assert await came(home, box, "free") == "done"
        assert box.row("free")["detail"].startswith("vllm/big sleeps, 14 GiB came back")
        await box.fire("gone")
        assert await came(home, box, "gone") == "disagreed"
        assert "none of them holds any memory" in box.row("gone")["detail"]
        engines["llama"].take("small")
        await home.tick(times=3)
        await box.fire("those")
        await came(home, box, "those")
        assert box.came("those") == "failed"
        assert "nobody could go" in box.row("those")["detail"]
        assert engines["llama"].loaded == ["small"]

    play(driver, story)


# -- restart


def of(home: House, server: FakeLlamaRouter) -> Service:
    """The unit that the engine runs in."""
    service = Service(server)
    home.sampler.roster.services = {ENGINE: "engine.service"}
    assert home.executor.force is not None
    home.executor.force.services = {ENGINE: service}  # type: ignore[dict-item]
    return service


def test_an_engine_is_restarted_where_one_of_its_models_is_stuck() -> None:
    async def story() -> None:
        server = FakeLlamaRouter(["a"])
        async with stuck(server, Step.REPORT, timeout=20) as home:
            service = of(home, server)
            box = post(home, RESTART)
            server.worked["a"] += 1
            await home.tick(1)
            await box.fire("early")
            assert await came(home, box, "early") == "disagreed"
            assert "answers, and none of its models is stuck" in box.row("early")["detail"]
            for _ in range(6):
                await home.tick(5)
            assert home.findings() == {("stuck", "engine/a")}
            await box.fire("late", at=1)
            assert await came(home, box, "late", 1) == "done"
            assert service.calls == ["stop", "start"]
            detail = box.row("late", at=1)["detail"]
            assert detail.startswith("engine/a went with its engine, which was restarted")
            assert home.decisions()[-1]["trigger"] == "alert"

    run(story())


def test_an_engine_that_is_down_is_restarted_and_has_to_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(works: str) -> tuple[str | None, str, list[str]]:
        server = FakeLlamaRouter(["a"])
        async with stuck(server, Step.REPORT, timeout=20) as home:
            service = of(home, server)
            server.busy["a"] = 0
            await server.stop()
            for _ in range(3):
                await home.tick(5)
            assert ("engine_down", "engine") in home.findings()
            box = post(home, RESTART)

            async def begin() -> None:
                service.calls.append("start")
                if works == "refused":
                    raise EngineRefused("engine", "start the unit", "not found")
                if works == "yes":
                    await server.start()

            monkeypatch.setattr(service, "start", begin)
            await box.fire()
            for _ in range(20):
                await came(home, box)
            return box.came(), box.row()["detail"], service.calls

    async def stories() -> None:
        assert await story("yes") == (
            "done",
            "engine was restarted, and answers",
            ["stop", "start"],
        )
        outcome, detail, _ = await story("no")
        assert outcome == "failed"
        assert detail == "engine was restarted, and does not answer 60 s later"
        outcome, detail, _ = await story("refused")
        assert (outcome, "not found" in detail) == ("failed", True)

    run(stories())


def test_an_engine_that_nobody_can_restart_is_not_and_that_is_told() -> None:
    async def story() -> None:
        server = FakeLlamaRouter(["a"])
        async with stuck(server, Step.REPORT, timeout=20) as home:
            server.busy["a"] = 0
            await home.tick(1)
            box = post(home, RESTART)
            await box.fire(engine="other")
            assert await came(home, box) == "unknown_target"
            await server.stop()
            for _ in range(3):
                await home.tick(5)
            await box.fire("down", at=1, engine="engine")
            assert await came(home, box, "down", 1) == "failed"
            assert "no unit and no container is named for it" in box.row("down", at=1)["detail"]
            await server.start()

    run(story())


def test_an_engine_that_is_well_is_restarted_by_force_alone() -> None:
    async def story() -> None:
        server = FakeLlamaRouter(["a"])
        async with stuck(server, Step.REPORT, timeout=20) as home:
            service = of(home, server)
            server.busy["a"] = 0
            await home.tick(1)
            box = post(home, RESTART)
            await box.fire()
            assert (await came(home, box), service.calls) == ("disagreed", [])
            await box.fire("forced", ullage_force="true", by=CHIEF)
            assert await came(home, box, "forced") == "done"
            assert service.calls == ["stop", "start"]

    run(story())
