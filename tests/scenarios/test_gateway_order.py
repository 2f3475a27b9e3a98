"""In which order models are loaded for those who wait, and what drains for whoever waited long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor.core.policy import ModelPolicy
from supervisor.demo.engines import Fault
from supervisor.demo.machine import GPU0
from supervisor.gateway.admission import RefusalKind
from tests.scenarios.gate import LOAD, ROOMY, Gate, Guest, gate, models, story

pytestmark = pytest.mark.slow


@story
async def test_the_model_for_which_most_wait_is_loaded_first() -> None:
    async with gate(models("abc", 20)) as at:
        await at.has("a")
        busy = at.ask("a", service=10)
        one = at.ask("b")
        many = [at.ask("c") for _ in range(3)]
        assert busy.is_served
        await at.answered(one, *many)
        assert at.loads == ["c", "b"]


@story
async def test_who_is_next_is_settled_when_it_is_time_for_it() -> None:
    async with gate(models("abc", 20, load=5)) as at:
        first, second = at.ask("a", service=0.2), at.ask("b")
        await at.until(lambda: at.loads)
        assert not at.admission.holds.get(at.ref("b")).under_way
        more = [at.ask("c") for _ in range(3)]
        assert second.ticket.ahead == (at.ref("a"), at.ref("c"))
        await at.answered(first, second, *more)
        assert at.loads == ["a", "c", "b"]
        assert all(d["actions"] for d in at.decisions()), "somebody was asked for in vain"


@story
async def test_a_higher_priority_goes_first_and_a_lower_one_grows_with_the_time() -> None:
    async with gate(models("abcd", 20)) as at:
        await at.has("a")
        busy = at.ask("a", service=50)
        low = at.ask("b", priority=0)
        await at.clock.advance(5)
        high = [at.ask("c", priority=1) for _ in range(2)]
        assert busy.is_served
        assert high[0].is_held
        assert high[0].ticket.position == 1
        assert low.is_held
        assert low.ticket.position == 2
        await at.clock.advance(30)  # it has grown by one, and the other has more waiters still
        assert low.ticket.position == 2
        rivals = [at.ask("b", priority=0) for _ in range(3)]
        assert low.ticket.position == 1
        await at.answered(low, *high, *rivals)
        assert at.loads == ["b", "c"]


@story
async def test_nobody_starves_behind_a_higher_priority() -> None:
    """Requests of a higher priority never end; the lower one is served within its bound."""
    async with gate(models("abc", 20, load=10), max_wait=900.0, drain_after=600.0) as at:
        await at.has("b")
        guests, turn = [at.ask("c", priority=9)], 0
        low = at.ask("a", priority=0)
        while not low.answers:
            guests.append(at.ask("bc"[turn // 4 % 2], priority=9, service=1))
            turn += 1
            await at.clock.advance(6)
            assert at.clock() - low.at < 200, "it starves"
        assert low.is_served
        assert len([m for m in at.loads if m in "bc"]) >= 3, "the others did not go first"


@story
async def test_whoever_has_waited_for_long_has_others_take_no_more_requests() -> None:
    async with gate(models("ab", 20), drain_after=15.0) as at:
        await at.has("a")
        stream = [at.ask("a", service=8)]
        held = at.ask("b")
        while not held.answers:
            await at.clock.advance(4)
            stream.append(at.ask("a", service=8))
        assert held.is_served
        assert 15 <= held.waited <= 15 + 8 + LOAD + 6
        assert any(g.ticket for g in stream), "it took requests although others had to wait"
        await at.answered(*stream)
        assert at.admission.counts.drains == {"done": 1}
        assert all(g.is_served for g in stream)


@story
async def test_a_drain_that_takes_too_long_ends_and_the_others_go_on() -> None:
    async with gate(models("ab", 20), max_wait=30.0, drain_after=10.0, drain_timeout=5.0) as at:
        await at.has("a")
        endless = at.ask("a", service=40)
        held = at.ask("b")
        await at.clock.advance(12)
        late = at.ask("a", service=1)
        assert endless.is_served
        assert late.is_held
        assert held.ticket.state == "draining"
        await at.answered(late)
        assert late.is_served
        assert 2 < late.waited < 4
        await at.answered(held)
        assert held.why is RefusalKind.WAITED
        assert at.admission.counts.drains["late"] >= 1
        assert at.unloads == []


@story
async def test_once_room_is_made_for_who_was_drained_for_nothing_is_due_until_it_is_there() -> None:
    async with gate(models("ab", 20, load=60), drain_after=10.0, drain_timeout=5.0) as at:
        await at.has("a")
        at.ask("a", service=12)
        held = at.ask("b")
        await at.clock.advance(25)
        drain = at.admission.drains.current
        assert drain is not None
        assert drain.decided
        assert drain.until < at.clock() < at.admission._next(at.clock())
        await at.answered(held)
        assert held.is_served


@story
async def test_where_it_is_allowed_a_drain_that_takes_too_long_ends_in_force() -> None:
    policy = replace(ROOMY, force_when_busy=True)
    async with gate(models("ab", 20), policy=policy, drain_after=10.0, drain_timeout=6.0) as at:
        await at.has("a")
        at.ask("a", service=40)
        held = at.ask("b")
        await at.clock.advance(14)
        assert at.unloads == [], "it was not waited for"
        await at.answered(held)
        assert held.is_served
        assert 16 <= held.waited < 22
        assert at.unloads == ["a"]
        for engine in at.engines.values():
            engine.cut = 0  # which is what was allowed


@story
async def test_a_drained_model_comes_back_for_those_who_waited_for_it() -> None:
    async with gate(models("ab", 20), drain_after=10.0) as at:
        await at.has("a")
        long = at.ask("a", service=20)
        held = at.ask("b")
        await at.clock.advance(12)
        shut = at.ask("a")
        assert long.is_served
        assert shut.is_held
        await at.answered(held, shut)
        assert held.is_served
        assert shut.is_served
        assert held.heard_at < shut.heard_at
        assert at.loads == ["b", "a"]


async def drained(at: Gate, wanted: str) -> tuple[Guest, Guest]:
    """Who waits for `wanted`, for whom "a" is drained; and who would have been served by "a"."""
    await at.has("a")
    at.ask("a", service=25)
    held = at.ask(wanted)
    await at.clock.advance(12)
    shut = at.ask("a")
    assert shut.is_held
    return held, shut


@story
async def test_who_is_drained_for_and_leaves_sets_the_others_free() -> None:
    async with gate(models("ab", 20), drain_after=10.0) as at:
        held, shut = await drained(at, "b")
        held.leave()
        await at.answered(shut)
        assert shut.is_served
        assert shut.waited < 1
        assert at.unloads == []


@story
async def test_who_is_drained_takes_requests_while_nobody_can_read_the_memory() -> None:
    """For nobody goes then, however long that lasts. The drain is taken up again after."""
    async with gate(models("ab", 20), drain_after=10.0) as at:
        held, shut = await drained(at, "b")
        at.machine.lost[GPU0] = "the driver hangs"
        await at.answered(shut)
        assert shut.is_served
        assert shut.waited < 2
        await at.clock.advance(30)
        assert at.ask("a").is_served
        assert (held.is_held, at.unloads) == (True, [])
        del at.machine.lost[GPU0]
        await at.answered(held)
        assert held.is_served
        assert at.unloads == ["a"]


@story
async def test_who_is_drained_takes_requests_while_the_engine_is_down_for_which_he_was() -> None:
    async with gate(models("a", 20), models("d", 20), drain_after=10.0) as at:
        held, shut = await drained(at, "two/d")
        engine = at.engines[at.ref("two/d").engine]
        engine.fault = Fault.DOWN
        await at.answered(shut)
        assert shut.is_served
        assert shut.waited < 5
        assert (held.is_held, at.unloads) == (True, [])
        engine.fault = None
        await at.answered(held)
        assert held.is_served
        assert at.unloads == ["a"]


@story
async def test_the_models_own_priority_counts_too() -> None:
    policy = replace(ROOMY, models={"c": ModelPolicy(priority=2)})
    async with gate(models("abc", 20), policy=policy) as at:
        await at.has("a")
        working = at.ask("a", service=3)
        guests = [at.ask("b", priority=1), at.ask("b", priority=1), at.ask("c")]
        await at.answered(working, *guests)
        assert at.loads == ["c", "b"]
