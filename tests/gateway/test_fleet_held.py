"""Requests for which no host of the fleet has room now: they wait, are told so, and go on."""

from __future__ import annotations

from tests.gateway.hosts import Town, fleet, housed, seen
from tests.gateway.test_fleet import HELLO, sent
from tests.gateway.test_fleet_lost import lost
from tests.gateway.wires import whole
from tests.scenarios.gate import story


def queued(town: Town, *busy: str) -> None:
    notes = [{"host": host, "why": "overloaded", "sentence": "x"} for host in busy]
    town.agent.says(409, code="queued", sentences=["b has 2 GiB too little"], notes=notes)


@story
async def test_who_is_queued_waits_and_is_asked_for_again_until_somebody_has_room() -> None:
    async with fleet() as town:
        line, wire = town.host("b")
        guest = town.at.asks(model="far", **HELLO)
        town.agent.asked()
        for _ in range(3):
            queued(town)
            assert town.agent.asked() == []
            await town.at.town.clock.advance(2.0)
            assert [asked["model"] for asked in town.agent.asked()] == ["far"]
            (held,) = town.at.gateway.held()
            assert (str(held[0]), held[1]) == ("_elsewhere/far", 1)
        town.agent.places("b")
        assert wire.taken()
        line.data_received(whole())
        status, headers, _ = guest.answer()
        assert (status, headers["x-ullage-waited"]) == (200, "6.000")
        assert list(town.at.gateway.held()) == []


@story
async def test_a_stream_that_waits_is_told_how_it_stands() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", stream=True, **HELLO)
        queued(town)
        await town.at.town.clock.advance(2.5)
        said = guest.heard()
        assert b"content-type: text/event-stream" in said
        assert b": ullage: far waits until a host of the fleet has room\n" in said
        _, wire = town.host("b")
        town.agent.places("b")
        assert wire.taken()
        await town.at.town.clock.advance(60)
        assert guest.heard() == b""  # it waits no more: what comes now is the other host's
        await guest.hangs_up()


@story
async def test_those_who_wait_for_the_same_are_one_question_and_go_on_together() -> None:
    async with fleet() as town:
        guests = [town.at.asks(model="far", **HELLO) for _ in range(3)]
        queued(town)
        wires = [town.host("b")[1] for _ in guests]
        await guests[0].hangs_up()
        town.agent.asked()
        await town.at.town.clock.advance(2.0)
        assert len(town.agent.asked()) == 1
        town.agent.places("b")
        assert sum(bool(wire.taken()) for wire in wires) == 2
        for guest in guests:
            await guest.hangs_up()


@story
async def test_who_waits_for_longer_than_it_may_is_told_why() -> None:
    async with fleet(max_wait=5.0) as town:
        guest = town.at.asks(model="far", **HELLO)
        queued(town)
        await town.at.town.clock.advance(2.0)
        queued(town)
        await town.at.town.clock.advance(2.0)
        queued(town)
        await town.at.town.clock.advance(1.1)
        status, headers, body = guest.answer()
        assert (status, body["error"]["code"]) == (503, "model_wait_timeout")
        assert body["error"]["message"].endswith("has room for it: b has 2 GiB too little")
        assert "retry-after" in headers
        town.agent.asked()
        await town.at.town.clock.advance(10)
        assert town.agent.asked() == []


@story
async def test_no_more_may_wait_than_are_allowed_to() -> None:
    async with fleet(max_held=1) as town:
        first = town.at.asks(model="far", **HELLO)
        queued(town)
        second = town.at.asks(model="other", **HELLO)
        queued(town)
        status, _, body = second.answer()
        assert (status, body["error"]["code"]) == (429, "queue_full")
        await first.hangs_up()


@story
async def test_a_model_of_this_host_that_has_waited_long_is_this_hosts_own() -> None:
    async with fleet(drain_after=5.0) as town:  # for only a host itself can make others leave
        line, wire = town.at.engine()
        guest = town.at.asks(model="a", **HELLO)
        queued(town)
        for _ in range(2):
            await town.at.town.clock.advance(2.0)
            queued(town)
            assert town.at.gate.loop.traffic.waiting == {}
        await town.at.town.clock.advance(2.0)
        queued(town)
        assert town.at.gate.loop.traffic.waiting == {town.at.town.ref("a"): 1}
        await town.at.town.until(lambda: wire.sent)
        line.data_received(whole())
        assert guest.answer()[0] == 200


@story
async def test_who_waits_already_outlives_an_agent_that_is_started_anew() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        queued(town)
        town.agent.hangs_up()
        await town.at.town.clock.advance(2.1)
        assert guest.heard() == b""
        town.agent.opens()
        await town.at.town.clock.advance(2.0)
        _, wire = town.host("b")
        town.agent.places("b")
        assert wire.taken()
        await guest.hangs_up()


@story
async def test_where_it_is_ready_and_has_too_much_to_do_everywhere_the_least_busy_is_asked() -> (
    None
):
    async with fleet() as town:
        _, wire = town.host("c")
        guest = town.at.asks(model="far", **HELLO)
        town.agent.asked()
        queued(town, "b", "c")
        assert town.agent.asked() == ["/fleet"]
        hosts = [
            (name, [housed("far", "two", ready=ready, in_flight=n, slots=2)])
            for name, n, ready in (("b", 9, True), ("c", 5, True), ("d", 0, True), ("e", 1, False))
        ]
        town.agent.says(200, **seen(*hosts))
        assert sent(wire)[2]["model"] == "two/far"
        await guest.hangs_up()


@story
async def test_a_host_that_failed_is_asked_again_once_the_fleet_would_have_missed_it() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        await lost(town, "b")
        town.agent.asked()
        avoided = []
        for _ in range(4):
            queued(town)
            await town.at.town.clock.advance(2.0)
            avoided += [asked["avoid"] for asked in town.agent.asked()]
        assert avoided == [["b"], ["b"], [], []]
        line, wire = town.host("b")
        town.agent.places("b")
        assert wire.taken()
        line.data_received(whole())
        assert guest.answer()[0] == 200


@story
async def test_the_daemons_end_does_not_wait_for_who_waits() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        queued(town)
        assert town.at.gate.fleet is not None
        town.at.gate.fleet.stop()
        status, _, body = guest.answer()
        assert (status, body["error"]["code"]) == (503, "stopping")
        town.agent.asked()
        await town.at.town.clock.advance(5.0)
        assert town.agent.asked() == []
