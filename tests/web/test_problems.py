"""What goes wrong is answered with a problem that says what would be right."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.builders import resident

from .fakes import API, GPU, World, early, get, play, post


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/evict", {"models": ["qwen3:8"]}),
        ("/load", {"model": "qwen3:8"}),
        ("/pin", {"model": "qwen3:8"}),
        ("/plan", {"evict": ["qwen3:8"]}),
    ],
)
def test_an_unknown_name_is_answered_with_what_looks_like_it(path, body):
    reply = post(path, body)
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["closest"][0] == "qwen3:8b"
    assert (problem["type"], problem["title"], problem["status"]) == (
        "about:blank",
        "Not Found",
        404,
    )
    assert "did you mean qwen3:8b" in problem["detail"]


def test_an_unknown_pool_is_answered_with_those_that_there_are():
    problem = post("/evict", {"free": "1GiB", "pool": "gpu7"}).json()
    assert (problem["status"], problem["what"]) == (404, "pool")
    assert GPU in problem["closest"]


def test_a_name_of_two_engines_is_ambiguous():
    world = World()
    world.hold(resident("twin", 1, pool=GPU), resident("twin", 1, pool=GPU, engine="llamacpp"))
    reply = post("/evict", {"models": ["twin"]}, world)
    assert reply.status_code == 409
    assert "llamacpp/twin or ollama/twin" in reply.json()["detail"]


def test_before_the_first_sample_nothing_is_known():
    reply = early(f"{API}/why?model=x")
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("/evict", {}, ["say what: models or all or free"]),
        ("/evict", {"modles": ["a"]}, ["modles: there is no such key; did you mean models?"]),
        ("/evict", {"models": [], "wait": 1}, ["models: ", "wait: "]),
        ("/evict", {"models": ["a"], "all": True}, ["say one of"]),
        ("/evict", {"all": False}, ["all: "]),
        ("/evict", {"models": ["a", ""]}, ["models.1: "]),
        ("/evict", {"models": "a"}, ["models: "]),
        ("/evict", {"free": "8G"}, ['free: "8G" is ambiguous; write 8GiB']),
        ("/evict", {"free": -1, "force": "yes", "zzz": 1}, ["free: ", "force: ", "zzz: "]),
        ("/evict", {"models": ["a"], "pool": GPU}, ["pool goes with free"]),
        ("/evict", {"free": "1GiB", "force": True}, ["force does not go with free"]),
        ("/load", {"model": 5}, ["model: "]),
        ("/load", {}, ["model: "]),
        ("/plan", {"load": "a", "free": "1GiB"}, ["say one of"]),
        ("/plan", {"load": "a", "force": True}, ["force goes with evict"]),
        ("/pin", [1], [""]),
    ],
)
def test_every_mistake_in_a_body_is_named(path, body, errors):
    reply = post(path, body)
    assert reply.status_code == 422
    found = reply.json()["errors"]
    assert len(found) == len(errors)
    for expected in errors:
        assert any(f.startswith(expected) for f in found), found


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"nonsense", b"\xff", b'{"models":["\xff"]}', b"[" * 5000, b'{"free":1e999}']
)
def test_what_is_not_json_is_a_mistake_too(raw):
    headers = {"content-type": "application/json"}
    reply = play(lambda http: http.post(f"{API}/evict", content=raw, headers=headers))
    assert reply.status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{API}/evict", 405),
        ("POST", f"{API}/state", 405),
        ("DELETE", "/metrics", 405),
        ("GET", f"{API}/state/", 404),
        ("GET", f"{API}/models/qwen3:8b", 404),
        ("GET", "/favicon.ico", 404),
        ("OPTIONS", f"{API}/state", 405),
    ],
)
def test_wrong_ways_are_problems_too(method, path, status):
    reply = play(lambda http: http.request(method, path, json={} if method == "POST" else None))
    assert reply.status_code == status
    assert reply.json()["status"] == status
    if status == 405:
        assert reply.headers["allow"]


def test_a_head_of_a_page_is_like_its_get():
    async def story(http: httpx.AsyncClient) -> Any:
        return await http.head(f"{API}/version"), await http.get(f"{API}/version")

    head, whole = play(story)
    assert head.status_code == 200
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_of_very_many_mistakes_the_first_are_told_and_how_many_more():
    reply = post("/evict", {f"k{i}{'x' * 600}": 1 for i in range(1000)})
    errors = reply.json()["errors"]
    assert (reply.status_code, errors[-1]) == (422, "and 950 more")
    assert (len(errors), max(map(len, errors))) == (51, 500)
    reply = get(f"{API}/state?" + "&".join(f"k{i}" + "=1" for i in range(1000)))
    assert (reply.status_code, reply.json()["errors"][-1]) == (422, "and 950 more")
    assert len(reply.json()["errors"]) == 51


def test_a_body_of_very_many_members_is_not_looked_at_one_by_one():
    reply = post("/evict", {f"k{i}": 1 for i in range(70_000)})
    assert reply.status_code == 422
    assert reply.json()["errors"] == ["it has more than 65536 members"]
