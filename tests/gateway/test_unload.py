"""Who asks an engine to unload a model: nothing is waited for, or loaded, for that."""

from __future__ import annotations

from tests.gateway.desk import desk
from tests.gateway.test_exchange import HELLO
from tests.gateway.wires import whole
from tests.scenarios.gate import models, story


@story
async def test_an_unload_of_a_model_that_is_not_there_loads_nothing() -> None:
    async with desk() as at:
        guest = at.asks("/api/generate", model="a", keep_alive=0)
        status, _, body = guest.answer()
        assert (status, body["done_reason"]) == (200, "unload")
        await at.town.clock.advance(5)
        assert at.town.loads == []


@story
async def test_an_unload_of_a_model_that_others_drain_is_passed_on_at_once_and_loads_nothing() -> (
    None
):
    async with desk(models("ab", 20), drain_after=5.0) as at:
        await at.town.has("a")
        line, _ = at.engine()
        works = at.asks(model="a", **HELLO)
        held = at.asks(model="b", **HELLO)
        await at.town.clock.advance(7)
        assert at.gate.loop.traffic.closed == {at.town.ref("a")}
        told, wire = at.engine()
        guest = at.asks("/api/generate", model="a", keep_alive=0)
        assert wire.taken().startswith(b"POST /api/generate HTTP/1.1\r\n")
        told.data_received(whole(b'{"done":true}'))
        assert guest.answer()[2] == {"done": True}
        line.data_received(whole())
        assert works.answer()[0] == 200
        told, wire = at.engine()
        await at.town.until(lambda: wire.sent)
        told.data_received(whole())
        assert held.answer()[0] == 200
        assert at.town.loads == ["b"]


@story
async def test_an_unload_at_which_the_engine_broke_off_is_not_sent_again() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.asks("/api/generate", model="a", keep_alive=0)
        line.data_received(b"HTTP/1.1 200")
        wire.close()
        await at.town.until(lambda: guest.wire.sent)
        assert guest.answer()[0] == 502
        assert at.town.loads == []
