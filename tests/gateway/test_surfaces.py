"""Which paths are whose, and what becomes of them."""

import pytest

from supervisor.core.types import ModelType
from supervisor.engines import ENGINES
from supervisor.engines.serves import TAILS, Api
from supervisor.gateway.surfaces import (
    PARTS,
    PATHS,
    Does,
    Streams,
    Where,
    api_of,
    nothing_at,
    spoken,
    surface_of,
    target,
)
from tests.gateway.asking import at, head

GET = b"GET"


@pytest.mark.parametrize(
    ("path", "name", "api", "where", "streams", "type"),
    [
        ("/v1/chat/completions", "chat", "OPENAI", "JSON", "SSE", "CHAT"),
        ("/chat/completions", "chat", "OPENAI", "JSON", "SSE", "CHAT"),
        ("/openai/v1/chat/completions", "chat", "OPENAI", "JSON", "SSE", "CHAT"),
        ("/api/v1/chat/completions", "chat", "OPENAI", "JSON", "SSE", "CHAT"),
        ("/engines/v1/chat/completions", "chat", "OPENAI", "JSON", "SSE", "CHAT"),
        ("/v1/completions", "completions", "OPENAI", "JSON", "SSE", "CHAT"),
        ("/v1/embeddings", "embeddings", "OPENAI", "JSON", "NO", "EMBEDDING"),
        ("/embeddings", "embeddings", "OPENAI", "JSON", "NO", "EMBEDDING"),
        ("/v1/responses", "responses", "OPENAI", "JSON", "SSE", "CHAT"),
        ("/v1/rerank", "rerank", "OPENAI", "JSON", "NO", "RERANK"),
        ("/rerank", "rerank", "OPENAI", "JSON", "NO", "RERANK"),
        ("/v1/reranking", "rerank", "OPENAI", "JSON", "NO", "RERANK"),
        ("/v1/images/generations", "images", "OPENAI", "JSON", "SSE", "IMAGE"),
        ("/v1/images/edits", "edits", "OPENAI", "FORM", "SSE", "IMAGE"),
        ("/v1/images/variations", "variations", "OPENAI", "FORM", "NO", "IMAGE"),
        ("/v1/audio/transcriptions", "transcriptions", "OPENAI", "FORM", "SSE", "SPEECH"),
        ("/v1/audio/translations", "translations", "OPENAI", "FORM", "NO", "SPEECH"),
        ("/v1/audio/speech", "speech", "OPENAI", "JSON", "NO", "SPEECH"),
        ("/v1/messages", "messages", "ANTHROPIC", "JSON", "SSE", "CHAT"),
        ("/anthropic/v1/messages", "messages", "ANTHROPIC", "JSON", "SSE", "CHAT"),
        ("/v1/messages/count_tokens", "count_tokens", "ANTHROPIC", "JSON", "NO", "CHAT"),
        ("/api/chat", "ollama_chat", "OLLAMA", "JSON", "NDJSON", "CHAT"),
        ("/api/generate", "generate", "OLLAMA", "JSON", "NDJSON", "CHAT"),
        ("/api/embed", "embed", "OLLAMA", "JSON", "NO", "EMBEDDING"),
        ("/api/embeddings", "ollama_embeddings", "OLLAMA", "JSON", "NO", "EMBEDDING"),
    ],
)
def test_what_is_asked_of_a_model_is_known_by_its_path(path, name, api, where, streams, type):
    found = at(path)
    assert found.does is Does.INFER
    assert (found.name, found.api, found.where) == (name, Api[api], Where[where])
    assert (found.streams, found.type) == (Streams[streams], ModelType[type])
    assert surface_of(b"DELETE", path.encode()) is None


@pytest.mark.parametrize(
    ("path", "does"),
    [
        ("/v1/models", Does.MODELS),
        ("/models", Does.MODELS),
        ("/api/tags", Does.TAGS),
        ("/api/ps", Does.PS),
        ("/api/version", Does.VERSION),
        ("/", Does.HELLO),
        ("/healthz", Does.HEALTH),
    ],
)
def test_what_we_answer_ourselves_is_asked_with_get_or_head(path, does):
    assert at(path, GET).does is does
    assert at(path, b"HEAD").does is does
    assert surface_of(b"POST", path.encode()) is None


def test_to_show_a_model_loads_nothing():
    assert at("/api/show").does is Does.SHOW


@pytest.mark.parametrize("sent", ["Qwen/Qwen3-8B", "Qwen%2FQwen3-8B", "qwen3:8b", "qwen3%3A8b"])
@pytest.mark.parametrize("below", ["/v1/models/", "/models/", "/openai/v1/models/"])
def test_a_models_id_in_the_path_may_have_slashes_and_may_be_quoted(below, sent):
    found = at(below + sent, GET)
    assert found.does is Does.MODEL
    assert found.model == sent.replace("%2F", "/").replace("%3A", ":")


@pytest.mark.parametrize("model", ["gpt-4o", "Qwen/Qwen3-8B", "a%2Fb"])
@pytest.mark.parametrize(("tail", "name"), [("chat/completions", "chat"), ("embeddings",) * 2])
def test_azures_clients_name_the_model_in_the_path(model, tail, name):
    found = at(f"/openai/deployments/{model}/{tail}")
    assert (found.name, found.model) == (name, model.replace("%2F", "/"))
    assert surface_of(GET, f"/openai/deployments/{model}/{tail}".encode()) is None


def test_azures_plain_completions_are_not_taken_for_those_of_a_chat():
    assert at("/openai/deployments/m/completions").name == "completions"
    assert at("/openai/deployments/m/images/generations").name == "images"
    assert surface_of(b"POST", b"/openai/deployments//chat/completions") is None


def test_a_stored_response_is_told_from_a_new_one():
    found = at("/v1/responses/resp_1", GET)
    assert (found.does, found.path) == (Does.STORED, b"/resp_1")
    assert at("/v1/responses/resp_1", b"DELETE").does is Does.STORED
    assert at("/v1/responses/resp_1/cancel").does is Does.STORED
    assert surface_of(b"POST", b"/v1/responses/resp_1") is None
    serves = ENGINES["vllm"].paths
    there = target(found, serves, head("GET", "/v1/responses/resp_1?include=x"))
    assert there == b"/v1/responses/resp_1?include=x"


@pytest.mark.parametrize(
    "path",
    [
        b"//../../../models/purge", b"/../models/x", b"/.", b"/..", b"/resp_1/../../../models",
        b"/%2e%2e/%2E%2E/models/purge", b"/x%2f..%2f..%2fmodels", b"/..%5cmodels", b"/", b"//x",
        b"/resp_1/", b"/resp_1//cancel", b"/resp_1/cancel/x", b"/a%00b", b"/...",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", [GET, b"DELETE", b"POST"])
def test_behind_a_stored_response_nothing_leads_elsewhere(method, path):
    """Engines that tidy paths up would delete models by some of them."""
    assert surface_of(method, b"/v1/responses" + path) is None
    assert surface_of(method, b"/v1/responses" + path + b"/cancel") is None or path == b"/resp_1"


def test_behind_an_engines_name_the_known_ways_are_known_and_the_path_stays_the_clients():
    found = at("/engines/my%20box/v1/chat/completions")
    assert (found.name, found.does, found.engine) == ("chat", Does.INFER, "my box")
    sent = head("POST", "/engines/my%20box/v1/chat/completions?x=1")
    assert target(found, {}, sent) == b"/v1/chat/completions?x=1"


@pytest.mark.parametrize("path", ["/engines", "/engines/", "/engines/vllm", "/v1/models/", "/v2"])
def test_nothing_is_made_of_half_a_path(path):
    assert surface_of(GET, path.encode()) is None
    assert surface_of(b"POST", path.encode()) is None


def test_where_nothing_is_the_answer_says_what_there_is():
    status, message, headers = nothing_at(GET, b"/v3/chat")
    assert (status, headers) == (404, ())
    assert "GET /v3/chat" in message
    assert "/v1/messages" in message


def test_a_wrong_method_is_told_the_right_one():
    status, message, headers = nothing_at(GET, b"/v1/chat/completions")
    assert status == 405
    assert headers == ((b"allow", b"POST"),)
    assert "POST" in message


def test_a_request_goes_where_its_engine_has_that_part():
    chat, rank = at("/chat/completions"), at("/v1/reranking")
    sent = head("POST", "/chat/completions")
    assert target(chat, ENGINES["dmr"].paths, sent) == b"/engines/v1/chat/completions"
    assert target(chat, ENGINES["lemonade"].paths, sent) == b"/api/v1/chat/completions"
    assert target(rank, ENGINES["infinity"].paths, sent) == b"/rerank"
    assert target(rank, ENGINES["ollama"].paths, sent) is None
    azure = at("/openai/deployments/m/chat/completions")
    sent = head("POST", "/openai/deployments/m/chat/completions?api-version=1")
    assert target(azure, ENGINES["ollama"].paths, sent) == b"/v1/chat/completions?api-version=1"


def test_a_model_that_the_query_names_is_renamed_there():
    found = at("/v1/realtime", GET)
    assert found.where is Where.PATH
    sent = head("GET", "/v1/realtime?intent=x&model=mine&y=2")
    there = target(found, ENGINES["localai"].paths, sent, "whisper/large v3")
    assert there == b"/v1/realtime?intent=x&model=whisper%2Flarge%20v3&y=2"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("model=mine&mod%65l=theirs", "model=ours&model=ours"),
        ("x=1&%6Dodel=theirs&y=2", "x=1&model=ours&y=2"),
        ("x=1;model=theirs", "model=ours"),
        ("Model=theirs&+model=theirs", "model=ours&model=ours"),
        ("x=model&models=2", "x=model&models=2&model=ours"),
        ("", "model=ours"),
    ],
)
def test_whatever_a_query_names_the_engine_reads_the_model_that_was_let_through(asked, sent):
    for path in ("/v1/realtime", "/openai/deployments/mine/realtime"):
        there = target(at(path, GET), {"realtime": "/r"}, head("GET", f"{path}?{asked}"), "ours")
        assert there == b"/r?" + sent.encode()


@pytest.mark.parametrize("query", ["model=theirs", "mod%65l=theirs&a=1", "a=1&x;model=theirs&b="])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio/transcriptions",
        "/v1/images/edits",
        "/v1/chat/completions",
        "/api/show",
        "/openai/deployments/mine/chat/completions",
        "/engines/one/v1/audio/transcriptions",
    ],
)
def test_where_the_body_names_the_model_the_query_names_none(path, query):
    """To Go's FormValue the query counts for more than the form."""
    surface = at(path)
    serves = {surface.name: "/there"}
    there = target(surface, serves, head("POST", f"{path}?{query}&model_name=x"), "ours")
    assert there is not None
    assert b"theirs" not in there
    assert there.endswith(b"model_name=x")
    assert target(surface, serves, head("POST", f"{path}?model=x"), "ours") in (
        b"/there", b"/v1/audio/transcriptions",
    )  # fmt: skip


def test_anthropics_clients_are_answered_in_their_form_where_the_paths_are_the_same():
    models = at("/v1/models", GET)
    odd = head("POST", "/v1/chat/completions", anthropic_version="2023-06-01")
    assert spoken(at("/v1/chat/completions"), odd) is Api.OPENAI
    assert spoken(models, head("GET", "/v1/models")) is Api.OPENAI
    assert (
        spoken(models, head("GET", "/v1/models", anthropic_version="2023-06-01")) is Api.ANTHROPIC
    )


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/nothing", Api.OPENAI),
        ("/api/nothing", Api.OLLAMA),
        ("/v1/messages/batches", Api.ANTHROPIC),
        ("/engines/x", Api.NATIVE),
        ("/favicon.ico", Api.OPENAI),
    ],
)
def test_who_asks_for_what_is_not_there_is_answered_in_the_form_of_its_path(path, api):
    assert api_of(path.encode()) is api


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("//v1/messages", "/v1/messages"),
        ("//api/chat", "/api/chat"),
        ("/v1//chat/completions", "/v1/chat/completions"),
    ],
)
def test_the_address_that_a_path_is_put_behind_may_end_with_a_slash(path, plain):
    found = surface_of(b"POST", path.encode())
    assert found is not None
    assert found is surface_of(b"POST", plain.encode())
    assert surface_of(b"POST", b"//nothing") is None


def test_every_part_has_a_path_of_ours_and_is_what_its_path_says():
    for api, tails in TAILS.items():
        for name in tails:
            method = GET if name == "realtime" else b"POST"
            assert surface_of(method, PATHS[name].encode()) is PARTS[name]
            assert PARTS[name].api is api
