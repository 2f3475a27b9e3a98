"""TorchServe, by the shapes of its 0.12.0: a model is what its workers hold."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import EngineModel, EngineRefused, Identity, Process
from supervisor.engines.torchserve import GPU_INTERVAL, TorchServe
from tests.engines.fakes.torchserve import FakeTorchServe
from tests.engines.replay import Replay, capture

TOLD = capture("torchserve-0.12.0")
BERT, SAM, T5 = ModelId("bert"), ModelId("sam"), ModelId("t5")
BERT_ALL = "GET /models/bert/all"


def torchserve(client):
    return TorchServe(EngineId("ts"), "http://127.0.0.1:8081", client, None)


def listed(told):
    return {m.id: m for m in asyncio.run(torchserve(Replay(told).client()).list())}


def changed(*workers, **members):
    """The capture with bert's one version changed; each of `workers` is laid over its worker."""
    told = copy.deepcopy(TOLD)
    (version,) = next(r for r in told["replies"] if r["call"] == BERT_ALL)["body"]
    version["workers"] = [version["workers"][0] | worker for worker in workers]
    version |= members
    return told


def asks(told, *calls):
    """What changes things, of all that is asked."""
    replay = Replay(told)

    async def ask():
        engine = torchserve(replay.client())
        for call in calls:
            await call(engine)

    asyncio.run(ask())
    return [asked for asked, _ in replay.asked if not asked.startswith("GET")]


def scaled(path, count):
    return f"PUT /models/{path}?min_worker={count}&max_worker={count}&synchronous=true"


def test_a_model_is_loaded_while_it_has_workers_and_held_by_all_of_them():
    assert listed(TOLD) == {
        BERT: EngineModel(BERT, State.LOADED, process=Process(pid=4211), mark="4"),
        SAM: EngineModel(SAM),
        T5: EngineModel(T5, State.LOADED, process=Process(pid=4305, more=(4310,)), mark="0,0"),
    }


@pytest.mark.parametrize(
    ("workers", "state", "pids"),
    [
        ([{"status": "UNLOADING"}], State.LOADING, [4211]),  # its word for a worker that starts
        ([{"status": "UNLOADING", "pid": -1}], State.LOADING, []),
        ([{"status": "UNLOADING", "pid": 5}, {"pid": 6}], State.LOADED, [6, 5]),
        ([], None, []),
    ],
)
def test_a_worker_that_does_not_serve_yet_is_on_its_way(workers, state, pids):
    model = listed(changed(*workers))[BERT]
    assert model.state is state
    assert model.process == (Process(pid=pids[0], more=tuple(pids[1:])) if pids else None)


def test_a_model_that_is_unregistered_meanwhile_is_left_out():
    told = copy.deepcopy(TOLD)
    told["replies"] = [r for r in told["replies"] if r["call"] != BERT_ALL]
    assert set(listed(told)) == {SAM, T5}


def test_an_unload_ends_the_workers_of_each_version_that_has_some():
    assert asks(TOLD, lambda e: e.unload(BERT)) == [scaled("bert/1.0", 0)]
    assert asks(TOLD, lambda e: e.unload(T5)) == [scaled("t5/2.0", 0)]
    assert asks(TOLD, lambda e: e.unload(SAM)) == []


def test_a_version_that_waits_for_workers_is_told_to_stop_waiting():
    told = changed(minWorkers=1)
    assert asks(told, lambda e: e.unload(BERT)) == [scaled("bert/1.0", 0)]


def test_a_model_that_was_never_seen_at_work_gets_one_worker():
    assert asks(TOLD, lambda e: e.load(SAM)) == [scaled("sam", 1)]


@pytest.mark.parametrize(
    ("left", "wanted"),
    [(["1.0", "2.0"], scaled("t5/2.0", 2)), (["1.0"], scaled("t5", 1))],
    ids=["the version that had them", "that version is unregistered"],
)
def test_a_model_gets_as_many_workers_as_it_had(left, wanted):
    replay = Replay(TOLD)
    engine = torchserve(replay.client())
    none = {"workers": [], "minWorkers": 0, "maxWorkers": 0}
    replies = copy.deepcopy(TOLD)["replies"]
    replies.append({"call": scaled("t5", 1), "status": 200, "body": {"status": "Workers scaled"}})
    described = next(r for r in replies if r["call"] == "GET /models/t5/all")
    described["body"] = [v | none for v in described["body"] if v["modelVersion"] in left]

    async def live():
        await engine.list()
        await engine.unload(T5)
        replay.replies = replies
        await engine.list()
        await engine.load(T5)

    asyncio.run(live())
    asked = [call for call, _ in replay.asked if call.startswith("PUT")]
    assert asked == [scaled("t5/2.0", 0), wanted]


@pytest.mark.parametrize("workers", [[{}], [{"status": "UNLOADING"}], [{}, {}, {}]])
def test_what_is_there_or_on_its_way_is_not_scaled(workers):
    assert asks(changed(*workers), lambda e: e.load(BERT)) == []


def descriptions(told, *steps, between=None):
    """How often bert is described, in lists that are so many seconds apart."""
    replay = Replay(told)
    engine = torchserve(replay.client())
    now = 1000.0
    engine.clock = lambda: now

    async def look():
        nonlocal now
        await engine.list()
        for step in steps:
            now += step
            if between is not None:
                await between(engine)
            await engine.list()

    asyncio.run(look())
    return [call for call, _ in replay.asked].count(BERT_ALL)


def test_workers_on_gpus_are_described_once_in_a_while():
    assert descriptions(TOLD, 1, GPU_INTERVAL - 2, 1) == 2


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(changed({"gpu": False}), id="without a GPU it costs nothing"),
        pytest.param(changed({"status": "UNLOADING"}), id="it is starting"),
        pytest.param(changed(), id="it has none"),
    ],
)
def test_what_is_cheap_or_on_the_move_is_described_each_time(told):
    assert descriptions(told, 1, 1) == 3


def test_what_we_have_changed_is_described_at_once():
    # Once by the unload itself, to see its versions, and once by the list after that.
    assert descriptions(TOLD, 1, between=lambda engine: engine.unload(BERT)) == 3


def test_the_wrong_key_is_told_from_a_wrong_request():
    async def live():
        async with FakeTorchServe(["a"]) as server, wire.client() as client:
            server.key = "management"
            engine = TorchServe(EngineId("ts"), server.url, client, "inference")
            with pytest.raises(EngineRefused, match="Token Authorization failed") as no:
                await engine.list()
            return no.value.status

    assert asyncio.run(live()) == 401


def test_workers_that_cannot_start_say_so():
    async def live():
        async with FakeTorchServe(["a"]) as server, wire.client() as client:
            server.fails_loads = True
            engine = TorchServe(EngineId("ts"), server.url, client, None)
            with pytest.raises(EngineRefused, match="Failed to start workers"):
                await engine.load(ModelId("a"))

    asyncio.run(live())


def test_names_and_versions_are_quoted():
    seen = []

    async def hook(request):
        seen.append(request.url.raw_path)

    client = Replay(TOLD).client()
    client.event_hooks["request"].append(hook)
    with pytest.raises(EngineRefused):
        asyncio.run(torchserve(client).load(ModelId("a/b?c")))
    assert seen == [b"/models/a%2Fb%3Fc/all"]


def about(**members):
    told = copy.deepcopy(TOLD)
    told["replies"][0]["body"] |= members
    return asyncio.run(torchserve(Replay(told).client()).identify())


def test_it_is_known_by_its_own_description():
    assert about() == Identity("0.12.0")
    assert about(info={"title": "Another API", "version": "0.12.0"}) is None


def test_its_inference_api_says_where_to_go():
    with pytest.raises(EngineRefused, match="management API"):
        about(paths={"/ping": {}, "/predictions/{model_name}": {}})
