"""What is asked for by an alias of this host's gateway is placed as what that stands for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from collectors.reading import Seconds, gib
from supervisor.agent.told import Refused

from .fakes import MODEL, Daemon, Fleet

ALIASES = {"chat": ("nosuch", MODEL), "gone": ("nosuch", "nobody"), MODEL: ("nosuch",)}


def play(story: Callable[[Fleet], Awaitable[None]]) -> None:
    async def run() -> None:
        fleet = Fleet(a=Daemon("a", gib(1)), b=Daemon("b", gib(20)))
        for agent in fleet.agents.values():
            agent.terms = replace(agent.terms, aliases=ALIASES)
        await fleet.beat(count=16)
        await story(fleet)

    asyncio.run(run())


def test_an_alias_is_placed_as_the_first_of_its_models_that_can_be_had():
    async def story(fleet: Fleet) -> None:
        found = await fleet.agents["a"].place("chat", False, Seconds(0), ())
        assert (found["host"], found["model"]) == ("b", f"ollama/{MODEL}")
        assert found["sentences"][:2] == [
            f"{MODEL} is to be loaded on b",
            f"chat stands for {MODEL}",
        ]
        assert [w["model"] for w in fleet.agents["a"].why("chat", 5)] == [MODEL]
        assert fleet.agents["a"].why("gone", 5) == []

    play(story)


def test_of_its_models_the_one_that_is_ready_comes_first_and_the_wish_to_avoid_a_host_counts():
    async def story(fleet: Fleet) -> None:
        agent, daemon = fleet.agents["a"], fleet.engine.daemons["b"]
        agent.terms = replace(agent.terms, aliases={"chat": (MODEL, "other")})
        row = await daemon.word()
        other = {**row["models"][0], "name": "other", "status": "loaded", "ready": True}

        async def word(within: float = 1.0) -> object:
            return {**row, "models": [*row["models"], other]}

        daemon.word = word  # type: ignore[method-assign, assignment]
        await fleet.beat(count=2)
        assert (await agent.place("chat", True, Seconds(0), ()))["model"] == "ollama/other"
        with pytest.raises(Refused) as waits:
            await agent.place("chat", True, Seconds(0), ("b",))
        assert waits.value.status == 409

    play(story)


def test_an_alias_that_leads_nowhere_says_so_and_hides_the_model_of_its_name():
    async def story(fleet: Fleet) -> None:
        for name in ("gone", MODEL):
            with pytest.raises(Refused) as unknown:
                await fleet.agents["a"].place(name, False, Seconds(0), ())
            assert unknown.value.status == 404
            assert unknown.value.body["sentences"][1] == f"{name} stands for nosuch"

    play(story)


def test_a_tag_that_says_latest_may_be_left_out():
    async def story(fleet: Fleet) -> None:
        agent = fleet.agents["a"]
        agent.terms = replace(agent.terms, aliases={})
        found = await agent.place(f"{MODEL}:latest", True, Seconds(0), ())
        assert found["model"] == f"ollama/{MODEL}"

    play(story)
