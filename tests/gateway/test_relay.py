"""An engine's answer, as it is passed on."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from supervisor.gateway.limits import Limits
from supervisor.gateway.relay import End
from supervisor.gateway.reply import Reply
from tests.gateway.wires import House, asked, run, streamed, turns, whole

EVENT = b"data: x\n\n"
LAST = b"0\r\n\r\n"


def test_a_stream_goes_on_as_it_comes_and_both_connections_are_kept() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        assert house.far.taken().startswith(b"POST /v1/chat HTTP/1.1\r\nhost: 127.0.0.1:1\r\n")
        answer = streamed(EVENT, EVENT)
        first, second = answer[:-19], answer[-19:]
        house.says(first)
        passed = house.near.taken()
        assert passed.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        assert b"\r\nx-ullage-model: one/small\r\n" in passed
        assert passed.endswith(b"\r\n\r\n9\r\ndata: x\n\n\r\n")
        house.says(second)
        assert house.near.taken() == second
        assert house.heard.ends == [(End.DONE, 200)]
        assert house.heard.moves == 2
        assert house.idle() == 1
        assert house.at_rest()
        house.asks()
        house.says(whole(b"[1]"))
        assert house.near.taken().endswith(
            b"content-length: 3\r\nx-ullage-model: one/small\r\n\r\n[1]"
        )

    run(story)


@pytest.mark.parametrize("answer", [streamed(EVENT, EVENT), whole(b"hello"), whole(b"")])
def test_an_answer_may_come_byte_by_byte(answer: bytes) -> None:
    async def story() -> None:
        house = House()
        house.asks()
        for byte in answer:
            assert house.heard.ends == []
            house.says(bytes([byte]))
        assert house.heard.ends == [(End.DONE, 200)]
        assert house.near.sent.endswith(answer.partition(b"\r\n\r\n")[2])
        assert house.idle() == 1

    run(story)


def test_an_error_of_the_engine_goes_on_as_it_is() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(whole(b'{"error":1}', b"418 I am a teapot", b"Retry-After: 7"))
        sent = house.near.taken()
        assert sent.startswith(b"HTTP/1.1 418 I am a teapot\r\n")
        assert b"\r\nretry-after: 7\r\n" in sent
        assert sent.endswith(b'\r\n\r\n{"error":1}')
        assert house.heard.ends == [(End.DONE, 418)]

    run(story)


def test_trailers_go_on() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(streamed(EVENT, end=b"0\r\nx-sum: 1\r\n\r\n"))
        assert house.near.taken().endswith(b"\r\n0\r\nx-sum: 1\r\n\r\n")
        assert house.idle() == 1

    run(story)


def test_what_engines_say_before_their_answer_is_passed_over() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + whole()
        )
        assert house.near.taken().startswith(b"HTTP/1.1 200 OK\r\n")
        assert house.heard.ends == [(End.DONE, 200)]

    run(story)


def test_an_answer_without_a_length_ends_with_both_connections() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhel")
        house.says(b"lo")
        assert house.heard.ends == []
        house.far.close()
        await turns()
        sent = house.near.taken()
        assert b"\r\nconnection: close\r\n" in sent
        assert sent.endswith(b"\r\n\r\nhello")
        assert house.near.half_closed
        assert house.heard.ends == [(End.DONE, 200)]
        assert house.idle() == 0

    run(story)


def test_an_old_client_gets_a_stream_without_chunks() -> None:
    async def story() -> None:
        house = House()
        house.asks(asked(version=b"1.0"))
        house.says(streamed(EVENT, EVENT))
        sent = house.near.taken()
        assert b"transfer-encoding" not in sent
        assert sent.endswith(b"connection: close\r\n\r\n" + EVENT + EVENT)
        assert house.near.half_closed
        assert house.idle() == 1

    run(story)


def test_an_answer_to_a_head_request_ends_with_its_head() -> None:
    async def story() -> None:
        house = House()
        house.asks(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        house.says(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        assert b"content-length: 500\r\n" in house.near.taken()
        assert house.heard.ends == [(End.DONE, 200)]
        assert house.idle() == 1

    run(story)


def test_a_second_answer_reaches_nobody() -> None:
    async def story() -> None:
        for answer in (whole(b"one"), streamed(b"data: one\n\n")):
            house = House()
            house.asks()
            house.says(answer + whole(b"secret"))
            await turns()
            sent = house.near.taken()
            assert b"one" in sent
            assert b"secret" not in sent
            assert house.heard.ends == [(End.DONE, 200)]
            assert house.far.aborted
            assert house.idle() == 0
            assert house.near.half_closed is (answer != whole(b"one"))  # where it may be cut short

    run(story)


def test_a_connection_that_nobody_uses_is_not_kept_for_ever() -> None:
    async def story() -> None:
        house = House()
        assert house.links.watch(house.line.since + 29)
        assert house.idle() == 1
        house.links.watch(house.line.since + 31)
        await turns()
        assert house.idle() == 0
        assert house.far.aborted
        assert not house.links.watch(house.line.since + 32)

    run(story)


def test_an_engine_that_speaks_unasked_is_hung_up_on() -> None:
    async def story() -> None:
        house = House()
        house.says(whole(b"secret"))
        await turns()
        assert house.far.aborted
        assert house.idle() == 0
        assert house.near.sent == b""

    run(story)


def test_an_engine_that_answers_before_it_was_asked_whole_is_not_asked_again() -> None:
    async def story() -> None:
        house = House()
        house.asks(asked(b"x" * 1000))
        house.far.unsent = 500
        house.says(whole(b"too large", b"413 Content Too Large"))
        await turns()
        assert house.near.taken().endswith(b"too large")
        assert house.far.aborted
        assert house.idle() == 0

    run(story)


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nX" + b"x" * 70_000, b"HTTP/1.1 x\r\n\r\n"]
)
def test_what_is_not_http_is_answered_by_whoever_listens(said: bytes) -> None:
    async def story() -> None:
        house = House()
        house.heard.then = lambda: house.client.answer(Reply(502, b"bad"))
        house.asks()
        house.says(said)
        await turns()
        assert house.near.taken().startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert house.heard.ends == [(End.BAD, 0)]
        assert house.far.aborted
        assert house.at_rest()

    run(story)


def test_an_engine_that_says_nothing_is_given_up() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        assert house.relay is not None
        now = house.links.now
        house.relay.watch(now + 1)
        house.relay.watch(now + 600)
        assert house.heard.ends == []
        house.relay.watch(now + 602)
        await turns()
        assert house.heard.ends == [(End.SILENT, 0)]
        assert house.far.aborted
        assert not house.links.users

    run(story)


def test_a_client_that_leaves_takes_the_engines_work_with_it() -> None:
    async def story() -> None:
        for said in (b"", b"HTTP/1.1 200", streamed(EVENT, end=b"")):
            house = House()
            house.asks()
            if said:
                house.says(said)
            house.near.close()
            await turns()
            assert house.far.aborted
            assert [end for end, _ in house.heard.ends] == [End.CLIENT_GONE]
            assert house.at_rest()
            assert house.idle() == 0

    run(story)


def test_nobody_connects_for_a_client_that_left() -> None:
    async def story() -> None:
        connecting, given_up = asyncio.Event(), asyncio.Event()

        async def connects(*_: object) -> NoReturn:
            connecting.set()
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()
            raise AssertionError

        asyncio.get_running_loop().create_connection = connects  # type: ignore[method-assign]
        house = House()
        house.links.idle.clear()
        house.asks()
        await connecting.wait()
        house.near.close()
        await turns()
        assert given_up.is_set()
        assert house.heard.ends == [(End.CLIENT_GONE, 0)]

        house = House(Limits(connect=0.01))
        house.links.idle.clear()
        house.asks()
        while not house.heard.ends:  # nor is an engine waited for that takes no connection
            await turns()
        assert house.heard.ends == [(End.NOT_BEGUN, 0)]
        assert not house.links.users

    run(story)


def test_an_engine_waits_for_a_client_that_reads_slowly() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(streamed(EVENT, end=b""))
        house.client.pause_writing()
        assert not house.far.reading
        assert house.relay is not None
        for later in range(0, 5000, 500):  # nor is that the engine's fault
            house.relay.watch(house.links.now + later)
        assert house.heard.ends == []
        house.client.resume_writing()
        assert house.far.reading
        house.client.pause_writing()
        house.says(LAST)
        assert house.heard.ends == [(End.DONE, 200)]
        assert house.far.reading
        house.asks()
        assert not house.far.reading

    run(story)
