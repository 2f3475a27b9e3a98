"""Infinity, by the shapes of its source."""

import asyncio

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.core.types import ModelType
from supervisor.engines import wire
from supervisor.engines.base import Activity, EngineModel, Process
from supervisor.engines.infinity import Infinity
from tests.engines.fakes.infinity import FakeInfinity
from tests.engines.replay import Replay, capture

ONE = capture("infinity-0.0.77")
TWO = capture("infinity-prefix-0.0.31")
BGE = EngineModel(
    ModelId("BAAI/bge-small-en-v1.5"),
    State.LOADED,
    process=Process(whole=True),
    type=ModelType.EMBEDDING,
)


def infinity(client, url="http://127.0.0.1:7997"):
    return Infinity(EngineId("i"), url, client, None)


def told_by(told, call):
    return asyncio.run(call(infinity(Replay(told).client())))


def saying(told, call, body):
    return told | {"replies": [{"call": call, "status": 200, "body": body}, *told["replies"]]}


@pytest.mark.parametrize(("told", "version"), [(ONE, "0.0.77"), (TWO, "0.0.31")])
def test_it_is_known_by_its_own_description(told, version):
    assert told_by(told, Infinity.identify).version == version


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("GET /openapi.json", {"info": {"title": "FastAPI", "version": "1"}}),
        ("GET /openapi.json", {"openapi": "3.1.0"}),
        ("GET /models", {"data": [{"id": "m", "owned_by": "vllm"}]}),
        ("GET /models", ["m"]),
    ],
)
def test_whoever_describes_something_else_or_has_other_models_is_none(call, body):
    assert told_by(saying(ONE, call, body), Infinity.identify) is None


def test_the_only_model_is_held_by_all_of_its_processes_and_of_several_none_is():
    assert told_by(ONE, Infinity.list) == (BGE,)
    several = told_by(TWO, Infinity.list)
    assert [(m.state, m.process) for m in several] == [(State.LOADED, None)] * 2


def test_it_can_be_told_to_do_nothing():
    assert Infinity.abilities == {Ability.LIST, Ability.IN_FLIGHT}


def test_answers_to_our_own_questions_do_not_move_the_mark():
    assert told_by(ONE, lambda made: made.activity(BGE)) == Activity(0, mark="78.0")


def test_what_waits_is_counted_once_for_each_model_also_where_nothing_else_is_told():
    assert told_by(TWO, lambda made: made.activity(BGE)) == Activity(9)
    other = EngineModel(ModelId("mixedbread-ai/mxbai-rerank-xsmall-v1"), State.LOADED)
    assert told_by(TWO, lambda made: made.activity(other)) == Activity(0)


def test_a_model_that_has_left_the_list_is_not_called_idle():
    gone = EngineModel(ModelId("gone"), State.LOADED)
    assert told_by(ONE, lambda made: made.activity(gone)).in_flight is None


def test_while_it_gives_answers_it_is_not_called_idle_whichever_model_gives_them():
    async def look():
        async with FakeInfinity() as server, wire.client() as client:
            server.take("b")
            made = infinity(client, server.url)
            seen = []
            for more in (0, 0, 1, 0, 1):
                server.worked["a"] += more
                looks = [await made.activity(m) for m in await made.list()]
                seen.append([look.in_flight for look in looks])
            return seen

    assert asyncio.run(look()) == [[0, 0], [0, 0], [None, None], [0, 0], [None, None]]
