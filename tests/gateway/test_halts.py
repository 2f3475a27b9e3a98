"""What clients are told in a pause, and of an engine that is drained."""

from __future__ import annotations

from collectors.reading import Seconds
from supervisor.core.halt import Halt
from supervisor.core.snapshot import EngineId
from tests.gateway.desk import Desk, desk, get
from tests.gateway.wires import whole
from tests.scenarios.gate import story

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def pause(at: Desk, period: float) -> None:
    at.gate.loop.keeping.pausing.set_pause(Seconds(at.gate.clock() + period))


def drain(at: Desk) -> None:
    at.gate.loop.keeping.pausing.drain(EngineId("one"), Halt())


@story
async def test_each_api_is_told_in_its_own_form_when_to_ask_again() -> None:
    async with desk() as at:
        pause(at, 40)
        openai = at.asks(model="a", **HELLO).answer()
        assert (openai[0], openai[1]["retry-after"]) == (503, "40")
        assert openai[2]["error"]["code"] == "paused"
        assert "one/a is not loaded, and Ullage is paused for 40 s" in openai[2]["error"]["message"]
        status, headers, body = at.asks("/api/chat", model="a", **HELLO).answer()
        assert (status, headers["retry-after"]) == (503, "40")
        assert "Ullage is paused" in body["error"]
        assert at.gate.counts.refusals["paused"] == 2


@story
async def test_a_drained_engine_is_named_and_what_lets_requests_go_there_again() -> None:
    async with desk() as at:
        await at.town.has("a")
        drain(at)
        status, headers, body = at.asks(model="a", **HELLO).answer()
        assert (status, headers["retry-after"]) == (503, "60")
        assert body["error"]["code"] == "engine_drained"
        assert "`ullage undrain` ends it" in body["error"]["message"]
        assert at.gate.counts.refusals["drained"] == 1


@story
async def test_nothing_passes_to_a_drained_engine_as_it_is_but_questions_do() -> None:
    async with desk(manage=True) as at:
        await at.town.has("a")
        drain(at)
        for path in ("/engines/one/prompt", "/engines/one/api/delete"):
            assert at.asks(path, model="a").answer()[0] == 503
        line, wire = at.engine()
        guest = at.asks("/api/show", model="a")
        assert wire.taken().startswith(b"POST /api/show")
        line.data_received(whole(b"{}"))
        assert guest.answer()[0] == 200
        listed = at.guest()
        listed.says(get("/v1/models"))
        assert [m["id"] for m in listed.answer()[2]["data"]] == ["a", "b"]


@story
async def test_an_answer_under_way_goes_on_when_its_engine_is_drained() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, _ = at.engine()
        guest = at.asks(model="a", **HELLO)
        drain(at)
        assert at.in_flight == {at.town.ref("a"): 1}
        line.data_received(whole(b'{"ok":1}'))
        assert guest.answer()[0] == 200
