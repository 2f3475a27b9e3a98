"""Alerts that are to be sent again, and what whoever listens is told of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import Seconds, gib
from supervisor.alerting import Alerting
from supervisor.alerting.alerting import MOST, Later
from supervisor.config.alerted import Kind
from supervisor.core.policy import Amount
from supervisor.demo.machine import GPU0, GPU1
from tests.alerting.post import Post, action, alert, config
from tests.scenarios.gate import Gate, gate, models, story

ROOM = action(Kind.EVICT, "make-room", below=Amount(fraction=0.5), free=Amount(fraction=0.6))


def post(at: Gate, *actions: Any, **more: Any) -> Post:
    return Post(Alerting(config(*(actions or (ROOM,)), **more), at.world.door))


@story
async def test_whom_a_pool_that_cannot_be_read_is_meant_by_is_heard_again() -> None:
    async with gate(models("ab"), models("xy", size=5, pool=GPU1)) as at:
        await at.has("a", "b", "two/x", "two/y")
        box, loop = post(at), at.world.loop
        assert loop.snapshot is not None
        seen = loop.snapshot
        rest = tuple(p for p in seen.pools if p.id != GPU0)
        loop.snapshot = replace(seen, pools=rest, blind={GPU0: "the driver hangs"})
        both = (alert(pool=str(GPU0)), alert(id="f2", pool=str(GPU1)))
        with pytest.raises(Later, match="gpu0 cannot be read just now: the driver hangs; one of"):
            await box.send(*both)
        loop.snapshot = seen
        assert await box.send(*both) == ["accepted", "duplicate"]
        await at.clock.advance(4)
        assert (box.came(), box.came("f2")) == ("done", "done")


@story
async def test_what_can_be_had_later_is_asked_for_again_and_nothing_is_remembered() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        box, loop = post(at), at.world.loop
        seen, loop.snapshot = loop.snapshot, None
        with pytest.raises(Later, match="the first sample is not in yet"):
            await box.fire()
        assert seen is not None
        loop.snapshot = replace(seen, taken_at=Seconds(at.clock() - 30))
        with pytest.raises(Later, match="is 30 s old"):
            await box.fire()
        loop.snapshot = seen
        with pytest.raises(Later, match="as many as may"):
            await box.send(*(alert(id=str(i)) for i in range(MOST + 1)))
        loop.executor.stopping = True
        with pytest.raises(Later, match="the daemon is stopping"):
            await box.fire()
        loop.executor.stopping = False
        assert list(box.alerting.ledger) == []
        assert box.counts == {}
        assert await box.fire() == ["accepted"]
        await at.clock.advance(3)
        assert box.came() == "done"


@story
async def test_whoever_listens_is_told_what_became_of_each() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        box = post(at)
        reader = box.alerting.feed.read(["alert"])
        await box.fire()
        await box.fire()
        await at.clock.advance(3)
        (event,) = reader.take()
        assert event.data == {**box.row(), "alert": box.row()["id"]}
        assert event.data["by"] == "tests"
        state = box.alerting.state
        assert (state["firing"], state["last"]) == (1, box.row())
        assert box.alerting.told(10) == [box.row()]
        assert box.alerting.received_at == pytest.approx(at.clock.wall() - 3, abs=0.1)
        await box.resolve()
        await at.clock.advance(1)
        assert box.alerting.state["firing"] == 0


@story
async def test_who_was_not_heard_of_for_long_does_not_count_as_firing() -> None:
    async with gate(models("ab")) as at:
        box = post(at, hold_for=Seconds(60))
        await box.fire()
        await at.clock.advance(50)
        await box.fire()
        await at.clock.advance(50)
        assert box.alerting.ledger.firing == 1
        await at.clock.advance(20)
        assert box.alerting.ledger.firing == 0


@story
async def test_a_group_that_is_delivered_twice_at_once_is_acted_on_once() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        box = post(at, action(Kind.RESERVE, "spare", size=gib(1)))
        group = [alert(id=f"f{i}", pool=str(GPU0)) for i in range(4)]
        first, second = await asyncio.gather(box.send(*group), box.send(*group[::-1]))
        assert (first, second) == (["accepted"] * 4, ["duplicate"] * 4)
        await at.clock.advance(4)
        assert box.counts == {"held": 4, "duplicate": 4}
        assert len(at.world.loop.keeping.reserved.all) == 4
        decided = [d["id"] for d in at.decisions() if d["trigger"] == "alert"]
        assert len(decided) == len({box.row(f"f{i}")["decision"] for i in range(4)} - {None})


@story
async def test_who_leaves_while_it_is_written_down_has_sent_nothing() -> None:
    async with gate(models("ab")) as at:
        box = post(at)
        first = asyncio.create_task(box.send(*(alert(id=f"f{i}") for i in range(4))))
        await asyncio.sleep(0)  # two of them are kept by then
        second = asyncio.create_task(box.fire("f3"))
        third = asyncio.create_task(box.fire("f2"))
        await asyncio.sleep(0)
        third.cancel()
        first.cancel()
        with pytest.raises(Later, match="cannot be written just now"):
            await second
        assert list(box.alerting.ledger) == []
        assert await box.fire("f3") == ["accepted"]
