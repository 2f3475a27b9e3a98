"""An unload that crosses a chat, or another unload: it is carried out, later, or refused."""

from __future__ import annotations

import asyncio
from typing import Any

from supervisor.core.record import Result
from supervisor.core.status import Status
from supervisor.web.requests import went_well
from tests.scenarios.crossing import A, play, stage


def test_an_unload_of_a_model_whose_chat_ends_while_it_is_decided_is_carried_out() -> None:
    async def story() -> None:
        async with stage() as at:
            await at.chat(1)
            at.writing.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.writing.reached.wait()  # decided: it is in use
            await at.chat(0)  # and now it is not
            at.writing.open()
            carried = await evict
            assert [r for r, _ in carried.leaving] == [A]
            assert went_well(carried)
            await at.rest()
            assert at.server.loaded == []
            assert at.farewells == frozenset()

    play(story)


def test_an_unload_whose_chat_began_unseen_and_ends_at_once_is_carried_out() -> None:
    async def story() -> None:
        async with stage() as at:
            at.server.busy["a"] = 1  # since the latest sample

            def ends() -> None:
                at.server.busy["a"] = 0

            at.seen = ends  # after the look that spares it, before the one that is shown
            carried = await at.door.evict(["a"])
            assert [o.result for o in carried.outcomes] == [Result.SKIPPED]
            assert carried.leaving == ((A, 1),)
            assert went_well(carried)
            await at.rest()
            assert at.server.loaded == []

    play(story)


def test_a_model_is_shown_as_leaving_from_when_it_was_told_until_it_is_seen_to_be_gone() -> None:
    async def story() -> None:
        async with stage() as at:
            await at.chat(1)
            at.writing.shut()
            evict = at.begin(at.door.evict(["a"]))
            await at.writing.reached.wait()
            assert at.home.claims.standing(A).status is Status.LEAVING  # before it is answered
            at.writing.open()
            await evict
            at.server.busy["a"] = 0
            shown = set()
            loop = at.home.loop
            at.seen = lambda: shown.add(at.home.claims.standing(A).status)
            tell = loop.journal.add_outcome

            def told(outcome: Any) -> None:
                tell(outcome)
                asyncio.get_running_loop().call_soon(at.seen)

            loop.journal.add_outcome = told  # type: ignore[method-assign]
            await at.home.tick()
            await at.home.settle()
            assert shown == {Status.LEAVING}
            assert at.home.claims.standing(A).status is Status.LOCAL

    play(story)


def test_an_unload_of_a_model_that_is_unloaded_already_waits_for_that() -> None:
    async def story() -> None:
        async with stage() as at:
            at.asking.shut()
            first = at.begin(at.door.evict(["a"]))
            await at.asking.reached.wait()
            await at.home.tick()  # it is seen to be leaving
            second = at.begin(at.door.evict(["a"]))
            await at.everybody()
            assert not second.done()
            at.asking.open()
            assert went_well(await first)
            assert went_well(await second)
            assert (at.server.loaded, at.unloads) == ([], 1)

    play(story)


def test_an_unload_that_waited_for_another_in_vain_tries_itself() -> None:
    async def story() -> None:
        async with stage() as at:
            at.asking.shut()
            at.force.refuses = True
            first = at.begin(at.door.evict(["a"]))
            await at.asking.reached.wait()
            await at.home.tick()
            second = at.begin(at.door.evict(["a"]))
            await at.everybody()
            at.asking.open()
            assert [o.detail for o in (await first).outcomes] == ["llama: unload: not now"]
            carried = await second
            assert [o.detail for o in carried.outcomes] == ["llama: unload: not now"]
            assert not went_well(carried)

    play(story)
