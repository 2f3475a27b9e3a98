"""Requests that come, and that are held, while it is a pause or an engine is drained."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from collectors.reading import Seconds
from supervisor.core.halt import Halt
from supervisor.core.policy import EVERY_ENGINE, Policy, Watchdog
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId
from supervisor.demo.clock import run
from supervisor.demo.machine import GPU1
from supervisor.events import ClaimsChanged
from supervisor.gateway.admission import Grant, Refusal, RefusalKind
from supervisor.gateway.refusals import LATER
from tests.scenarios.gate import LOAD, ROOMY, Gate, Guest, gate, models, story


def pause(at: Gate, period: float | None = None) -> None:
    ends = None if period is None else Seconds(at.clock() + period)
    at.world.loop.keeping.pausing.set_pause(ends)
    at.world.loop.post(ClaimsChanged())


def go_on(at: Gate) -> None:
    at.world.loop.keeping.pausing.end_pause()
    at.world.loop.post(ClaimsChanged())


def drain(
    at: Gate, engine: str = "one", period: float | None = None, *, unload: bool = True
) -> None:
    ends = None if period is None else Seconds(at.clock() + period)
    at.world.loop.keeping.pausing.drain(EngineId(engine), Halt(ends, unload))
    at.world.loop.post(ClaimsChanged())


def undrain(at: Gate, engine: str = "one") -> None:
    at.world.loop.keeping.pausing.end_drain(EngineId(engine))
    at.world.loop.post(ClaimsChanged())


def whys(guests: Sequence[Guest]) -> list[RefusalKind | None]:
    return [g.why for g in guests]


# -- a pause


@story
async def test_in_a_pause_who_is_loaded_is_served_and_who_is_not_is_refused() -> None:
    async with gate(models("ab")) as at:
        await at.has("a")
        pause(at, 90)
        assert at.ask("a").is_served
        refused = at.ask("b").refusal
        assert (refused.why, refused.retry_after) == (RefusalKind.PAUSED, 90)
        assert refused.message == (
            "one/b is not loaded, and Ullage is paused for 90 s more: only what is asked for is"
            " done; `ullage continue` ends it"
        )
        await at.clock.advance(91)
        guest = at.ask("b")
        await at.answered(guest)
        assert guest.is_served


@story
async def test_a_pause_without_an_end_is_asked_again_after_a_minute() -> None:
    async with gate(models("a")) as at:
        pause(at)
        assert at.ask("a").refusal.retry_after == LATER
        go_on(at)
        guest = at.ask("a")
        await at.answered(guest)
        assert guest.is_served


@story
async def test_of_several_candidates_the_one_that_is_loaded_serves_in_a_pause() -> None:
    async with gate(models("a"), models("b", pool=GPU1)) as at:
        await at.has("two/b")
        pause(at)
        assert at.ask("one/a", "two/b").grant.ref == at.ref("two/b")


@story
async def test_who_is_held_when_a_pause_begins_is_refused_and_nobody_goes_for_it() -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        busy = [at.ask(m, service=30) for m in "abc"]
        held = at.ask("d")
        await at.clock.advance(3)
        assert held.is_held
        pause(at)
        assert held.why is RefusalKind.PAUSED  # at once
        await at.clock.advance(60)
        assert all(g.done_at for g in busy)
        assert at.unloads == []


@story
async def test_a_load_that_an_engine_has_been_told_of_is_waited_for() -> None:
    async with gate(models("a")) as at:
        guest = at.ask("a")
        await at.until(lambda: at.loads, step=0.01)
        pause(at)
        late = at.ask("a")
        await at.answered(guest, late)
        assert guest.is_served
        assert late.is_served
        assert guest.waited < LOAD + 1


@story
async def test_what_was_decided_and_not_begun_is_not_done_in_a_pause() -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        guest = at.ask("d")
        await at.decided()
        pause(at)
        await at.answered(guest)
        assert guest.why is RefusalKind.PAUSED
        await at.clock.advance(5)
        assert (at.unloads, at.loads) == ([], [])
        results = {(o["result"], o["detail"]) for d in at.decisions() for o in d["outcomes"]}
        assert ("skipped", "it is a pause") in results


@story
async def test_of_several_who_would_have_to_go_no_more_go_once_it_is_a_pause() -> None:
    async with gate(models({"a": 8, "b": 8, "c": 8, "big": 24})) as at:
        await at.has("a", "b", "c")
        guest = at.ask("big")
        await at.until(lambda: at.unloads, step=0.01)
        pause(at)
        await at.answered(guest)
        assert guest.why is RefusalKind.PAUSED
        await at.clock.advance(5)
        assert len(at.unloads) == 1
        assert at.loads == []


@story
async def test_a_model_that_goes_by_itself_in_a_pause_is_not_loaded_again_by_a_request() -> None:
    async with gate(models("a")) as at:
        await at.has("a")
        pause(at)
        engine = at.engines[EngineId("one")]
        await engine.unload(at.ref("a").model)
        await at.clock.advance(3)
        assert at.ask("a").why is RefusalKind.PAUSED


@story
async def test_a_watchdog_does_nothing_in_a_pause_and_its_model_serves_on() -> None:
    watchdog = Watchdog(True, Seconds(20), False, Seconds(300))
    policy = Policy(watchdog=watchdog, pools=ROOMY.pools, busy_while_fresh=Seconds(1))
    async with gate(models("a"), policy=policy) as at:
        await at.has("a")
        pause(at)
        await at.clock.advance(60)
        assert at.ask("a").is_served
        go_on(at)
        await at.clock.advance(60)
        assert at.loaded == []


@story
async def test_one_whose_engine_broke_off_is_looked_at_again_in_a_pause_and_is_there_or_not() -> (
    None
):
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        pause(at)
        first, second = at.ask("a"), at.ask("b", service=0.5)
        await at.clock.advance(0.1)
        at.machine.end(at.model("b").tenant)  # its process dies
        heard: list[Grant | Refusal] = []
        for guest in (first, second):
            at.admission.again(guest.grant, heard.append)
        await at.until(lambda: len(heard) == 2)
        grant = next(a for a in heard if isinstance(a, Grant))
        refusal = next(a for a in heard if isinstance(a, Refusal))
        assert grant.ref == at.ref("a")
        assert (refusal.ref, refusal.why) == (at.ref("b"), RefusalKind.PAUSED)
        assert at.loads == []
        grant.flight.end()


@story
async def test_who_is_loaded_by_the_operators_wish_in_a_pause_is_waited_for() -> None:
    async with gate(models("a")) as at:
        pause(at)
        load = asyncio.create_task(at.world.door.load("a"))
        await at.until(lambda: at.loads, step=0.01)
        guest = at.ask("a")
        assert guest.is_held
        await at.answered(guest)
        assert guest.is_served
        await load


@pytest.mark.parametrize("halt", [pause, drain], ids=["a pause", "a drain"])
def test_what_was_asked_for_and_not_decided_is_not_even_decided(
    halt: Callable[[Gate], None],
) -> None:
    run(undecided(halt))


async def undecided(halt: Callable[[Gate], None]) -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        guest = at.ask("d")
        while at.admission.holds.get(at.ref("d")).answer is None:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        halt(at)
        assert guest.why in (RefusalKind.PAUSED, RefusalKind.DRAINED)
        await at.clock.advance(2)
        assert not [d for d in at.decisions() if "a request waits" in d["cause"]]


# -- engines that are drained


@story
async def test_a_drained_engine_takes_nothing_new_finishes_and_gives_its_memory_back() -> None:
    async with gate(models("a")) as at:
        await at.has("a")
        busy = at.ask("a", service=20)
        drain(at, period=600)
        refused = at.ask("a").refusal
        assert (refused.why, refused.retry_after, refused.state) == (
            RefusalKind.DRAINED,
            600,
            "drained",
        )
        assert "one is drained for 10 min more" in refused.message
        assert "`ullage undrain` ends it" in refused.message
        await at.clock.advance(10)
        assert at.loaded == ["a"]
        await at.until(lambda: busy.done_at)
        await at.clock.advance(5)
        assert at.loaded == []
        undrain(at)
        guest = at.ask("a")
        await at.answered(guest)
        assert guest.is_served


@story
async def test_another_engine_that_has_the_model_serves_in_its_place() -> None:
    async with gate(models("a"), models("a", pool=GPU1)) as at:
        await at.has("one/a")
        drain(at, unload=False)
        guest = at.ask("one/a", "two/a")
        await at.answered(guest)
        assert guest.grant.ref == at.ref("two/a")
        assert "a" in at.loaded
        assert at.unloads == []


@story
async def test_held_requests_go_to_another_engine_when_theirs_is_drained_or_are_refused() -> None:
    async with gate(models("abcd"), models("d", pool=GPU1)) as at:
        await at.has("one/a", "one/b", "one/c")
        busy = [at.ask(f"one/{m}", service=30) for m in "abc"]
        only, first = at.ask("one/d"), at.ask("one/d", "two/d")
        await at.clock.advance(1)
        assert (first.is_held, only.is_held, at.loads) == (True, True, [])
        drain(at)
        assert only.why is RefusalKind.DRAINED
        await at.answered(first)
        assert first.grant.ref == at.ref("two/d")
        await at.until(lambda: all(g.done_at for g in busy))
        await at.clock.advance(10)
        assert at.unloads == ["a", "b", "c"]


@story
async def test_who_waits_for_a_load_under_way_is_sent_elsewhere_and_the_model_goes_again() -> None:
    async with gate(models("a", load=20), models("a", pool=GPU1)) as at:
        at.engines[EngineId("two")].refuses["a"] = "later"
        guest = at.ask("one/a")
        await at.until(lambda: at.loads, step=0.01)
        drain(at)
        assert guest.why is RefusalKind.DRAINED  # long before the load is over
        await at.clock.advance(40)
        assert at.loaded == []


@story
async def test_who_is_held_by_no_drained_engine_stays_held() -> None:
    async with gate(models("a"), models("b", pool=GPU1)) as at:
        guest = at.ask("two/b")
        drain(at)
        assert guest.is_held
        await at.answered(guest)
        assert guest.is_served


@story
async def test_a_drain_of_every_engine_refuses_everything_until_its_time_is_over() -> None:
    async with gate(models("a"), models("b", pool=GPU1)) as at:
        await at.has("one/a", "two/b")
        drain(at, EVERY_ENGINE, 30)
        guests = [at.ask("one/a"), at.ask("two/b")]
        assert whys(guests) == [RefusalKind.DRAINED] * 2
        await at.clock.advance(31)
        assert at.loaded == []
        guest = at.ask("one/a")
        await at.answered(guest)
        assert guest.is_served


@story
async def test_where_nothing_is_decided_a_drained_engine_is_passed_over_all_the_same() -> None:
    async with gate(models("a"), models("a", pool=GPU1), mode=Mode.ADVISE) as at:
        await at.has("one/a", "two/a")
        drain(at)
        assert at.ask("one/a", "two/a").grant.ref == at.ref("two/a")
        assert at.ask("one/a").why is RefusalKind.DRAINED
