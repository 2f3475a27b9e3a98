"""What Ollama tells of models that are not loaded: their headers, by its own API."""

import asyncio

import pytest

from supervisor.core.header import Layers, Setup
from supervisor.engines.ollama import TIERS
from tests.engines.replay import Replay
from tests.engines.test_ollama import BLOB, answering, listed, ollama, without


def showing(**more):
    """The capture, and what it shows of every model."""
    told = without("POST /api/show")
    body = {"modelfile": f"FROM {BLOB}", **more}
    reply = {"call": "POST /api/show", "status": 200, "body": body}
    return told | {"replies": [*told["replies"], reply]}


def looks(told, times):
    engine = ollama(Replay(told).client())

    async def look():
        for _ in range(times):
            models = await engine.list()
        return {m.id: m for m in models}

    return asyncio.run(look())


def test_what_is_installed_is_asked_for_its_header_one_at_a_look():
    info = {
        "general.architecture": "qwen3",
        "qwen3.block_count": 36,
        "qwen3.context_length": 40960,
        "qwen3.attention.head_count": 32,
        "qwen3.attention.head_count_kv": 8,
        "qwen3.attention.key_length": 128,
        "qwen3.attention.value_length": 128,
        "qwen3.embedding_length": 4096,
        "tokenizer.ggml.tokens": None,
    }
    told = showing(model_info=info, parameters="temperature 0.6\nnum_ctx 8192")
    first, later = looks(told, 1), looks(told, len(listed(told)))
    assert sum(m.header is not None for m in first.values()) < len(first)
    for model in later.values():
        assert model.setup == Setup(context=8192, tiers=TIERS)
        assert model.header is not None
        assert model.header.layers == (Layers(36, 1024, 1024),)
        assert model.header.weights == model.file_size
        assert model.header.context == 40960


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"model_info": None, "parameters": ""},
        {"model_info": [1], "parameters": "num_ctx many"},
        {"model_info": {"general.architecture": 7}},
        {"model_info": {"general.architecture": "x", "x.block_count": 10**9}},
    ],
)
def test_a_header_that_is_not_told_or_makes_no_sense_is_none(more):
    for model in looks(showing(**more), 5).values():
        assert (model.header, model.setup) == (None, Setup(tiers=TIERS))


def test_a_model_of_which_it_tells_nothing_keeps_nobody_waiting():
    told = answering("GET /api/ps", [])  # and it refuses to show some
    replay = Replay(told)
    engine = ollama(replay.client())

    async def look():
        for _ in range(9):
            await engine.list()

    asyncio.run(look())
    shown = [body["model"] for call, body in replay.asked if call == "POST /api/show"]
    assert sorted(shown) == sorted(set(shown))
    assert len(shown) > 1
