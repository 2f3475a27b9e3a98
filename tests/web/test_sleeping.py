"""Models are put to sleep and woken, or it is said why they cannot be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from supervisor.core.ladder import Rung
from supervisor.core.policy import EnginePolicy
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId, State

from .fakes import API, play, running, site
from .fakes import post as ask
from .sleepers import SleepyWorld

QWEN = "vllm/qwen3"


def post(path: str, body: Any, world: SleepyWorld | None = None, **rest: Any) -> httpx.Response:
    return ask(path, body, world or SleepyWorld(), **rest)


def test_a_model_is_put_to_sleep_and_woken() -> None:
    world = SleepyWorld()

    async def story(http: httpx.AsyncClient) -> Any:
        slept = await http.post(f"{API}/sleep", json={"models": ["qwen3"]})
        state = (await http.get(f"{API}/models")).json()["models"]
        again = await http.post(f"{API}/sleep", json={"models": ["qwen3"]})
        woken = await http.post(f"{API}/wake", json={"model": "qwen3"})
        awake = await http.post(f"{API}/wake", json={"model": "qwen3"})
        return slept, state, again, woken, awake

    slept, state, again, woken, awake = play(story, world)
    assert [r.status_code for r in (slept, again, woken, awake)] == [200] * 4
    assert [r.json()["ok"] for r in (slept, again, woken, awake)] == [True] * 4
    decision = slept.json()["decision"]
    assert decision["cause"] == f"asked to let {QWEN} sleep"
    assert [a["ladder"] for a in decision["actions"]] == [["sleep", "deep_sleep"]]
    assert [o["rung"] for o in decision["outcomes"]] == ["sleep"]
    told = slept.json()["sentences"]
    assert told[1].startswith(f"{QWEN} was chosen to sleep: somebody asked for it (frees ")
    assert {m["name"]: m["state"] for m in state}[QWEN] == "sleeping"
    assert again.json()["decision"]["actions"] == []
    assert woken.json()["decision"]["cause"] == f"asked to wake {QWEN}"
    assert world.told == [("sleep", "qwen3"), ("wake", "qwen3")]


def test_who_is_at_work_or_pinned_stays_awake() -> None:
    world = SleepyWorld()

    async def story(http: httpx.AsyncClient) -> Any:
        await http.post(f"{API}/pin", json={"model": "qwen3"})
        return (await http.post(f"{API}/sleep", json={"models": ["qwen3", "llama3"]})).json()

    found = play(story, world)
    assert found["ok"] is False
    assert {n["model"]: n["why"] for n in found["decision"]["notes"]} == {
        QWEN: "pinned",
        "vllm/llama3": "busy",
    }
    assert world.told == []
    assert (found["leaving"], len(world.residents)) == ([], 3)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/sleep", {"models": ["gemma"]}, 409, "ollama has no call for that (it can list, load, "),
        ("/sleep", {"models": ["qwen3", "gemma"]}, 409, "`ullage unload ollama/gemma`"),
        ("/sleep", {"models": ["qwen"]}, 404, "did you mean qwen3"),
        ("/sleep", {"models": ["qwen3"], "force": True}, 422, ""),
        ("/wake", {"model": "gemna"}, 404, "did you mean gemma"),
    ],
)
def test_what_cannot_sleep_is_refused_before_anybody_was_told_to(
    path: str, body: Any, status: int, words: str
) -> None:
    world = SleepyWorld()
    reply = post(path, body, world)
    assert (reply.status_code, world.told) == (status, [])
    assert words in reply.json()["detail"]


def test_what_is_not_loaded_can_neither_sleep_nor_wake() -> None:
    for path, body in (("/sleep", {"models": ["qwen3"]}), ("/wake", {"model": "qwen3"})):
        world = SleepyWorld()
        world.residents = world.residents[1:]
        reply = post(path, body, world)
        assert reply.status_code == 409
        assert f"{QWEN} is not loaded: " in reply.json()["detail"]


def test_one_that_its_engine_cannot_wake_is_not_told_to() -> None:
    world = SleepyWorld()
    world.residents[2] = replace(world.residents[2], state=State.SLEEPING)
    reply = post("/wake", {"model": "gemma"}, world)
    assert reply.status_code == 409
    assert "it wakes by its next request" in reply.json()["detail"]


def test_an_engine_that_does_not_answer_is_not_asked() -> None:
    world = SleepyWorld()
    world.engines = (replace(world.engines[0], fault="refused"), world.engines[1])
    reply = post("/sleep", {"models": ["qwen3"]}, world)
    assert reply.status_code == 409
    assert "its engine does not answer (refused)" in reply.json()["detail"]


def test_next_to_nothing_is_no_reason_to_sleep() -> None:
    world = SleepyWorld()
    small = replace(world.residents[0].shares[0], size=2**20)
    world.residents[0] = replace(world.residents[0], shares=(small,))
    reply = post("/sleep", {"models": ["qwen3"]}, world)
    assert reply.status_code == 409
    assert "would give nothing back by sleeping" in reply.json()["detail"]


def test_what_the_operator_does_not_allow_is_not_done_either() -> None:
    async def story() -> httpx.Response:
        made = site(SleepyWorld())
        own = EnginePolicy(ladder=(Rung.UNLOAD,))
        policy = replace(made.loop.policy, engines={EngineId("vllm"): own})
        made.loop.policy = made.loop.keeping.configured(policy)
        async with running(made) as http:
            return await http.post(f"{API}/sleep", json={"models": ["qwen3"]})

    reply = asyncio.run(story())
    assert reply.status_code == 409
    assert "its `ladder` has neither sleep nor deep_sleep" in reply.json()["detail"]


def test_advice_puts_nobody_to_sleep() -> None:
    world = SleepyWorld()
    found = post("/sleep", {"models": ["qwen3"]}, world, mode=Mode.ADVISE).json()
    assert (found["ok"], world.told) == (False, [])
    assert [a["model"] for a in found["decision"]["actions"]] == [QWEN]
