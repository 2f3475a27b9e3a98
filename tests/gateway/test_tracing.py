"""Traces of requests: what they show, whose they are, and what passes on to engines."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from supervisor.core.snapshot import Ability
from supervisor.gateway.build import trace
from supervisor.telemetry.tracing import SLOT, Finished, Span, Tracing, write
from tests.gateway.desk import Desk, Spoken, desk, get, post
from tests.gateway.hosts import FLEET, Town
from tests.gateway.wires import streamed, whole
from tests.scenarios.gate import LOAD, models, story

HELLO = {"messages": [{"role": "user", "content": "hi"}]}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKED = f"traceparent: 00-{TRACE}-{SPAN}-01"


class Shy(Spoken):
    """It loads with the first request, and by no other way."""

    abilities = frozenset({Ability.LIST, Ability.UNLOAD, Ability.IN_FLIGHT})


@dataclass
class Seen:
    traces: list[Finished] = field(default_factory=list)

    def only(self) -> Finished:
        (found,) = self.traces
        return found

    def spans(self, name: str) -> list[Span]:
        return [s for t in self.traces for s in t.spans if s.name == name]

    def one(self, name: str) -> Span:
        (found,) = self.spans(name)
        return found

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.only().spans]


@asynccontextmanager
async def traced(*args: Any, sample: float = 1.0, **more: Any) -> AsyncIterator[tuple[Desk, Seen]]:
    seen = Seen()
    async with desk(*args, **more) as at:
        clock = at.town.clock
        tracing = Tracing(
            seen.traces.append, sample, clock, lambda: 1.8e9 + clock(), chance=random.Random(1)
        )
        trace(at.gate, tracing)
        yield at, seen


def seconds(span: Span) -> float:
    return (span.ended - span.began) / 1e9


def within(inner: Span, outer: Span) -> bool:
    return outer.began <= inner.began <= inner.ended <= outer.ended


# -- what a request came through


@story
async def test_a_held_request_shows_its_plan_its_load_its_engine_and_its_first_token() -> None:
    async with traced() as (at, seen):
        line, wire = at.engine()
        guest = at.asks(model="a", stream=True, **HELLO)
        await at.town.until(lambda: wire.sent)
        await at.town.clock.advance(0.25)
        event = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'
        line.data_received(streamed(event, end=b""))
        await at.town.clock.advance(1.0)
        assert seen.traces == []  # it is written down when it is over
        line.data_received(b"0\r\n\r\n")
        assert guest.heard().endswith(b"0\r\n\r\n")
        name = "POST chat"
        assert seen.names == [name, "held", "plan", "load one/a", "one", "first token"]
        root, held, plan, load, engine, token = seen.only().spans
        assert not seen.only().remote
        assert [s.parent for s in (root, held, plan, load, engine, token)] == [
            0, root.id, held.id, held.id, root.id, engine.id,
        ]  # fmt: skip
        assert [s.kind for s in (root, held, engine)] == ["server", "internal", "client"]
        assert all(within(s, root) for s in seen.only().spans)
        assert all(within(s, held) for s in (plan, load))
        assert plan.ended <= load.began
        assert LOAD <= seconds(load) < LOAD + 0.5
        assert held.ended <= engine.began == token.began
        assert 0.25 <= seconds(token) <= 0.51
        assert seconds(engine) - seconds(token) == pytest.approx(1.0, abs=1e-6)
        (decided,) = at.town.decisions()
        for span in (held, plan, load):
            assert span.attributes["ullage.decision"] == decided["id"]
        assert plan.attributes["ullage.cause"] == decided["cause"]
        assert root.attributes["ullage.decisions"] == (decided["id"],)
        assert root.attributes["ullage.model"] == "one/a"
        assert root.attributes["http.response.status_code"] == 200
        assert root.attributes["ullage.surface"] == "chat"
        assert root.attributes["url.path"] == "/v1/chat/completions"
        assert root.error is None
        assert len({s.id for s in seen.only().spans}) == 6
        assert root.began == pytest.approx((1.8e9 + 1000) * 1e9, rel=1e-6)


@story
async def test_who_had_to_leave_is_shown_with_what_it_gave_back() -> None:
    async with traced(models("abcd")) as (at, seen):  # three of them fit
        await at.town.has("a", "b", "c")
        at.engine()[0]
        guest = at.asks(model="d", **HELLO)
        await at.town.until(lambda: at.links[-1][1].sent)
        at.links[-1][0].data_received(whole())
        assert guest.answer()[0] == 200
        (evict,) = [s for s in seen.only().spans if s.name.startswith("evict")]
        load = seen.one("load one/d")
        assert evict.ended <= load.began
        assert evict.attributes["ullage.verdict"] == "recovered"
        assert evict.attributes["ullage.promised_bytes"] == 8 * 1024**3
        assert evict.attributes["ullage.returned_bytes"] == 8 * 1024**3
        assert evict.attributes["ullage.rung"] == "unload"
        assert seen.one("plan").attributes["ullage.evictions"] == 1


@story
async def test_where_an_engine_loads_by_itself_the_room_that_was_made_is_shown() -> None:
    both = (Shy, Spoken)
    async with traced(models("ab", 20.0), kinds=both) as (at, seen):  # one of them fits
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.asks(model="b", **HELLO)
        await at.town.until(lambda: wire.sent)
        line.data_received(whole())
        assert guest.answer()[0] == 200
        at.town.engines[at.town.ref("b").engine].serve(at.town.ref("b").model, 0.0)
        (decided,) = at.town.decisions()
        assert [a["action"] for a in decided["actions"]] == ["evict"]
        assert seen.one("evict one/a").attributes["ullage.decision"] == decided["id"]
        assert seen.one("held").attributes["ullage.decision"] == decided["id"]
        assert seen.one("plan").attributes["ullage.cause"] == "a request waits for one/b"


@story
async def test_a_request_that_passes_at_once_has_no_hold_and_one_that_is_no_stream_no_token() -> (
    None
):
    async with traced() as (at, seen):
        await at.town.has("a")
        line, _ = at.engine()
        at.asks(model="a", **HELLO)
        await at.town.clock.advance(0.5)
        line.data_received(whole(b'{"ok":1}'))
        assert seen.names == ["POST chat", "one", "first byte"]
        assert seconds(seen.one("first byte")) == pytest.approx(0.5)
        assert seen.only().spans[0].attributes["ullage.response_bytes"] == 8
        engine = seen.one("one").attributes
        assert (engine["server.address"], engine["server.port"]) == ("127.0.0.1", 1)


@story
async def test_all_who_wait_for_one_load_show_it_each_in_a_trace_of_its_own() -> None:
    async with traced() as (at, seen):
        guests = []
        for _ in range(8):
            at.engine()
            guests.append(at.asks(model="a", **HELLO))
            await at.town.clock.advance(0.125)  # some come when it is under way already
        await at.town.until(lambda: all(wire.sent for _, wire in at.links))
        for line, _ in at.links:
            line.data_received(whole())
        assert [g.answer()[0] for g in guests] == [200] * 8
        (decided,) = at.town.decisions()
        assert len({t.trace for t in seen.traces}) == 8
        seen.traces.sort(key=lambda t: t.spans[0].began)
        loads = seen.spans("load one/a")
        assert [s.attributes["ullage.decision"] for s in loads] == [decided["id"]] * 8
        assert len(seen.spans("held")) == 8
        assert all(within(s, t.spans[0]) for t in seen.traces for s in t.spans)
        shown = [seconds(s) for s in loads]
        assert shown == sorted(shown, reverse=True)  # as much of it as each has waited for
        assert shown[0] - shown[-1] > 0.5
        (took,) = {s.attributes["ullage.took"] for s in loads}
        assert took == pytest.approx(shown[0], abs=1e-6)
        assert len(seen.spans("plan")) == 1  # the others came when it was made


@story
async def test_a_load_that_fails_is_an_error_in_the_trace_of_who_waited() -> None:
    async with traced() as (at, seen):
        at.town.engines[at.town.ref("a").engine].refuses["a"] = "no such file"
        guest = at.asks(model="a", **HELLO)
        await at.town.until(lambda: seen.traces)
        status = guest.answer()[0]
        root, held, load = (seen.only().spans[0], seen.one("held"), seen.one("load one/a"))
        assert status >= 500
        assert root.attributes["http.response.status_code"] == status
        assert root.error == root.attributes["error.type"] == str(status)
        assert root.attributes["ullage.refused"] == "load_failed"
        assert held.error is not None
        assert "no such file" in (load.error or "")
        assert load.attributes["ullage.result"] == "failed"


@story
async def test_who_leaves_while_it_waits_ends_its_trace_there() -> None:
    async with traced() as (at, seen):
        guest = at.asks(model="a", stream=True, **HELLO)
        await at.town.clock.advance(0.5)
        await guest.hangs_up()
        await at.town.clock.advance(0.01)
        root, held = seen.only().spans[0], seen.one("held")
        load = seen.one("load one/a")
        assert load.attributes["ullage.result"] == "under_way"
        assert load.ended == held.ended
        assert 0 < seconds(load) <= seconds(held)
        assert root.attributes["http.response.status_code"] == 499
        assert root.attributes["error.type"] == "client_gone"
        assert root.error is None  # nothing is wrong with us
        assert seconds(held) == pytest.approx(0.5, abs=0.02)
        assert seen.spans("one") == []


@story
async def test_an_engine_that_broke_off_and_the_one_that_answered_are_both_there() -> None:
    async with traced() as (at, seen):
        await at.town.has("a")
        line, wire = at.engine()
        at.asks(model="a", **HELLO)
        wire.close()
        again, second = at.engine()
        await at.town.until(lambda: second.sent)
        first_id = re.search(rb"traceparent: (\S+)", wire.taken())
        second_id = re.search(rb"traceparent: (\S+)", second.taken())
        again.data_received(whole())
        one, two = seen.spans("one")
        assert (one.error, two.error) == ("not_begun", None)
        assert one.attributes["error.type"] == "not_begun"
        trace_id = seen.only().trace
        assert first_id is not None
        assert second_id is not None
        assert [first_id[1], second_id[1]] == [write(trace_id, one.id), write(trace_id, two.id)]
        assert seen.one("first byte").parent == two.id
        assert line is not again


@story
async def test_what_is_refused_at_once_is_a_trace_and_what_we_answer_ourselves_is_none() -> None:
    async with traced() as (at, seen):
        guest = at.guest()
        guest.says(get("/v1/models"))
        assert guest.answer()[0] == 200
        assert seen.traces == []
        asked = at.asks(model="unheard", **HELLO)
        assert asked.answer()[0] == 404
        assert seen.names == ["POST chat"]
        assert seen.only().spans[0].attributes["http.response.status_code"] == 404


@story
async def test_no_query_no_body_and_no_key_is_in_a_trace() -> None:
    async with traced() as (at, seen):
        await at.town.has("a")
        line, _ = at.engine()
        guest = at.guest()
        body = {"model": "a", "messages": [{"role": "user", "content": "private"}]}
        keys = ("Authorization: Bearer sk-123456", "x-api-key: sk-123456", "Cookie: sk-123456")
        guest.says(post("/v1/chat/completions?key=sk-123456", body, *keys))
        line.data_received(whole())
        assert guest.answer()[0] == 200
        assert "sk-123456" not in repr(seen.traces)
        assert "private" not in repr(seen.traces)


# -- whose trace it is


@story
async def test_it_is_a_part_of_its_clients_trace_and_the_engine_goes_on_with_ours() -> None:
    async with traced() as (at, seen):
        await at.town.has("a")
        line, wire = at.engine()
        at.asks("/v1/chat/completions", ASKED, "tracestate: vendor=1", model="a", **HELLO)
        sent = wire.taken()
        line.data_received(whole())
        root = seen.only().spans[0]
        assert seen.only().remote
        assert f"{seen.only().trace:032x}" == TRACE
        assert f"{root.parent:016x}" == SPAN
        assert sent.count(b"traceparent") == 1
        assert b"\r\ntraceparent: " + write(int(TRACE, 16), seen.one("one").id) in sent
        assert b"\r\ntracestate: vendor=1\r\n" in sent
        assert SPAN.encode() not in sent


@story
async def test_a_client_that_records_nothing_is_not_recorded_and_its_header_goes_on() -> None:
    async with traced() as (at, seen):
        await at.town.has("a")
        line, wire = at.engine()
        at.asks("/v1/chat/completions", ASKED[:-1] + "0", model="a", **HELLO)
        assert ASKED[:-1].encode() + b"0\r\n" in wire.taken()
        line.data_received(whole())
        assert seen.traces == []


@story
async def test_a_header_that_is_none_begins_a_new_trace() -> None:
    async with traced() as (at, seen):
        await at.town.has("a")
        line, wire = at.engine()
        at.asks("/v1/chat/completions", "traceparent: 00-zz-1-01", model="a", **HELLO)
        assert wire.taken().count(b"traceparent") == 1
        line.data_received(whole())
        assert not seen.only().remote
        assert seen.only().spans[0].parent == 0


@story
async def test_each_request_of_a_client_that_repeats_itself_has_ids_of_its_own() -> None:
    async with traced() as (at, seen):
        await at.town.has("a")
        line, wire = at.engine()
        sent = []
        for _ in range(3):
            at.asks(model="a", **HELLO)
            sent.append(wire.taken())
            line.data_received(whole())
        assert len({t.trace for t in seen.traces}) == 3
        found = [re.search(rb"traceparent: (\S+)", s) for s in sent]
        assert [f and f[1] for f in found] == [write(t.trace, t.spans[1].id) for t in seen.traces]
        assert SLOT not in b"".join(sent)


@story
async def test_without_tracing_nothing_is_added_and_a_clients_header_passes() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        at.asks(model="a", **HELLO)
        assert b"traceparent" not in wire.taken()
        line.data_received(whole())
        at.asks("/v1/chat/completions", ASKED, model="a", **HELLO)
        assert ASKED.encode() in wire.taken()
        line.data_received(whole())


@story
async def test_of_those_who_do_not_say_so_many_are_traced_as_is_wished() -> None:
    async with traced(sample=0.25) as (at, seen):
        await at.town.has("a")
        line, wire = at.engine()
        for _ in range(200):
            at.asks(model="a", **HELLO)
            line.data_received(whole())
        assert 30 < len(seen.traces) < 70
        before = len(seen.traces)
        for _ in range(5):  # who says so is
            at.asks("/v1/chat/completions", ASKED, model="a", **HELLO)
            line.data_received(whole())
        assert len(seen.traces) == before + 5
        assert wire.sent


# -- across the fleet


@story
async def test_what_another_host_does_is_a_part_of_the_same_trace() -> None:
    async with traced(fleet=FLEET) as (at, seen):
        town = Town(at)
        line, wire = town.host("b")
        guest = at.asks("/v1/chat/completions", ASKED, model="far", **HELLO)
        town.agent.places("b")
        sent = wire.taken()
        line.data_received(whole())
        assert guest.answer()[0] == 200
        there = seen.one("host b")
        assert f"traceparent: {write(seen.only().trace, there.id).decode()}\r\n".encode() in sent
        assert there.attributes["ullage.model"] == "one/far"
        assert there.attributes["server.address"] == "b.lan"
        assert f"{seen.only().trace:032x}" == TRACE
