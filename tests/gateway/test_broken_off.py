"""Engines that leave before they have answered, or in the middle."""

from __future__ import annotations

import asyncio

from tests.gateway.desk import desk
from tests.gateway.test_exchange import HELLO
from tests.gateway.wires import streamed, whole
from tests.scenarios.gate import story


@story
async def test_a_request_whose_engine_broke_off_before_it_answered_is_sent_again() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.asks(model="a", **HELLO)
        request = wire.taken()
        line.data_received(b"HTTP/1.1 200")  # and no more
        wire.close()
        again, second = at.engine()
        await at.town.until(lambda: second.sent)
        assert second.taken() == request
        again.data_received(whole())
        assert guest.answer()[0] == 200
        assert at.in_flight == {}


@story
async def test_and_only_once() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.asks(model="a", **HELLO)
        line.data_received(b"HTTP/1.1 200")
        wire.close()
        again, second = at.engine()
        await at.town.until(lambda: second.sent)
        again.data_received(b"HTTP/1.1 200")
        second.close()
        await at.town.until(lambda: guest.wire.sent)
        status, _, body = guest.answer()
        assert status == 503
        assert "broke off" in body["error"]["message"]
        assert at.in_flight == {}


@story
async def test_who_breaks_off_in_the_middle_may_be_back_without_its_model() -> None:
    """Whoever asks next waits until it was looked at again, and is not sent there in vain."""
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        at.asks(model="a", stream=True, **HELLO)
        line.data_received(streamed(b"data: 1\n\n", end=b""))
        at.town.machine.end(at.town.model("a").tenant)  # its process dies, and another listens
        wire.close()
        await asyncio.sleep(0)
        _, anew = at.engine()
        guest = at.asks(model="a", **HELLO)
        assert anew.taken() == guest.heard() == b""
        await at.town.until(lambda: anew.sent)
        assert at.town.loads == ["a"]


@story
async def test_a_stream_that_its_engine_cuts_short_ends_with_an_error_of_the_clients_api() -> None:
    async with desk() as at:
        await at.town.has("a")
        for path, mark in (
            ("/v1/chat/completions", b'data: {"error":'),
            ("/v1/messages", b'event: error\ndata: {"type":"error"'),
        ):
            line, wire = at.engine()
            guest = at.asks(path, model="a", stream=True, **HELLO)
            await at.town.until(lambda wire=wire: wire.sent)
            line.data_received(streamed(b"data: 1\n\n", end=b""))
            wire.close()
            await at.town.clock.advance(0.1)
            said = guest.heard()
            assert mark in said
            assert b"ended in the middle" in said
            assert said.endswith(b"0\r\n\r\n")
