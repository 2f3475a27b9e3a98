"""llama-swap, by the shapes of its v250 and what its source says of older ones."""

import asyncio
import json

import httpx
import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import (
    Activity,
    EngineConfused,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
)
from supervisor.engines.llamaswap import LlamaSwap
from tests.engines.fakes.llamaswap import FakeLlamaSwap
from tests.engines.replay import Replay, capture

NEW, COUNTS, OLD = (capture(f"llamaswap-{v}") for v in ("v250", "v234", "v172"))
QWEN = ModelId("qwen3-8b")


def llamaswap(told):
    replay = Replay(told)
    return LlamaSwap(EngineId("sw"), "http://127.0.0.1:8080", replay.client(), None), replay


def answering(call, told=NEW, **reply):
    return told | {"replies": [{"call": call, "status": 200} | reply, *told["replies"]]}


def running(*entries, told=NEW):
    entries = [{"model": QWEN, "state": "ready"} | e for e in entries]
    return answering("GET /running", told, body={"running": entries})


def telling(*told):
    """The capture, with these events, as (type, data): JSON that has JSON for its data's text."""
    events = [(kind, d if isinstance(d, str) else json.dumps(d)) for kind, d in told]
    lines = [json.dumps({"type": kind, "data": data}) for kind, data in events]
    text = "".join(f"event:message\ndata:{line}\n\n" for line in lines)
    return answering("GET /api/events", text=text)


def activity(told, id=QWEN):
    engine, _ = llamaswap(told)

    async def look():
        await engine.identify()
        (model,) = [m for m in await engine.list() if m.id == id]
        return await engine.activity(model)

    return asyncio.run(look())


def listed(told):
    return {m.id: m for m in asyncio.run(llamaswap(told)[0].list())}


def test_a_loaded_model_is_found_by_the_command_that_it_was_started_with():
    assert listed(NEW)[QWEN] == EngineModel(
        QWEN,
        State.LOADED,
        weights="/models/qwen3-8b.gguf",
        process=Process(argv=(("--port", "5800", "-m", "/models/qwen3-8b.gguf"),)),
        context=8192,
        keep_alive=300.0,
    )


def test_names_behind_which_there_is_no_model_of_its_own_are_left_out():
    assert set(listed(NEW)) == {QWEN, "gemma3-4b", "whisper"}  # whisper runs, and is not listed


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        ("starting", State.LOADING),
        ("ready", State.LOADED),
        ("stopping", State.UNKNOWN),
        ("shutdown", State.UNKNOWN),
    ],
)
def test_whatever_runs_holds_memory_until_it_has_ended(state, seen):
    assert listed(running({"state": state}))[QWEN].state is seen


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("# the small one\nllama-server \\\n  --port 5800 \\\n  -m '/my models/a.gguf'\n",
         ("--port", "5800", "-m", "/my models/a.gguf")),
        ("docker run --rm --gpus all vllm/vllm-openai --model x", None),
        ("/usr/bin/podman run x", None),
        ("./start-a", None),
        ("unbalanced ' quote", None),
        ("", None),
    ],
)  # fmt: skip
def test_only_a_command_that_is_the_server_itself_describes_its_process(command, argv):
    process = listed(running({"cmd": command}))[QWEN].process
    assert process == (argv and Process(argv=(argv,)))


def test_an_old_one_does_not_say_what_it_runs():
    model = listed(OLD)[QWEN]
    assert (model.state, model.process, model.keep_alive) == (State.LOADED, None, None)


@pytest.mark.parametrize(
    ("told", "version", "counts"),
    [(NEW, "v250", True), (COUNTS, "v234", True), (OLD, "not told", False)],
)
def test_it_is_known_at_every_age(told, version, counts):
    engine, _ = llamaswap(told)
    assert asyncio.run(engine.identify()) == Identity(version)
    assert (Ability.IN_FLIGHT in engine.abilities) is counts


@pytest.mark.parametrize(
    ("version", "counts"), [("v191", False), ("v192", True), ("local_0bdb3720", True)]
)
def test_requests_in_flight_are_told_since_v192(version, counts):
    engine, _ = llamaswap(answering("GET /api/version", body={"version": version}))
    asyncio.run(engine.identify())
    assert (Ability.IN_FLIGHT in engine.abilities) is counts


@pytest.mark.parametrize(
    "body", [{"running": "yes"}, {"running": [3]}, {"running": [{"a": 1}]}, [], 3]
)
def test_somebody_else_who_is_running_is_not_taken_for_it(body):
    assert asyncio.run(llamaswap(answering("GET /running", body=body))[0].identify()) is None


def test_requests_are_counted_for_each_model():
    assert activity(NEW) == Activity(1, "17", "17/0")
    assert activity(telling(("inflight", {"operation": "snapshot", "requests": []}))) == Activity(
        0, "", ""
    )


def test_the_first_lists_had_no_operation():
    requests = [{"id": "3", "model": QWEN}, {"id": "4", "model": QWEN}]
    assert activity(telling(("inflight", {"requests": requests}))) == Activity(2, "3,4", "3/-,4/-")


def test_a_change_that_comes_before_the_snapshot_is_not_taken_for_all():
    told = telling(
        ("inflight", {"operation": "remove", "id": "9"}),
        ("inflight", "no JSON"),
        ("logData", {"data": '"requests": []'}),
        ("inflight", {"operation": "snapshot", "requests": [{"id": "3", "model": QWEN}]}),
    )
    assert activity(told) == Activity(1, "3", "3/-")


def test_a_plain_count_is_the_one_models_that_is_loaded():
    assert activity(COUNTS) == Activity(2, "2")


@pytest.mark.parametrize(("total", "in_flight"), [(2, None), (0, 0)])
def test_a_plain_count_says_of_several_models_only_that_none_is_busy(total, in_flight):
    told = running({}, {"model": "whisper"}, told=telling(("inflight", {"total": total})))
    assert activity(told) == Activity(in_flight, str(total))


def test_events_that_end_without_a_count_say_nothing():
    assert activity(telling(("logData", {}))) == Activity(None)


def test_one_that_does_not_count_is_not_asked_for_its_events():
    engine, replay = llamaswap(OLD)

    async def look():
        await engine.identify()
        return await engine.activity((await engine.list())[0])

    assert asyncio.run(look()) == Activity(None)
    assert "GET /api/events" not in [call for call, _ in replay.asked]


@pytest.mark.parametrize("status", [404, 405, 500])
def test_a_server_that_knows_no_health_is_loaded_all_the_same(status):
    told = answering(f"GET /upstream/{QWEN}/health", status=status, text="no such path")
    asyncio.run(llamaswap(told)[0].load(QWEN))
    page = answering(f"GET /upstream/{QWEN}/health", text="<html>Hello</html>")
    asyncio.run(llamaswap(page)[0].load(QWEN))


@pytest.mark.parametrize("state", ["stopping", None])
def test_a_server_that_does_not_start_is_a_refusal(state):
    no = {"src": "llama-swap", "error": {"message": "upstream command exited prematurely"}}
    entries = [{"state": state}] if state else []
    told = running(*entries, told=answering(f"GET /upstream/{QWEN}/health", status=502, body=no))
    with pytest.raises(EngineRefused, match="exited prematurely"):
        asyncio.run(llamaswap(told)[0].load(QWEN))


def test_a_name_with_a_path_in_it_stays_one_name():
    asked = []

    def answer(request):
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, text="OK")

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    engine = LlamaSwap(EngineId("sw"), "http://127.0.0.1:8080", client, None)
    asyncio.run(engine.load(ModelId("org/a?b")))
    asyncio.run(engine.unload(ModelId("../unload")))
    assert asked == ["/upstream/org%2Fa%3Fb/health", "/api/models/unload/..%2Funload"]


def test_a_page_in_the_place_of_an_unload_is_not_an_unload():
    told = answering(f"POST /api/models/unload/{QWEN}", text="<html></html>")
    with pytest.raises(EngineConfused):
        asyncio.run(llamaswap(told)[0].unload(QWEN))


def test_a_time_to_live_is_a_habit():
    assert asyncio.run(llamaswap(NEW)[0].habits()) == (
        Habit(
            "unloads qwen3-8b when it has had no request for 300 s",
            "set ttl: 0 for qwen3-8b in llama-swap's configuration",
            QWEN,
        ),
    )


@pytest.mark.parametrize("entry", [{"ttl": 0}, {"ttl": -1}, {}])
def test_a_model_that_is_kept_is_no_habit(entry):
    assert asyncio.run(llamaswap(running(entry))[0].habits()) == ()
    assert listed(running(entry))[QWEN].keep_alive is None


def test_the_requests_of_one_model_are_ended_one_by_one_and_nobody_elses():
    async def story():
        async with FakeLlamaSwap(["a", "b"]) as fake, wire.client() as client:
            made = LlamaSwap(EngineId("swap"), fake.url, client, None)
            await made.identify()
            assert Ability.CANCEL in made.abilities
            fake.take("a")
            fake.take("b")
            fake.busy.update(a=2, b=1)
            await made.cancel(ModelId("a"))
            assert dict(+fake.busy) == {"b": 1}
            await made.cancel(ModelId("a"))  # there is nothing left to end

    asyncio.run(story())


def test_one_that_does_not_name_its_requests_is_not_asked_to_end_them():
    async def story():
        async with FakeLlamaSwap(["a"]) as fake, wire.client() as client:
            made = LlamaSwap(EngineId("swap"), fake.url, client, None)
            with pytest.raises(EngineRefused):
                await made.cancel(ModelId("a"))
            assert fake.requests == []

    asyncio.run(story())
