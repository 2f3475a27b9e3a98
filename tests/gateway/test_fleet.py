"""The gateway in a fleet: what is this host's, what is another's, and what comes of either."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from supervisor.config.gated import TokenConfig
from supervisor.engines.wire import VIA
from tests.gateway.hosts import TOKEN, Single, Town, fleet, other
from tests.gateway.wires import FakeTransport, streamed, whole
from tests.lines import written
from tests.scenarios.gate import models, story

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
PLACED = ("X-Ullage-Placed: b", f"Authorization: Bearer {TOKEN}")


def sent(wire: FakeTransport) -> tuple[str, dict[str, str], Any]:
    """The path, headers and body of the one request that came to a host."""
    head, _, body = wire.taken().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first.split()[1], dict(line.split(": ", 1) for line in lines), json.loads(body)


def counted(town: Town, name: str) -> dict[tuple[str, ...], Any]:
    found = town.at.gate.fleet
    assert found is not None
    facts = (*found.counts.facts(), *town.at.gate.counts.facts())
    return {labels: value for n, labels, value in facts if n == name}


# -- what is this host's


@story
async def test_a_model_that_is_ready_here_is_served_here_and_nobody_is_asked() -> None:
    async with fleet() as town:
        await town.at.town.has("a")
        line, wire = town.at.engine()
        guest = town.at.asks(model="a", **HELLO)
        assert wire.taken()
        line.data_received(whole(b'{"ok":1}'))
        assert guest.answer()[0] == 200
        assert town.agent.asked() == []


@story
async def test_who_is_placed_here_waits_for_its_model_as_without_a_fleet() -> None:
    async with fleet() as town:
        line, wire = town.at.engine()
        guest = town.at.asks(model="a", **HELLO)
        (asked,) = town.agent.asked()
        assert (asked["model"], asked["avoid"], asked["dry"]) == ("a", [], False)
        town.agent.places("a", "one/a")
        await town.at.town.until(lambda: wire.sent)
        line.data_received(whole())
        status, headers, _ = guest.answer()
        assert (status, headers["x-ullage-model"]) == (200, "one/a")
        assert "x-ullage-host" not in headers
        assert counted(town, "gateway_placements_total")["here",] == 1


@story
async def test_a_model_that_has_too_much_to_do_here_is_asked_for_elsewhere() -> None:
    async with fleet(models("a"), own=other(factor=1.0), kinds=(Single, Single)) as town:
        await town.at.town.has("a")
        first, _ = town.at.engine()
        one = town.at.asks(model="a", **HELLO)
        assert town.agent.asked() == []
        _, far = town.host("b")
        town.at.asks(model="a", **HELLO)
        assert [asked["model"] for asked in town.agent.asked()] == ["a"]
        town.agent.places("b", "two/a")
        assert sent(far)[2]["model"] == "two/a"
        first.data_received(whole())
        assert one.answer()[0] == 200


@story
async def test_and_served_here_after_all_where_everybody_has_too_much_to_do() -> None:
    async with fleet(models("a"), own=other(factor=1.0), kinds=(Single, Single)) as town:
        await town.at.town.has("a")
        lines = [town.at.engine() for _ in range(2)]
        guests = [town.at.asks(model="a", **HELLO) for _ in range(2)]
        town.agent.says(409, code="queued", sentences=["all are busy"], notes=[])
        for line, wire in lines:
            assert wire.taken()
            line.data_received(whole())
        assert [guest.answer()[0] for guest in guests] == [200, 200]


# -- without an agent


@story
async def test_without_an_agent_this_host_serves_what_it_has_and_says_so_once() -> None:
    with written(name="ullage.gateway") as (_, out):
        async with fleet() as town:
            town.agent.hangs_up()
            await town.at.town.clock.advance(0.1)
            line, wire = town.at.engine()
            guest = town.at.asks(model="a", **HELLO)
            unknown = town.at.asks(model="nobody", **HELLO)
            await town.at.town.until(lambda: wire.sent)
            line.data_received(whole())
            assert guest.answer()[0] == 200
            assert unknown.answer()[0] == 404
            await town.at.town.clock.advance(5)
            unknown = town.at.asks(model="nobody", **HELLO)
            await town.at.town.clock.advance(0.1)
            assert unknown.answer()[0] == 404
            assert counted(town, "gateway_placements_total")["alone",] == 3
            assert town.at.gate.fleet is not None
            assert town.at.gate.fleet.trouble
    told = [line for line in out.getvalue().splitlines() if "agent" in line]
    assert len(told) == 1
    assert "/nowhere/fleet.sock" in told[0]


@story
async def test_an_agent_that_takes_too_long_is_not_waited_for_and_left_alone_for_a_while() -> None:
    async with fleet() as town:
        town.at.engine()
        guest = town.at.asks(model="a", **HELLO)
        assert len(town.agent.asked()) == 1
        await town.at.town.clock.advance(0.9)
        assert town.at.gate.loop.traffic.waiting == {}
        await town.at.town.clock.advance(0.2)
        assert town.at.gate.loop.traffic.waiting == {town.at.town.ref("a"): 1}
        town.agent.opens()
        second = town.at.asks(model="b", **HELLO)
        assert town.agent.asked() == []
        await town.at.town.clock.advance(2.0)
        third = town.at.asks(model="c", **HELLO)
        assert [asked["model"] for asked in town.agent.asked()] == ["c"]
        town.agent.says(404, code="unknown", closest=["cc"])
        assert "cc" in third.answer()[2]["error"]["message"]
        assert town.at.gate.fleet is not None
        assert town.at.gate.fleet.trouble is None
        await guest.hangs_up()
        await second.hangs_up()


@story
async def test_what_an_agent_says_that_makes_no_sense_is_no_answer() -> None:
    async with fleet() as town:
        for status, row in ((200, {}), (200, {"host": "b"}), (500, {"detail": "broken"})):
            guest = town.at.asks(model="nobody", **HELLO)
            town.agent.says(status, **row)
            assert guest.answer()[0] == 404
            assert town.at.gate.fleet is not None
            assert town.at.gate.fleet.trouble
            await town.at.town.clock.advance(3)
        guest = town.at.asks(model="no" * 600, **HELLO)  # as the agent sees it, no name
        assert guest.answer()[0] == 400
        guest = town.at.asks(model="odd", **HELLO)
        town.agent.says(422, code="wrong", detail="model is no name")
        assert guest.answer()[0] == 404
        assert (
            town.at.gate.fleet.trouble is None
        )  # which is the name's trouble, and not the fleet's


# -- to another host


@story
async def test_a_model_of_another_host_is_asked_there_and_its_answer_passed_on_unchanged() -> None:
    async with fleet() as town:
        line, far = town.host("b")
        guest = town.at.asks("/openai/v1/chat/completions", model="far", top_k=1, **HELLO)
        town.agent.places("b")
        path, headers, body = sent(far)
        assert path == "/v1/chat/completions"
        assert body == {"model": "one/far", "top_k": 1, **HELLO}
        assert headers["host"] == "b.lan:8553"
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert headers["x-ullage-placed"] == "a"
        assert headers["via"] == VIA
        assert counted(town, "gateway_elsewhere_in_flight") == {(): 1}
        line.data_received(whole(b'{"ok": 1 }', b"200 OK", b"x-ullage-model: one/far"))
        said = guest.heard()
        assert said.endswith(b'\r\n\r\n{"ok": 1 }')
        assert said.count(b"x-ullage-model: one/far\r\n") == 1
        assert b"x-ullage-host: b\r\n" in said
        assert counted(town, "gateway_elsewhere_in_flight") == {(): 0}
        assert counted(town, "requests_total") == {("_elsewhere", "far", "openai", "200"): 1}
        assert town.at.in_flight == {}  # of this host


@story
async def test_a_stream_of_another_host_is_passed_on_byte_for_byte() -> None:
    async with fleet() as town:
        line, _ = town.host("b")
        guest = town.at.asks(model="far", stream=True, **HELLO)
        town.agent.places("b")
        answer = streamed(b": ullage: far is being loaded\n\n", b"data: 1\n\n")
        line.data_received(answer[:200])
        line.data_received(answer[200:])
        assert guest.heard().endswith(answer.partition(b"\r\n\r\n")[2])


@story
async def test_on_whose_behalf_it_comes_and_how_urgent_it_is_is_told_to_the_other_host() -> None:
    token = TokenConfig("laptop", sha256(b"laptop").digest(), priority=3)
    async with fleet(tokens=(token,)) as town:
        _, far = town.host("b")
        lines = ("Authorization: Bearer laptop", "X-Ullage-Session: agent-1", "Via: 1.1 proxy")
        guest = town.at.asks("/v1/chat/completions", *lines, model="far", **HELLO)
        town.agent.places("b")
        _, headers, _ = sent(far)
        assert headers["x-ullage-session"] == "laptop/agent-1"
        assert headers["x-ullage-priority"] == "3"
        assert headers["via"] == f"1.1 proxy, {VIA}"
        await guest.hangs_up()
        await town.at.town.clock.advance(0.1)
        assert far.aborted


@story
async def test_those_who_ask_for_the_same_at_once_are_one_question() -> None:
    async with fleet() as town:
        wires = [town.host("b")[1] for _ in range(3)]
        guests = [town.at.asks(model="far", **HELLO) for _ in range(3)]
        assert len(town.agent.asked()) == 1
        await guests[0].hangs_up()
        await town.at.town.clock.advance(0.1)
        town.agent.places("b")
        assert sum(bool(wire.taken()) for wire in wires) == 2
        assert counted(town, "gateway_placements_total")["elsewhere",] == 2
        for guest in guests[1:]:
            await guest.hangs_up()


@story
async def test_an_alias_leads_to_a_model_of_another_host_too() -> None:
    async with fleet(aliases={"fast": ("far",)}) as town:
        _, far = town.host("b")
        guest = town.at.asks(model="fast", **HELLO)
        assert [asked["model"] for asked in town.agent.asked()] == ["far"]
        town.agent.places("b")
        assert sent(far)[2]["model"] == "one/far"
        await guest.hangs_up()


@story
async def test_the_latest_is_asked_for_without_its_tag_where_nobody_has_it_with_one() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far:latest", **HELLO)
        town.agent.says(404, code="unknown")
        assert [asked["model"] for asked in town.agent.asked()] == ["far:latest", "far"]
        town.agent.says(404, code="unknown", closest=["farther"])
        status, _, body = guest.answer()
        assert (status, body["error"]["code"]) == (404, "model_not_found")
        assert "did you mean farther" in body["error"]["message"]


@story
async def test_an_engine_that_is_named_is_this_hosts_own() -> None:
    async with fleet() as town:
        guest = town.at.asks("/engines/one/v1/chat/completions", model="far", **HELLO)
        assert guest.answer()[0] == 404
        assert town.agent.asked() == []


@story
async def test_a_token_may_use_on_other_hosts_what_it_may_use_here() -> None:
    only = TokenConfig("only", sha256(b"only").digest(), models=("f*",))
    one = TokenConfig("one", sha256(b"one").digest(), engines=("one",))
    async with fleet(tokens=(only, one)) as town:

        def asks(token: str, model: str) -> Any:
            line = f"Authorization: Bearer {token}"
            return town.at.asks("/v1/chat/completions", line, model=model, **HELLO)

        assert asks("only", "secret").answer()[0] == 404
        assert asks("one", "two/far").answer()[0] == 404
        assert town.agent.asked() == []
        guest = asks("one", "one/far")
        town.agent.places("b", "two/one/far")
        assert guest.answer()[0] == 403
        assert counted(town, "gateway_elsewhere_in_flight") == {(): 0}
        _, far = town.host("b")
        guest = asks("only", "far")
        town.agent.places("b")
        assert sent(far)[2]["model"] == "one/far"
        await guest.hangs_up()


# -- from another host


@story
async def test_what_another_host_has_placed_here_is_never_placed_again() -> None:
    async with fleet() as town:
        line, wire = town.at.engine()
        guest = town.at.asks("/v1/chat/completions", *PLACED, model="a", **HELLO)
        assert town.at.gate.loop.traffic.waiting == {town.at.town.ref("a"): 1}
        await town.at.town.until(lambda: wire.sent)
        assert b"x-ullage-placed" not in wire.sent
        assert TOKEN.encode() not in wire.sent
        assert town.at.in_flight == {town.at.town.ref("a"): 1}  # like any other
        line.data_received(whole())
        assert guest.answer()[0] == 200
        assert town.agent.asked() == []


@story
async def test_who_asked_the_other_host_is_who_asks_and_nobody_in_particular_is_nobody() -> None:
    async with fleet(max_held_per_client=1) as town:
        asked: tuple[tuple[str, int], ...] = (
            ("X-Ullage-Session: laptop/agent-1", 200),
            ("X-Ullage-Session: laptop/agent-1", 429),
            ("X-Ullage-Session: laptop/agent-2", 200),
            ("X-Other: x", 200),
            ("X-Other: x", 200),
        )
        for line, status in asked:
            guest = town.at.asks("/v1/chat/completions", *PLACED, line, model="a", **HELLO)
            assert bool(guest.heard()) == (status == 429)
        clients = dict(town.at.gate.admission.holds.of_client)
        assert clients == {"laptop/agent-1": 1, "laptop/agent-2": 1}


@story
async def test_and_where_it_cannot_be_served_the_other_host_is_told_why() -> None:
    async with fleet() as town:
        guest = town.at.asks("/v1/chat/completions", *PLACED, model="far", **HELLO)
        status, headers, _ = guest.answer()
        assert (status, headers["x-ullage-refused"]) == (404, "model_not_found")
        assert town.agent.asked() == []


@story
async def test_the_mark_counts_with_the_fleets_token_alone() -> None:
    for token in ("", "Authorization: Bearer other"):
        async with fleet() as town:
            lines = [line for line in ("X-Ullage-Placed: b", token) if line]
            _, far = town.host("b")
            guest = town.at.asks("/v1/chat/completions", *lines, model="far", **HELLO)
            assert len(town.agent.asked()) == 1  # it is placed, by us
            town.agent.places("b")
            assert sent(far)[1]["x-ullage-placed"] == "a"
            await guest.hangs_up()


@story
async def test_the_fleets_token_opens_no_other_door_and_no_door_where_there_is_no_fleet() -> None:
    known = TokenConfig("laptop", sha256(b"laptop").digest())
    async with fleet(tokens=(known,)) as town:
        unmarked = town.at.asks("/v1/chat/completions", PLACED[1], model="a", **HELLO)
        assert unmarked.answer()[0] == 401
    async with fleet(own=other(tokens=(), gateway=False), tokens=(known,)) as town:
        marked = town.at.asks("/v1/chat/completions", *PLACED, model="a", **HELLO)
        assert marked.answer()[0] == 401


@story
async def test_a_host_that_places_nothing_itself_serves_what_others_place_here() -> None:
    known = TokenConfig("laptop", sha256(b"laptop").digest())
    async with fleet(own=other(gateway=False), tokens=(known,)) as town:
        await town.at.town.has("a")
        line, wire = town.at.engine()
        guest = town.at.asks("/v1/chat/completions", *PLACED, model="a", **HELLO)
        assert wire.taken()
        line.data_received(whole())
        assert guest.answer()[0] == 200


@story
async def test_a_request_that_has_passed_this_gateway_already_is_refused() -> None:
    async with fleet() as town:
        lines = (*PLACED, f"Via: {VIA}, 1.1 ullage-other")
        guest = town.at.asks("/v1/chat/completions", *lines, model="far", **HELLO)
        assert guest.answer()[0] == 508
