"""Who waits while unloads give too little, or nothing, back."""

from __future__ import annotations

from collectors.reading import gib
from supervisor.demo.engines import Unload
from supervisor.demo.machine import GPU0
from supervisor.distrust import AGAIN
from tests.scenarios.gate import LOAD, gate, models, story


@story
async def test_who_gave_too_little_since_others_took_it_makes_room_again() -> None:
    """Nobody is held for it, until it is trusted again."""
    async with gate(models({"a": 18, "b": 9})) as at:
        await at.has("b")
        (engine,) = at.engines.values()
        engine.asked = lambda model: at.machine.start("game", {GPU0: gib(4)})
        first = at.ask("a")
        await at.answered(first)
        assert at.ref("b") in at.world.loop.experience.distrusted
        engine.asked = lambda model: None
        for name in "ba":
            guest = at.ask(name)
            await at.answered(guest)
            assert guest.is_served
            assert guest.waited < LOAD + 2
        assert at.unloads == ["b", "a", "b"]


@story
async def test_who_only_said_to_have_gone_is_tried_again_where_nobody_else_is_enough() -> None:
    """By how its engine is since: requests need not wait for five minutes."""
    async with gate(models({"a": 18, "b": 9})) as at:
        await at.has("b")
        b = at.engines[at.ref("b").engine].models["b"]
        b.unload = Unload.STUCK
        guest, began = at.ask("a"), at.clock()
        await at.until(lambda: at.ref("b") in at.world.loop.experience.distrusted)
        b.unload = Unload.WORKS
        await at.answered(guest)
        assert guest.is_served
        assert at.unloads == ["b", "b"]
        assert AGAIN < at.clock() - began < AGAIN + LOAD + 10
