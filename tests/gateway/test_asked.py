"""What a request asks: read once, and passed on byte for byte but for the model's name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.gateway.asked import LARGE, MOST_KEYS, BadRequest, look, renamed, typed
from supervisor.gateway.keep_alive import seconds_of
from tests.gateway.asking import at, head

CHAT = at("/v1/chat/completions")
FOREVER = float("inf")


def asked(body, path="/v1/chat/completions", method="POST", **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return look(at(path, method.encode()), head(method, path, **headers), raw)


def refused(body, path="/v1/chat/completions", **headers):
    with pytest.raises(BadRequest) as no:
        asked(body, path, **headers)
    return no.value


def test_a_model_is_found_wherever_its_key_stands():
    assert asked({"model": "qwen3:8b", "messages": []}).model == "qwen3:8b"
    assert asked({"messages": [{"model": "not me"}], "model": "a/b"}).model == "a/b"
    assert asked(b'{"mod\\u0065l" : "\\u00fc"}').model == "ü"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"model=x", "not JSON: invalid character at byte 0"),
        (b'{"model": "x",}', "at byte 14"),
        (b'{"model": "x"', "it ends too early, at byte 13"),
        (b'{"model": "x"} {}', "trailing characters at byte 16"),
        (b'["model"]', "is to be a JSON object, and is an array"),
        (b'"model"', "and is a string"),
        (b"null", "and is null"),
        (b"1", "and is a number"),
        (b"1.5", "and is a number"),
        (b"true", "and is a boolean"),
        (b'{"\xff": 1}', "the body is not JSON"),
        (b'{"a":' + b"[" * 100_000, "nested too deep"),
        (b"\x1f\x8b\x08", "the body is not JSON"),
    ],
)
def test_a_body_that_is_no_json_is_refused_with_the_place(body, words):
    no = refused(body)
    assert no.status == 400
    assert words in no.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, 'no model is named: the body has no "model"'),
        ({"model": None}, 'the body has no "model"'),
        ({"model": "  "}, "its name is empty"),
        ({"model": 7}, "is to be a string, and is a number"),
        ({"model": True}, "and is a boolean"),
        ({"model": ["x"]}, "and is an array"),
        ({"model": {"a": 1}}, "and is an object"),
        ({"model": "x" * 1025}, "at most 1024 characters"),
    ],
)
def test_a_request_without_a_models_name_is_refused(body, words):
    no = refused(body)
    assert (no.status, no.param) == (400, "model")
    assert words in no.message


def test_a_key_that_only_some_engines_take_for_the_models_is_refused():
    """To Go's decoder "MODEL" is "model", and whichever comes last counts."""
    no = refused({"model": "allowed", "Model": "forbidden"})
    assert (no.status, no.param) == (400, "Model")


def test_of_two_models_the_last_counts_and_the_only_one_that_goes_on():
    body = b'{"model":"first","a":1,"model":"last"}'
    assert asked(body).model == "last"
    assert renamed(CHAT, head(), body, "other") == b'{"model":"other","a":1}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"secret","model":"m"}',
        b'{"mode\\u006c":"secret","model":"m"}',
        b'{"model":"secret","\\u006Dodel":"m"}',
        b'{ "a" : 1, "model" : {}, "model" : "m"}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/engines/one/else"])
def test_a_model_that_is_named_twice_is_named_once_to_the_engine_even_under_the_same_name(
    body, path
):
    surface = at(path)
    found = look(surface, head(target=path), body)
    assert found.model == "m"
    there = renamed(surface, head(target=path), body, "m", found)
    assert (there.count(b"model"), json.loads(there)["model"]) == (1, "m")
    assert b"secret" not in there


def test_a_packed_body_is_refused():
    no = refused(b"\x1f\x8b", content_encoding="gzip")
    assert no.status == 415
    assert asked({"model": "m"}, content_encoding="identity").model == "m"


def test_openais_api_streams_where_it_is_asked_to_and_ollamas_unless_it_is_not_to():
    chat, embed = "/api/chat", "/api/embed"
    assert asked({"model": "m", "stream": True}).stream is True
    assert asked({"model": "m", "stream": False}).stream is False
    assert asked({"model": "m"}).stream is False
    assert asked({"model": "m", "stream": "maybe"}).stream is False
    assert asked({"model": "m"}, chat).stream is True
    assert asked({"model": "m", "stream": None}, chat).stream is True
    assert asked({"model": "m", "stream": False}, chat).stream is False
    assert asked({"model": "m"}, embed).stream is False
    assert asked({"model": "m", "stream": True}, "/v1/embeddings").stream is False


@pytest.mark.parametrize(
    ("more", "user"),
    [
        ({"user": "ann"}, "ann"),
        ({"safety_identifier": "bob"}, "bob"),
        ({"metadata": {"user_id": "eve"}}, "eve"),
        ({"user": "ann", "metadata": {"user_id": "eve"}}, "ann"),
        ({"user": 7}, None),
        ({"user": ""}, None),
        ({"metadata": "x"}, None),
        ({"metadata": {"user_id": 3}}, None),
        ({"metadata": {"user_id": "x" * 100_000}}, None),
        ({}, None),
    ],
)
def test_the_user_is_whoever_the_client_says(more, user):
    assert asked({"model": "m", **more}).user == user
    assert asked({"model": "m", **more}, "/v1/messages").user == user


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0), (300, 300.0), (1.5, 1.5), (-1, FOREVER), ("10m", 600.0), ("1h30m", 5400.0),
        ("0", 0.0), ("0s", 0.0), ("-1m", FOREVER), ("1.5h", 5400.0), ("250ms", 0.25), (".5s", 0.5),
        ("+5s", 5.0), ("5", None), ("", None), ("soon", None), ("-", None), (None, None),
        (True, None), ([], None), (float("nan"), None), (10**400, FOREVER), (-(10**400), FOREVER),
        ("1" * 60 + "h", float("1" * 60) * 3600), ("1" * 60_000, None), ("1h" * 30_000, None),
    ],
)  # fmt: skip
def test_a_keep_alive_is_read_as_ollama_reads_it(value, seconds):
    assert seconds_of(value) == seconds


def test_a_body_of_very_many_keys_is_refused_before_it_is_read():
    """A million of them, in 8 MiB, would hold everybody up for a second."""
    for sign in (":", " :", "\t\r\n:"):
        many = ",".join(f'"{i:06x}\\\\"{sign}0' for i in range(MOST_KEYS + 1))
        body = ('{"model":"m",' + many + "}").encode()
        assert len(body) > LARGE
        no = refused(body)
        assert (no.status, no.message) == (413, "the body has more than 100,000 keys")


@pytest.mark.parametrize("text", ['say "x" : ', '\\"', 'a"\n'])
def test_what_looks_like_keys_in_texts_is_none(text):
    found = asked({"model": "m", "prompt": text * 200_000, "more": [""] * 300_000})
    assert found.model == "m"


def test_a_keep_alive_is_ollamas_alone():
    assert asked({"model": "m", "keep_alive": "5m"}, "/api/chat").keep_alive == 300
    assert asked({"model": "m"}, "/api/chat").keep_alive is None
    assert asked({"model": "m", "keep_alive": "5m"}).keep_alive is None


@pytest.mark.parametrize(
    ("path", "body", "unload"),
    [
        ("/api/generate", {"keep_alive": 0}, True),
        ("/api/generate", {"keep_alive": "0s", "prompt": ""}, True),
        ("/api/generate", {"keep_alive": 0, "prompt": None}, True),
        ("/api/generate", {"keep_alive": 0, "prompt": "hi"}, False),
        ("/api/generate", {"keep_alive": 0, "prompt": "x" * 100_000}, False),
        ("/api/generate", {}, False),
        ("/api/generate", {"keep_alive": -1}, False),
        ("/api/chat", {"keep_alive": 0}, True),
        ("/api/chat", {"keep_alive": 0, "messages": []}, True),
        ("/api/chat", {"keep_alive": 0, "messages": [{"role": "user"}]}, False),
        ("/api/embed", {"keep_alive": 0}, True),
        ("/api/embed", {"keep_alive": 0, "input": []}, True),
        ("/api/embed", {"keep_alive": 0, "input": "x"}, False),
        ("/v1/chat/completions", {"keep_alive": 0}, False),
    ],
)
def test_to_want_a_model_to_go_is_told_from_wanting_it_to_work(path, body, unload):
    assert asked({"model": "m", **body}, path).unload is unload


def test_ollamas_old_clients_call_the_model_that_they_want_shown_by_its_name():
    assert asked({"name": "m"}, "/api/show").model == "m"
    body = b'{"name": "m", "verbose": true}'
    show = at("/api/show")
    assert json.loads(renamed(show, head(), body, "o")) == {"name": "o", "verbose": True}


def test_the_path_comes_before_the_body_where_both_name_a_model():
    path = "/openai/deployments/mine/chat/completions"
    assert asked({"model": "other"}, path).model == "mine"
    assert asked({"messages": []}, path).model == "mine"
    there = renamed(at(path), head(target=path), b'{"messages":[]}', "engine's own")
    assert json.loads(there) == {"messages": [], "model": "engine's own"}


def test_what_passes_to_an_engine_may_name_a_model_or_be_anything():
    path = "/engines/comfy/prompt"
    assert asked({"model": "m"}, path).model == "m"
    for body in (b"", b"\x00\x01", b"[1]", b'{"model": 3}', b'{"prompt": {}}'):
        assert asked(body, path).model is None
    assert renamed(at(path), head(target=path), b"\x00", "m") == b"\x00"


def test_of_a_models_two_names_the_same_is_wanted():
    """Older engines know "name" alone, others prefer "model"."""
    assert asked({"name": "m", "model": "m"}, "/api/show").model == "m"
    there = renamed(at("/api/show"), head(), b'{"name": "m", "model": "m", "verbose": 1}', "o")
    assert json.loads(there) == {"model": "o", "verbose": 1}
    with pytest.raises(BadRequest) as no:
        asked({"model": "m", "name": "secret"}, "/api/show")
    assert no.value.status == 400


@pytest.mark.parametrize("path", ["/api/show", "/api/pull"])
@pytest.mark.parametrize(
    ("names", "good"), [({"model": "m", "name": ""}, "model"), ({"model": "", "name": "m"}, "name")]
)
def test_of_a_models_two_names_one_may_be_blank(path, names, good):
    """Ollama's own command line, and whatever is written in Go, sends both."""
    body = json.dumps({**names, "verbose": True}).encode()
    found = asked(body, path)
    assert found.model == ("m" if good == "model" or path == "/api/show" else None)
    there = json.loads(renamed(at(path), head(target=path), body, "o"))
    assert there == {good: "o", "verbose": True}


def test_two_blank_names_name_nobody():
    with pytest.raises(BadRequest, match="its name is empty"):
        asked({"model": "", "name": ""}, "/api/show")


@pytest.mark.parametrize(
    "query",
    ["model=a&model=b", "model=a&mod%65l=b", "mod%65l=a", "model=a&x=1;model=b", "model=a&Model=a"],
)
def test_a_query_that_could_name_two_models_is_refused(query):
    with pytest.raises(BadRequest) as no:
        look(at("/v1/realtime", b"GET"), head("GET", f"/v1/realtime?{query}"), b"")
    assert (no.value.status, no.value.param) == (400, "model")
    assert "model=NAME" in no.value.message


def test_the_same_model_twice_in_a_query_is_one():
    found = look(at("/v1/realtime", b"GET"), head("GET", "/v1/realtime?model=a&model=a"), b"")
    assert found.model == "a"


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/chat/completions", "/api/show"])
def test_what_was_read_as_json_is_told_to_be_json(path):
    """curl calls all that it sends a form; one could name another model to the engine."""
    form = head(target=path, content_type="application/x-www-form-urlencoded; charset=utf-8")
    assert typed(at(path), form) == ((b"content-type", b"application/json"),)
    assert typed(at(path), head(target=path, content_type="application/json")) == ()
    assert typed(at(path), head(target=path)) == ()
    assert typed(at("/engines/one/own"), form) == ()
    parts = head(target=path, content_type="multipart/form-data; boundary=x")
    assert bool(typed(at(path), parts)) == ("transcriptions" not in path)


def test_a_model_in_the_query_is_found():
    found = look(at("/v1/realtime", b"GET"), head("GET", "/v1/realtime?a=b&model=x%2Fy"), b"")
    assert found.model == "x/y"
    with pytest.raises(BadRequest):
        look(at("/v1/realtime", b"GET"), head("GET", "/v1/realtime"), b"")


# -- the name that goes on


def test_a_body_that_has_the_engines_name_already_is_passed_on_as_it_is():
    body = b'{ "model" : "m" , "a" : 1e400 }'
    assert renamed(CHAT, head(), body, "m") is body
    found = look(CHAT, head(), body)
    assert renamed(CHAT, head(), body, "m", found) is body


def test_all_but_the_name_stays_byte_for_byte():
    body = b'{"seed": 12345678901234567890, "t": 1.10, "model": "alias", "u":"\\u00e9", "z":[ 1 ]}'
    there = renamed(CHAT, head(), body, 'e/"q"')
    assert there == (
        b'{"seed":12345678901234567890,"t":1.10,"model":"e/\\"q\\"","u":"\\u00e9","z":[ 1 ]}'
    )
    assert renamed(CHAT, head(), body, 'e/"q"', look(CHAT, head(), body)) == there


def test_where_nothing_is_read_nothing_is_changed():
    body = b"anything"
    assert renamed(at("/v1/models", b"GET"), head("GET", "/v1/models"), body, "m") is body


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values), st.text(min_size=1), st.integers(0, 5), st.booleans())
def test_whatever_a_body_holds_only_its_models_name_changes(others, name, place, ascii):
    others = [pair for pair in others.items() if pair[0].lower() != "model"]
    body = dict([*others[:place], ("model", "before"), *others[place:]])
    raw = json.dumps(body, ensure_ascii=ascii, indent=1).encode(errors="replace")
    before = json.loads(raw)
    assert look(CHAT, head(), raw).model == "before"
    name = name.encode(errors="replace").decode()
    there = json.loads(renamed(CHAT, head(), raw, name))
    assert there == {**before, "model": name}
    assert list(there) == list(before)
