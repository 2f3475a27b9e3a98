"""Questions about one kind of thing each."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from collectors.reading import gib
from supervisor.core.groups import Group, Rule
from supervisor.core.policy import ModelPolicy
from supervisor.core.record import Mode

from .fakes import API, EPOCH, GPU, POLICY, World, early, get, play, running, site

QWEN, LLAMA = "ollama/qwen3:8b", "ollama/llama3:70b"


def with_policy(path: str, **changes: Any) -> Any:
    async def run() -> Any:
        made = site(World(), Mode.OBSERVE)  # so that nobody has to leave for it
        made.loop.policy = made.loop.keeping.configured(replace(POLICY, **changes))
        async with running(made) as http:
            return (await http.get(f"{API}{path}")).json()

    return asyncio.run(run())


def test_each_part_of_the_state_can_be_asked_for_alone() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        state = (await http.get(f"{API}/state")).json()
        for part in ("pools", "devices", "engines", "findings"):
            assert (await http.get(f"{API}/{part}")).json()[part] == state[part]
        assert (await http.get(f"{API}/devices")).json()["host"] == state["host"]

    play(story)


@pytest.mark.parametrize("name", [GPU, "0", "gpu0", "gpu-5a"])
def test_one_pool_is_known_by_what_people_call_it(name: str) -> None:
    assert get(f"{API}/pools/{name}").json()["pool"]["id"] == GPU


def test_a_pool_that_cannot_be_read_is_told_with_the_reason() -> None:
    world = World()
    world.blind = {GPU: "it hangs"}
    assert get(f"{API}/pools/{GPU}", world).json()["pool"]["blind"] == "it hangs"


@pytest.mark.parametrize("path", ["pools/gpu9", "engines/olama", "decisions/d-000099"])
def test_what_nobody_knows_is_not_found(path: str) -> None:
    reply = get(f"{API}/{path}")
    assert reply.status_code == 404
    if path.startswith("engines"):
        assert reply.json()["closest"][0] == "ollama"


def test_an_engine_is_told_with_its_models() -> None:
    found = get(f"{API}/engines/ollama").json()
    assert found["engine"]["abilities"] == ["list", "load", "unload"]
    assert [m["name"] for m in found["models"]] == [LLAMA, QWEN]
    assert [m["name"] for m in found["installed"]] == ["ollama/gemma3:4b", "ollama/unheard-of"]


def test_processes_are_told_with_whose_bytes_they_hold_the_largest_first() -> None:
    found = get(f"{API}/processes").json()
    assert found["left_out"] == 0
    assert [(p["pool"], p["pid"], p["size"], p["model"]) for p in found["processes"]] == [
        (GPU, 4711, gib(6), QWEN),
        ("ram", 4711, gib(6), QWEN),
        (GPU, 99, gib(2), None),
    ]
    of_ram = get(f"{API}/processes?pool=ram").json()["processes"]
    assert [p["pid"] for p in of_ram] == [4711]
    first = get(f"{API}/processes?limit=1").json()
    assert (len(first["processes"]), first["left_out"]) == (1, 2)
    assert get(f"{API}/processes?pool=gpu7").status_code == 404


def test_bytes_of_several_processes_are_not_laid_to_one_of_them() -> None:
    world = World()
    world.residents[0] = replace(world.residents[0], pids=(1, 2))
    mine = [p for p in get(f"{API}/processes", world).json()["processes"] if p["model"] == QWEN]
    assert [(p["pid"], p["size"]) for p in mine] == [(1, None), (2, None)] * 2


def test_findings_are_told_with_those_of_the_past() -> None:
    world = World()

    async def run() -> None:
        made = site(world)
        async with running(made) as http:
            found = (await http.get(f"{API}/findings")).json()
            (now,), (past,) = found["findings"], found["past"]
            assert (now["kind"], now["subject"]) == ("engine_down", "llamacpp")
            assert (past["kind"], past["opened"], past["cleared"]) == ("engine_down", EPOCH, None)
            made.loop.journal.clear_finding("engine_down", "llamacpp", EPOCH + 5)
            later = (await http.get(f"{API}/findings?limit=1")).json()["past"]
            assert [p["cleared"] for p in later] == [EPOCH + 5]

    asyncio.run(run())


def test_groups_are_told_with_whom_they_mean() -> None:
    group = Group(Rule.NEVER_TOGETHER, ("qwen*", "gemma3:4b"))
    assert with_policy("/groups", groups={"small": group})["groups"] == [
        {
            "name": "small",
            "rule": "never_together",
            "models": ["qwen*", "gemma3:4b"],
            "members": ["ollama/gemma3:4b", QWEN],
            "loaded": [QWEN],
        }
    ]


def test_limits_are_told_with_how_many_count_against_them() -> None:
    assert get(f"{API}/limits").json() == {"limits": [], "exceeded": []}
    found = with_policy("/limits", max_active=5, single=True)
    assert found == {
        "limits": [
            {"limit": "host", "most": 5, "active": 3},
            {"limit": "single", "most": 1, "active": 3},
        ],
        "exceeded": ["host", "host"],
    }
    plenty = with_policy("/limits", max_active=50)
    assert plenty["limits"] == [{"limit": "host", "most": 50, "active": 3}]


def test_pins_are_told_with_their_end_and_whence_they_are() -> None:
    async def run() -> None:
        made = site(World())
        models = {"phi": ModelPolicy(pinned=True), QWEN: ModelPolicy(pinned=True)}
        made.loop.policy = made.loop.keeping.configured(replace(POLICY, models=models))
        async with running(made) as http:
            await http.post(f"{API}/pin", json={"model": "qwen3:8b", "for": "1h"})
            await http.post(f"{API}/pin", json={"model": "llama3:70b"})
            assert (await http.get(f"{API}/pins")).json()["pins"] == [
                {"model": LLAMA, "until": None, "source": "set"},
                {"model": QWEN, "until": EPOCH + 3600, "source": "set"},
                {"model": "phi", "until": None, "source": "configured"},
            ]

    asyncio.run(run())


@pytest.mark.parametrize(
    "path",
    ["pools", "pools/gpu0", "devices", "processes", "engines", "engines/a", "groups", "limits"],
)
def test_before_the_first_sample_nothing_is_known(path: str) -> None:
    assert early(f"{API}/{path}").status_code == 503


def test_what_needs_no_sample_is_told_before_it() -> None:
    for path in ("findings", "pins", "decisions", "leases", "reservations", "openapi.json"):
        assert early(f"{API}/{path}").status_code == 200
