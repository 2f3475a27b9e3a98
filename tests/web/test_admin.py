"""The routes, through the real application, loop and door, over a machine of values."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from collectors.reading import Seconds, gib
from supervisor.core.record import Mode
from tests.builders import engine, ref, resident

from .fakes import API, EPOCH, GPU, NOW, World, client, early, get, play, post, site

# -- what is shown


def test_the_state_has_everything():
    state = get(f"{API}/state").json()
    assert {k: state[k] for k in ("version", "mode", "now", "uptime", "sample_age", "ready")} == {
        "version": "1.2.3",
        "mode": "enforce",
        "now": EPOCH,
        "uptime": 77.0,
        "sample_age": 0.0,
        "ready": True,
    }
    card, ram = state["pools"]
    assert card == {
        "id": GPU,
        "kind": "dedicated",
        "name": "RTX 4090",
        "total": gib(24),
        "free": gib(6.5),
        "reserve": gib(1),
        "budget": gib(20),
        "held": gib(15),
        "promised": 0,
        "foreign": gib(2.5),
        "headroom": gib(5),
        "hard": gib(5),
        "mapped": 0,
        "device_limit": None,
        "device_used": None,
        "overlap": 0,
        "parts": card["parts"],
        "blind": None,
    }
    assert [(p["owner"], p["name"], p["size"]) for p in card["parts"]] == [
        ("model", "ollama/llama3:70b", gib(9)),
        ("model", "ollama/qwen3:8b", gib(6)),
        ("foreign", "blender", gib(2)),
        ("unaccounted", "unaccounted", gib(0.5)),
    ]
    [device] = state["devices"]
    assert (device["uuid"], device["kind"], device["health"]["clock"]) == (GPU, "gpu", 2.52e9)
    assert (state["host"]["level"], state["host"]["pressure"]["some"]) == ("normal", 1.5)
    assert (ram["name"], ram["kind"], ram["budget"]) == ("RAM", "host", None)
    models = {m["name"]: m for m in state["models"]}
    assert models["ollama/qwen3:8b"] == {
        "name": "ollama/qwen3:8b",
        "engine": "ollama",
        "model": "qwen3:8b",
        "state": "loaded",
        "size": gib(12),
        "shares": [
            {"pool": GPU, "size": gib(6), "source": "measured"},
            {"pool": "ram", "size": gib(6), "source": "reported"},
        ],
        "busy": False,
        "in_flight": 0,
        "idle": 120,
        "busy_for": 0,
        "pinned": False,
        "pids": [4711],
        "status": "loaded",
        "kept_by": [],
        "contexts": 0,
        "type": "chat",
    }
    assert models["llamacpp/phi"]["in_flight"] is None
    assert state["installed"][0] == {
        "name": "ollama/gemma3:4b",
        "engine": "ollama",
        "model": "gemma3:4b",
        "size": gib(3),
        "trouble": None,
        "status": "local",
    }
    assert state["installed"][1]["size"] is None
    assert [(e["id"], e["up"], e["fault"]) for e in state["engines"]] == [
        ("ollama", True, None),
        ("llamacpp", False, "GET /models: refused"),
    ]
    assert state["engines"][0]["abilities"] == ["list", "load", "unload"]
    assert state["findings"] == [
        {
            "kind": "engine_down",
            "subject": "llamacpp",
            "for": 0.0,
            "severity": "warning",
            "detail": "GET /models: refused",
        }
    ]
    assert state["foreign"] == [
        {"pool": GPU, "pid": 99, "name": "blender", "size": gib(2), "engine": None}
    ]
    assert (state["pins"], state["running"]) == ([], [])
    assert state["journal"] == {
        "lag": 0,
        "failures": 0,
        "persistent": False,
        "meant_to_persist": False,
    }
    assert state["notes"] == ["no AMD driver on this machine"]


def test_a_pool_that_could_not_be_read_is_listed_without_numbers():
    world = World()
    world.blind = {GPU: "the driver hangs"}
    card = get(f"{API}/state", world).json()["pools"][-1]
    assert (card["id"], card["name"], card["blind"]) == (GPU, "RTX 4090", "the driver hangs")
    numbers = set(card) - {"id", "name", "kind", "blind", "parts"}
    assert len(numbers) == 13
    assert {card[k] for k in numbers} == {None}


def test_models_are_shown_alone_too():
    shown = get(f"{API}/models").json()
    assert set(shown) == {"models", "installed"}
    assert len(shown["models"]) == 3


def test_the_state_can_be_asked_for_before_the_first_sample():
    state = early(f"{API}/state").json()
    assert (state["ready"], state["sample_age"], state["pools"]) == (False, None, [])


def test_a_name_that_is_no_text_does_not_cost_us_the_answer():
    world = World()
    world.hold(resident("\ud800<b>", 1, pool=GPU))

    async def story(http: httpx.AsyncClient) -> Any:
        return await http.get(f"{API}/state"), await http.get("/plain")

    state, page = play(story, world)
    assert state.json()["models"][0]["model"] == "\ud800<b>"
    assert "ollama/?&lt;b&gt;" in page.text


def test_the_version_is_told():
    assert get(f"{API}/version").json() == {"version": "1.2.3"}


# -- whether it lives


def test_it_lives_before_it_is_ready():
    assert early("/healthz").status_code == 200
    reply = early("/readyz")
    assert reply.status_code == 503
    assert reply.json()["detail"] == "the first sample is not in yet"


@pytest.mark.parametrize(("age", "status"), [(0, 200), (9.9, 200), (10, 503), (3600, 503)])
def test_it_is_ready_while_its_sample_is_fresh(age, status):
    async def run() -> httpx.Response:
        of = site(World())
        of.loop.snapshot = replace(World().snapshot(), taken_at=Seconds(NOW - age))
        async with client(of) as http:
            return await http.get("/readyz")

    assert asyncio.run(run()).status_code == status


# -- the page


def test_the_page_shows_pools_and_models_and_runs_no_script():
    world = World()
    world.engines = (engine("ollama", fault="<script>alert(1)</script>"),)
    world.installed.clear()
    world.hold(resident("<img src=x>", 3, pool=GPU, idle=90))
    reply = get("/plain", world)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    for text in ("RTX 4090", "3 GiB", "idle for 1m30s", "&lt;img src=x&gt;", 'href="/metrics"'):
        assert text in reply.text
    assert "<script" not in reply.text
    assert "<img" not in reply.text


@pytest.mark.parametrize(("degraded", "word"), [(True, "degraded: "), (False, "down: ")])
def test_the_page_tells_an_engine_that_answers_nonsense_from_one_that_is_down(degraded, word):
    world = World()
    world.engines = (replace(engine("ollama", fault="no"), degraded=degraded),)
    assert f"<td>{word}no</td>" in get("/plain", world).text


def test_the_pages_policy_allows_its_own_style_and_nothing_else():
    import base64
    import hashlib

    reply = get("/plain")
    style = reply.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_metrics_are_served_in_both_formats():
    async def story(http: httpx.AsyncClient) -> Any:
        rich = {"accept": "application/openmetrics-text; version=1.0.0"}
        return await http.get("/metrics"), await http.get("/metrics", headers=rich)

    plain, rich = play(story)
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "ullage_memory_headroom_bytes{" in plain.text
    assert rich.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert rich.text.endswith("# EOF\n")


# -- wishes


def test_evicting_a_model_tells_what_was_done():
    world = World()
    reply = post("/evict", {"models": ["qwen3:8b"]}, world)
    assert reply.status_code == 200
    told = reply.json()
    assert told["ok"] is True
    assert [a["model"] for a in told["decision"]["actions"]] == ["ollama/qwen3:8b"]
    assert told["decision"]["outcomes"][0]["result"] == "done"
    assert any("qwen3:8b" in s for s in told["sentences"])
    assert ref("qwen3:8b") not in [r.ref for r in world.residents]


def test_everything_but_the_busy_and_the_lost_is_evicted():
    world = World()
    told = post("/evict", {"all": True}, world).json()
    assert told["ok"] is False
    assert {str(r.ref) for r in world.residents} == {"ollama/llama3:70b", "llamacpp/phi"}


def test_the_busy_go_when_forced():
    world = World()
    assert post("/evict", {"models": ["llama3:70b"], "wait": False}, world).json()["ok"] is False
    assert post("/evict", {"models": ["llama3:70b"], "force": True}, world).json()["ok"] is True


def test_bytes_are_freed_in_the_only_accelerator():
    world = World()
    told = post("/evict", {"free": "8GiB"}, world).json()
    assert told["ok"] is True
    assert [o["model"] for o in told["decision"]["outcomes"]] == ["ollama/qwen3:8b"]
    again = post("/evict", {"free": "8GiB", "pool": "gpu0"}, world).json()
    assert (again["ok"], again["decision"]["actions"]) == (True, [])


def test_what_cannot_be_freed_is_not_tried():
    told = post("/evict", {"free": "22GiB", "wait": False}).json()
    assert told["ok"] is False
    assert told["decision"]["unmet"][0]["pool"] == GPU
    assert told["decision"]["outcomes"] == []


def test_an_unload_that_does_nothing_is_not_called_a_success():
    world = World()
    world.deaf = True
    told = post("/evict", {"models": ["qwen3:8b"]}, world).json()
    assert told["ok"] is False
    assert told["decision"]["outcomes"][0]["result"] == "failed"


@pytest.mark.parametrize("body", [{"models": ["qwen3:8b"]}, {"free": "8GiB"}])
def test_advice_is_not_called_a_success(body):
    world = World()
    told = post("/evict", body, world, mode=Mode.ADVISE).json()
    assert told["ok"] is False
    assert told["decision"]["actions"] != []
    assert len(world.residents) == 3


def test_a_model_is_loaded():
    world = World()
    told = post("/load", {"model": "gemma3:4b"}, world).json()
    assert told["ok"] is True
    assert ref("gemma3:4b") in [r.ref for r in world.residents]
    there = post("/load", {"model": "qwen3:8b"}, world).json()
    assert (there["ok"], there["decision"]["actions"]) == (True, [])


def test_a_load_of_unknown_size_counts_no_byte():
    reply = post("/load", {"model": "unheard-of"})
    assert reply.status_code == 200
    (load,) = reply.json()["decision"]["actions"]
    assert [share["size"] for share in load["shares"]] == [0]
    assert "0 B" not in " ".join(reply.json()["sentences"])


def test_pins_are_set_and_taken_back():
    async def story(http: httpx.AsyncClient) -> Any:
        pinned = await http.post(f"{API}/pin", json={"model": "qwen3:8b"})
        state = await http.get(f"{API}/state")
        kept = await http.post(f"{API}/evict", json={"models": ["qwen3:8b"]})
        unpinned = await http.post(f"{API}/unpin", json={"model": "qwen3:8b"})
        again = await http.post(f"{API}/unpin", json={"model": "qwen3:8b"})
        return pinned, state, kept, unpinned, again

    pinned, state, kept, unpinned, again = play(story)
    assert pinned.json() == {"pinned": "ollama/qwen3:8b", "until": None}
    assert state.json()["pins"] == ["ollama/qwen3:8b"]
    assert kept.json()["ok"] is False
    assert kept.json()["decision"]["notes"] == [{"model": "ollama/qwen3:8b", "why": "pinned"}]
    assert unpinned.json() == {"unpinned": "ollama/qwen3:8b"}
    assert again.status_code == 404


@pytest.mark.parametrize(
    ("body", "actions"),
    [
        ({"load": "gemma3:4b"}, ["load"]),
        ({"free": "8GiB"}, ["evict"]),
        ({"free": 8589934592, "pool": GPU}, ["evict"]),
        ({"evict": ["qwen3:8b"]}, ["evict"]),
        ({"evict": ["llama3:70b"]}, []),
        ({"evict": ["llama3:70b"], "force": True}, ["evict"]),
    ],
)
def test_a_plan_changes_nothing(body, actions):
    world = World()
    reply = post("/plan", body, world)
    assert reply.status_code == 200
    told = reply.json()
    assert [a["action"] for a in told["actions"]] == actions
    assert told["works"] is True
    assert told["sentences"]
    assert {"notes", "unmet", "full"} <= told.keys()
    assert len(world.residents) == 3


# -- what was decided


def test_decisions_are_told_newest_first_and_by_model():
    async def story(http: httpx.AsyncClient) -> Any:
        await http.post(f"{API}/evict", json={"models": ["qwen3:8b"]})
        await http.post(f"{API}/evict", json={"free": "1GiB"})
        every = await http.get(f"{API}/decisions")
        one = await http.get(f"{API}/decisions", params={"limit": 1})
        mine = await http.get(f"{API}/decisions", params={"model": "ollama/qwen3:8b"})
        why = await http.get(f"{API}/why", params={"model": "llama3:70b"})
        return [r.json() for r in (every, one, mine, why)]

    every, one, mine, why = play(story)
    ids = [d["id"] for d in every["decisions"]]
    assert len(ids) >= 2
    assert ids == sorted(ids, reverse=True)
    assert [d["id"] for d in one["decisions"]] == ids[:1]
    assert mine["decisions"][-1]["actions"][0]["model"] == "ollama/qwen3:8b"
    assert why["model"] == "ollama/llama3:70b"
    assert any("busy" in s or "serving" in s or "in flight" in s for s in why["sentences"])


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=x", "limit=1001", "limit=", "limit=1e3", "limit=²", "limit=٣",
     "limit=9999999999", "limits=3", "limit=1&limit=2"],
)  # fmt: skip
def test_a_wrong_query_is_a_mistake_and_not_a_default(query):
    reply = get(f"{API}/decisions?{query}")
    assert reply.status_code == 422
    assert "limit" in reply.json()["detail"]


@pytest.mark.parametrize(
    "path", ["/plain", "/healthz", "/metrics", f"{API}/state", f"{API}/version"]
)
def test_no_parameter_is_ignored(path):
    reply = get(f"{path}?verbose=1")
    assert reply.status_code == 422
    assert "'verbose'" in reply.json()["detail"]


def test_a_model_that_nobody_knows_has_no_past():
    assert get(f"{API}/decisions?model=qwen3:8").json()["closest"][0] == "qwen3:8b"
    assert get(f"{API}/decisions?model=qwen3:8b").json() == {"decisions": [], "next": None}


def test_why_wants_a_name():
    assert get(f"{API}/why").status_code == 422
