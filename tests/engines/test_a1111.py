"""AUTOMATIC1111 and Forge, by the shapes of their --api."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.a1111 import A1111, WORTH
from supervisor.engines.base import EngineModel, EngineRefused, Identity, Process
from tests.engines.fakes.a1111 import FakeA1111
from tests.engines.replay import Replay, capture

WEBUI = capture("a1111-1.10")
FORGE = capture("a1111-forge-dfdcbab6")
CPU = capture("a1111-cpu-1.10")
XL = ModelId("sd_xl_base_1.0.safetensors")
DREAM = ModelId("v1/dreamshaper_8.safetensors")
OPTIONS = "GET /sdapi/v1/options"
MEMORY = "GET /sdapi/v1/memory"
UNLOAD = "POST /sdapi/v1/unload-checkpoint"


def webui(client, key=None):
    return A1111(EngineId("sd"), "http://127.0.0.1:7860", client, key)


def listed(told):
    return {m.id: m for m in asyncio.run(webui(Replay(told).client()).list())}


def states(told):
    return {id: m.state for id, m in listed(told).items() if m.state is not None}


def changed(told, call, **members):
    """The capture, with other members in what `call` answers; None takes one away."""
    told = copy.deepcopy(told)
    body = next(r for r in told["replies"] if r["call"] == call)["body"]
    body |= members
    for key in [k for k, v in body.items() if v is None]:
        del body[key]
    return told


def holding(told, size):
    return changed(told, MEMORY, cuda={"reserved": {"current": size}})


def posts(told, call):
    replay = Replay(told)
    asyncio.run(call(webui(replay.client())))
    return [(asked, body) for asked, body in replay.asked if asked.startswith("POST")]


def test_the_current_checkpoint_holds_what_torch_took():
    assert listed(WEBUI) == {
        XL: EngineModel(
            XL,
            State.LOADED,
            reported=5620000000,
            reported_gpu=5620000000,
            weights="/models/Stable-diffusion/sd_xl_base_1.0.safetensors",
            process=Process(whole=True),
        ),
        DREAM: EngineModel(DREAM, weights=f"/models/Stable-diffusion/{DREAM}"),
    }


@pytest.mark.parametrize(("held", "found"), [(WORTH - 1, {}), (WORTH, {XL: State.LOADED})])
def test_a_checkpoint_that_was_moved_to_ram_is_current_and_not_loaded(held, found):
    assert states(holding(WEBUI, held)) == found


@pytest.mark.parametrize(
    ("options", "current"),
    [
        ({"sd_model_checkpoint": DREAM}, XL),  # Forge: chosen, and not yet loaded
        ({"sd_checkpoint_hash": ""}, XL),
        ({"sd_checkpoint_hash": None}, XL),
        ({"sd_checkpoint_hash": None, "sd_model_checkpoint": DREAM}, DREAM),
        ({"sd_checkpoint_hash": None, "sd_model_checkpoint": "v1_dreamshaper_8"}, DREAM),
        ({"sd_checkpoint_hash": None, "sd_model_checkpoint": f"{DREAM} [879db523c3]"}, DREAM),
        ({"sd_checkpoint_hash": None, "sd_model_checkpoint": "gone.ckpt"}, "gone.ckpt"),
        ({"sd_checkpoint_hash": None, "sd_model_checkpoint": None}, "a1111"),
    ],
)
def test_what_was_loaded_last_is_known_by_its_hash_else_by_what_is_chosen(options, current):
    assert states(changed(WEBUI, OPTIONS, **options)) == {current: State.LOADED}


def test_a_name_stays_when_its_hash_has_been_worked_out():
    told = copy.deepcopy(WEBUI)
    models = next(r for r in told["replies"] if r["call"] == "GET /sdapi/v1/sd-models")["body"]
    models[1]["title"] += " [879db523c3]"
    assert set(listed(told)) == {XL, DREAM}


def test_without_cuda_the_current_one_is_shown_and_never_told_anything():
    replay = Replay(CPU)
    engine = webui(replay.client())

    async def look():
        models = {m.id: m for m in await engine.list()}
        for call in (engine.load, engine.unload):
            with pytest.raises(EngineRefused, match="cannot be told"):
                await call(XL)
        return models

    models = asyncio.run(look())
    assert (models[XL].state, models[XL].reported) == (State.UNKNOWN, None)
    assert models[DREAM].state is None
    assert engine.abilities == {Ability.LIST}
    assert not [call for call, _ in replay.asked if call.startswith("POST")]


def test_forge_is_known_by_its_options_and_never_told_to_load():
    replay = Replay(holding(FORGE, 0))
    engine = webui(replay.client())
    with pytest.raises(EngineRefused, match="cannot be told"):
        asyncio.run(engine.load(XL))
    assert engine.abilities == A1111.abilities - {Ability.LOAD}
    assert not [call for call, _ in replay.asked if call.startswith("POST")]


def test_the_current_checkpoint_comes_back_from_ram():
    asked = posts(holding(WEBUI, 0), lambda engine: engine.load(XL))
    assert asked == [("POST /sdapi/v1/reload-checkpoint", {})]


def test_another_checkpoint_is_chosen_by_its_title():
    title = {"sd_model_checkpoint": "v1/dreamshaper_8.safetensors"}
    assert posts(WEBUI, lambda engine: engine.load(DREAM)) == [("POST /sdapi/v1/options", title)]


def test_one_that_is_there_is_not_loaded_again():
    assert posts(WEBUI, lambda engine: engine.load(XL)) == []


def test_an_unload_is_never_asked_for_where_it_would_have_to_load_first():
    assert posts(WEBUI, lambda engine: engine.unload(XL)) == [(UNLOAD, {})]
    assert posts(WEBUI, lambda engine: engine.unload(DREAM)) == []
    assert posts(holding(WEBUI, 0), lambda engine: engine.unload(XL)) == []


def test_what_has_no_name_can_be_unloaded_and_not_loaded():
    told = changed(WEBUI, OPTIONS, sd_checkpoint_hash=None, sd_model_checkpoint=None)
    nameless = ModelId("a1111")
    assert posts(told, lambda engine: engine.unload(nameless)) == [(UNLOAD, {})]
    with pytest.raises(EngineRefused, match="cannot be told"):
        posts(told, lambda engine: engine.load(nameless))


@pytest.mark.parametrize(("count", "in_flight"), [(0, 0), (1, 1), (4, 1), (-1, 1)])
def test_a_job_counts_once_whatever_it_is_to_paint(count, in_flight):
    call = "GET /sdapi/v1/progress?skip_current_image=true"
    state = {"job_count": count, "job_timestamp": "20260822100001"}
    engine = webui(Replay(changed(WEBUI, call, state=state)).client())
    model = EngineModel(XL, State.LOADED)
    seen = asyncio.run(engine.activity(model))
    assert (seen.in_flight, seen.mark) == (in_flight, "20260822100001")


@pytest.mark.parametrize(
    ("options", "complaints"),
    [
        ({}, 0),
        ({"sd_checkpoints_limit": 3}, 0),  # the others wait in RAM
        ({"sd_checkpoints_limit": 3, "sd_checkpoints_keep_in_cpu": False}, 1),
        ({"sd_checkpoints_keep_in_cpu": False}, 0),
        ({"sd_checkpoints_limit": None}, 0),
    ],
)
def test_checkpoints_that_it_keeps_and_does_not_name_are_a_habit(options, complaints):
    engine = webui(Replay(changed(WEBUI, OPTIONS, **options)).client())
    habits = asyncio.run(engine.habits())
    assert len(habits) == complaints
    assert all("up to 3" in habit.what and habit.remedy for habit in habits)


def test_a_name_and_a_password_are_sent_as_such():
    async def live():
        async with FakeA1111() as server, wire.client() as client:
            server.key = "me:Sesame"
            right, wrong = (
                A1111(EngineId("sd"), server.url, client, key) for key in ("me:Sesame", "me:Sex")
            )
            with pytest.raises(EngineRefused) as no:
                await wrong.identify()
            return await right.identify(), await right.list(), no.value.status

    identity, models, status = asyncio.run(live())
    assert (identity, len(models), status) == (Identity("not told"), 2, 401)


def test_a_second_checkpoint_takes_the_place_of_the_first():
    async def live():
        async with FakeA1111(["a", "b"]) as server, wire.client() as client:
            engine = A1111(EngineId("sd"), server.url, client, None)
            found = []
            for name in ("a", "b"):
                await engine.load(ModelId(name))
                found.append([m.id for m in await engine.list() if m.state is State.LOADED])
            return found

    assert asyncio.run(live()) == [["a"], ["b"]]
