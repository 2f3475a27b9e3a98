"""What engines that the configuration describes are told, and what they make of it."""

import asyncio
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.snapshot import EngineId, ModelId
from supervisor.engines import wire
from supervisor.engines.base import EngineConfused, EngineRefused
from supervisor.engines.http import Http
from tests.engines.fakes.http import FakeCellar
from tests.engines.test_http import answering, http

TWO = {"data": [{"id": "a", "s": "loaded"}, {"id": "b", "s": "unloaded"}]}


def told_to(verb, model, answers=None, data=TWO, key=None, **options):
    """What is asked after the list."""
    seen = []
    made = http(
        answering({"/v1/models": data} | (answers or {}), seen), key, state="$.s", **options
    )
    asyncio.run(getattr(made, verb)(ModelId(model)))
    return seen[1:]


def refusal(verb, model, answers=None, **options):
    with pytest.raises(EngineRefused) as no:
        told_to(verb, model, answers, **options)
    return no.value.status, no.value.message


def test_path_method_body_and_headers_are_as_described():
    (sent,) = told_to(
        "unload",
        "a",
        {"DELETE /engines/a?now=1": {}},
        key="sk",
        headers={"X-All": "1"},
        unload_api="/engines/${MODEL}?now=1",
        unload_method="DELETE",
        unload_body={"model": "${MODEL}", "force": False, "deep": {"n": [1, "x-${MODEL}"]}},
        unload_headers={"X-Model": "${MODEL}"},
    )
    assert json.loads(sent.content) == {"model": "a", "force": False, "deep": {"n": [1, "x-a"]}}
    assert sent.headers["x-model"] == "a"
    assert sent.headers["x-all"] == "1"
    assert sent.headers["authorization"] == "Bearer sk"


@given(st.text(min_size=1, max_size=12))
def test_a_model_of_any_name_reaches_the_engine_whole(name):
    seen = []
    data = {"data": [{"id": name, "s": "loaded"}]}

    def answer(request):
        seen.append(request)
        return httpx.Response(200, content=json.dumps(data if len(seen) == 1 else {}).encode())

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    told = {"unload_api": "/m/${MODEL}/unload", "unload_body": {"m": "${MODEL}"}}
    made = http(client, state="$.s", **told)
    try:
        asyncio.run(made.unload(ModelId(name)))
    except (EngineRefused, EngineConfused):  # no name for a model, or none for a path
        assert len(seen) == 1
        return
    assert seen[1].url.path == f"/m/{name}/unload"
    assert seen[1].url.raw_path.count(b"/") == 3
    assert json.loads(seen[1].content) == {"m": name}


@pytest.mark.parametrize(
    "name", ['a"b', "org/model", "ämne 模型", "${MODEL}", "a?b#c", "%2e", "a\\b"]
)
def test_odd_names_reach_a_real_server(name):
    async def live():
        async with FakeCellar([name]) as fake, wire.client() as client:
            made = Http(EngineId("x"), fake.url, client, None, FakeCellar.options())
            await made.load(ModelId(name))
            assert fake.loaded == [name]
            await made.unload(ModelId(name))
            assert fake.loaded == []

    asyncio.run(live())


def test_a_name_that_cannot_be_sent_is_refused_before_anything_is_sent():
    data = {"data": [{"id": "..", "s": "loaded"}, {"id": "ä", "s": "loaded"}]}
    status, why = refusal("unload", "..", data=data, unload_api="/m/${MODEL}/unload")
    assert (status, why) == (400, "its name cannot stand in a path")
    told = {"unload_api": "/u", "unload_headers": {"X-M": "${MODEL}"}}
    status, why = refusal("unload", "ä", data=data, **told)
    assert (status, why) == (400, "its name cannot stand in a header")


def test_what_is_there_already_is_not_asked_for():
    assert told_to("unload", "b", unload_api="/u/${MODEL}") == []
    assert told_to("load", "a", load_api="/l/${MODEL}") == []
    awake = {"sleep_api": "/s/${MODEL}", "wake_api": "/w/${MODEL}"}
    assert told_to("wake", "a", **awake) == []
    asleep = {"data": [{"id": "a", "s": "asleep"}]}
    assert told_to("sleep", "a", data=asleep, **awake) == []


def test_an_unknown_model_and_one_that_is_not_loaded_are_refused():
    told = {f"{verb}_api": f"/{verb}/${{MODEL}}" for verb in ("load", "unload", "sleep", "wake")}
    for verb in ("load", "unload", "sleep", "wake"):
        assert refusal(verb, "nobody", **told) == (404, "it has no such model")
    for verb in ("sleep", "wake"):
        assert refusal(verb, "b", **told) == (409, "it is not loaded")


def test_an_order_that_names_no_model_reaches_only_the_one_that_there_is():
    both = {"data": [{"id": "a", "s": "loaded"}, {"id": "b", "s": "loading"}]}
    assert refusal("unload", "a", data=both, unload_api="/unload") == (
        409,
        "unload_api names no model, and it has a and b",
    )
    assert len(told_to("unload", "a", {"/unload": {}}, unload_api="/unload")) == 1
    assert refusal("load", "b", load_api="/load")[0] == 409
    alone = {"data": [{"id": "b", "s": "unloaded"}]}
    assert len(told_to("load", "b", {"/load": {}}, data=alone, load_api="/load")) == 1
    body = {"unload_api": "/unload", "unload_body": {"m": "${MODEL}"}}
    assert len(told_to("unload", "a", {"/unload": {}}, data=both, **body)) == 1


@pytest.mark.parametrize("answer", ["", "OK", {}, (204, ""), (202, {"job": 1})])
def test_any_good_status_is_success_unless_more_is_said(answer):
    assert len(told_to("unload", "a", {"/u": answer}, unload_api="/u")) == 1


@pytest.mark.parametrize(
    ("answer", "values", "good"),
    [
        ({"ok": True}, None, True),
        ({"ok": 1}, None, True),
        ({"ok": "yes"}, None, True),
        ({"ok": False}, None, False),
        ({"ok": 0}, None, False),
        ({"ok": None}, None, False),
        ({}, None, False),
        ({"ok": "Done"}, ["done"], True),
        ({"ok": 0}, [0], True),
        ({"ok": "busy"}, ["done", "gone"], False),
        ({"ok": [1]}, ["done"], False),
    ],
)
def test_what_success_is_may_be_said(answer, values, good):
    told = {"unload_api": "/u", "success": "$.ok"}
    told |= {} if values is None else {"success_values": values}
    if good:
        assert len(told_to("unload", "a", {"/u": answer}, **told)) == 1
    else:
        status, why = refusal("unload", "a", {"/u": answer}, **told)
        assert status == 409
        assert why.startswith("success ($.ok) is ")


def test_a_model_that_is_gone_when_the_call_arrives_has_been_unloaded():
    gone = {"/u": (404, {"error": "no such model"})}
    assert len(told_to("unload", "a", gone, unload_api="/u")) == 1
    assert refusal("unload", "a", gone, unload_api="/u", gone_status=[])[0] == 404
    assert refusal("unload", "a", {"/u": (410, {})}, unload_api="/u")[0] == 410
    assert len(told_to("unload", "a", {"/u": (410, {})}, unload_api="/u", gone_status=[410])) == 1
    load = {"load_api": "/l/${MODEL}"}
    assert refusal("load", "b", {"/l/b": (404, {})}, **load)[0] == 404


def test_deep_sleep_is_not_described():
    told = {"sleep_api": "/s/${MODEL}", "wake_api": "/w/${MODEL}", "state": "$.s"}
    made = http(answering({"/v1/models": TWO}), **told)
    with pytest.raises(EngineRefused):
        asyncio.run(made.sleep(ModelId("a"), deep=True))
