"""Triton, by the shapes of its 2.73.0: told explicitly what to hold, or not to be told."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import Activity, EngineModel, EngineRefused, Identity, Process
from supervisor.engines.triton import Triton
from tests.engines.fakes.triton import FakeTriton
from tests.engines.replay import Replay, capture

TOLD = capture("triton-2.73.0")
POLLING = capture("triton-poll-2.73.0")
INDEX = "POST /v2/repository/index"
STATS = "GET /v2/models/stats"
EMBED, RESNET = ModelId("embed"), ModelId("resnet50")


def triton(client):
    return Triton(EngineId("t"), "http://127.0.0.1:8000", client, None)


def listed(told):
    return {m.id: m for m in asyncio.run(triton(Replay(told).client()).list())}


def answering(call, body, status=200, told=TOLD):
    told = copy.deepcopy(told)
    reply = next(r for r in told["replies"] if r["call"] == call)
    reply["body"], reply["status"] = body, status
    return told


def asks(told, call):
    replay = Replay(told)
    asyncio.run(call(triton(replay.client())))
    return [(asked, body) for asked, body in replay.asked]


def states_of(*words):
    """The state of a model whose versions are in these."""
    index = [{"name": "m", "version": str(i)} | word for i, word in enumerate(words)]
    return listed(answering(INDEX, index))["m"].state


def test_each_model_has_the_state_that_the_index_gives_it():
    assert {id: m.state for id, m in listed(TOLD).items()} == {
        "resnet50": State.LOADED,
        "bert": None,
        "big": State.LOADING,
        "old": State.UNKNOWN,  # it holds its memory until its last request is served
        "never_loaded": None,
        "embed": State.LOADED,
    }


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["READY", "UNAVAILABLE"], State.LOADED),
        (["LOADING", "READY"], State.LOADED),
        (["UNLOADING", "LOADING"], State.LOADING),
        (["UNLOADING", "UNAVAILABLE"], State.UNKNOWN),
        (["UNAVAILABLE", "UNAVAILABLE"], None),
        (["UNKNOWN"], None),
        (["DREAMING"], State.UNKNOWN),
    ],
)
def test_the_versions_of_a_model_are_one(words, state):
    assert states_of(*({"state": word} for word in words)) is state


def test_a_model_of_an_in_process_backend_has_an_estimate_and_no_process():
    assert listed(TOLD)[RESNET] == EngineModel(
        RESNET, State.LOADED, file_size=734003200, mark="1:1787390000123:118"
    )


def test_a_model_of_the_python_backend_is_found_by_its_first_instances_name():
    model = listed(TOLD)[EMBED]
    assert model.process == Process(argv=(("embed_0",),))
    assert (model.file_size, model.mark) == (None, "1:0:0")


@pytest.mark.parametrize(
    ("config", "process"),
    [
        ({"backend": "vllm", "instance_group": [{"name": "g"}]}, Process(argv=(("g_0",),))),
        ({"backend": "python", "instance_group": []}, None),
        ({"platform": "ensemble"}, None),
        ({"backend": "python"}, None),
    ],
)
def test_who_has_a_process_of_its_own_is_told_by_the_configuration(config, process):
    told = answering("GET /v2/models/embed/config", config)
    assert listed(told)[EMBED].process == process


def test_a_configuration_is_read_once_for_as_long_as_its_model_is_loaded():
    replay = Replay(TOLD)
    engine = triton(replay.client())

    def reads():
        return [call for call, _ in replay.asked].count("GET /v2/models/embed/config")

    async def look():
        await engine.list()
        await engine.list()
        once = reads()
        replay.replies = answering(INDEX, [{"name": "embed"}])["replies"]
        await engine.list()
        replay.replies = TOLD["replies"]
        await engine.list()
        return once, reads()

    assert asyncio.run(look()) == (1, 2)


def test_a_request_that_was_served_moves_the_mark_of_its_model():
    async def live():
        async with FakeTriton(["a", "b"]) as server, wire.client() as client:
            engine = Triton(EngineId("t"), server.url, client, None)
            server.take("a")
            server.take("b")
            before = {m.id: m.mark for m in await engine.list()}
            server.worked["a"] += 1
            models = {m.id: m for m in await engine.list()}
            assert await engine.activity(models["a"]) == Activity(None, models["a"].mark)
            return [id for id, m in models.items() if m.mark != before[id]]

    assert asyncio.run(live()) == ["a"]


def test_without_statistics_and_configurations_the_index_is_enough():
    assert listed(POLLING) == {
        RESNET: EngineModel(RESNET, State.LOADED),
        "bert": EngineModel(ModelId("bert")),
    }


def test_an_unload_names_its_model_and_leaves_others_alone():
    asked = asks(TOLD, lambda engine: engine.unload(EMBED))
    assert asked[-1] == ("POST /v2/repository/models/embed/unload", {})


@pytest.mark.parametrize("model", ["bert", "never_loaded"])
def test_what_is_gone_is_not_unloaded_again(model):
    assert [call for call, _ in asks(TOLD, lambda e: e.unload(ModelId(model)))] == [INDEX]


@pytest.mark.parametrize("model", ["embed", "big"])
def test_what_is_there_is_not_loaded_beside_itself(model):
    assert [call for call, _ in asks(TOLD, lambda e: e.load(ModelId(model)))] == [INDEX]


def test_an_unknown_model_is_refused_though_triton_would_say_yes():
    for call in (Triton.load, Triton.unload):
        with pytest.raises(EngineRefused, match="not in its index") as no:
            asks(TOLD, lambda engine, call=call: call(engine, ModelId("nope")))
        assert no.value.status == 404


def test_a_load_that_fails_says_why():
    words = {"error": "failed to load 'bert', no version is available"}
    told = answering("POST /v2/repository/models/bert/load", words, 500)
    with pytest.raises(EngineRefused, match="no version is available"):
        asks(told, lambda engine: engine.load(ModelId("bert")))


def test_one_that_may_not_be_told_anything_is_asked_once_until_it_is_started_anew():
    async def live():
        async with FakeTriton(["a", "b"]) as server, wire.client() as client:
            engine = Triton(EngineId("t"), server.url, client, None)
            server.take("a")
            server.explicit = False
            found = [(engine.abilities, await engine.habits())]
            with pytest.raises(EngineRefused, match="explicit"):
                await engine.unload(ModelId("a"))
            await engine.list()
            found.append((engine.abilities, await engine.habits()))
            await engine.identify()
            return [*found, (engine.abilities, await engine.habits())]

    (first, quiet), (then, habits), (anew, forgotten) = asyncio.run(live())
    assert first == anew == Triton.abilities
    assert then == {Ability.LIST}
    assert quiet == forgotten == ()
    assert [habit.remedy for habit in habits] == ["start it with --model-control-mode=explicit"]


def test_another_refusal_takes_no_ability_away():
    told = answering("POST /v2/repository/models/embed/unload", {"error": "busy"}, 503)
    engine = triton(Replay(told).client())
    with pytest.raises(EngineRefused, match="busy"):
        asyncio.run(engine.unload(EMBED))
    assert engine.abilities == Triton.abilities


@pytest.mark.parametrize("name", ["Torchserve", "mlserver", None])
def test_others_that_speak_its_protocol_are_not_taken_for_it(name):
    told = answering("GET /v2", {"name": name, "version": "1"})
    assert asyncio.run(triton(Replay(told).client()).identify()) is None


def test_it_is_known_by_one_question():
    assert asks(TOLD, lambda engine: engine.identify()) == [("GET /v2", {})]
    assert asyncio.run(triton(Replay(TOLD).client()).identify()) == Identity("2.73.0")
