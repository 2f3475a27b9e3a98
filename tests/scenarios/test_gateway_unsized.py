"""Models of which nobody knows what they take: they come where the reserve is free, and wait for it
where it is not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from collectors.reading import gib
from supervisor.core.policy import Amount, ModelPolicy, PoolPolicy
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
async def test_an_operator_who_asks_for_one_gets_it_in_the_same_way() -> None:
    async with unsized(models({"a": 11, "b": 12, "c": 1}), totals=ONE) as at:
        await at.has("a", "b")
        planned = at.world.door.plan_load("c")
        assert [type(action).__name__ for action in planned.actions] == ["Evict", "Load"]
        carried = await at.world.door.load("c")
        assert [outcome.result.value for outcome in carried.outcomes] == ["done", "done"]
        assert at.loads[-1] == "c"
        await at.clock.advance(5)
        held = at.world.loop.snapshot.resident(at.ref("c"))
        assert held is not None
        assert at.world.door.demand("c").shares[0].size == held.size


@story
async def test_an_operator_is_told_why_there_is_no_room_for_one() -> None:
    async with unsized(models({"c": 1}), totals=ONE) as at:
        at.machine.start("game", {GPU0: gib(23)})
        await at.clock.advance(2)
        carried = await at.world.door.load("c")
        assert not carried.decision.plan.works
        assert at.loads == []


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
async def test_two_come_one_after_the_other_whatever_is_allowed_side_by_side() -> None:
    """Nobody could say whether the second one still has the reserve."""
    for known, both in ((False, False), (True, True)):
        slow = models({"a": 4, "b": 5}, load=10)
        async with unsized(slow, totals=ONE, known=known, loads_per_pool=2) as at:
            guests = [at.ask(n) for n in "ab"]
            await at.answered(*guests)
            assert at.loads == ["a", "b"]
            assert (max(g.waited for g in guests) < 12) == both


@story
async def test_one_that_did_not_fit_is_given_all_that_can_be_had() -> None:
    """The reserve is free beside "a" and "b", and "c" is larger."""
    async with unsized(models({"a": 10, "b": 9, "c": 12, "d": 3}), totals=ONE) as at:
        await at.has("a", "b")
        guest = at.ask("c")
        await at.answered(guest)
        assert guest.is_served
        assert at.loads == ["c", "c"]
        assert sorted(at.unloads) == ["a", "b"]
        told = at.decisions()[-1]
        assert told["cause"] == "one/c did not fit: once more, with more room"
        await at.clock.advance(5)
        await at.has("b")  # by now it is known what "c" takes
        other = at.ask("d")
        await at.answered(other)
        assert at.loads == ["c", "c", "d"]


@story
async def test_where_all_that_can_be_had_was_not_enough_nobody_goes_in_vain_again() -> None:
    pinned = replace(KEPT, models={"a": ModelPolicy(pinned=True)})
    sizes = {"a": 10, "b": 9, "c": 16}
    async with unsized(models(sizes), totals=ONE, policy=pinned) as at:
        await at.has("a", "b")
        first = at.ask("c")
        await at.answered(first)
        assert first.why is RefusalKind.COOLING_DOWN
        assert (at.loads, at.unloads) == (["c", "c"], ["b"])
        await at.has("b")
        await at.clock.advance(30)
        second = at.ask("c")
        await at.answered(second)
        assert second.why is RefusalKind.NO_ROOM
        assert (at.loads, at.unloads) == (["c", "c"], ["b"])
        at.world.loop.policy = KEPT  # "a" is pinned no longer: more can be had
        await at.clock.advance(1)
        third = at.ask("c")
        await at.answered(third)
        assert third.is_served
        assert at.loads == ["c", "c", "c"]


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
