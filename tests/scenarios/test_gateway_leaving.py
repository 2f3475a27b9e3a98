"""Clients that leave, engines that fail, and daemons that end while requests are held."""

from __future__ import annotations

import asyncio

from collectors.reading import gib
from supervisor.core.snapshot import Share, Source
from supervisor.demo.engines import Fault, Unload
from supervisor.demo.machine import GPU0
from supervisor.gateway.admission import RefusalKind
from supervisor.gateway.loaded import GOES_WITHIN
from tests.scenarios.gate import Gate, Guest, gate, models, story


@story
async def test_nobody_is_evicted_for_a_client_that_left_before_it_was_decided() -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        guest = at.ask("d")
        guest.leave()
        await at.clock.advance(10)
        assert at.unloads == []
        assert at.loads == []
        assert at.world.journal.decisions(10) == []


@story
async def test_nobody_is_evicted_for_a_client_that_left_while_it_was_decided() -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        guest = at.ask("d")
        await at.decided()
        guest.leave()
        await at.until(lambda: not at.world.loop.runs)
        assert at.unloads == []
        assert at.loads == []
        assert at.loaded == ["a", "b", "c"]
        results = {o["detail"] for d in at.decisions() for o in d["outcomes"]}
        assert results == {"no longer needed", "nobody waits for it any more"}


@story
async def test_what_nobody_waits_for_any_more_is_not_even_decided() -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        guest = at.ask("d")
        while at.admission.holds.get(at.ref("d")).answer is None:
            await asyncio.sleep(0)
        guest.leave()
        await at.clock.advance(5)
        assert at.decisions() == []


@story
async def test_of_several_who_would_have_to_go_no_more_go_once_the_client_has_left() -> None:
    async with gate(models({"a": 8, "b": 8, "c": 8, "big": 24})) as at:
        await at.has("a", "b", "c")
        guest = at.ask("big")
        await at.until(lambda: at.unloads)
        guest.leave()
        await at.until(lambda: not at.world.loop.runs)
        assert len(at.unloads) == 1
        assert at.loads == []


@story
async def test_one_of_two_that_leaves_takes_nothing_from_the_other() -> None:
    async with gate(models("a")) as at:
        first, second = at.ask("a"), at.ask("a")
        first.leave()
        await at.answered(second)
        assert second.is_served
        assert not first.answers


@story
async def test_a_load_that_was_begun_goes_on_though_its_client_has_left() -> None:
    async with gate(models("a")) as at:
        guest = at.ask("a")
        await at.until(lambda: at.loads)
        guest.leave()
        await at.until(lambda: not at.world.loop.runs)
        assert at.loaded == ["a"]
        assert at.ask("a").is_served


@story
async def test_who_comes_back_before_it_was_taken_back_is_served_by_the_same_load() -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        first = at.ask("d")
        await at.decided()
        first.leave()
        second = at.ask("d")
        await at.answered(second)
        assert second.is_served
        assert at.loads == ["d"]
        assert len(at.unloads) == 1


@story
async def test_a_load_that_fails_is_told_to_all_who_wait_for_it() -> None:
    async with gate(models("a")) as at:
        at.engines[at.ref("a").engine].refuses["a"] = "load a: the file is broken"
        guests = [at.ask("a") for _ in range(3)]
        await at.answered(*guests)
        for guest in guests:
            assert guest.why is RefusalKind.LOAD_FAILED
            assert "a could not be loaded" in guest.refusal.message
            assert guest.refusal.retry_after
        assert at.loads == ["a"]


@story
async def test_an_engine_that_crashes_while_it_loads_is_told_of_within_a_second() -> None:
    async with gate(models("ab")) as at:
        guests = [at.ask("a") for _ in range(3)]
        await at.clock.advance(1)
        assert at.loads == ["a"]
        at.engines[at.ref("a").engine].fault = Fault.DOWN
        began = at.clock()
        await at.answered(*guests)
        for guest in guests:
            assert guest.why is RefusalKind.LOAD_FAILED
            assert "its engine went away" in guest.refusal.message
            assert guest.heard_at - began <= 1.0
        at.engines[at.ref("a").engine].fault = None
        again = at.ask("b")
        await at.answered(again)
        assert again.is_served


@story
async def test_an_engine_that_crashes_as_soon_as_it_loads_is_told_of_as_well() -> None:
    async with gate(models("a")) as at:
        engine = at.engines[at.ref("a").engine]
        engine.crashes = True
        guest = at.ask("a")
        await at.answered(guest)
        assert guest.why is RefusalKind.LOAD_FAILED
        assert guest.waited <= 1.0


@story
async def test_a_model_for_which_memory_was_missing_twice_is_refused_for_a_while() -> None:
    async with gate(models({"liar": 30}), known=False) as at:
        at.world.journal.remember(at.ref("liar"), (Share(GPU0, gib(4), Source.LEARNED),))
        guest = at.ask("liar")
        await at.answered(guest)
        assert guest.why is RefusalKind.COOLING_DOWN
        assert at.loads == ["liar", "liar"]  # the second time with more room
        again = at.ask("liar")
        assert again.why is RefusalKind.COOLING_DOWN
        assert again.refusal.retry_after
        assert 5 < again.refusal.retry_after <= 10
        await at.clock.advance(11)
        assert at.ask("liar").is_held


@story
async def test_who_waits_for_an_engine_that_is_down_is_told_so_after_a_while() -> None:
    async with gate(models("a")) as at:
        await at.clock.advance(1)
        at.engines[at.ref("a").engine].fault = Fault.DOWN
        await at.clock.advance(3)
        guest = at.ask("a")
        assert guest.is_held
        await at.answered(guest)
        assert guest.why is RefusalKind.ENGINE_DOWN
        assert "Connection refused" in guest.refusal.message
        late = at.ask("a")
        assert late.why is RefusalKind.ENGINE_DOWN


@story
async def test_nobody_goes_for_a_model_whose_engine_is_seen_to_be_down_once_it_is_decided() -> None:
    async with gate(models("abc"), models("d")) as at:
        await at.has("a", "b", "c")
        engine = at.engines[at.ref("two/d").engine]
        engine.fault = Fault.DOWN  # which is not known yet
        guest = at.ask("two/d")
        await at.clock.advance(3)
        assert (at.unloads, at.loads) == ([], [])
        assert guest.is_held
        results = {(o["action"], o["result"]) for d in at.decisions() for o in d["outcomes"]}
        assert results == {("evict", "skipped"), ("load", "skipped")}
        engine.fault = None
        await at.answered(guest)
        assert guest.is_served
        assert (len(at.unloads), at.loads) == (1, ["d"])


@story
async def test_an_engine_is_told_nothing_that_went_down_while_room_was_made_for_its_model() -> None:
    async with gate(models({"a": 8, "b": 8, "c": 8}), models({"big": 24})) as at:
        await at.has("a", "b", "c")
        guest = at.ask("two/big")
        await at.until(lambda: at.unloads, step=0.01)
        engine = at.engines[at.ref("two/big").engine]
        engine.fault = Fault.DOWN
        await at.clock.advance(3)
        assert (len(at.unloads), at.loads) == (1, [])
        assert at.decisions()[-1]["outcomes"][-1]["detail"] == "its engine does not answer any more"
        engine.fault = None
        await at.answered(guest)
        assert guest.is_served


@story
async def test_an_engine_that_comes_back_in_time_serves_those_who_waited() -> None:
    async with gate(models("a")) as at:
        at.engines[at.ref("a").engine].fault = Fault.DOWN
        await at.clock.advance(2)
        guest = at.ask("a")
        await at.clock.advance(3)
        at.engines[at.ref("a").engine].fault = None
        await at.answered(guest)
        assert guest.is_served


@story
async def test_the_daemons_end_refuses_whoever_is_held() -> None:
    async with gate(models("a")) as at:
        guest = at.ask("a")
        at.admission.stop()
        assert guest.why is RefusalKind.STOPPING
        assert (late := at.ask("a").refusal)
        assert late.why is RefusalKind.STOPPING


@story
async def test_who_goes_instead_of_another_is_written_down_before() -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        at.model("a").unload = Unload.STUCK
        guest = at.ask("d")
        engine, written = at.engines[at.ref("a").engine], {}
        engine.asked = lambda model: written.setdefault(
            model, {a["model"] for a in at.world.journal.decisions(1)[0]["actions"]}
        )
        await at.answered(guest)
        assert len(written) == 2
        assert all(f"one/{model}" in decided for model, decided in written.items())


async def stuck(at: Gate) -> Guest:
    """Who had a fourth model loaded, for which the first of three was told to go, and stayed."""
    await at.has("a", "b", "c")
    at.model("a").unload = Unload.STUCK
    guest = at.ask("d")
    await at.answered(guest)
    return guest


@story
async def test_an_unload_that_gives_nothing_back_costs_another_model_and_no_request() -> None:
    async with gate(models("abcd")) as at:
        guest = await stuck(at)
        assert guest.is_served
        assert at.loads == ["d"]


@story
async def test_nobody_is_sent_to_one_that_was_told_to_go_and_is_listed_still() -> None:
    """Its process may be ending, and serves nobody by then; one that stays is served again soon."""
    async with gate(models("abcd")) as at:
        await stuck(at)
        assert "a" in at.unloads
        assert "a" in at.loaded, "it is listed still"
        late = at.ask("a")
        assert late.is_held
        began = at.clock()
        await at.answered(late)
        assert late.is_served
        assert 0 < at.clock() - began <= GOES_WITHIN + 2
        assert at.loads == ["d"], "it was there"


@story
async def test_one_that_was_told_to_go_and_goes_late_is_loaded_for_who_came_meanwhile() -> None:
    async with gate(models("abcd")) as at:
        await stuck(at)
        late = at.ask("a")
        at.machine.end(at.model("a").tenant)  # its process has ended at last
        await at.answered(late)
        assert late.is_served
        assert at.loads == ["d", "a"]


@story
async def test_a_request_whose_engine_broke_off_is_let_through_once_more() -> None:
    async with gate(models("a"), models("a")) as at:
        await at.has("one/a", "two/a")
        guest = at.ask("one/a", "two/a")
        assert guest.is_served
        again = at.admission.again(guest.grant, guest.hear)
        assert not isinstance(again, str)
        assert again.ref == at.ref("two/a")  # type: ignore[union-attr]
        third = at.admission.again(again, guest.hear)  # type: ignore[arg-type]
        assert third.why is RefusalKind.ENGINE_DOWN  # type: ignore[union-attr]
