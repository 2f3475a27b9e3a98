"""The unit or container that a whole engine runs in: named in the configuration, used by rungs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from supervisor.app import build
from supervisor.core.ladder import Rung
from supervisor.core.snapshot import EngineId, ModelId
from supervisor.engines import ENGINES
from supervisor.engines.launched import Told
from supervisor.engines.wire import client
from supervisor.housing import SERVER, service
from tests.builders import ref
from tests.engines.standins.container import StandIn

ENGINE = """
[engines.llama]
url = "http://127.0.0.1:9"
kind = "llamacpp"
"""


class Launched:
    def __init__(self, kind: str, told: Told) -> None:
        self.kind, self.told, self.asked = kind, told, list[tuple[str, ModelId]]()

    async def load(self, model: ModelId) -> None:
        self.asked.append(("load", model))

    async def unload(self, model: ModelId) -> None:
        self.asked.append(("unload", model))


@pytest.mark.parametrize(("kind", "key"), [("systemd", "unit"), ("container", "container")])
def test_it_is_one_thing_of_a_launched_engine(kind: str, key: str, tmp_path: Path) -> None:
    made: list[Launched] = []

    def launch(kind: str, told: Told) -> Any:
        made.append(Launched(kind, told))
        return made[0]

    async def story() -> None:
        found = service(kind, "llama.service", tmp_path, launch)
        await found.start()
        await found.stop()

    asyncio.run(story())
    assert made[0].kind == kind
    assert getattr(made[0].told.table.of(SERVER), key) == "llama.service"
    assert made[0].asked == [("load", SERVER), ("unload", SERVER)]


@pytest.mark.parametrize("key", ["service_unit", "service_container"])
def test_what_is_named_reaches_the_rungs_and_the_snapshot(read: Any, key: str) -> None:
    config = read(f'{ENGINE}{key} = "llama.x"\neviction_ladder = ["stop", "unload"]\n')
    assert config.policy.ladder_of(ref("any", "llama")) == (Rung.UNLOAD, Rung.STOP)
    app = build(config, owners=())
    assert app.loop.executor.force is not None
    assert app.loop.executor.force.services.keys() == {"llama"}
    assert app.loop.sampler.roster.services == {"llama": "llama.x"}
    assert app.loop.sampler.mains.services.keys() == {"llama"}, "where nobody is seen to listen"
    asyncio.run(app.client.aclose())


def test_a_mistake_in_it_says_what_would_be_right(mistakes: Any) -> None:
    both = mistakes(f'{ENGINE}service_unit = "a.service"\nservice_container = "b"\n')
    assert any("service_unit: is given, and service_container too" in m for m in both)
    none = mistakes(f'{ENGINE}eviction_ladder = ["stop"]\n')
    assert any("stop needs service_unit or service_container" in m for m in none)
    ours = mistakes(
        '[engines.big]\nkind = "systemd"\nservice_unit = "a.service"\n'
        '[engines.big.served.m]\nunit = "m.service"\nurl = "http://127.0.0.1:9"\n'
    )
    assert any("service_unit: is not for an engine whose models are started" in m for m in ours)


def test_a_word_that_is_no_rung_is_refused_with_those_that_are(mistakes: Any) -> None:
    (found,) = mistakes('eviction_ladder = ["unlod"]')
    assert '"unlod" is no way to make a model go' in found
    assert "sleep, deep_sleep, unload, restart, stop, term, kill" in found


def test_a_container_that_a_whole_engine_runs_in_is_stopped_and_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def story() -> list[str]:
        async with StandIn(["ollama"]) as docker, client() as http:
            monkeypatch.setenv("DOCKER_HOST", f"unix://{docker.socket}")
            name, told = EngineId("ollama"), docker.boxes["ollama"]

            def launch(kind: str, options: Told) -> Any:
                return ENGINES[kind](name, "", http, None, options)

            found = service("container", "ollama", tmp_path, launch)
            seen = []
            for step in (found.start, found.stop, found.start):
                await step()
                seen.append(told.status)
            await found.launched.close()
            return seen

    assert asyncio.run(story()) == ["running", "exited", "running"]


def test_a_containers_first_process_is_told_while_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def story() -> None:
        async with StandIn(["ollama"]) as docker, client() as http:
            monkeypatch.setenv("DOCKER_HOST", f"unix://{docker.socket}")
            box = docker.boxes["ollama"]

            def launch(kind: str, options: Told) -> Any:
                return ENGINES[kind](EngineId("ollama"), "", http, None, options)

            found = service("container", "ollama", tmp_path, launch)
            launched: Any = found.launched
            launched.runner._group = lambda pid: f"/docker/{box.id}"
            assert await found.pid() is None
            await found.start()
            assert await found.pid() == box.pid
            await found.stop()
            assert await found.pid() is None
            await found.launched.close()

    asyncio.run(story())
