"""Answers that end in their middle, that go on in a stream of ours, or become something else."""

from __future__ import annotations

import asyncio

import pytest

from supervisor.gateway.limits import Limits
from supervisor.gateway.relay import End, Relay
from supervisor.gateway.reply import Reply
from supervisor.gateway.upstream import Origin
from tests.gateway.wires import HEAD, House, run, streamed, turns, whole

EVENT = b"data: x\n\n"
LAST = b"0\r\n\r\n"


def test_a_stream_whose_engine_dies_ends_with_an_error_that_the_client_can_read() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(streamed(EVENT, end=b""))
        house.near.taken()
        house.far.close()
        await turns()
        assert house.near.taken() == b"d\r\ndata: broke\n\n\r\n" + LAST
        assert house.heard.ends == [(End.CUT, 200)]
        assert not house.client.gone
        assert house.at_rest()

    run(story)


@pytest.mark.parametrize(
    "answer",
    [
        streamed(EVENT, end=b"9\r\ndata"),
        whole(b"hello")[:-1],
        streamed(EVENT, end=b"").replace(b"text/event-stream", b"application/json"),
        streamed(EVENT, end=b"zz\r\n"),
    ],
)
def test_what_cannot_be_ended_well_is_cut(answer: bytes) -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(answer[:-4])
        house.says(answer[-4:])
        house.far.close()
        await turns()
        assert house.client.gone
        assert b"broke" not in house.near.sent
        assert not house.near.sent.endswith(LAST)
        assert house.heard.ends == [(End.CUT, 200)]
        assert house.at_rest()

    run(story)


def test_an_answer_without_a_length_that_breaks_does_not_look_whole() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(b"HTTP/1.1 200 OK\r\n\r\nhel")
        house.line.connection_lost(ConnectionResetError())
        await turns()
        assert house.near.aborted
        assert house.heard.ends == [(End.CUT, 200)]

    run(story)


def test_a_relay_is_called_off_at_any_time() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        assert house.relay is not None
        house.relay.cancel()
        house.relay.cancel()
        assert house.heard.ends == [(End.NOT_BEGUN, 0)]
        house.client.answer(Reply(503, b"later"))
        assert house.near.taken().startswith(b"HTTP/1.1 503 ")

        house = House()
        house.asks()
        house.says(streamed(EVENT, end=b""))
        house.near.taken()
        assert house.relay is not None
        house.relay.cancel()
        assert house.near.taken() == b"d\r\ndata: broke\n\n\r\n" + LAST
        assert house.heard.ends == [(End.CUT, 200)]

    run(story)


def held(limits: Limits | None = None) -> House:
    """A client that was told to expect events, and whose request goes to the engine now."""
    house = House(limits, relays=False)
    house.asks()
    house.client.begin_events()
    house.client.comment(b"wait")
    house.near.taken()
    house.send(house.client, house.requests[0])
    return house


def test_a_stream_goes_on_in_the_one_that_was_begun() -> None:
    async def story() -> None:
        house = held()
        house.says(streamed(EVENT, EVENT))
        assert house.near.taken() == b"12\r\n" + EVENT * 2 + b"\r\n" + LAST
        assert house.heard.ends == [(End.DONE, 200)]
        assert house.idle() == 1
        house.asks()
        assert len(house.requests) == 2

    run(story)


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"no", b"400 Bad Request"),
        streamed(b"no").replace(b"200 OK", b"400 Bad Request"),
        b"HTTP/1.1 400 Bad Request\r\n\r\nno",
    ],
)
def test_an_error_becomes_the_last_event_of_a_stream_that_was_begun(answer: bytes) -> None:
    async def story() -> None:
        house = held()
        house.says(answer)
        if b"ength" not in answer and b"chunked" not in answer:
            house.far.close()
            await turns()
        assert house.near.taken() == b"e\r\ndata: 400 no\n\n\r\n" + LAST
        assert house.heard.ends == [(End.DONE, 400)]

    run(story)


def test_a_picture_becomes_an_event_however_large_it_is() -> None:
    async def story() -> None:
        picture = b'{"data":[{"b64_json":"' + b"A" * 400_000 + b'"}]}'
        house = held()
        answer = whole(picture)
        for start in range(0, len(answer), 60_000):
            house.says(answer[start : start + 60_000])
        assert house.near.taken().endswith(b"data: 200 " + picture + b"\n\n\r\n" + LAST)
        assert house.heard.ends == [(End.DONE, 200)]

    run(story)


@pytest.mark.parametrize(("status", "most"), [(b"200 OK", 1000), (b"500 Oh", 256 * 1024)])
def test_what_is_too_large_for_an_event_is_not_quoted(status: bytes, most: int) -> None:
    async def story() -> None:
        house = held(Limits(body=1000))
        house.says(whole(b"A" * (most + 1), status)[:-1])
        assert house.near.taken() == b""
        house.says(b"A")
        sent = house.near.taken()
        assert b"data: 502 the engine's answer is too large for a stream\n\n" in sent
        assert sent.endswith(LAST)
        assert b"AA" not in sent
        assert house.heard.ends == [(End.CUT, int(status[:3]))]
        assert house.far.aborted
        assert not house.client.gone
        assert house.at_rest()

    run(story)


def test_half_a_picture_is_not_quoted_as_the_reason_why_there_is_no_more() -> None:
    async def story() -> None:
        house = held()
        house.says(whole(b'{"data":[]}')[:-1])
        house.far.close()
        await turns()
        assert house.near.taken() == b"d\r\ndata: broke\n\n\r\n" + LAST
        assert house.heard.ends == [(End.CUT, 200)]
        house = held()
        house.says(whole(b"no room", b"500 Oh")[:-1])
        house.far.close()
        await turns()
        assert b"data: 500 no roo\n\n" in house.near.taken()

    run(story)


def test_an_engine_that_dies_in_a_stream_that_was_begun() -> None:
    async def story() -> None:
        house = held()
        house.heard.then = lambda: house.client.end_events(b"data: gone\n\n")
        house.far.close()
        await turns()
        # It was a connection that had been used: it is tried once more, and nobody is there.
        await until_refused(house)
        assert house.near.taken() == b"c\r\ndata: gone\n\n\r\n" + LAST

        house = held()
        house.says(streamed(EVENT, end=b"9\r\nhalf"))
        house.near.taken()
        house.far.close()
        await turns()
        assert house.near.taken() == b"d\r\ndata: broke\n\n\r\n" + LAST
        assert house.heard.ends == [(End.CUT, 200)]

    async def until_refused(house: House) -> None:
        while not house.heard.ends:
            await turns()
        assert house.heard.ends == [(End.NOT_BEGUN, 0)]

    run(story)


@pytest.mark.parametrize("host", ["my..host", "x" * 64, "a." + "x" * 64])
def test_a_name_that_nobody_can_look_up_is_no_reason_to_wait(host: str) -> None:
    """It cannot even be asked for: that is an error of another kind than that nobody is there."""

    async def story() -> None:
        house = House(relays=False)
        house.asks()
        origin = Origin.of(f"http://{host}:11434")
        relay = Relay(house.client, house.links, origin, b"x", house.heard)
        async with asyncio.timeout(10):
            while not house.heard.ends:
                await turns()
        assert house.heard.ends == [(End.NOT_BEGUN, 0)]
        assert relay.error is not None
        assert not house.links.users
        house.client.answer(Reply(502, b"nobody"))
        assert house.near.taken().startswith(b"HTTP/1.1 502 ")

    run(story)


SWITCH = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_a_websocket_passes_bytes_both_ways() -> None:
    async def story() -> None:
        house = House()
        house.asks(SWITCH)
        assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in house.far.taken()
        house.asks(b"early")
        house.says(SWITCHED + b"\x81\x02hi")
        sent = house.near.taken()
        assert sent.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert sent.endswith(b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x02hi")
        assert house.far.taken() == b"early"
        house.asks(b"\x81\x80mask")
        assert house.far.taken() == b"\x81\x80mask"
        house.line.pause_writing()
        assert not house.near.reading
        house.line.resume_writing()
        assert house.near.reading
        house.client.pause_writing()
        assert not house.far.reading
        house.client.resume_writing()
        house.far.close()
        await turns()
        assert house.client.gone
        assert house.heard.ends == [(End.DONE, 101)]
        assert house.at_rest()

    run(story)


def test_an_engine_cannot_switch_where_the_client_did_not_ask_for_it() -> None:
    async def story() -> None:
        house = House()
        house.asks(HEAD + b"\r\n")
        house.says(SWITCHED)
        await turns()
        assert house.heard.ends == [(End.BAD, 0)]
        assert house.near.sent == b""

    run(story)
