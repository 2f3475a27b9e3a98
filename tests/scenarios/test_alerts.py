"""Alerts make models leave: what is done, what is not, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.reading import RAM, Seconds, gib
from supervisor.alerting import Alerting
from supervisor.config.alerted import Kind
from supervisor.core.policy import Amount, Brake, Policy, PoolPolicy
from supervisor.core.record import Mode
from supervisor.demo.machine import GPU0, GPU1
from supervisor.events import ClaimsChanged
from tests.alerting.post import CHIEF, HOST, Post, action, alert, config
from tests.scenarios.gate import NO_RESERVE, Gate, gate, models, story

pytestmark = pytest.mark.slow

# Two models of 8 GiB on a card of 24: a third of it is free.
SHORT = Amount(fraction=0.5)
ROOM = action(Kind.EVICT, "make-room", below=SHORT, free=Amount(fraction=0.6))


def post(at: Gate, *actions: Any, **more: Any) -> Post:
    return Post(Alerting(config(*(actions or (ROOM,)), **more), at.world.door))


def of_alerts(at: Gate) -> list[dict[str, Any]]:
    """The decisions that alerts have caused, oldest first."""
    return [d for d in at.decisions() if d["trigger"] == "alert"]


@story
async def test_an_alert_makes_room_in_the_pool_that_it_names_and_nowhere_else() -> None:
    async with gate(models("ab"), models("xy", size=5, pool=GPU1)) as at:
        await at.has("a", "b", "two/x", "two/y")
        box = post(at)
        assert await box.fire(pool=str(GPU0)) == ["accepted"]
        await at.clock.advance(3)
        assert at.loaded == ["b", "x", "y"]
        row = box.row()
        assert (row["outcome"], row["action"], row["target"]) == ("done", "make-room", GPU0)
        assert row["detail"] == "one/a left, 8 GiB came back"
        (decision,) = of_alerts(at)
        assert decision["id"] == row["decision"]
        assert decision["cause"] == f"alert UllageHeadroomLow asks to make room in {GPU0}"
        assert [a["model"] for a in decision["actions"]] == ["one/a"]
        await box.resolve(pool=str(GPU0))
        await at.clock.advance(1)
        assert box.came(status="resolved") == "resolved"
        assert at.loaded == ["b", "x", "y"]
        assert box.counts == {"done": 1, "resolved": 1}
        assert dict(box.alerting.actions) == {("evict", "done"): 1, ("evict", "resolved"): 1}


@story
async def test_what_is_told_of_often_is_done_once() -> None:
    async with gate(models("abc", size=7)) as at:
        await at.has("a", "b", "c")
        box = post(at)
        assert await box.send(alert(), alert()) == ["accepted", "duplicate"]
        for _ in range(5):
            assert await box.fire() == ["duplicate"]
            await at.clock.advance(1)
        assert len(at.unloads) == 2
        assert box.counts == {"done": 1, "duplicate": 6}
        assert len(of_alerts(at)) == 1
        assert await box.fire(at=600) == ["accepted"], "it fires anew"


@story
async def test_it_does_nothing_where_our_own_measurement_says_otherwise() -> None:
    async with gate(models("ab")) as at:
        await at.has("a")  # two thirds are free
        box = post(at)
        await box.fire(pool=str(GPU0))
        await at.clock.advance(2)
        assert at.loaded == ["a"]
        assert box.came() == "disagreed"
        assert box.row()["detail"] == (
            f"by our own measurement {GPU0} has 16 GiB free, and it acts below 50%"
        )
        (decision,) = of_alerts(at)
        assert decision["id"] == box.row()["decision"]
        assert (decision["actions"], decision["trigger"]) == ([], "alert")
        assert "16 GiB free" in decision["cause"]


@story
async def test_by_default_it_is_the_restore_line_that_counts() -> None:
    pools = {GPU0: PoolPolicy(reserve=Amount(gib(6))), GPU1: NO_RESERVE, RAM: NO_RESERVE}
    policy = Policy(pools=pools, restore_margin=gib(4), grace=Seconds(10_000))
    async with gate(models("ab"), policy=policy) as at:
        box = post(at, action(Kind.EVICT))
        await at.has("a")
        await box.fire("one")
        await at.has("b")  # 8 GiB are free: beyond the reserve of 6, below the line of 10
        await box.fire("two", at=1)
        await at.clock.advance(3)
        assert (box.came("one"), box.came("two", at=1)) == ("disagreed", "done")
        assert "its restore line is 10 GiB" in box.row("one")["detail"]
        assert at.loaded == ["b"]


@story
async def test_who_may_force_is_believed_and_who_may_not_is_measured() -> None:
    async with gate(models("ab")) as at:
        await at.has("a")
        box = post(at, action(Kind.EVICT, models=("a",), below=SHORT))
        await box.fire("host", ullage_force="true")
        await box.send(alert(id="meek", at=1), by=CHIEF)
        await at.clock.advance(2)
        assert (box.came("host"), box.came("meek", at=1)) == ("disagreed", "disagreed")
        assert "tests may not force it" in box.row("host")["detail"]
        assert at.loaded == ["a"]
        await box.fire("chief", at=2, ullage_force="true", by=CHIEF)
        await at.clock.advance(2)
        assert box.came("chief", at=2) == "done"
        assert at.loaded == []
        assert of_alerts(at)[-1]["cause"].endswith("asks to unload a, whatever we measure")


@story
async def test_no_more_is_done_by_alerts_than_may_be() -> None:
    most = Brake(2, Seconds(100))
    async with gate(models("abcd", size=6)) as at:
        await at.has("a", "b", "c", "d")
        box = post(at, *(action(Kind.EVICT, n, models=(n,), match={"m": n}) for n in "abcd"),
                   limit=most)  # fmt: skip
        for n in "abc":
            await box.fire(n, m=n, ullage_force="true", by=CHIEF)
            await at.clock.advance(2)
        assert [box.came(n) for n in "abc"] == ["done", "done", "limited"]
        assert "2 actions in 1m40s are as many as there may be" in box.row("c")["detail"]
        assert at.loaded == ["c", "d"]
        await at.clock.advance(100)
        await box.fire("d", m="d", ullage_force="true", by=CHIEF)
        await at.clock.advance(2)
        assert (box.came("d"), at.loaded) == ("done", ["c"])


@story
async def test_what_nobody_had_to_leave_for_does_not_count_against_the_limit() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        gone = action(Kind.EVICT, "gone", models=("c*",), match={"m": "c"}, below=SHORT)
        box = post(at, gone, ROOM, limit=Brake(1, Seconds(100)))
        for i in range(3):
            await box.fire(f"c{i}", m="c", pool=str(GPU0))
            await at.clock.advance(1)
            assert box.came(f"c{i}") == "nothing_to_do"
        await box.fire()
        await at.clock.advance(2)
        assert box.came() == "done"


@story
async def test_who_is_at_work_is_waited_for_and_what_is_resolved_meanwhile_is_not_done() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        work = [at.ask("a", service=6), at.ask("b", service=20)]
        box = post(at)
        await box.fire("one")
        await at.clock.advance(4)
        assert box.came("one") is None
        await at.clock.advance(6)
        assert (box.came("one"), at.loaded) == ("done", ["b"])
        await at.clock.advance(60)
        await at.has("a")
        work = [at.ask("a", service=15), at.ask("b", service=15)]
        await box.fire("two", at=1)
        await at.clock.advance(4)
        await box.resolve("two", at=1)
        await at.clock.advance(30)
        assert all(g.done_at for g in work)
        assert box.came("two", at=1) == "superseded"
        row = box.row("two", "resolved", 1)
        assert (row["outcome"], row["detail"]) == (
            "resolved",
            "what was to be done for it is not done",
        )
        assert (row["action"], row["target"]) == ("make-room", "every pool that is short")
        assert at.loaded == ["a", "b"]


@story
async def test_one_that_resolved_before_it_was_heard_of_is_not_acted_on() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        box = post(at)
        assert await box.send(alert("resolved"), alert()) == ["accepted", "accepted"]
        await at.clock.advance(1)
        await box.resolve("late")
        await box.fire("late")
        await at.clock.advance(3)
        assert (box.came(), box.came("late")) == ("superseded", "superseded")
        assert at.loaded == ["a", "b"]


@story
async def test_each_alert_of_a_group_counts_by_itself() -> None:
    async with gate(models("ab"), models("xy", size=5, pool=GPU1)) as at:
        await at.has("a", "b", "two/x", "two/y")
        box = post(at)
        await box.send(
            alert(pool=str(GPU0)),
            alert("resolved", "over", pool=str(GPU1)),
            alert(id="else", name="Other"),
            alert(id="nowhere", pool="GPU-9"),
        )
        await at.clock.advance(3)
        assert at.loaded == ["b", "x", "y"]
        assert (box.came(), box.came("over", "resolved")) == ("done", "resolved")
        assert (box.came("else"), box.came("nowhere")) == ("no_action", "unknown_target")
        assert len(of_alerts(at)) == 4


FORGED = [
    ({"pool": "GPU-9"}, "its label pool names the pool 'GPU-9', which is not here"),
    ({"uuid": "/etc/passwd"}, "its label uuid names the pool '/etc/passwd'"),
    ({"pool": "g"}, "its label pool names the pool 'g'"),  # no beginning of a name is enough
    ({"engine": "three"}, "its label engine names the engine 'three', which is not here"),
    ({"engine": "http://evil/"}, "names the engine 'http://evil/'"),
    ({"model": "$(reboot)"}, "its label model names the model '$(reboot)', which is not here"),
    ({"model": "a", "engine": "two"}, "its label engine names the engine 'two'"),
    ({"pool": str(GPU0), "uuid": str(GPU1)}, "its labels name several pools"),
]


@story
async def test_a_forged_label_chooses_nothing() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        box = post(at)
        for by in (HOST, CHIEF):
            for i, (labels, why) in enumerate(FORGED):
                id = f"{by.name} {i}"
                await box.fire(id, **labels, ullage_force="true", by=by)
                await at.clock.advance(1)
                assert (box.came(id), at.loaded) == ("unknown_target", ["a", "b"])
                assert why in box.row(id)["detail"]
                assert why in of_alerts(at)[-1]["cause"]


@story
async def test_an_action_that_is_named_is_one_that_is_configured_and_meant() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        quiet = action(Kind.EVICT, "quiet", match=None, models=("b",), below=SHORT)
        box = post(at, quiet, ROOM)
        await box.fire("typo", ullage_action="make-rom")
        await box.fire("shell", ullage_action="rm -rf /")
        await box.fire("other", name="Other", ullage_action="make-room")
        await box.fire("unnamed", name="Other")
        await at.clock.advance(2)
        names = ("typo", "shell", "other", "unnamed")
        assert [box.came(n) for n in names] == ["no_action"] * 4
        assert "did you mean make-room?" in box.row("typo")["detail"]
        assert "whose `match` wants other labels" in box.row("other")["detail"]
        assert at.loaded == ["a", "b"]
        await box.fire("named", name="Other", ullage_action="quiet")
        await at.clock.advance(2)
        assert (box.came("named"), at.loaded) == ("done", ["a"])


@story
async def test_labels_narrow_who_may_be_made_to_leave() -> None:
    async with gate(models("ab"), models("xy", size=3)) as at:
        await at.has("a", "b", "two/x", "two/y")
        box = post(at)
        await box.fire(engine="two")
        await at.clock.advance(4)
        assert (box.came(), at.loaded) == ("done", ["a", "b"])
        assert "still missing" in box.row()["detail"]
        notes = {n["model"]: n["why"] for n in of_alerts(at)[0]["notes"]}
        assert notes["one/a"] == "the alert does not mean it"
        await box.fire("model", at=1, model="b")
        await at.clock.advance(4)
        assert (box.came("model", at=1), at.loaded) == ("done", ["a"])


@story
async def test_where_nobody_can_go_that_is_what_is_told() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        for name in "ab":
            at.world.loop.keeping.pins.set(f"one/{name}", None)
        at.world.loop.post(ClaimsChanged())
        box = post(at)
        await box.fire()
        await at.clock.advance(2)
        assert box.came() == "failed"
        assert "nobody could go: one/a (pinned), one/b (pinned)" in box.row()["detail"]
        assert "still missing" in box.row()["detail"]


@story
async def test_who_is_named_leaves_the_pool_that_is_meant_and_no_other() -> None:
    async with gate(models("ab"), models("xy", size=5, pool=GPU1)) as at:
        await at.has("a", "b", "two/x", "two/y")
        box = post(at, action(Kind.EVICT, models=("*",), below=SHORT))
        await box.fire(pool=str(GPU1))
        await at.clock.advance(4)
        assert (box.came(), at.loaded) == ("done", ["a", "b"])
        assert box.row()["target"] == "* in gpu1"


@story
async def test_who_is_named_and_may_not_go_stays_and_that_is_told() -> None:
    async with gate(models("abc", size=7)) as at:
        await at.has("a", "b", "c")
        busy = at.ask("b", service=10)
        box = post(at, action(Kind.EVICT, models=("a", "b"), below=SHORT))
        await box.fire()
        await at.clock.advance(4)
        assert busy.is_served
        assert (box.came(), at.loaded) == ("done", ["b", "c"])
        assert box.row()["detail"] == "one/a left, 7 GiB came back; stayed: one/b (busy)"


@story
async def test_a_dry_run_says_what_would_be_done_and_does_nothing() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        dry = action(Kind.EVICT, "dry", below=SHORT, free=Amount(fraction=0.6), dry_run=True)
        for box in (post(at, dry), post(at, dry_run=True)):
            await box.fire()
            await at.clock.advance(3)
            assert (box.came(), at.loaded) == ("dry_run", ["a", "b"])
            assert box.row()["detail"] == "a dry run: one/a would leave (8 GiB of gpu0)"
            assert dict(box.alerting.actions) == {("evict", "dry_run"): 1}
            box.alerting.ledger.forget(next(iter(box.alerting.ledger)))
        assert [d["actions"] for d in of_alerts(at)] == [[], []]


@story
async def test_who_only_advises_does_nothing_for_alerts_either() -> None:
    async with gate(models("ab"), mode=Mode.ADVISE) as at:
        for name in "ab":
            at.engines["one"].serve(name, 0.0)  # type: ignore[index]
        await at.clock.advance(5)
        box = post(at, ROOM, action(Kind.PAUSE, "hush", match={"m": "x"}))
        await box.fire()
        await box.fire("hush", name="X", m="x", ullage_force="true", by=CHIEF)
        await at.clock.advance(3)
        assert (box.came(), box.came("hush")) == ("dry_run", "dry_run")
        assert "the mode is advise: one/a would leave" in box.row()["detail"]
        assert box.alerting.holds == []
        assert at.loaded == ["a", "b"]


@story
async def test_in_a_pause_no_alert_makes_anybody_leave() -> None:
    async with gate(models("ab")) as at:
        await at.has("a", "b")
        at.world.loop.keeping.pausing.set_pause(Seconds(at.clock() + 100))
        at.world.loop.post(ClaimsChanged())
        await at.clock.advance(1)
        box = post(at)
        await box.fire(ullage_force="true", by=CHIEF)
        await at.clock.advance(3)
        assert (box.came(), at.loaded) == ("limited", ["a", "b"])
        assert "only what is asked for is done" in box.row()["detail"]
