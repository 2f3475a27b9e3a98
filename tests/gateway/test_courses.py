"""Where requests go that wait for no model."""

import json

import pytest

from supervisor.config.described import Description
from supervisor.config.gated import TokenConfig
from supervisor.core.snapshot import ModelRef
from supervisor.engines import ENGINES
from supervisor.gateway.asked import look
from supervisor.gateway.courses import course
from supervisor.gateway.managing import ordered
from supervisor.gateway.names import Names
from supervisor.gateway.tokens import Caller
from supervisor.gateway.wrong import NotAllowed, NotOne, UnknownEngine, UnknownModel, WrongApi
from tests.gateway.asking import at, engines, head, host

ANYBODY = Caller()


def token(*models):
    return Caller(TokenConfig("t", b"", models=models))


def way(method, path, body=None, *, there=None, kinds=("ollama", "vllm"), caller=ANYBODY, **more):
    surface = at(path, method.encode())
    asked = look(surface, head(method, path), json.dumps(body or {}).encode())
    all_engines = engines(*kinds)
    names = Names(all_engines)
    there = there or host(*(f"{id}/m" for id in all_engines))
    found = course(
        surface, asked, there, names, all_engines, caller, more.get("manage", False)
    )  # fmt: skip
    return found.engine.id, found.model, found.busy


def test_a_model_is_shown_by_its_engine():
    assert way("POST", "/api/show", {"model": "m"}) == ("ollama", "m", False)
    with pytest.raises(WrongApi):
        way("POST", "/api/show", {"model": "m"}, kinds=("vllm",))
    with pytest.raises(UnknownModel):
        way("POST", "/api/show", {"model": "m"}, caller=token("other"))


def test_a_stored_response_is_fetched_where_only_one_engine_keeps_some():
    assert way("GET", "/v1/responses/r1", kinds=("vllm", "comfyui")) == ("vllm", None, False)
    with pytest.raises(NotOne) as no:
        way("GET", "/v1/responses/r1")
    assert "/engines/ollama/v1/responses/ID or /engines/vllm/" in no.value.message
    with pytest.raises(NotOne):
        way("GET", "/v1/responses/r1", kinds=("comfyui",))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/blobs/sha256:a"),
        ("POST", "/engines/ollama/api/create"),
    ],
)
def test_what_would_change_an_engine_is_refused_unless_that_is_allowed(method, path):
    with pytest.raises(NotAllowed) as no:
        way(method, path)
    assert (no.value.status, no.value.code) == (403, "not_allowed")
    assert "manage = true" in no.value.message
    assert way(method, path, manage=True)[0] == "ollama"


def test_a_real_ollama_is_managed_rather_than_one_that_only_speaks_like_it():
    assert way("POST", "/api/pull", kinds=("dmr", "ollama"), manage=True)[0] == "ollama"
    assert way("POST", "/api/pull", kinds=("dmr", "vllm"), manage=True)[0] == "dmr"
    with pytest.raises(NotOne):
        way("POST", "/api/pull", kinds=("a=ollama", "b=ollama"), manage=True)


DESCRIBED = Description(
    load_api="/control/${MODEL}/boot", unload_api="/halt?m=${MODEL}", unload_method="GET"
)


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("POST", "/control/m/boot", True),
        ("POST", "/Control//%62oot", True),
        ("POST", "/x/../control/m/boot/", True),
        ("GET", "/control/m/boot", False),
        ("POST", "/control/m", False),
        ("GET", "/halt", True),
        ("POST", "/halt", True),
        ("GET", "/health", False),
    ],
)
def test_what_the_configuration_says_changes_an_engine_is_managing(method, path, changes):
    engine = ENGINES["http"]("mine", "http://mine", None, None, DESCRIBED)
    surface, names = at(f"/engines/mine{path}", method.encode()), Names({"mine": engine})
    asked = look(surface, head(method, path), b'{"model": "m"}')

    def goes(manage):
        return course(surface, asked, host("mine/m"), names, {"mine": engine}, ANYBODY, manage)

    assert goes(True).engine is engine
    if changes:
        with pytest.raises(NotAllowed, match="manage = true"):
            goes(False)
    else:
        assert goes(False).engine is engine


def test_an_order_without_words_of_its_own_is_a_path_of_one():
    for template in ("/${MODEL}", "/"):
        assert ordered(b"POST", b"/qwen", [("POST", template)])
        assert not ordered(b"POST", b"/v1/tokenize", [("POST", template)])
        assert not ordered(b"GET", b"/qwen", [("POST", template)])


def test_what_is_an_engines_own_goes_to_it_and_all_of_its_models_count_as_busy():
    assert way("POST", "/engines/vllm/tokenize") == ("vllm", None, True)


def test_an_engine_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(UnknownEngine) as no:
        way("GET", "/engines/nope/health")
    assert (no.value.status, no.value.message.count("ollama, vllm")) == (404, 1)


def test_who_may_use_some_models_passes_nothing_that_names_none():
    """The path could be about any of them."""
    there = host("vllm/m", "vllm/secret")
    with pytest.raises(NotAllowed):
        way("POST", "/engines/vllm/tokenize", there=there, caller=token("m"))
    assert way("POST", "/engines/vllm/tokenize", there=there, caller=token("*"))[0] == "vllm"
    with pytest.raises(NotAllowed):
        way("GET", "/v1/responses/r1", there=there, kinds=("vllm",), caller=token("m"))


def test_who_may_use_none_of_an_engines_models_does_not_learn_of_it():
    with pytest.raises(UnknownEngine) as no:
        way("POST", "/engines/vllm/tokenize", there=host("vllm/a", "ollama/m"), caller=token("m"))
    assert "vllm" not in no.value.message.partition(";")[2]


def test_an_engine_without_models_is_reached_by_whoever_may_use_all():
    there = host("ollama/m")
    assert way("GET", "/engines/vllm/health", there=there)[0] == "vllm"
    with pytest.raises(UnknownEngine):
        way("GET", "/engines/vllm/health", there=there, caller=token("m"))
    assert token("*").may_use(ModelRef("vllm", ""))
