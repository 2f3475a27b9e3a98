"""The engine that DESIGN.md adds, as it stands there, does what it says."""

import asyncio
import importlib.util
import json
import re
from pathlib import Path

import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines import ENGINES, wire
from supervisor.engines.base import EngineConfused, EngineRefused
from tests.engines.replay import Replay, always

DESIGN = Path(__file__).parents[2] / "DESIGN.md"
URL = "http://127.0.0.1:1"


def blocks(language):
    section = DESIGN.read_text().split("### An engine: one file")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def run(code, name):
    spec = importlib.util.spec_from_loader(name, loader=None)
    module = importlib.util.module_from_spec(spec)
    exec(compile(code, name, "exec"), module.__dict__)
    return module


@pytest.fixture
def cellar():
    code, _ = blocks("python")
    return run(code, "supervisor.engines.cellar").Cellar


def made(cellar, client, url=URL):
    return cellar(EngineId("cellar"), url, client, None)


def test_it_plays_its_capture(cellar):
    (told,) = map(json.loads, blocks("json"))
    replay = Replay(told)
    engine = made(cellar, replay.client())
    assert asyncio.run(engine.identify()).version == "3.1"
    models = {m.id: m.state for m in asyncio.run(engine.list())}
    assert models == {told["idle"]: State.LOADED, told["gone"]: None}
    for model in (told["idle"], told["gone"]):
        asyncio.run(engine.unload(ModelId(model)))
    with pytest.raises(EngineRefused):
        asyncio.run(engine.unload(ModelId(told["unknown"])))
    with pytest.raises(EngineRefused):
        asyncio.run(engine.load(ModelId(told["idle"])))


def test_it_lives_with_its_fake(cellar):
    _, code = blocks("python")
    fake = run(code, "tests.engines.fakes.cellar").FAKE

    async def live():
        async with fake(["a", "b"]) as server, wire.client() as client:
            engine = made(cellar, client, server.url)
            server.take("a")
            seen = [{m.id: m.state for m in await engine.list()}]
            await engine.unload(ModelId("a"))
            return [*seen, {m.id: m.state for m in await engine.list()}]

    assert asyncio.run(live()) == [{"a": State.LOADED, "b": None}, {"a": None, "b": None}]


def test_it_knows_nobody_else_and_garbage_confuses_it(cellar):
    assert asyncio.run(made(cellar, always(b"<html>")).identify()) is None
    with pytest.raises(EngineConfused):
        asyncio.run(made(cellar, always(b'{"casks": 7}')).list())
    (told,) = map(json.loads, blocks("json"))
    for kind, other in ENGINES.items():
        if not other.described and kind != "tryll":
            client = Replay(told).client()
            identity = asyncio.run(other(EngineId(kind), URL, client, None).identify())
            assert identity is None, kind
