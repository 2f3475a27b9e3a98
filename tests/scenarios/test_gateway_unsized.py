"""Models of which nobody knows what they take: they come where the reserve is free, and wait for it
where it is not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from collectors.reading import gib
from supervisor.core.policy import Amount, PoolPolicy
from supervisor.demo.engines import DemoModel
from supervisor.demo.machine import GPU0, GPU1
from supervisor.engines.base import EngineModel
from supervisor.gateway.admission import RefusalKind
from tests.scenarios.gate import ROOMY, Watched, gate, models, story

pytestmark = pytest.mark.slow

RESERVED = PoolPolicy(reserve=Amount(gib(2)))
KEPT = replace(ROOMY, pools={**ROOMY.pools, GPU0: RESERVED})
ONE = {GPU0: gib(24)}


class Silent(Watched):
    """Says nothing of files."""

    def _listed(self, model: DemoModel) -> EngineModel:
        return replace(super()._listed(model), file_size=None)


unsized = partial(gate, policy=KEPT, known=False, kinds=(Silent, Silent))


@story
async def test_one_comes_where_there_is_room() -> None:
    async with unsized(models("a", 8), totals=ONE) as at:
        guest = at.ask("a")
        await at.answered(guest)
        assert guest.is_served
        assert at.unloads == []


@story
async def test_where_the_reserve_is_gone_somebody_goes_for_it_first() -> None:
    """ "a" and "b" hold 23 of 24 GiB, of which 2 are to be free: one of them goes, though "c" may
    need no more than what is left."""
    async with unsized(models({"a": 11, "b": 12, "c": 1}), totals=ONE) as at:
        await at.has("a")
        busy = at.ask("a", service=60)
        await at.answered(busy)
        await at.has("b")
        guest = at.ask("c")
        await at.answered(guest)
        assert guest.is_served
        assert at.unloads == ["b"]
        told = at.decisions()[-1]
        assert [a["model"] for a in told["actions"]] == ["one/b", "one/c"]


@story
async def test_one_waits_while_those_who_hold_the_reserve_are_at_work() -> None:
    async with unsized(models({"a": 23, "c": 1}), totals=ONE) as at:
        await at.has("a")
        busy = at.ask("a", service=20)
        await at.answered(busy)
        guest = at.ask("c")
        await at.clock.advance(10)
        assert guest.is_held
        assert at.loads[-1:] != ["c"]
        await at.answered(guest)
        assert guest.is_served
        assert at.unloads == ["a"]


@story
async def test_who_cannot_have_it_is_told_that_the_reserve_is_missing() -> None:
    async with unsized(models({"c": 1}), totals=ONE) as at:
        at.machine.start("game", {GPU0: gib(23)})
        await at.clock.advance(2)
        guest = at.ask("c")
        await at.answered(guest)
        assert guest.why is RefusalKind.NO_ROOM
        told = guest.refusal
        assert told.message == (
            f"one/c does not fit, whoever else goes: nobody knows what it takes, and of {GPU0} not"
            " even the reserve is free; held by game (23 GiB)"
        )
        assert (told.needed, told.free) == (None, 0)
        assert at.loads == []


@story
async def test_one_takes_the_accelerator_that_has_room() -> None:
    """On two, the reserve of the other one is no matter."""
    async with unsized(models({"c": 1}, pool=GPU1)) as at:
        at.machine.start("game", {GPU0: gib(23)})
        await at.clock.advance(2)
        guest = at.ask("c")
        await at.answered(guest)
        assert guest.is_served
        assert at.unloads == []
