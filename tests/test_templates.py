"""Texts with ${MODEL} in them, and JSONPaths."""

import json
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from supervisor.config.templates import (
    MODEL,
    compile_path,
    fill,
    fill_header,
    fill_path,
    has_members,
    names_model,
    select,
    strangers,
)

NASTY = [
    'a"b',
    "a\\",
    "org/model",
    "ämne 模型 🍷",
    "a\nb",
    "a\r\nX-Evil: 1",
    "a?b=c&d#e",
    "%2e%2e",
    '", "all": true, "x": "',
    "${MODEL}",
    "${HOME}",
    "$(reboot)",
]
names = st.sampled_from(NASTY) | st.text(min_size=1)


def found(text, value):
    return [value for _, value in select(compile_path(text), value)]


@given(names)
def test_a_name_in_a_body_is_a_text_and_nothing_else(name):
    body = {"model": MODEL, "paths": [f"/m/{MODEL}.gguf", 1, None], "options": {"all": False}}
    filled = fill(body, name)
    assert filled == {
        "model": name,
        "paths": [f"/m/{name}.gguf", 1, None],
        "options": {"all": False},
    }
    assert body["model"] == MODEL
    try:
        text = json.dumps(filled, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair: it cannot be sent at all
    assert json.loads(text) == filled


@given(names)
def test_a_name_in_a_path_is_one_piece_of_it(name):
    assume(name not in (".", ".."))
    try:
        path = fill_path(f"/models/{MODEL}/load?as={MODEL}&now=1", name)
    except UnicodeEncodeError:
        return
    parts = urlsplit(f"http://127.0.0.1{path}")
    steps = parts.path.split("/")
    assert [unquote(step, errors="strict") for step in steps] == ["", "models", name, "load"]
    assert unquote(parts.query) == f"as={name}&now=1"
    assert parts.fragment == ""
    assert path.isascii()


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_would_be_a_step_to_elsewhere_is_refused(name):
    with pytest.raises(ValueError, match="cannot stand in a path"):
        fill_path(f"/models/{MODEL}/load", name)
    assert fill_path(f"/load?model={MODEL}", name) == f"/load?model={name}"
    assert fill_path(f"/models/m-{MODEL}", name) == f"/models/m-{name}"


@given(names)
def test_a_name_in_a_header_never_ends_it(name):
    try:
        value = fill_header(f"model {MODEL}", name)
    except ValueError:
        assert not name.isascii() or not name.isprintable() or name != name.rstrip()
    else:
        assert value == f"model {name}"
        assert value.isascii()
        assert value.isprintable()


@given(names)
def test_what_is_filled_in_is_not_looked_at_again(name):
    assert fill(f"{MODEL}-{MODEL}", name) == f"{name}-{name}"


def test_whether_a_template_says_which_model():
    assert names_model({"a": [{"b": f"x{MODEL}"}]})
    assert names_model({MODEL: 1})
    assert not names_model({"a": ["model", 1, None, True]})
    assert not names_model(None)


def test_other_places_are_found_wherever_they_are():
    assert strangers({"a": ["${PORT}", {"${X}": f"{MODEL} ${{y"}], "b": 1}) == [
        "${PORT}",
        "${X}",
        "${y",
    ]
    assert strangers(f"/{MODEL}") == []


@pytest.mark.parametrize(
    "text",
    ["data", "", "$.", "$.a[", "$.a | $.b", "^", "$[?foo(@)]", "$[?count(@.x)]", "$ ", "$" * 9],
)
def test_what_is_no_jsonpath_is_refused_in_a_line(text):
    with pytest.raises(ValueError) as wrong:
        compile_path(text)
    assert len(str(wrong.value).splitlines()) == 1


@given(st.text(alphabet="$.@[]?*'\"ab0 !=<>()&|~^#,:-\\\ud800", max_size=12))
def test_whatever_is_written_it_is_a_jsonpath_or_refused(text):
    try:
        path = compile_path(text)
    except ValueError:
        return
    for value in ({"a": [{"b": 1}]}, [1, "a"], "a", None, 3):
        select(path, value)


def test_a_path_selects_values_and_tells_what_each_stands_under():
    told = {"a": {"x": 1}, "b": [{"x": 2}, {"x": None}]}
    assert select(compile_path("$.*"), told) == [("a", told["a"]), ("b", told["b"])]
    assert found("$.b[?@.x == 2]", told) == [{"x": 2}]
    assert found("$..x", told) == [1, 2, None]
    assert found("$", "[1]") == ["[1]"]  # a text is not read as JSON once more
    assert found("$[0]", "[1]") == []


def test_an_empty_list_is_told_from_no_list():
    some, all_ = compile_path("$.data[?@.on == true]"), compile_path("$[*]")
    assert has_members(some, {"data": []})
    assert has_members(some, {"data": [{"on": False}]})
    assert has_members(all_, [])
    for other in ({}, {"data": None}, {"data": 3}, [], None, 7, "data"):
        assert not has_members(some, other)
    assert not has_members(all_, None)


def test_an_answer_that_is_too_deep_is_refused():
    deep = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="recursion"):
        found("$..b", deep)
