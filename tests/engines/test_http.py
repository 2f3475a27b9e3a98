"""Engines that the configuration describes: what is read of their answers, what they are told."""

import asyncio
import json

import httpx
import pytest

from supervisor.config.described import Description
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines.base import (
    Activity,
    EngineConfused,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
)
from supervisor.engines.http import Http
from tests.engines.fakes.http import OPTIONS
from tests.engines.replay import Replay, capture

CELLAR = capture("http-described")
GIB = 1 << 30


def http(client, key=None, **options):
    told = Description.model_validate(options)
    return Http(EngineId("mine"), "http://127.0.0.1:9000", client, key, told)


def answering(answers, seen=None):
    """A client: path → JSON, or (status, JSON); what is asked is noted in `seen`."""

    def answer(request):
        if seen is not None:
            seen.append(request)
        path = request.url.raw_path.decode()
        found = answers.get(f"{request.method} {path}", answers.get(path, (404, {"detail": "?"})))
        status, value = found if isinstance(found, tuple) else (200, found)
        if isinstance(value, str):
            return httpx.Response(status, text=value)
        return httpx.Response(status, content=json.dumps(value).encode())

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def listed(answers, **options):
    client = answers if isinstance(answers, httpx.AsyncClient) else answering(answers)
    return {m.id: m for m in asyncio.run(http(client, **options).list())}


def one(entry, **options):
    return listed({"/v1/models": {"data": [{"id": "m"} | entry]}}, **options)["m"]


def confusion(entry, **options):
    with pytest.raises(EngineConfused) as wrong:
        one(entry, **options)
    return wrong.value.message


def test_openais_list_needs_no_words():
    models = listed({"/v1/models": {"object": "list", "data": [{"id": "a"}, {"id": "b"}]}})
    assert models == {n: EngineModel(ModelId(n), State.LOADED) for n in ("a", "b")}


def test_everything_that_is_described_is_read():
    models = listed(Replay(CELLAR).client(), **OPTIONS)
    mib = 1 << 20
    assert models["qwen3:8b"] == EngineModel(
        ModelId("qwen3:8b"),
        State.LOADED,
        reported=6346 * mib,
        reported_gpu=int(6100.5 * mib),
        file_size=4983 * mib,
        process=Process(pid=7001),
        mark="12",
        context=4096,
    )
    assert models["org/smol lm"] == EngineModel(ModelId("org/smol lm"), file_size=4983 * mib)
    assert models["ämne"].state is State.SLEEPING


def test_abilities_follow_from_what_is_described():
    client = answering({})
    assert http(client).abilities == {Ability.LIST}
    assert http(client, **OPTIONS).abilities == Http.abilities
    assert Ability.BYTES in http(client, gpu_bytes="$.vram").abilities
    metrics = http(client, activity_api="/metrics", in_flight=["n"])
    assert Ability.IN_FLIGHT in metrics.abilities


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("loaded", State.LOADED),
        ("READY", State.LOADED),
        (" running ", State.LOADED),
        (True, State.LOADED),
        ("loading", State.LOADING),
        ("sleeping", State.SLEEPING),
        ("unloaded", None),
        (False, None),
        ("draining", State.UNKNOWN),
        (3, State.UNKNOWN),
    ],
)
def test_a_word_for_a_state_is_found_however_it_is_written(value, state):
    assert one({"status": value}, state="$.status").state is state


def test_a_state_that_is_not_there_is_no_state_unless_it_is_said_to_be_one():
    said = confusion({"status": None}, state="$.s")
    hint = 'if that is one, add "null" to `unloaded`'
    assert said == f"state ($.s): expected a state, found nothing; {hint}"
    assert one({}, state="$.status", unloaded=["null"]).state is None
    assert one({}, state="$.status", loaded=["null"]).state is State.LOADED


def test_that_something_is_there_may_be_the_state():
    told = {"state": "$.instances[0]", "loaded": ["*"], "unloaded": ["null"]}
    assert one({"instances": [{"id": 1}]}, **told).state is State.LOADED
    assert one({"instances": []}, **told).state is None


@pytest.mark.parametrize(
    ("value", "unit", "size"),
    [
        (1024, "B", 1024),
        (1536, "MiB", 1536 << 20),
        (1.5, "GiB", 3 * GIB // 2),
        (5.2, "GB", 5_200_000_000),
        ("2048", "KiB", 2 << 20),
        ("1.5 GiB", "B", 3 * GIB // 2),
        ("512 MB", "GiB", 512_000_000),
        (0, "B", None),
        (None, "B", None),
    ],
)
def test_a_size_is_read_in_its_unit(value, unit, size):
    assert one({"mem": value}, bytes="$.mem", bytes_unit=unit).reported == size


@pytest.mark.parametrize(
    "value", [-1, True, [1], {"a": 1}, "much", "", "5 apples", 1e300, 10**30, 0.5]
)
def test_what_is_no_size_is_told_with_its_path(value):
    assert confusion({"mem": value}, bytes="$.mem").startswith(
        "bytes ($.mem): expected a number of bytes, found "
    )


def test_what_is_said_of_accelerators_alone_is_all_that_is_known():
    model = one({"vram": 7}, gpu_bytes="$.vram", bytes_unit="GiB")
    assert (model.reported, model.reported_gpu) == (7 * GIB, 7 * GIB)


@pytest.mark.parametrize(
    ("entry", "options", "said"),
    [
        ({"id": None}, {}, "name ($.id): expected text, found nothing"),
        ({"id": "a\nb"}, {}, "name ($.id): expected a name, found text"),
        ({"id": 7}, {}, "name ($.id): expected text, found a number"),
        ({"pid": "7"}, {"pid": "$.pid"}, "pid ($.pid): expected a whole number, found text"),
        ({"c": 1.5}, {"context": "$.c"}, "context ($.c): expected a whole number, found a number"),
        ({"s": [1]}, {"state": "$.s"}, "state ($.s): expected text, found a list"),
        ({"n": "2"}, {"in_flight": "$.n"}, "in_flight ($.n): expected a whole number, found text"),
        ({"p": [1, 2]}, {"pid": "$.p[*]"}, "pid ($.p[*]): expected one value, found 2"),
    ],
)
def test_a_value_of_another_shape_is_told_with_its_path(entry, options, said):
    assert confusion(entry, **options) == said


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": 7}, [], None, 3, {"models": []}])
def test_an_answer_without_a_list_is_no_empty_list(answer):
    with pytest.raises(EngineConfused, match=r"models \(\$\.data\[\*\]\): expected a list, found"):
        listed({"/v1/models": answer})
    assert listed({"/v1/models": {"data": []}}) == {}


def test_a_list_of_names_and_a_table_of_models_are_lists_too():
    assert set(listed({"/v1/models": ["a", "b"]}, models="$[*]", name="$")) == {"a", "b"}
    table = {"models": {"qwen3:8b": {"on": True}, "b": {"on": False}}}
    found = listed({"/v1/models": table}, models="$.models[*]", name="key", state="$.on")
    assert {m: found[m].state for m in found} == {"qwen3:8b": State.LOADED, "b": None}


def test_only_some_entries_may_be_models():
    told = {"data": [{"id": "a", "type": "llm"}, {"id": "b", "type": "adapter"}]}
    assert set(listed({"/v1/models": told}, models="$.data[?@.type == 'llm']")) == {"a"}


def test_a_model_that_is_listed_twice_is_loaded_if_it_is_anywhere():
    data = [
        {"id": "a", "on": False},
        {"id": "a", "on": True, "n": 2},
        {"id": "a", "on": True, "n": 1},
    ]
    client = answering({"/v1/models": {"data": data}})
    made = http(client, state="$.on", in_flight="$.n")
    (model,) = asyncio.run(made.list())
    assert model.state is State.LOADED
    assert asyncio.run(made.activity(model)) == Activity(3)


def test_a_second_list_tells_which_are_loaded():
    answers = {
        "/tags": {"models": [{"name": "a", "size": 7}, {"name": "b", "size": 8}]},
        "/ps": {"running": [{"model": "b", "mem": 9}, {"model": "c", "mem": 10}]},
    }
    told = {"list_api": "/tags", "models": "$.models[*]", "name": "$.name", "file_bytes": "$.size"}
    told |= {"loaded_api": "/ps", "loaded_models": "$.running[*]", "loaded_name": "$.model"}
    assert listed(answers, **told, bytes="$.mem") == {
        "a": EngineModel(ModelId("a"), file_size=7),
        "b": EngineModel(ModelId("b"), State.LOADED, reported=9, file_size=8),
        "c": EngineModel(ModelId("c"), State.LOADED, reported=10),
    }


def test_a_second_list_may_look_like_the_first():
    answers = {"/v1/models": {"data": [{"id": "a"}]}, "/loaded": {"data": []}}
    assert listed(answers, loaded_api="/loaded")["a"].state is None


def test_the_process_is_known_by_its_pid_or_its_words_or_by_being_all_there_is():
    assert one({"pid": 7}, pid="$.pid").process == Process(pid=7)
    words = one({"pid": 0}, pid="$.pid", process=["--model", "${MODEL}"]).process
    assert words == Process(argv=(("--model", "m"),))
    assert one({}, one_model=True).process == Process(whole=True)
    two = listed({"/v1/models": {"data": [{"id": "a"}, {"id": "b"}]}}, one_model=True)
    assert [m.process for m in two.values()] == [None, None]
    assert one({}).process is None


def test_a_list_may_be_asked_for_by_a_post():
    seen = []
    client = answering({"POST /index": [{"name": "a"}]}, seen)
    told = {"list_api": "/index", "list_method": "post", "list_body": {"ready": True}}
    assert set(listed(client, **told, models="$[*]", name="$.name")) == {"a"}
    assert json.loads(seen[0].content) == {"ready": True}


MLSERVER = {
    "identify_api": "/v2",
    "identify_pick": "$.name",
    "identify_value": "mlserver",
    "list_api": "/v2/repository/index",
    "list_method": "POST",
    "list_body": {},
    "models": "$[*]",
    "name": "$.name",
    "state": "$.state",
    "load_api": "/v2/repository/models/${MODEL}/load",
    "unload_api": "/v2/repository/models/${MODEL}/unload",
}


def test_what_a_real_server_of_another_maker_answered_is_read():
    replay = Replay(capture("http-mlserver-1.7.1"))
    made = http(replay.client(), **MLSERVER)
    assert asyncio.run(made.identify()) == Identity("mlserver")
    states = {m.id: m.state for m in asyncio.run(made.list())}
    assert states == {"alpha": State.LOADED, "beta": None}
    asyncio.run(made.unload(ModelId("alpha")))
    asyncio.run(made.unload(ModelId("beta")))  # gone already
    asyncio.run(made.load(ModelId("beta")))
    orders = [call for call, _ in replay.asked if call.endswith("load")]
    assert orders == [f"POST /v2/repository/models/{m}" for m in ("alpha/unload", "beta/load")]


# Who is there?


def identity(answers, **options):
    return asyncio.run(http(answering(answers), **options).identify())


def test_an_engine_that_says_nothing_of_itself_must_have_a_list():
    assert identity({"/v1/models": {"data": []}}) == Identity("not told")
    with pytest.raises(EngineConfused, match="expected a list"):
        identity({"/v1/models": {}})
    with pytest.raises(EngineRefused, match="404"):
        identity({})


def test_an_engine_may_say_its_version_or_its_name():
    told = {"identify_api": "/about", "identify_pick": "$.version"}
    assert identity({"/about": {"version": "3.1"}}, **told) == Identity("3.1")
    assert identity({"/about": {"version": 3}}, **told) == Identity("3")
    assert identity({"/about": {}}, **told) is None
    assert identity({}, **told) is None
    assert identity({"/about": {}}, identify_api="/about") == Identity("not told")
    named = {"identify_api": "/about", "identify_pick": "$.name", "identify_value": "Cellar"}
    assert identity({"/about": {"name": "cellar"}}, **named) == Identity("cellar")
    with pytest.raises(
        EngineConfused, match=r'identify_pick \(\$.name\): expected "Cellar", found "x"'
    ):
        identity({"/about": {"name": "x"}}, **named)


# What is it doing?


def activities(answers, data, **options):
    made = http(answering({"/v1/models": {"data": data}} | answers), **options)

    async def look():
        return [await made.activity(m) for m in await made.list() if m.state is not None]

    return asyncio.run(look())


def test_requests_may_stand_in_the_list_itself():
    data = [{"id": "a", "n": 0, "at": 1.5}, {"id": "b", "n": 2, "at": None}, {"id": "c", "n": None}]
    found = activities({}, data, in_flight="$.n", last_used="$.at")
    assert found == [Activity(0, "1.5"), Activity(2), Activity(None)]


def test_numbers_and_flags_are_added_up():
    slots = [{"busy": True}, {"busy": False}, {"busy": True}]
    answers = {"/slots?model=a%2Fb": slots}
    told = {"activity_api": "/slots?model=${MODEL}", "in_flight": "$[*].busy"}
    assert activities(answers, [{"id": "a/b"}], **told) == [Activity(2)]
    each = {"/slots?model=a": [{"busy": True}], "/slots?model=b": [{"busy": False}]}
    assert activities(each, [{"id": "a"}, {"id": "b"}], **told) == [Activity(1), Activity(0)]
    assert activities({"/slots?model=x": []}, [{"id": "x"}], **told) == [Activity(None)]


METRICS = (
    '# TYPE run gauge\nrun{k="a"} 1\nrun{k="b"} 2\n# TYPE wait gauge\nwait 3\nnan NaN\ninf +Inf\n'
)


@pytest.mark.parametrize(
    ("names", "count"),
    [(["run", "wait"], 6), (["run"], 3), (["none"], None), (["nan"], None), (["inf"], None)],
)
def test_requests_may_be_metrics(names, count):
    told = {"activity_api": "/metrics", "in_flight": names}
    assert activities({"/metrics": METRICS}, [{"id": "a"}], **told) == [Activity(count)]


def test_a_count_of_the_whole_engine_is_told_of_a_model_only_where_it_is_certain():
    told = {"activity_api": "/load", "in_flight": "$.n"}
    two = [{"id": "a"}, {"id": "b"}]
    assert activities({"/load": {"n": 2}}, two[:1], **told) == [Activity(2)]
    assert activities({"/load": {"n": 0}}, two, **told) == [Activity(0)] * 2
    found = activities({"/load": {"n": 2}}, two, **told)
    assert [a.in_flight for a in found] == [None, None]
    assert found != activities({"/load": {"n": 3}}, two, **told)  # it moves with work


def test_a_sleeping_model_is_not_asked():
    data = [{"id": "a", "s": "asleep"}]
    assert activities({}, data, state="$.s", activity_api="/x", in_flight="$.n") == [Activity(0)]
