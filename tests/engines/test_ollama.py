"""Ollama, by the shapes of its 0.32 and what its sources say of older ones."""

import asyncio
import copy

import httpx
import pytest

from supervisor.core.header import Setup
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines.base import Activity, EngineDown, EngineModel, EngineRefused, Process
from supervisor.engines.ollama import TIERS, Ollama
from tests.engines.replay import Replay, capture

OLLAMA = capture("ollama-0.32.15")
BLOB = (
    "/usr/share/ollama/.ollama/models/blobs/"
    "sha256-a3de86cd1c132c822487ededd47a324c50491393e6565cd14bafa40d0b8e686f"
)


def ollama(client):
    return Ollama(EngineId("ol"), "http://127.0.0.1:11434", client, None)


def listed(told):
    return {m.id: m for m in asyncio.run(ollama(Replay(told).client()).list())}


def without(*calls):
    return OLLAMA | {"replies": [r for r in OLLAMA["replies"] if r["call"] not in calls]}


def changed(call, **members):
    """The capture, with other members in the first model of `call`; None takes one away."""
    told = copy.deepcopy(OLLAMA)
    first = next(r for r in told["replies"] if r["call"] == call)["body"]["models"][0]
    first |= members
    for key in [k for k, v in first.items() if v is None]:
        del first[key]
    return told


def answering(call, models):
    told = without(call)
    reply = {"call": call, "status": 200, "body": {"models": models}}
    return told | {"replies": [*told["replies"], reply]}


def asks(told, call):
    replay = Replay(told)
    asyncio.run(call(ollama(replay.client())))
    return replay.asked


def test_a_loaded_model_carries_the_engines_word_for_its_bytes():
    assert listed(OLLAMA)["qwen3:8b"] == EngineModel(
        ModelId("qwen3:8b"),
        State.LOADED,
        reported=6654289920,
        reported_gpu=6654289920,
        file_size=5225388164,
        weights=BLOB,
        process=Process(argv=(("--model", BLOB),)),
        mark="2026-08-22T10:05:31.120471193+02:00",
        context=8192,
        expires_at=1787385931.120471,
        setup=Setup(tiers=TIERS),
    )


def test_an_installed_model_carries_the_size_of_its_file_alone():
    model = listed(OLLAMA)["smollm2:135m"]
    assert model == EngineModel(ModelId("smollm2:135m"), file_size=270898672)


def test_models_in_the_cloud_are_left_out():
    assert set(listed(OLLAMA)) == {"qwen3:8b", "smollm2:135m", "nomic-embed-text:latest"}


def test_a_loaded_model_whose_file_was_removed_is_still_listed():
    model = listed(answering("GET /api/tags", []))["qwen3:8b"]
    assert (model.state, model.file_size) == (State.LOADED, None)


def test_a_model_that_cannot_be_shown_is_listed_without_its_process():
    model = listed(OLLAMA)["nomic-embed-text:latest"]
    assert (model.state, model.process, model.weights) == (State.LOADED, None, None)


def test_a_model_on_the_cpu_alone_reports_no_byte_on_the_gpu():
    model = listed(changed("GET /api/ps", size_vram=0))["nomic-embed-text:latest"]
    assert (model.reported, model.reported_gpu) == (588251136, 0)


@pytest.mark.parametrize("size", [None, 0])
def test_a_size_that_is_not_told_is_not_zero(size):
    model = listed(changed("GET /api/ps", size=size))["nomic-embed-text:latest"]
    assert (model.reported, model.reported_gpu) == (None, None)


@pytest.mark.parametrize("name", ["nomic-embed-text", "nomic-embed-text:latest"])
def test_a_name_without_a_tag_is_the_latest(name):
    models = listed(changed("GET /api/ps", name=name))
    assert models[name].state is State.LOADED
    assert models[name].file_size == 274302450
    assert len(models) == 3


def test_a_port_in_a_name_is_not_a_tag():
    host = "hub.local:5000/org/model"
    told = changed("GET /api/tags", name=f"{host}:latest")
    ps = next(r for r in told["replies"] if r["call"] == "GET /api/ps")["body"]["models"]
    ps[0]["name"] = host
    assert listed(told)[host].file_size == 5225388164


def test_a_model_is_shown_once_for_as_long_as_it_is_the_same():
    replay = Replay(OLLAMA)
    engine = ollama(replay.client())

    def shows():
        return [body["model"] for call, body in replay.asked if call == "POST /api/show"]

    async def look():
        await engine.list()
        await engine.list()
        once = shows().count("qwen3:8b")
        replay.replies = answering("GET /api/ps", [])["replies"]
        await engine.list()
        replay.replies = OLLAMA["replies"]
        await engine.list()
        return once, shows().count("qwen3:8b")

    assert asyncio.run(look()) == (1, 1)


@pytest.mark.parametrize(
    ("modelfile", "source", "weights"),
    [
        ("# FROM x\nFROM /b/sha256-1\nFROM /b/sha256-mmproj\n", "/b/sha256-1", "/b/sha256-1"),
        ('FROM "C:\\b\\sha256-1"', "C:\\b\\sha256-1", "C:\\b\\sha256-1"),
        ("FROM gemma3:4b-mlx\n", "gemma3:4b-mlx", None),
        ("TEMPLATE x\n", None, None),
    ],
)
def test_the_child_is_found_by_what_the_model_comes_from(modelfile, source, weights):
    told = without("POST /api/show")
    reply = {"call": "POST /api/show", "status": 200, "body": {"modelfile": modelfile}}
    model = listed(told | {"replies": [*told["replies"], reply]})["qwen3:8b"]
    assert model.weights == weights
    assert model.process == (source and Process(argv=(("--model", source),)))


def test_it_does_not_claim_to_know_what_is_in_flight():
    model = listed(OLLAMA)["qwen3:8b"]
    assert Ability.IN_FLIGHT not in Ollama.abilities
    activity = asyncio.run(ollama(Replay(OLLAMA).client()).activity(model))
    assert activity == Activity(None, mark="2026-08-22T10:05:31.120471193+02:00")


def test_a_load_is_a_request_without_a_prompt():
    asked = asks(OLLAMA, lambda engine: engine.load(ModelId("qwen3:8b")))
    assert asked == [("POST /api/generate", {"model": "qwen3:8b", "stream": False})]


def test_a_model_that_makes_embeddings_only_is_loaded_as_one():
    name = ModelId("nomic-embed-text:latest")
    asked = asks(OLLAMA, lambda engine: engine.load(name))
    assert [call for call, _ in asked] == ["POST /api/generate", "POST /api/embed"]
    assert asked[1][1] == {"model": name}


def test_a_load_that_fails_says_why():
    failed = {"error": "llama runner process has terminated: out of memory"}
    reply = {"call": "POST /api/generate", "status": 500, "body": failed}
    with pytest.raises(EngineRefused, match="out of memory"):
        asks(OLLAMA | {"replies": [reply]}, lambda engine: engine.load(ModelId("qwen3:8b")))


def test_an_unload_is_a_request_that_keeps_nothing_alive():
    asked = asks(OLLAMA, lambda engine: engine.unload(ModelId("qwen3:8b")))
    body = {"model": "qwen3:8b", "keep_alive": 0, "stream": False}
    assert asked == [("POST /api/generate", body)]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(OLLAMA, id="since 0.16"),
        pytest.param(without("GET /api/status"), id="older"),
        pytest.param(
            {
                "elsewhere": OLLAMA["elsewhere"],
                "replies": [
                    {"call": "GET /api/version", "status": 200, "body": {"version": "0.9.6"}},
                    {"call": "GET /api/tags", "status": 200, "body": {"models": []}},
                    {"call": "GET /api/ps", "status": 200, "body": {"models": []}},
                ],
            },
            id="older and empty",
        ),
    ],
)
def test_a_true_ollama_is_known_at_every_age(told):
    identity = asyncio.run(ollama(Replay(told).client()).identify())
    assert identity is not None
    assert identity.version in ("0.32.15", "0.9.6")


def test_a_new_ollama_is_not_asked_for_what_only_imitators_have():
    asked = [call for call, _ in asks(OLLAMA, lambda engine: engine.identify())]
    assert asked == ["GET /api/version", "GET /api/status"]


@pytest.mark.parametrize(
    "members", [{"size": 0}, {"digest": "sha256:abc"}, {"digest": None}, {"size": "5 GB"}]
)
def test_a_made_up_entry_gives_an_imitator_away(members):
    told = changed("GET /api/ps", **members)
    told["replies"] = [r for r in told["replies"] if r["call"] != "GET /api/status"]
    assert asyncio.run(ollama(Replay(told).client()).identify()) is None


def test_an_ollama_that_dies_between_two_questions_is_down():
    def answer(request):
        if request.url.path == "/api/version":
            return httpx.Response(200, json={"version": "0.9.6"})
        raise httpx.ReadError("connection reset")

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    with pytest.raises(EngineDown, match="connection reset"):
        asyncio.run(ollama(client).identify())


# -- its own keep-alive


def test_when_it_means_to_unload_a_model_is_told_unless_that_is_never():
    expiries = {n: m.expires_at for n, m in listed(OLLAMA).items() if m.state}
    assert expiries == {"qwen3:8b": 1787385931.120471, "nomic-embed-text:latest": None}


def test_a_keep_alive_that_works_against_us_is_told_with_what_to_set():
    (habit,) = asyncio.run(ollama(Replay(OLLAMA).client()).habits())
    assert habit.model == "qwen3:8b"
    assert "unloads it in 0s unless it is used" in habit.what
    assert "OLLAMA_KEEP_ALIVE=-1" in habit.remedy


@pytest.mark.parametrize("text", ["", "soon", "2026-13-45T00:00:00Z", "99999-01-01T00:00:00Z"])
def test_an_expiry_that_is_no_time_is_not_known(text):
    told = changed("GET /api/ps", expires_at=text)
    assert {m.expires_at for m in listed(told).values()} == {None, 1787385931.120471}
    assert listed(told)["nomic-embed-text:latest"].mark == text


# -- what its children say

CHILD = ("/usr/lib/ollama/llama-server", "--model", BLOB, "--port", "40123", "--host", "127.0.0.1")


def with_child(slots, *argv):
    """An Ollama whose child for qwen3:8b answers the question for its slots so; what was asked."""
    told = OLLAMA | {"replies": [*OLLAMA["replies"], {"call": "GET /slots"} | slots]}
    replay, asked = Replay(told), []

    def answer(request):
        asked.append(str(request.url))
        return replay._answer(request)

    made = ollama(httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    made._children._commands = lambda: {7: argv or CHILD}
    return made, asked


def look_at(made):
    async def look():
        models = {m.id: m for m in await made.list()}
        return await made.activity(models[ModelId("qwen3:8b")])

    return asyncio.run(look())


TWO = [{"id": 0, "is_processing": True, "id_task": 4}, {"id": 1, "is_processing": False}]


def test_what_its_child_serves_is_what_a_model_serves():
    made, asked = with_child({"status": 200, "body": TWO})
    found = look_at(made)
    assert found.in_flight == 1
    assert found.mark == "2026-08-22T10:05:31.120471193+02:00 4,-"
    assert asked[-1] == "http://127.0.0.1:40123/slots"
    assert Ability.IN_FLIGHT in made.abilities


@pytest.mark.parametrize(
    "argv",
    [
        ("/usr/bin/ollama", "runner", "--model", BLOB, "--port", "40123"),  # before 0.30
        ("/x/llama-server", "--model", "/another/file", "--port", "40123"),
        ("/x/llama-server", "--model", BLOB, "--port", "99999999"),
        ("/x/llama-server", "--model", BLOB),
    ],
)
def test_without_a_child_that_could_be_asked_nobody_is(argv):
    made, asked = with_child({"status": 200, "body": TWO}, *argv)
    assert look_at(made).in_flight is None
    assert not [url for url in asked if "slots" in url]
    assert Ability.IN_FLIGHT not in made.abilities


def test_of_two_children_with_the_same_file_neither_is_asked():
    """One is another Ollama's, and what it works on is nothing of this one's."""
    made, asked = with_child({"status": 200, "body": TWO})
    other = tuple("40999" if word == "40123" else word for word in CHILD)
    made._children._commands = lambda: {7: CHILD, 8: other}
    assert look_at(made).in_flight is None
    assert not [url for url in asked if "slots" in url]


@pytest.mark.parametrize(
    "slots", [{"status": 501, "body": {}}, {"status": 200, "body": {"no": "list"}}]
)
def test_a_child_that_does_not_answer_as_one_does_is_let_be(slots):
    made, asked = with_child(slots)
    for _ in range(3):
        assert look_at(made) == Activity(None, "2026-08-22T10:05:31.120471193+02:00")
    assert len([url for url in asked if "slots" in url]) == 1


def test_processes_are_swept_for_children_that_are_new_and_no_more_often_than_is_worth_it():
    made, _ = with_child({"status": 200, "body": TWO})
    sweeps, now = [], [0.0]
    made._children.clock = lambda: now[0]
    made._children._commands = lambda: sweeps.append(now[0]) or {}
    for at in (0.0, 1.0, 29.0, 31.0):
        now[0] = at
        look_at(made)
    assert sweeps == [0.0, 31.0]


def test_an_ollama_on_another_machine_has_no_children_here():
    made, asked = with_child({"status": 200, "body": TWO})
    made.url = "http://192.0.2.7:11434"
    assert look_at(made).in_flight is None
    assert not [url for url in asked if "slots" in url]
