"""What holds while an alert fires, and ends with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import RAM, Bytes, Seconds, gib
from supervisor.alerting import Alerting
from supervisor.config.alerted import Kind
from supervisor.core.policy import Amount, PoolPolicy
from supervisor.demo.engines import ComfyLike
from supervisor.demo.machine import GPU0, GPU1
from supervisor.gateway.admission import RefusalKind
from tests.alerting.post import CHIEF, Post, action, config
from tests.scenarios.gate import NO_RESERVE, ROOMY, Gate, Watched, gate, models, story

pytestmark = pytest.mark.slow

HOLD = Seconds(60)


class ByItself(ComfyLike, Watched):
    """Its first request loads a model."""


HUSH = action(Kind.PAUSE, "hush", below=Amount(fraction=1.0))


def post(at: Gate, *actions: Any, **more: Any) -> Post:
    return Post(Alerting(config(*actions, **{"hold_for": HOLD, **more}), at.world.door))


def held(box: Post) -> list[tuple[str, str, str]]:
    return [(h["alert"], h["kind"], h["target"]) for h in box.alerting.holds]


# -- pause


@story
async def test_while_it_fires_nothing_is_loaded_for_requests_and_who_is_there_is_served() -> None:
    async with gate(models("ab")) as at:
        await at.has("a")
        box = post(at, HUSH)
        await box.fire()
        await at.clock.advance(1)
        assert held(box) == [("UllageHeadroomLow", "pause", "every engine")]
        assert box.came() == "held"
        served = at.ask("a")
        assert served.is_served
        refused = at.ask("b").refusal
        assert refused.why is RefusalKind.PAUSED
        assert refused.message == (
            "one/b is not loaded: the alert UllageHeadroomLow fires, and nothing is loaded"
            " meanwhile"
        )
        assert 50 < refused.retry_after <= 60
        await box.resolve()
        await at.clock.advance(1)
        assert held(box) == []
        assert box.row(status="resolved")["detail"] == (
            "what held for it holds no more: pause, every engine"
        )
        guest = at.ask("b")
        await at.answered(guest)
        assert guest.is_served


@story
async def test_who_waits_when_it_begins_to_fire_is_told_at_once() -> None:
    async with gate(models("ab", size=20)) as at:
        await at.has("a")
        busy, waits = at.ask("a", service=30), at.ask("b")
        await at.clock.advance(1)
        assert waits.is_held
        box = post(at, HUSH)
        await box.fire()
        await at.clock.advance(1)
        assert waits.why is RefusalKind.PAUSED
        assert busy.is_served


@story
async def test_a_pause_of_one_pool_or_engine_leaves_the_others_open() -> None:
    first = models("abc", size=5)
    async with gate(first, models("xyz", size=4, pool=GPU1)) as at:
        await at.has("a", "two/x")
        box = post(at, HUSH)
        await box.fire("pool", pool=str(GPU0))
        await at.clock.advance(1)
        assert held(box) == [("UllageHeadroomLow", "pause", "gpu0")]
        refused, guest = at.ask("b"), at.ask("two/y")
        await at.answered(refused, guest)
        assert guest.is_served
        assert refused.refusal.message == (
            "one/b is not loaded now: the alert UllageHeadroomLow fires, and nothing is loaded into"
            " gpu0 meanwhile"
        )
        await box.resolve("pool")
        await box.fire("engine", engine="two")
        await at.clock.advance(1)
        guest, refused = at.ask("b"), at.ask("two/z")
        await at.answered(refused, guest)
        assert (guest.is_served, refused.why) == (True, RefusalKind.PAUSED)
        await box.resolve("engine")
        await box.fire("both", engine="two", pool=str(GPU0))
        await at.clock.advance(1)
        assert box.alerting.holds[0]["target"] == "two in gpu0"
        guest = at.ask("c")
        await at.answered(guest)
        assert guest.is_served, "the other engine may"
        await box.resolve("both")
        await at.clock.advance(1)
        assert box.alerting.holds == []
        assert at.world.journal.shelves["alert_holds"].all() == {}, "nor for the next daemon"


@story
async def test_a_model_that_its_first_request_would_load_is_not_let_through_either() -> None:
    async with gate(models("ab", size=5), kinds=(ByItself, ByItself)) as at:
        await at.has("a")
        box = post(at, HUSH)
        await box.fire(pool=str(GPU0))
        await at.clock.advance(1)
        refused, guest = at.ask("b"), at.ask("a")
        await at.answered(refused, guest)
        assert guest.is_served
        assert refused.why is RefusalKind.NO_ROOM
        assert "nothing is loaded into gpu0 meanwhile" in refused.refusal.message
        await box.resolve()
        await at.clock.advance(1)
        guest = at.ask("b")
        await at.answered(guest)
        assert guest.is_served
        at.wrong.clear()  # it was let through to a model that was not there: it comes with it


@story
async def test_what_holds_ends_when_its_alert_is_not_heard_of_for_long_and_not_before() -> None:
    async with gate(models("ab")) as at:
        await at.has("a")
        box = post(at, HUSH)
        await box.fire()
        await at.clock.advance(40)
        assert await box.fire() == ["duplicate"]
        await at.clock.advance(40)
        (hold,) = box.alerting.holds
        assert hold["until"] == pytest.approx(at.clock.wall() + 20, abs=1)
        assert at.ask("b").why is RefusalKind.PAUSED
        await at.clock.advance(21)
        assert box.alerting.holds == []
        guest = at.ask("b")
        await at.answered(guest)
        assert guest.is_served
        assert await box.fire() == ["duplicate"]
        assert box.alerting.holds == [], "the same alert does not begin it anew"


@story
async def test_nothing_holds_where_our_own_measurement_says_otherwise() -> None:
    async with gate(models("ab")) as at:
        box = post(at, action(Kind.PAUSE, "hush"))
        await box.fire()
        await at.clock.advance(1)
        assert (box.came(), box.alerting.holds) == ("disagreed", [])
        await box.fire("forced", ullage_force="true", by=CHIEF)
        await at.clock.advance(1)
        assert (box.came("forced"), len(box.alerting.holds)) == ("held", 1)
        await box.resolve("forced")
        await at.clock.advance(1)


# -- pin


@story
async def test_models_that_an_alert_keeps_stay_until_it_resolves() -> None:
    async with gate(models("abc", size=11)) as at:
        await at.has("a", "b")
        box = post(at, action(Kind.PIN, "keep", models=("one/a",)))
        await box.fire()
        await at.clock.advance(1)
        assert held(box) == [("UllageHeadroomLow", "pin", "one/a")]
        state = at.world.loop.policy
        assert state.is_pinned(at.ref("a"))
        assert state.pin_ends(at.ref("a")) == pytest.approx(at.clock() + 59, abs=1)
        guest = at.ask("c")
        await at.answered(guest)
        assert at.loaded == ["a", "c"], "b went for it, though a had been idle for longer"
        await box.resolve()
        await at.clock.advance(2)
        assert not at.world.loop.policy.is_pinned(at.ref("a"))
        guest = at.ask("b")
        await at.answered(guest)
        assert at.loaded == ["b", "c"]


@story
async def test_a_pin_of_a_person_is_not_ended_by_an_alert() -> None:
    async with gate(models("a")) as at:
        await at.has("a")
        at.world.loop.keeping.pins.set("one/a", None)
        box = post(at, action(Kind.PIN, "keep", models=("a",)))
        await box.fire()
        await at.clock.advance(1)
        assert at.world.loop.policy.pin_ends(at.ref("a")) is None
        await box.resolve()
        await at.clock.advance(1)
        assert at.world.loop.policy.is_pinned(at.ref("a"))
        await box.fire("nobody", at=1, name="UllageHeadroomLow", model="a")
        await at.clock.advance(1)
        await box.resolve("nobody", at=1)


@story
async def test_a_pin_of_nobody_holds_nothing() -> None:
    async with gate(models("a")) as at:
        box = post(at, action(Kind.PIN, "keep", models=("z*",)))
        await box.fire()
        await at.clock.advance(1)
        assert (box.came(), box.alerting.holds) == ("nothing_to_do", [])
        assert box.row()["detail"] == "no model here is called z*"


# -- reserve


@story
async def test_bytes_are_kept_free_while_it_fires_and_who_has_them_leaves() -> None:
    async with gate(models("abc")) as at:
        await at.has("a", "b")
        box = post(at, action(Kind.RESERVE, "spare", size=gib(10)))
        await box.fire(pool="gpu0")
        await at.clock.advance(3)
        assert (box.came(), at.loaded) == ("held", ["b"])
        assert held(box) == [("UllageHeadroomLow", "reserve", "10 GiB of gpu0")]
        assert box.row()["detail"] == "one/a left, 8 GiB came back"
        (job,) = at.world.loop.keeping.reserved.all
        assert (job.client, job.size) == ("alert UllageHeadroomLow", gib(10))
        guest = at.ask("c")  # 16 GiB are free, 6 of them not spoken for: b has to go
        await at.answered(guest)
        assert at.loaded == ["c"]
        await at.clock.advance(2)
        await box.resolve()
        await at.clock.advance(2)
        assert at.world.loop.keeping.reserved.all == ()
        guest = at.ask("a")
        await at.answered(guest)
        assert at.loaded == ["a", "c"]


@story
async def test_bytes_that_are_kept_free_are_beyond_what_is_kept_free_anyway() -> None:
    pools = {GPU0: PoolPolicy(reserve=Amount(gib(2))), GPU1: NO_RESERVE, RAM: NO_RESERVE}
    policy = replace(ROOMY, pools=pools, restore_margin=Bytes(0), grace=Seconds(10_000))
    async with gate(models("ab"), policy=policy) as at:
        await at.has("a", "b")  # 8 GiB are free
        box = post(at, action(Kind.RESERVE, "spare", size=gib(6)))
        await box.fire("fits", pool="gpu0")
        await at.clock.advance(3)
        assert at.loaded == ["a", "b"]
        await box.resolve("fits")
        box = post(at, action(Kind.RESERVE, "spare", size=gib(7)))
        await box.fire("more", pool="gpu0")
        await at.clock.advance(3)
        assert at.loaded == ["b"]
        await box.resolve("more")
        await at.clock.advance(1)


@story
async def test_a_reserve_ends_with_its_bytes_and_its_bytes_with_it() -> None:
    async with gate(models("a")) as at:
        box = post(at, action(Kind.RESERVE, "spare", size=gib(4), pool="gpu1"))
        await box.fire()
        await at.clock.advance(40)
        await box.fire()
        await at.clock.advance(40)
        reserved = at.world.loop.keeping.reserved
        assert len(reserved.all) == 1, "it was heard of again"
        await at.clock.advance(30)
        assert (reserved.all, box.alerting.holds) == ((), [])
        await box.fire("two", at=1)
        await at.clock.advance(1)
        assert box.row("two", at=1)["detail"] == "all of it is free already"
        (job,) = reserved.all
        reserved.close(job.id)
        await at.clock.advance(2)
        assert box.alerting.holds == []
