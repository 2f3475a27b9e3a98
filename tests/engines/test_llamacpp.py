"""llama-server, by what a real one of build b1-7e4c0a9 answered."""

import asyncio
import copy
import threading

import pytest

from supervisor.core.header import Setup
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import llamacpp
from supervisor.engines.base import (
    Activity,
    EngineDown,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
)
from supervisor.engines.llamacpp import LlamaCpp
from tests.engines.replay import Replay, always, capture

ROUTER = capture("llamacpp-router-b1-7e4c0a9")
SLEEP = capture("llamacpp-sleep-b1-7e4c0a9")
SINGLE = capture("llamacpp-single-b1-7e4c0a9")
SINGLE_READY = SINGLE | {"replies": [r for r in SINGLE["replies"] if r["status"] == 200]}
LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'


def server(client):
    return LlamaCpp(EngineId("ls"), "http://127.0.0.1:8080/", client, None)


def listed(client):
    return {m.id: m for m in asyncio.run(server(client).list())}


def router_with(*entries):
    """A router's list with `entries`: (id, status, arguments)."""
    data = [{"id": id, "status": {"value": v, "args": args}} for id, v, args in entries]
    return {"replies": [{"call": "GET /models", "status": 200, "body": {"data": data}}]}


def test_a_router_lists_models_of_every_state_with_their_processes():
    models = listed(Replay(ROUTER).client())
    assert models["alpha"] == EngineModel(
        ModelId("alpha"),
        State.LOADED,
        file_size=96576768,
        weights="/models/alpha.gguf",
        process=Process(argv=(("--alias", "alpha"), ("--port", "34431"))),
        setup=Setup("/models/alpha.gguf", context=512),
    )
    assert models["gamma"].setup == Setup("/models/gamma.gguf", context=512)
    assert models["beta"].state is State.LOADING
    assert models["beta"].process == Process(argv=(("--alias", "beta"), ("--port", "39305")))
    assert models["gamma"].state is None


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("loaded", State.LOADED),
        ("loading", State.LOADING),
        ("sleeping", State.SLEEPING),
        ("unloaded", None),
        ("downloading", None),
        ("downloaded", None),
        ("levitating", State.UNKNOWN),
    ],
)
def test_each_status_has_its_state_and_an_unheard_of_one_is_not_taken_for_gone(status, state):
    assert listed(Replay(router_with(("m", status, []))).client())["m"].state is state


def test_an_unloaded_model_is_not_looked_for_under_its_last_childs_port():
    old = ["llama-server", "--port", "43111", "--alias", "m"]
    assert listed(Replay(router_with(("m", "unloaded", old))).client())["m"].process is None


def test_a_port_that_is_not_known_yet_is_no_mark_of_a_process():
    args = ["llama-server", "--port", "0", "--alias", "m"]
    model = listed(Replay(router_with(("m", "loading", args))).client())["m"]
    assert model.process == Process(argv=(("--alias", "m"),))


def test_the_size_of_an_unloaded_model_is_that_of_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # which is not the folder that the engine was started in
    whole, pieces = tmp_path / "m.gguf", tmp_path / "big-00001-of-00003.gguf"
    whole.write_bytes(b"x" * 300)
    for i in (1, 2, 3):
        (tmp_path / f"big-0000{i}-of-00003.gguf").write_bytes(b"x" * (100 * i))
    told = router_with(
        ("whole", "unloaded", ["llama-server", "-m", str(whole)]),
        ("pieces", "unloaded", ["llama-server", "--model", str(pieces)]),
        ("elsewhere", "unloaded", ["llama-server", "--model", str(tmp_path / "no.gguf")]),
        ("relative", "unloaded", ["llama-server", "--model", "m.gguf"]),
        ("hub", "unloaded", ["llama-server", "-hf", "org/model:Q4_K_M"]),
    )
    sizes = {id: m.file_size for id, m in listed(Replay(told).client()).items()}
    assert sizes == {
        "whole": 300,
        "pieces": 600,
        "elsewhere": None,
        "relative": None,
        "hub": None,
    }


def test_what_a_router_says_of_one_that_runs_is_true_afterwards_of_the_same_file():
    """The files of a router in a container are not on this machine."""
    here = ["llama-server", "-m", "/in/a/container/m.gguf", "--alias", "m"]
    replay = Replay(router_with(("m", "unloaded", here)))
    (entry,) = replay.replies[0]["body"]["data"]
    router = server(replay.client())

    def size(value, args=here, **meta):
        entry.update({"status": {"value": value, "args": args}, "meta": meta or None})
        (model,) = asyncio.run(router.list())
        return model.file_size

    assert [size("unloaded"), size("loaded", size=300), size("unloaded")] == [None, 300, 300]
    assert size("unloaded", [*here[:2], "/in/a/container/other.gguf"]) is None
    assert size("unloaded") is None


def test_a_file_is_asked_for_its_size_once(tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"x" * 300)
    router = server(Replay(router_with(("m", "unloaded", ["-", "-m", str(file)]))).client())

    async def twice():
        first = await router.list()
        file.unlink()
        return first, await router.list()

    first, second = asyncio.run(twice())
    assert first == second


def test_slots_at_work_are_requests_in_flight():
    replay = Replay(ROUTER)
    alpha = EngineModel(ModelId("alpha"), State.LOADED)
    assert asyncio.run(server(replay.client()).activity(alpha)) == Activity(
        1, "-,-,-,0", "None/None/None,None/None/None,None/None/None,0/31/16"
    )
    assert replay.asked == [("GET /slots?model=alpha&autoload=false", {})]


def test_the_mark_moves_with_the_next_task():
    def mark(task):
        slots = [{"id": 0, "is_processing": False, "id_task": task}]
        reply = {"call": "GET /slots?model=m&autoload=false", "status": 200, "body": slots}
        model = EngineModel(ModelId("m"), State.LOADED)
        client = Replay({"replies": [reply]}).client()
        return asyncio.run(server(client).activity(model)).mark

    assert mark(17) == mark(17)
    assert mark(17) != mark(18)


def test_a_name_with_slashes_and_signs_reaches_the_server_whole():
    name = ModelId("org/qwen 3&4:Q4_K_M?autoload=true")
    replay = Replay({"replies": []})
    with pytest.raises(EngineRefused):
        asyncio.run(server(replay.client()).activity(EngineModel(name, State.LOADED)))
    raw = "GET /slots?model=org/qwen+3&4:Q4_K_M?autoload=true&autoload=false"
    assert [call for call, _ in replay.asked] == [raw]


def test_a_server_without_slots_cannot_say_what_is_in_flight():
    model = EngineModel(ModelId("m"), State.LOADED)
    client = always(b'{"error":{"code":501,"message":"no slots"}}', 501)
    assert asyncio.run(server(client).activity(model)) == Activity(None)


@pytest.mark.parametrize(
    ("state", "in_flight"), [(State.SLEEPING, 0), (State.LOADING, None), (None, None)]
)
def test_a_model_that_is_not_loaded_is_never_asked_for_its_slots(state, in_flight):
    replay = Replay(ROUTER)
    model = EngineModel(ModelId("alpha"), state)
    assert asyncio.run(server(replay.client()).activity(model)) == Activity(in_flight)
    assert replay.asked == []


def test_a_model_that_is_meant_to_fall_asleep_is_not_kept_awake():
    # Seen: asked for its slots every second, it never sleeps; asleep, it is woken by the question.
    replay = Replay(SLEEP)
    router = server(replay.client())

    async def look():
        return {m.id: (m.state, await router.activity(m)) for m in await router.list()}

    seen = asyncio.run(look())
    assert seen["alpha"] == (State.SLEEPING, Activity(0))
    assert seen["beta"] == (State.LOADED, Activity(None))
    assert {call for call, _ in replay.asked} == {"GET /models"}


def test_a_model_that_runs_already_needs_no_load():
    asyncio.run(server(Replay(ROUTER).client()).load(ModelId("beta")))


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "model limit reached, try again later"), (400, "busy"), (500, "already running")],
)
def test_any_other_refusal_of_a_load_is_passed_on(status, words):
    client = always(b'{"error":{"message":"%s"}}' % words.encode(), status)
    with pytest.raises(EngineRefused, match=words):
        asyncio.run(server(client).load(ModelId("m")))


def test_a_server_with_one_model_lists_it_and_can_do_nothing_else():
    single = server(Replay(SINGLE_READY).client())

    async def look():
        identity = await single.identify()
        (model,) = await single.list()
        return identity, model, await single.activity(model)

    identity, model, activity = asyncio.run(look())
    assert identity == Identity("b1-7e4c0a9")
    assert single.abilities == {Ability.LIST}
    assert (model.id, model.state) == ("smollm2", State.LOADED)
    assert model.weights == "/models/alpha.gguf"
    assert model.process == Process(argv=(("/models/alpha.gguf",),), whole=True)
    assert model.file_size == 96576768
    assert activity == Activity(None)
    with pytest.raises(EngineRefused):
        asyncio.run(single.load(ModelId("smollm2")))


def test_a_router_in_the_place_of_a_single_server_is_seen_for_what_it_is():
    replay = Replay(SINGLE_READY)
    engine = server(replay.client())
    asyncio.run(engine.list())
    replay.replies = ROUTER["replies"]
    asyncio.run(engine.list())
    assert engine.abilities >= {Ability.LOAD, Ability.UNLOAD, Ability.IN_FLIGHT}
    assert LlamaCpp.abilities == engine.abilities


def test_a_router_without_models_is_a_router():
    engine = server(Replay(router_with()).client())
    assert asyncio.run(engine.list()) == ()
    assert Ability.LOAD in engine.abilities


def test_a_sleeping_single_server_is_listed_asleep():
    replies = [dict(r) for r in SINGLE_READY["replies"]]
    for reply in replies:
        if reply["call"] == "GET /props":
            reply["body"] = reply["body"] | {"is_sleeping": True}
    assert listed(Replay({"replies": replies}).client())["smollm2"].state is State.SLEEPING


def test_a_single_server_that_still_loads_is_known_but_not_up():
    engine = server(always(LOADING, 503))
    assert asyncio.run(engine.identify()) == Identity()
    assert engine.abilities == {Ability.LIST}
    with pytest.raises(EngineDown, match="still loading"):
        asyncio.run(engine.list())


def test_props_without_a_build_are_an_imitators():
    props = b'{"default_generation_settings": {"n_ctx": 8192}, "total_slots": 1}'
    assert asyncio.run(server(always(props)).identify()) is None


def test_a_file_on_a_mount_that_is_gone_hides_its_size_and_delays_nothing(monkeypatch):
    back = threading.Event()

    def size(path):
        if path == "/gone/m.gguf":
            back.wait(10)
        return 300

    monkeypatch.setattr(llamacpp, "_file_size", size)
    monkeypatch.setattr(llamacpp, "STAT_TIMEOUT", 0.05)
    near = ("near", "unloaded", ["-", "-m", "/near/m.gguf"])
    far = ("far", "unloaded", ["-", "-m", "/gone/m.gguf"])
    router = server(Replay(router_with(near, far)).client())

    async def story():
        for _ in range(3):
            async with asyncio.timeout(60):
                sizes = {m.id: m.file_size for m in await router.list()}
            assert sizes == {"near": 300, "far": None}
        back.set()
        while None in [m.file_size for m in await router.list()]:
            pass

    asyncio.run(story())


# -- what it does by itself


def router_that(**props):
    told = copy.deepcopy(ROUTER)
    for reply in told["replies"]:
        if reply["call"] == "GET /props":
            reply["body"] |= props
    return server(Replay(told).client())


def test_a_router_that_loads_and_unloads_by_itself_says_so_with_what_to_set():
    found = asyncio.run(router_that(models_autoload=True, max_instances=4).habits())
    assert [h.model for h in found] == [None, None]
    assert "--no-models-autoload" in found[0].remedy
    assert "once 4 are up" in found[1].what


def test_models_that_fall_asleep_by_themselves_are_told_as_their_router_has_listed_them():
    async def ask():
        router = server(Replay(SLEEP).client())
        await router.list()
        return await router.habits()

    naps = [h for h in asyncio.run(ask()) if h.model is not None]
    assert {h.model for h in naps} == {"alpha", "beta", "gamma"}
    assert all("after 2 s" in h.what and "--sleep-idle-seconds" in h.remedy for h in naps)


def test_a_router_that_is_told_to_keep_still_has_no_habits():
    quiet = router_that(models_autoload=False, max_instances=0)
    assert asyncio.run(quiet.habits()) == ()


@pytest.mark.parametrize(
    ("command", "environment", "counts"),
    [
        (("llama-server", "-m", "x"), {}, True),
        (("llama-server", "--sleep-idle-seconds", "60"), {}, False),
        (("llama-server", "--sleep-idle-seconds=60"), {}, False),
        (("llama-server",), {"LLAMA_ARG_SLEEP_IDLE_SECONDS": "60"}, False),
    ],
)
def test_a_server_of_our_own_that_never_sleeps_is_asked_what_it_does(command, environment, counts):
    single = server(Replay(SINGLE).client())
    single.started_with(command, environment)
    asyncio.run(single.identify())
    assert (Ability.IN_FLIGHT in single.abilities) == counts


def test_a_sleeping_model_is_woken_by_the_question_for_its_slots():
    replay = Replay(ROUTER)
    asyncio.run(server(replay.client()).wake(ModelId("alpha")))
    assert [call for call, _ in replay.asked] == ["GET /slots?model=alpha&autoload=false"]
