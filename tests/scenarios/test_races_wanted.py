"""An unload that crosses a wish to have the model: whoever is answered has it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from collectors.reading import Seconds
from supervisor.core.policy import Policy, Retention
from supervisor.core.snapshot import Snapshot
from supervisor.core.status import Status
from supervisor.door import DoorError
from supervisor.events import Tick
from supervisor.web.requests import went_well
from tests.scenarios.crossing import A, Stop, play, stage, wants


@pytest.mark.parametrize("how", ["load", "pin", "lease"])
def test_whoever_wants_a_model_whose_engine_was_asked_gets_it_after_it_has_gone(how: str) -> None:
    async def story() -> None:
        async with stage() as at:
            at.asking.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.asking.reached.wait()
            wish = at.begin(wants(at, how))
            await at.everybody()
            assert not wish.done()
            at.asking.open()
            assert went_well(await evict)
            await wish
            assert at.server.loaded == ["a"]
            assert (at.unloads, at.loads) == (1, 1)
            await at.rest()
            assert at.home.claims.standing(A).status is Status.LOADED
            assert at.server.loaded == ["a"]

    play(story)


@pytest.mark.parametrize("how", ["load", "pin"])
@pytest.mark.parametrize("asked", [True, False])
def test_a_farewell_is_taken_back_until_the_engine_is_asked_and_not_after(
    how: str, asked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ullage.loop")

    async def story() -> None:
        async with stage() as at:
            await at.chat(1)
            await at.door.evict(["a"])
            at.server.busy["a"] = 0
            held = at.asking if asked else at.before
            held.shut()
            await at.home.tick()
            await held.reached.wait()
            wish = at.begin(wants(at, how))
            await at.everybody()
            assert not wish.done()
            assert ("taken back" in caplog.text) is not asked
            held.open()
            await wish
            await at.rest()
            assert at.server.loaded == ["a"]
            assert at.farewells == frozenset()
            assert (at.unloads, at.loads) == ((1, 1) if asked else (0, 0))
            assert ("freed (contexts=0)" in caplog.text) is asked
            assert ("taken back" in caplog.text) is not asked

    play(story)


def test_a_lease_on_a_model_that_is_told_to_leave_is_refused_also_while_that_is_tried() -> None:
    async def story() -> None:
        async with stage() as at:
            at.server.busy["a"] = 1  # since the latest sample
            at.before.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.before.reached.wait()
            lease = at.begin(wants(at, "lease"))
            await at.everybody()
            assert not lease.done()
            at.before.open()
            assert (await evict).leaving == ((A, 1),)
            with pytest.raises(DoorError, match="was told to leave"):
                await lease
            assert at.home.loop.keeping.leases.all == ()

    play(story)


def test_a_lease_that_came_before_the_unload_was_decided_is_its_last_user() -> None:
    async def story() -> None:
        async with stage() as at:
            evict = at.begin(at.door.evict(["a"]))
            await asyncio.sleep(0)  # it is asked for, and not decided yet
            leased = await wants(at, "lease")
            assert leased.lease is not None
            assert (await evict).leaving == ((A, 1),)
            await at.rest()
            assert at.server.loaded == ["a"]
            at.home.claims.close_lease(leased.lease.id)
            await at.rest()
            assert at.server.loaded == []

    play(story)


@pytest.mark.parametrize("how", ["load", "pin"])
def test_a_model_that_was_wanted_while_its_unload_was_refused_stays_for_good(how: str) -> None:
    async def story() -> None:
        async with stage() as at:
            await at.chat(1)
            await at.door.evict(["a"])
            at.server.busy["a"] = 0
            at.force.refuses = True
            at.asking.shut()
            await at.home.tick()
            await at.asking.reached.wait()
            wish = at.begin(wants(at, how))
            await at.everybody()
            at.asking.open()
            await wish
            assert at.farewells == frozenset()
            at.force.refuses = False
            await at.home.tick(600)
            await at.rest()
            assert (at.server.loaded, at.loads) == (["a"], 0)

    play(story)


def test_a_wish_that_comes_after_an_unload_of_a_model_in_use_takes_it_back_for_good() -> None:
    async def story() -> None:
        async with stage(models="ab") as at:
            await at.chat(1)
            at.asking.shut()
            evict = at.begin(at.door.evict(["a", "b"]))
            await at.asking.reached.wait()  # "b" is on its way
            assert at.farewells == {A}
            assert went_well(await at.door.load("a"))  # this one never waited
            at.asking.open()
            carried = await evict  # looks at both again, and "a" is in use still
            assert carried.leaving == ()
            assert not went_well(carried)
            at.server.busy["a"] = 0
            await at.rest()
            assert at.server.loaded == ["a"]

    play(story)


def test_a_load_is_not_answered_from_a_sample_that_is_older_than_the_unload() -> None:
    """The engine was asked before, and something slower after that."""

    async def story() -> None:
        async with stage() as at:
            late = Stop()
            late.shut()

            class Slow:
                def __getattr__(self, name: str) -> Any:
                    return getattr(at.home.sampler, name)

                async def sample(self, **words: Any) -> Snapshot:
                    snapshot = await at.home.sampler.sample(**words)
                    await late()
                    at.home.clock.now += 0.5
                    object.__setattr__(snapshot, "taken_at", Seconds(at.home.clock.now))
                    return snapshot

            at.home.loop.sampler = Slow()
            at.home.loop.post(Tick(at.home.clock.now))
            await late.reached.wait()
            at.home.loop.sampler = at.home.sampler
            at.home.clock.now += 1.0
            await at.door.evict(["a"])
            assert at.server.loaded == []
            assert at.home.claims.standing(A).status is Status.LOCAL
            late.open()
            while any(t.get_name() == "sample" for t in asyncio.all_tasks()):
                await asyncio.sleep(0)
            assert at.home.claims.standing(A).status is Status.LOCAL
            carried = await at.door.load("a")
            assert [o.detail for o in carried.outcomes] == ["loaded"]
            assert at.server.loaded == ["a"]

    play(story)


def test_a_load_while_it_is_not_yet_seen_what_came_of_the_unload_waits_for_that() -> None:
    """The unload has ended, but its run has more to do, and the latest sample is older."""

    async def story() -> None:
        async with stage(Policy(max_active=1)) as at:
            at.server.slow_loads = True
            at.home.clock.now += 0.5
            run = at.begin(at.door.load("b"))  # for which "a" has to go
            while at.loads == 0:
                await asyncio.sleep(0)
            assert at.server.loaded == []
            resident = at.door.snapshot().resident(A)
            assert resident is not None  # as it was
            load = at.begin(at.door.load("a"))
            await at.everybody()
            assert not load.done()
            at.server.slow_loads = False
            at.server.finish("b")
            await run
            carried = await load
            assert [o.action.ref.model for o in carried.outcomes] == ["b", "a"]
            assert at.server.loaded == ["a"]

    play(story)


def test_a_pin_that_is_set_before_the_unload_is_decided_spares_it() -> None:
    async def story() -> None:
        async with stage() as at:
            evict = at.begin(at.door.evict(["a"], force=True))
            pin = at.begin(at.door.pin("a"))
            carried = await evict
            assert await pin == "llama/a"
            assert not went_well(carried)
            assert (at.server.loaded, at.unloads) == (["a"], 0)

    play(story)


def test_a_pin_counts_before_its_disk_has_answered() -> None:
    async def story() -> None:
        async with stage() as at:
            at.before.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.before.reached.wait()
            at.home.loop.keeping.pins.set("llama/a", None)  # and nobody was told of it yet
            at.before.open()
            carried = await evict
            assert [o.detail for o in carried.outcomes] == ["spared after all: pinned"]
            assert at.server.loaded == ["a"]

    play(story)


def test_a_pin_whose_model_went_and_does_not_come_again_says_so() -> None:
    async def story() -> None:
        async with stage() as at:
            at.asking.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.asking.reached.wait()
            pin = at.begin(at.door.pin("a"))
            await at.everybody()
            at.server.fails_loads = True
            at.server.faults["POST /models/load"] = "error"
            at.asking.open()
            await evict
            with pytest.raises(DoorError, match="is pinned, but had been told to go"):
                await pin
            assert "llama/a" in at.home.loop.keeping.pins.names

    play(story)


def test_a_model_that_goes_with_its_last_user_waits_for_whoever_asks_as_that_one_goes() -> None:
    async def story() -> None:
        async with stage(Policy(retention=Retention.ON_DEMAND)) as at:
            await at.chat(1)
            at.server.busy["a"] = 0
            at.server.worked["a"] += 1  # the chat has ended, and nobody has seen it
            assert went_well(await at.door.load("a"))
            await at.rest(times=1)
            assert at.server.loaded in ([], ["a"])
            await at.rest(times=30)
            assert at.server.loaded == ["a"]
            await at.rest(times=60)
            assert at.server.loaded == []  # nobody came

    play(story)


def test_several_who_want_a_model_that_goes_have_it_loaded_once() -> None:
    async def story() -> None:
        async with stage() as at:
            at.asking.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.asking.reached.wait()
            every = [at.begin(wants(at, how)) for how in ("load", "lease", "pin", "load")]
            await at.everybody()
            at.asking.open()
            await asyncio.gather(evict, *every)
            assert (at.server.loaded, at.unloads, at.loads) == (["a"], 1, 1)

    play(story)


def test_a_lease_that_does_not_wait_for_the_load_has_the_model_loaded_again_too() -> None:
    async def story() -> None:
        async with stage() as at:
            at.asking.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.asking.reached.wait()
            lease = at.begin(at.home.claims.lease("a", "agent", Seconds(600), wait=False))
            await at.everybody()
            at.asking.open()
            await evict
            leased = await lease
            assert leased.lease is not None
            assert leased.carried is not None
            assert [str(load.ref) for load in leased.carried.decision.plan.actions] == ["llama/a"]
            await at.home.settle()
            assert at.server.loaded == ["a"]

    play(story)


def test_whoever_hangs_up_while_the_model_goes_has_nothing_loaded() -> None:
    async def story() -> None:
        async with stage() as at:
            at.asking.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.asking.reached.wait()
            load = at.begin(at.door.load("a"))
            await at.everybody()
            load.cancel()
            await at.everybody()
            at.asking.open()
            await evict
            await at.rest()
            assert (at.server.loaded, at.loads) == ([], 0)

    play(story)


def test_what_is_written_down_of_a_load_that_waited_is_both_in_their_order() -> None:
    async def story() -> None:
        async with stage() as at:
            at.asking.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.asking.reached.wait()
            load = at.begin(wants(at, "load"))
            await at.everybody()
            assert [d["cause"] for d in at.home.decisions()] == ["asked to unload llama/a"]
            at.asking.open()
            await asyncio.gather(evict, load)
            told = [
                (d["cause"], o["action"], o["result"])
                for d in at.home.decisions()
                for o in d["outcomes"]
            ]
            assert told == [
                ("asked to unload llama/a", "evict", "done"),
                ("asked to load llama/a", "load", "done"),
            ]
            counts = at.home.loop.counts
            assert sum(counts.decisions.values()) == 2

    play(story)
