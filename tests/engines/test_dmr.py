"""Docker Model Runner, by the shapes of its 1.2.6 and what its source says of older ones."""

import asyncio
import copy

import httpx
import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import Activity, EngineModel, EngineRefused, Habit, Identity, Process
from supervisor.engines.dmr import DockerModelRunner
from tests.engines.fakes.dmr import FakeDockerModelRunner
from tests.engines.replay import Replay, capture

DMR = capture("dmr-1.2.6")
SMOL = "354bf30d0aa3af413d2aa5ae4f23c66d78980072d1e07a5b0d776e9606a2f0b9"


def dmr(client, url="http://127.0.0.1:12434"):
    return DockerModelRunner(EngineId("dmr"), url, client, None)


def listed(told):
    return {m.id: m for m in asyncio.run(dmr(Replay(told).client()).list())}


def answering(call, body):
    others = [r for r in DMR["replies"] if r["call"] != call]
    return DMR | {"replies": [*others, {"call": call, "status": 200, "body": body}]}


def running(*runners):
    """The capture, with these runners: each with another member or two."""
    base = {"backend_name": "llama.cpp", "model_name": "ai/smollm2", "mode": "completion"}
    return answering("GET /engines/ps", [base | {"last_used": ""} | r for r in runners])


def installed(**config):
    """The capture with one model, whose tag or config differs."""
    told = copy.deepcopy(DMR)
    (models,) = (r["body"] for r in told["replies"] if r["call"] == "GET /models")
    models[:] = models[:1]
    models[0]["tags"] = [config.pop("tag", "docker.io/ai/smollm2:latest")]
    models[0]["config"] |= config
    return told


def test_a_runner_at_rest_tells_when_it_will_be_ended():
    assert listed(DMR)["ai/smollm2:latest"] == EngineModel(
        ModelId("ai/smollm2:latest"),
        State.LOADED,
        file_size=int(256.35 * 1024**2),
        process=Process(argv=(("--model", f"/models/bundles/sha256/{SMOL}/model/model.gguf"),)),
        mark="2026-08-22T09:58:01.123456789Z",
        keep_alive=600.0,
        expires_at=1787393281.123456,
    )


def test_a_runner_at_work_is_not_about_to_end():
    nothing = "0001-01-01T00:00:00Z"
    told = running({"in_use": True, "last_used": nothing, "keep_alive": "10m0s"})
    model = listed(told)["ai/smollm2:latest"]
    assert (model.state, model.keep_alive, model.expires_at) == (State.LOADED, 600.0, None)


def test_a_runner_that_is_loading_is_found_by_the_name_that_it_serves():
    model = listed(DMR)["ai/gemma3-vllm:latest"]
    assert model.state is State.LOADING
    assert model.process.argv[0][0] == "--served-model-name"


@pytest.mark.parametrize(
    ("size", "of"),
    [
        ("256.35 MiB", 268802457),
        ("5.02GB", 5020000000),
        ("12kB", 12000),
        ("0B", None),
        ("big", None),
    ],
)
def test_a_size_that_is_written_for_people_is_read(size, of):
    assert listed(installed(size=size))["ai/smollm2:latest"].file_size == of


def test_a_model_without_a_tag_goes_by_its_digest():
    name = "sha256:" + "0" * 63 + "1"
    assert listed(DMR)[name].state is None
    assert listed(running({"model_name": "0" * 12}))[name].state is State.LOADED


@pytest.mark.parametrize(
    "name",
    ["ai/smollm2", "smollm2", "docker.io/ai/smollm2:latest", "AI/smollm2:360M-Q4_K_M", SMOL[:12]],
)
def test_a_runner_belongs_to_its_model_by_whatever_name_it_was_asked_for(name):
    models = listed(running({"model_name": name}))
    assert [m.id for m in models.values() if m.state] == ["ai/smollm2:latest"]


def test_a_name_on_another_host_or_with_another_tag_is_another_model():
    models = listed(running({"model_name": "hf.co/ai/smollm2"}, {"model_name": "smollm2:1b"}))
    assert models["ai/smollm2:latest"].state is None
    assert {m for m in models if models[m].state} == {"hf.co/ai/smollm2", "smollm2:1b"}


def test_hugging_face_has_a_short_name():
    told = installed(tag="huggingface.co/org/model:Q4")
    ps = running({"model_name": "hf.co/Org/Model:Q4"})["replies"][-1]
    told["replies"] = [r for r in told["replies"] if r["call"] != ps["call"]] + [ps]
    assert listed(told)["huggingface.co/org/model:Q4"].state is State.LOADED


def test_two_runners_of_one_model_are_one_model_at_work_on_two_requests():
    told = running(
        {"in_use": True},
        {"in_use": True, "mode": "embedding"},
        {"loading": True, "mode": "reranking"},
        {"model_name": "ai/qwen3", "last_used": "2026-08-22T09:58:01Z"},
    )
    engine = dmr(Replay(told).client())

    async def look():
        models = {m.id: m for m in await engine.list()}
        both = models["ai/smollm2:latest"], models["ai/qwen3:latest"]
        return [(m.state, await engine.activity(m)) for m in both]

    assert asyncio.run(look()) == [
        (State.LOADED, Activity(2, ",,")),
        (State.LOADED, Activity(0, "2026-08-22T09:58:01Z")),
    ]


def test_what_a_runner_that_has_gone_does_is_not_known():
    engine = dmr(Replay(answering("GET /engines/ps", [])).client())
    model = EngineModel(ModelId("ai/smollm2:latest"), State.LOADED)
    assert asyncio.run(engine.activity(model)) == Activity(None)


@pytest.mark.parametrize(("flag", "why"), [("in_use", "in use"), ("loading", "still loading")])
def test_an_unload_that_was_passed_over_is_a_refusal(flag, why):
    told = running({flag: True})
    with pytest.raises(EngineRefused, match=why) as no:
        asyncio.run(dmr(Replay(told).client()).unload(ModelId("ai/smollm2:latest")))
    assert no.value.status == 409


def test_a_busy_model_is_still_refused_when_another_of_its_runners_has_ended():
    told = running({"in_use": True})
    told["replies"][0:0] = [
        {"call": "POST /engines/unload", "status": 200, "body": {"unloaded_runners": 1}}
    ]
    with pytest.raises(EngineRefused, match="in use"):
        asyncio.run(dmr(Replay(told).client()).unload(ModelId("ai/smollm2:latest")))


def test_an_unload_of_all_is_never_asked_for():
    replay = Replay(DMR)
    asyncio.run(dmr(replay.client()).unload(ModelId("ai/smollm2:latest")))
    bodies = [body for call, body in replay.asked if call.startswith("POST")]
    assert bodies == [{"models": ["ai/smollm2:latest"]}]  # no "all", and of every backend


def test_a_load_says_that_it_wants_no_work_done():
    sent = []

    def answer(request):
        sent.append((request.method, request.url.path, request.headers.get("x-preload-only")))
        return httpx.Response(200, json=[]) if request.method == "GET" else httpx.Response(200)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    asyncio.run(dmr(client).load(ModelId("ai/x")))
    assert sent == [("GET", "/models", None), ("POST", "/engines/v1/chat/completions", "true")]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"architecture": "nomic-bert"}, "v1/embeddings"),
        ({"tag": "docker.io/ai/qwen3-embedding:latest"}, "v1/embeddings"),
        ({"tag": "docker.io/ai/qwen3-reranker:latest"}, "rerank"),
        ({"format": "diffusers"}, "v1/images/generations"),
        ({"architecture": "qwen3"}, "v1/chat/completions"),
    ],
)
def test_a_model_is_loaded_for_what_it_is_good_for(config, path):
    name = config.get("tag", "ai/smollm2:latest").removeprefix("docker.io/")
    told = installed(**config)
    told["replies"].insert(0, {"call": f"POST /engines/{path}", "status": 200, "text": ""})
    replay = Replay(told)
    asyncio.run(dmr(replay.client()).load(ModelId(name)))
    assert replay.asked[-1] == (f"POST /engines/{path}", {"model": name})


def test_a_load_that_fails_says_why():
    async def fail():
        async with FakeDockerModelRunner() as server, wire.client() as client:
            server.fails_loads = True
            await dmr(client, server.url).load(ModelId(server.models[0]))

    with pytest.raises(EngineRefused, match="unable to load runner"):
        asyncio.run(fail())


@pytest.mark.parametrize(
    ("keep", "what"), [({}, "5 minutes"), ({"keep_alive": "1h0m0s"}, "1h0m0s")]
)
def test_a_model_that_it_would_unload_by_itself_is_a_habit(keep, what):
    habits = asyncio.run(dmr(Replay(running(keep)).client()).habits())
    assert habits == (
        Habit(
            f"unloads ai/smollm2:latest when it has had no request for {what}",
            "docker model configure --keep-alive=-1 ai/smollm2:latest",
            ModelId("ai/smollm2:latest"),
        ),
    )


@pytest.mark.parametrize("keep", ["-1", "-1m"])
def test_a_model_that_is_kept_for_ever_is_no_habit_and_does_not_expire(keep):
    told = running({"keep_alive": keep, "last_used": "2026-08-22T09:58:01Z"})
    assert asyncio.run(dmr(Replay(told).client()).habits()) == ()
    model = listed(told)["ai/smollm2:latest"]
    assert (model.keep_alive, model.expires_at) == (None, None)


def test_an_older_one_that_tells_no_version_is_known():
    engine = dmr(Replay(capture("dmr-1.0.0")).client())
    assert asyncio.run(engine.identify()) == Identity("not told")
    assert Ability.IN_FLIGHT in engine.abilities


def test_the_status_of_something_else_is_not_taken_for_its_own():
    for body in ({"status": "ok"}, {"llama.cpp": {"up": True}}, {}, ["llama.cpp"]):
        engine = dmr(Replay(answering("GET /engines/status", body)).client())
        assert asyncio.run(engine.identify()) is None
