"""mlx_lm.server, by the source of its 0.32."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines import mlxlm
from supervisor.engines.base import EngineModel, Process
from supervisor.engines.mlxlm import MlxLm
from tests.engines.replay import Replay, capture

TOLD = capture("mlxlm-0.32.0")


def engine(told):
    replay = Replay(told)
    return MlxLm(EngineId("m"), "http://127.0.0.1:8080", replay.client(), None), replay


def changed(call, body):
    told = copy.deepcopy(TOLD)
    next(r for r in told["replies"] if r["call"] == call)["body"] = body
    return told


def test_whatever_it_holds_is_one_model_with_all_of_its_process():
    assert asyncio.run(engine(TOLD)[0].list()) == (
        EngineModel(ModelId("mlx_lm.server"), State.LOADED, process=Process(whole=True)),
        EngineModel(ModelId("mlx-community/Qwen3-8B-4bit")),
        EngineModel(ModelId("mlx-community/gemma-3-4b-it-4bit")),
    )


def test_the_disk_is_looked_through_once_a_minute_at_most(monkeypatch):
    made, replay = engine(TOLD)

    async def live():
        first = await made.list()
        assert await made.list() == first
        monkeypatch.setattr(mlxlm, "LOOK_INTERVAL", 0.0)
        assert await made.list() == first

    asyncio.run(live())
    assert [call for call, _ in replay.asked] == ["GET /v1/models", "GET /health", "GET /v1/models"]


@pytest.mark.parametrize("name", ["mlxlm-0.32.0", "mlxlm-0.20.0"])
def test_it_is_known_by_listing_models_on_a_path_that_cannot_be(name):
    made, replay = engine(capture(name))
    assert asyncio.run(made.identify()).version == "not told"
    assert len(replay.asked) == 2


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("GET /health", {"status": "ok", "version": "1"}),
        ("GET /health", {"status": "healthy"}),
        ("GET /v1/models/ullage/no-such-model", {"error": "no such model"}),
        ("GET /v1/models/ullage/no-such-model", {"object": "list", "data": None}),
        (
            "GET /v1/models/ullage/no-such-model",
            {"object": "list", "data": [{"id": "a", "object": "model", "owned_by": "me"}]},
        ),
    ],
)
def test_others_are_not_taken_for_it(call, body):
    assert asyncio.run(engine(changed(call, body))[0].identify()) is None


def test_a_server_of_another_kind_is_not_asked_for_its_health():
    # An SGLang that is asked for it generates a token.
    other = {"object": "list", "data": [{"id": "a", "object": "model", "owned_by": "sglang"}]}
    made, replay = engine(changed("GET /v1/models/ullage/no-such-model", other))
    asyncio.run(made.identify())
    assert len(replay.asked) == 1
