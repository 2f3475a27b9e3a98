"""Lemonade, by the shapes of its 11.7 and of 10.2, which says less."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.core.types import ModelType
from supervisor.engines import wire
from supervisor.engines.base import Activity, EngineModel, EngineRefused, Habit, Process
from supervisor.engines.lemonade import Lemonade
from tests.engines.altered import altered, answer
from tests.engines.fakes.lemonade import FakeLemonade
from tests.engines.replay import Replay, capture

LEMONADE = capture("lemonade-11.7.0")
OLD = capture("lemonade-10.2.0")
QWEN, NOMIC = ModelId("Qwen3-8B-GGUF"), ModelId("nomic-embed-text-v2-moe-GGUF")
SMOL = ModelId("SmolLM3-3B-GGUF")
HEALTH = "GET /api/v1/health"
EVICTS = "it unloads models that have been idle for a while, or when memory is short"


def lemonade(told):
    replay = Replay(told)
    return Lemonade(EngineId("l"), "http://127.0.0.1:13305", replay.client(), None), replay


def listed(told):
    return {m.id: m for m in asyncio.run(lemonade(told)[0].list())}


def asked(told, call):
    made, replay = lemonade(told)
    asyncio.run(call(made))
    return [(c, body) for c, body in replay.asked if c.startswith("POST")]


def first(told=LEMONADE, **members):
    """The capture, with other members in the first loaded model; None takes one away."""
    health = copy.deepcopy(answer(told, HEALTH))
    entry = health["all_models_loaded"][0]
    entry |= members
    for key in [k for k, v in entry.items() if v is None]:
        del entry[key]
    return altered(told, HEALTH, health)


def activity(told, name=QWEN):
    return asyncio.run(lemonade(told)[0].activity(EngineModel(name, State.LOADED)))


def test_a_loaded_model_is_found_by_the_command_that_started_it():
    command = tuple(answer(LEMONADE, HEALTH)["all_models_loaded"][0]["launch_command"])
    assert listed(LEMONADE)[QWEN] == EngineModel(
        QWEN,
        State.LOADED,
        file_size=round(5.25 * 1024**3),
        process=Process(argv=(command,)),
        mark="1787390000123",
        context=8192,
        type=ModelType.CHAT,
    )


@pytest.mark.parametrize(
    ("device", "is_there"),
    [
        ("npu", True),
        ("gpu|npu", True),
        ("cpu|gpu|npu", True),
        ("gpu", False),
        ("cpu|gpu", False),
        ("none", False),
        (None, False),
    ],
)
def test_what_runs_on_the_npu_is_told_alone_or_beside_others(device, is_there):
    assert listed(first(device=device))[QWEN].npu is is_there


def test_what_will_run_on_the_npu_is_told_before_it_is_loaded():
    assert [id for id, m in listed(LEMONADE).items() if m.npu] == []
    models = copy.deepcopy(answer(LEMONADE, "GET /api/v1/models"))
    smol = next(entry for entry in models["data"] if entry["id"] == SMOL)
    smol["recipe"] = "flm"
    assert listed(altered(LEMONADE, "GET /api/v1/models", models))[SMOL].npu


@pytest.mark.parametrize(
    ("members", "process"),
    [
        ({"launch_command": None}, Process(pid=41877)),
        ({"launch_command": []}, Process(pid=41877)),
        ({"launch_command": None, "pid": 0}, Process(argv=(("--port", "8001"),))),
        ({"launch_command": None, "pid": 0, "backend_url": "http://[::1/v1"}, None),
        ({"launch_command": None, "pid": None, "backend_url": None}, None),
    ],
)
def test_without_the_command_there_is_the_pid_and_then_the_port(members, process):
    assert listed(first(**members))[QWEN].process == process


def test_what_is_in_the_cloud_or_a_name_for_others_or_not_downloaded_is_left_out():
    models = copy.deepcopy(answer(LEMONADE, "GET /api/v1/models"))
    models["data"][2]["downloaded"] = False
    assert set(listed(LEMONADE)) == {QWEN, NOMIC, SMOL}
    assert set(listed(altered(LEMONADE, "GET /api/v1/models", models))) == {QWEN, NOMIC}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("loading", State.LOADING),
        ("ready", State.LOADED),
        ("in_use", State.LOADED),
        ("downsizing", State.LOADED),
        ("downsized", State.LOADED),  # its weights are still where they were
        ("evicting", State.LOADED),
        ("unloaded", None),
        ("napping", State.UNKNOWN),
        (None, State.LOADED),
    ],
)
def test_every_state_has_its_word(status, state):
    model = listed(first(status=status))[QWEN]
    assert model.state is state
    assert (model.process is None) == (state is None)


@pytest.mark.parametrize(
    ("members", "in_flight"),
    [
        ({}, 1),
        ({"is_busy": False}, 1),  # it still sends
        ({"is_busy": False, "is_streaming": False}, 0),
        ({"is_busy": None, "is_streaming": None}, 1),
        ({"is_busy": None, "is_streaming": None, "status": "downsized"}, 0),
        ({"is_busy": None, "is_streaming": None, "status": "evicting"}, None),
        ({"is_busy": None, "is_streaming": None, "status": None}, None),
    ],
)
def test_who_is_busy_is_told_by_its_flags_and_before_these_by_its_state(members, in_flight):
    assert activity(first(**members)) == Activity(in_flight, "1787390000123")


def test_a_model_that_has_just_left_is_not_called_idle():
    assert activity(LEMONADE, SMOL) == Activity(None)


def test_an_old_one_says_less_and_is_believed_in_that():
    model = listed(OLD)[QWEN]
    assert (model.state, model.process) == (State.LOADED, Process(argv=(("--port", "8001"),)))
    assert activity(OLD) == Activity(None, "1787390000123")
    body = {"model_name": QWEN}
    assert asked(OLD, lambda made: made.unload(QWEN)) == [("POST /api/v1/unload", body)]


@pytest.mark.parametrize("members", [{}, {"is_busy": False}, {"status": "loading"}])
def test_an_unload_of_a_busy_model_is_not_even_asked_for(members):
    made, replay = lemonade(first(**members))
    with pytest.raises(EngineRefused, match="is busy") as no:
        asyncio.run(made.unload(QWEN))
    assert no.value.status == 409
    assert all(call.startswith("GET") for call, _ in replay.asked)


def test_that_unload_would_have_silenced_it():
    async def story():
        async with FakeLemonade(["a"]) as fake, wire.client() as client:
            made = Lemonade(EngineId("l"), fake.url, client, None)
            fake.take("a")
            fake.busy["a"] = 1
            with pytest.raises(EngineRefused):
                await made.unload(ModelId("a"))
            assert fake.fault is None
            return await made.list()

    assert [m.state for m in asyncio.run(story())] == [State.LOADED]


def test_an_unload_always_names_its_model():
    found = asked(LEMONADE, lambda made: made.unload(NOMIC))
    assert found == [("POST /api/v1/unload", {"model_name": NOMIC})]
    assert asked(LEMONADE, lambda made: made.unload(SMOL)) == []  # it is gone


def test_a_model_that_leaves_between_look_and_unload_has_left():
    told = altered(
        LEMONADE, "POST /api/v1/unload", {"error": f"Model not loaded: {NOMIC}"}, status=404
    )
    asyncio.run(lemonade(told)[0].unload(NOMIC))


def test_a_load_of_what_is_there_does_not_change_its_options():
    assert asked(LEMONADE, lambda made: made.load(QWEN)) == []
    found = asked(LEMONADE, lambda made: made.load(SMOL))
    assert found == [("POST /api/v1/load", {"model_name": SMOL})]


def test_a_load_never_fetches_a_model_from_the_net():
    made, replay = lemonade(LEMONADE)
    with pytest.raises(EngineRefused, match="not installed"):
        asyncio.run(made.load(ModelId("gpt-oss-120b-GGUF")))
    assert all(call.startswith("GET") for call, _ in replay.asked)


def test_a_load_that_is_refused_says_why():
    words = {"error": {"message": "All llm slots are pinned", "type": "slots_pinned_error"}}
    told = altered(LEMONADE, "POST /api/v1/load", words, status=409)
    with pytest.raises(EngineRefused, match="slots are pinned"):
        asyncio.run(lemonade(told)[0].load(SMOL))


def habits(told):
    return asyncio.run(lemonade(told)[0].habits())


def calm():
    """The capture of a server that leaves its models alone."""
    return altered(LEMONADE, HEALTH, answer(LEMONADE, HEALTH) | {"max_models": {"llm": -1}})


def test_its_limit_of_models_is_told():
    (habit,) = habits(LEMONADE)
    assert habit.what.startswith("it keeps 1 of each kind")
    assert habit.remedy == "lemonade config set max_loaded_models=-1"


def test_that_it_evicts_by_itself_is_told_for_all_or_for_one():
    everywhere = altered(calm(), "GET /internal/config", {"auto_evict": True})
    assert habits(everywhere) == (Habit(EVICTS, "lemonade config set auto_evict=false"),)
    (own,) = habits(first(calm(), recipe_options={"auto_evict": True}))
    assert (own.what, own.model) == (EVICTS, QWEN)


def test_a_server_that_leaves_its_models_alone_has_no_habits():
    assert habits(calm()) == ()


@pytest.mark.parametrize(
    ("status", "text"), [(401, '{"error": "no"}'), (404, ""), (200, "<html></html>")]
)
def test_settings_that_are_not_for_us_are_no_error(status, text):
    assert habits(altered(calm(), "GET /internal/config", status=status, text=text)) == ()
