"""oMLX, by the shapes of its 0.4.5 and what is known of an older one."""

import asyncio
import copy

import httpx
import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines.base import Activity, EngineModel, EngineRefused
from supervisor.engines.omlx import Omlx
from tests.engines.altered import altered, answer
from tests.engines.replay import Replay, capture

OMLX = capture("omlx-0.4.5.dev1")
OLD = capture("omlx-0.2.20")
QWEN, GEMMA = ModelId("Qwen3-30B-A3B-4bit"), ModelId("gemma-3-4b-it-8bit")
STATUS = "GET /v1/models/status"


def omlx(told):
    replay = Replay(told)
    return Omlx(EngineId("mlx"), "http://127.0.0.1:8000", replay.client(), None), replay


def listed(told):
    return {m.id: m for m in asyncio.run(omlx(told)[0].list())}


def with_models(changes, told=OMLX):
    """The capture, with other members in the entries of `changes`."""
    status = copy.deepcopy(answer(told, STATUS))
    for entry in status["models"]:
        entry |= changes.get(entry["id"], {})
    return altered(told, STATUS, status)


def with_counts(told, **counts):
    return altered(told, "GET /api/status", answer(told, "GET /api/status") | counts)


def looked_at(told, name):
    """What `name` is doing."""

    async def look():
        made, _ = omlx(told)
        models = {m.id: m for m in await made.list()}
        return await made.activity(models[name])

    return asyncio.run(look())


def test_a_loaded_model_carries_the_bytes_that_were_measured_at_its_load():
    assert listed(OMLX)[QWEN] == EngineModel(
        QWEN,
        State.LOADED,
        reported=18253611008,
        reported_gpu=18253611008,
        file_size=17179869184,
        mark="1787390000.12",
        context=32768,
    )


def test_an_installed_model_carries_the_estimate_alone():
    model = listed(OMLX)[GEMMA]
    assert (model.state, model.reported, model.file_size) == (None, None, 4617089843)


def test_a_model_that_is_virtual_is_left_out():
    assert set(listed(OMLX)) == {QWEN, GEMMA}


def test_a_model_that_is_being_loaded_is_said_to_be():
    assert listed(with_models({GEMMA: {"is_loading": True}}))[GEMMA].state is State.LOADING


@pytest.mark.parametrize("size", [None, 0])
def test_what_was_not_measured_is_not_zero(size):
    model = listed(with_models({QWEN: {"actual_size": size}}))[QWEN]
    assert (model.state, model.reported, model.reported_gpu) == (State.LOADED, None, None)


def test_an_old_one_says_no_actual_size():
    model = listed(OLD)[QWEN]
    assert (model.state, model.reported, model.file_size) == (State.LOADED, None, 17179869184)


@pytest.mark.parametrize("told", [OMLX, OLD])
def test_every_version_is_known(told):
    version = asyncio.run(omlx(told)[0].identify()).version
    assert version == answer(told, "GET /api/status")["version"]


def test_one_that_is_not_ready_is_no_stranger():
    words = {"error": {"message": "Server not initialized", "type": "server_error"}}
    with pytest.raises(EngineRefused, match="not initialized"):
        asyncio.run(omlx(altered(OMLX, STATUS, words, status=503))[0].identify())


def test_all_requests_are_those_of_the_only_model():
    assert looked_at(OMLX, QWEN) == Activity(2, "1787390000.12")  # one of the two waits


def test_while_any_of_several_models_works_none_of_them_looks_idle():
    told = with_models({GEMMA: {"loaded": True}})
    first, later = (looked_at(with_counts(told, uptime_seconds=s), GEMMA) for s in (10.5, 11.5))
    assert first.in_flight is later.in_flight is None
    assert first.mark != later.mark


def test_where_nobody_works_every_model_is_idle():
    told = with_counts(with_models({GEMMA: {"loaded": True}}), active_requests=0)
    told = with_counts(told, waiting_requests=0)
    assert looked_at(told, GEMMA).in_flight == looked_at(told, QWEN).in_flight == 0


@pytest.mark.parametrize("kind", ["embedding", "audio_stt", None])
def test_a_model_whose_requests_it_does_not_count_is_not_called_idle(kind):
    told = with_counts(OMLX, active_requests=0, waiting_requests=0)
    found = looked_at(with_models({QWEN: {"engine_type": kind}}, told), QWEN)
    assert found == Activity(None, "1787390000.12")


@pytest.mark.parametrize(
    ("status", "words", "way"),
    [
        (500, "Model Qwen3 is already being loaded", True),
        (500, "Model requires 60.0GB but only 48.0GB available", False),
    ],
)
def test_a_load_that_is_under_way_is_a_load_and_one_that_does_not_fit_says_so(status, words, way):
    told = altered(
        OMLX, f"POST /v1/models/{QWEN}/load", {"error": {"message": words}}, status=status
    )
    made, _ = omlx(told)
    if way:
        asyncio.run(made.load(QWEN))
    else:
        with pytest.raises(EngineRefused, match=r"48\.0GB"):
            asyncio.run(made.load(QWEN))


def test_an_old_one_that_cannot_load_says_so():
    with pytest.raises(EngineRefused, match="404 Not Found"):
        asyncio.run(omlx(OLD)[0].load(QWEN))


def test_a_name_with_a_slash_stays_one_step_of_the_path():
    paths = []

    def answer(request):
        paths.append(request.url.raw_path)
        return httpx.Response(404)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    made = Omlx(EngineId("mlx"), "http://127.0.0.1:8000", client, None)
    with pytest.raises(EngineRefused):
        asyncio.run(made.unload(ModelId("org/../Qwen3")))
    assert paths == [b"/v1/models/org%2F..%2FQwen3/unload"]


def test_its_memory_guard_is_told_with_the_remedy():
    (habit,) = asyncio.run(omlx(OMLX)[0].habits())
    assert "above 48 GiB" in habit.what
    assert habit.remedy == "start it with --memory-guard off"


@pytest.mark.parametrize("ceiling", [0, None])
def test_without_a_memory_guard_there_is_nothing_to_tell(ceiling):
    status = answer(OMLX, STATUS) | {"final_ceiling": ceiling}
    assert asyncio.run(omlx(altered(OMLX, STATUS, status))[0].habits()) == ()
