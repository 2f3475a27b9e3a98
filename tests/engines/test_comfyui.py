"""ComfyUI, by the shapes of its 0.3.64: one name for all that it holds."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import EngineModel, EngineRefused, Identity, Process
from supervisor.engines.comfyui import ALL, WORTH, ComfyUI
from tests.engines.fakes.comfyui import FakeComfyUI
from tests.engines.replay import Replay, capture

LOADED = capture("comfyui-0.3.64")
FREED = capture("comfyui-freed-0.3.64")
CPU = capture("comfyui-cpu-0.3.64")
OLD = capture("comfyui-before-0.3")
STATS = "GET /system_stats"


def comfy(client):
    return ComfyUI(EngineId("c"), "http://127.0.0.1:8188", client, None)


def listed(told):
    return asyncio.run(comfy(Replay(told).client()).list())


def changed(told, **members):
    """The capture with other members in its one device."""
    told = copy.deepcopy(told)
    told["replies"][0]["body"]["devices"][0] |= members
    return told


def asks(told, call):
    replay = Replay(told)
    asyncio.run(call(comfy(replay.client())))
    return replay.asked


def identity(told):
    return asyncio.run(comfy(Replay(told).client()).identify())


def test_what_torch_took_is_what_it_holds_also_where_a_part_is_cache():
    assert listed(LOADED) == (
        EngineModel(
            ALL,
            State.LOADED,
            reported=12515737600,
            reported_gpu=12515737600,
            process=Process(whole=True),
        ),
    )


def test_what_stays_when_all_is_freed_is_no_model():
    assert listed(FREED) == (EngineModel(ALL),)


@pytest.mark.parametrize(("held", "state"), [(WORTH - 1, None), (WORTH, State.LOADED)])
def test_it_is_loaded_from_where_unloading_is_worth_it(held, state):
    assert listed(changed(LOADED, torch_vram_total=held))[0].state is state


@pytest.mark.parametrize("device", ["cpu", "mps", "privateuseone"])
def test_where_torch_does_not_count_it_is_shown_and_never_unloaded(device):
    replay = Replay(changed(CPU, type=device))
    engine = comfy(replay.client())

    async def look():
        (model,) = await engine.list()
        with pytest.raises(EngineRefused, match="cannot be told"):
            await engine.unload(ALL)
        return model

    model = asyncio.run(look())
    assert (model.state, model.reported, model.reported_gpu) == (State.UNKNOWN, None, None)
    assert engine.abilities == {Ability.LIST, Ability.CANCEL}
    assert ("POST /free", {}) not in [(call, {}) for call, _ in replay.asked]


def test_devices_that_torch_counts_are_summed_up_and_others_left_out():
    told = copy.deepcopy(LOADED)
    devices = told["replies"][0]["body"]["devices"]
    devices += [devices[0] | {"torch_vram_total": 1}, devices[0] | {"type": "cpu"}]
    assert listed(told)[0].reported == 12515737601


def test_abilities_come_back_with_the_device():
    engine = comfy(Replay(CPU).client())
    asyncio.run(engine.list())
    engine._wire = comfy(Replay(LOADED).client())._wire
    asyncio.run(engine.list())
    assert engine.abilities == ComfyUI.abilities


def test_jobs_that_run_and_jobs_that_wait_are_in_flight():
    engine = comfy(Replay(LOADED).client())
    assert asyncio.run(engine.activity(EngineModel(ALL, State.LOADED))).in_flight == 2


def test_an_unload_frees_models_and_what_was_worked_out_with_them():
    asked = asks(LOADED, lambda engine: engine.unload(ALL))
    assert asked[-1] == ("POST /free", {"unload_models": True, "free_memory": True})


def test_where_nothing_is_held_nothing_is_asked_for():
    assert [call for call, _ in asks(FREED, lambda engine: engine.unload(ALL))] == [STATS]


def test_another_name_frees_nothing():
    replay = Replay(LOADED)
    with pytest.raises(EngineRefused, match="comfyui") as no:
        asyncio.run(comfy(replay.client()).unload(ModelId("sd_xl_base_1.0.safetensors")))
    assert no.value.status == 404
    assert [call for call, _ in replay.asked] == [STATS]


def test_an_unload_under_a_job_is_done_when_that_has_ended():
    async def live():
        async with FakeComfyUI() as server, wire.client() as client:
            engine = ComfyUI(EngineId("c"), server.url, client, None)
            server.take("comfyui")
            server.busy["comfyui"] = 1
            await engine.unload(ALL)
            held = (await engine.list())[0].state
            server.busy["comfyui"] = 0
            await engine.unload(ALL)
            return held, (await engine.list())[0].state

    assert asyncio.run(live()) == (State.LOADED, None)


@pytest.mark.parametrize(
    ("told", "version"), [(LOADED, "0.3.64"), (CPU, "0.3.64"), (OLD, "not told")]
)
def test_it_is_known_at_every_age(told, version):
    assert identity(told) == Identity(version)
    assert asks(told, lambda engine: engine.identify()) == [(STATS, {})]


@pytest.mark.parametrize("members", [{"name": "koboldcpp"}, {"name": None}, {"type": None}])
def test_a_device_that_torch_would_not_call_so_gives_an_imitator_away(members):
    assert identity(changed(LOADED, **members)) is None


def test_without_devices_it_is_somebody_else():
    told = copy.deepcopy(LOADED)
    told["replies"][0]["body"]["devices"] = []
    assert identity(told) is None
