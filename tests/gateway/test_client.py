"""A client's connection: requests one after the other, within limits, and nobody waited for."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from supervisor.gateway.connections import COPIES, SMALL
from supervisor.gateway.limits import Limits
from supervisor.gateway.reply import Reply
from tests.gateway.wires import HEAD, House, asked, run, status, turns

YES = Reply(200, b"yes")


def test_a_request_is_served_once_it_is_whole_however_it_comes() -> None:
    async def story() -> None:
        house = House(relays=False)
        for byte in asked(b'{"model":"a"}'):
            assert not house.requests
            house.asks(bytes([byte]))
        (request,) = house.requests
        assert request.body == b'{"model":"a"}'
        assert request.head.path == b"/v1/chat"

    run(story)


def test_a_body_in_chunks_is_put_together() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1")
        house.asks(b"\r\n!\r\n0\r\n\r\n")
        assert [r.body for r in house.requests] == [b"hello!"]

    run(story)


def test_requests_are_served_one_after_the_other() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(asked(b"1") + asked(b"2") + asked(b"3")[:-1])
        assert [r.body for r in house.requests] == [b"1"]
        house.client.answer(YES)
        await turns()
        assert [r.body for r in house.requests] == [b"1", b"2"]
        house.client.answer(YES)
        await turns()
        assert len(house.requests) == 2
        house.asks(b"3")
        assert [r.body for r in house.requests] == [b"1", b"2", b"3"]
        assert house.near.taken().count(b"HTTP/1.1 200 OK") == 2

    run(story)


def test_what_comes_just_when_an_answer_has_ended_waits_for_its_turn() -> None:
    """The next request came before, and is looked at in the loop's next turn."""

    async def story() -> None:
        house = House(relays=False)
        house.asks(asked(b"1") + asked(b"2"))
        house.client.answer(YES)
        house.asks(asked(b"3") + asked(b"4")[:-1])
        assert [r.body for r in house.requests] == [b"1"]
        for count in (2, 3):
            await turns()
            assert len(house.requests) == count
            house.client.answer(YES)
        house.asks(b"4")
        await turns()
        assert [r.body for r in house.requests] == [b"1", b"2", b"3", b"4"]
        house.client.answer(YES)
        sent = house.near.taken()
        assert (sent.count(b"HTTP/1.1 200 OK"), sent.count(b"HTTP/1.1 ")) == (4, 4)
        house.asks(asked(b"5"))
        assert len(house.requests) == 5

    run(story)


def test_who_asks_on_and_on_just_then_is_cut_off_as_well() -> None:
    async def story() -> None:
        house = House(Limits(ahead=1000), relays=False)
        house.asks(asked(b"1") + asked(b"2"))
        house.client.answer(YES)
        for _ in range(20):
            house.asks(asked(b"x" * 100))
        assert house.near.ended

    run(story)


def test_a_client_that_asks_on_and_on_without_listening_is_cut_off() -> None:
    async def story() -> None:
        house = House(Limits(ahead=1000), relays=False)
        house.asks()
        for _ in range(20):
            house.asks(asked(b"x" * 100))
        await turns()
        assert house.client.gone

    run(story)


REFUSED: dict[str, tuple[bytes, int]] = {
    "a long head": (HEAD + b"X: " + b"y" * 70_000, 431),
    "many headers": (HEAD + b"X: 1\r\n" * 101 + b"\r\n", 431),
    "a long body, by its word": (HEAD + b"Content-Length: 1073741824\r\n\r\n", 413),
    "a long body, in chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n401\r\n" + b"z" * 1025 + b"\r\n",
        413,
    ),
    "broken chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "no HTTP": (b"\x16\x03\x01\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_told_so_and_its_connection_closed(what: str) -> None:
    data, expected = REFUSED[what]

    async def story() -> None:
        house = House(Limits(body=1024), relays=False)
        house.asks(data)
        assert status(house.near) == expected
        assert house.near.half_closed
        house.asks(b"more of it")  # is read off
        house.client.watch(house.client.since + 3)
        await turns()
        assert house.client.gone
        assert not house.requests
        assert house.at_rest()

    run(story)


def test_who_sends_on_after_a_refusal_is_not_listened_to_for_long() -> None:
    async def story() -> None:
        house = House(Limits(leaving=1000), relays=False)
        house.asks(HEAD + b"Content-Length: 1073741824\r\n\r\n")
        house.asks(b"x" * 1001)
        await turns()
        assert house.client.gone

    run(story)


def test_bytes_of_all_requests_together_have_a_limit() -> None:
    async def story() -> None:
        house = House(Limits(bodies=1000), relays=False)
        house.asks(asked(b"x" * 800))
        assert house.connections.held == 800
        other, transport = house.connect()
        other.data_received(asked(b"x" * 800))
        assert status(transport) == 503
        assert house.connections.held == 800
        house.client.answer(YES)
        assert house.connections.held == 0

    run(story)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_where_memory_is_little_and_a_small_one_never(
    chunked: bool,
) -> None:
    """It is asked for what reading it takes besides, as the body grows."""
    asked_for: list[int] = []

    def room(size: int) -> bool:
        asked_for.append(size)
        return size <= COPIES * 3 * SMALL

    async def story() -> None:
        house = House(relays=False)
        house.connections.room = room
        house.asks(asked(b"x" * SMALL))
        assert len(house.requests) == 1
        assert not asked_for
        other, transport = house.connect()
        piece = b"y" * SMALL
        size = b"Content-Length: %d\r\n\r\n" % (4 * SMALL)
        other.data_received(HEAD + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else size))
        for _ in range(3):
            other.data_received(b"%x\r\n%b\r\n" % (SMALL, piece) if chunked else piece)
        assert asked_for == [COPIES * 3 * SMALL, COPIES * 4 * SMALL]
        assert status(transport) == 503
        assert house.connections.held == SMALL
        assert len(house.requests) == 1

    run(story)


def test_connections_have_a_limit() -> None:
    async def story() -> None:
        house = House(Limits(connections=1), relays=False)
        house.asks()
        other, transport = house.connect()
        assert status(transport) == 503
        other.connection_lost(None)
        assert house.connections.open == {house.client}

    run(story)


@pytest.mark.parametrize("said", [b"", b"POST /", HEAD + b"Content-Length: 5\r\n\r\nab"])
def test_at_the_limit_who_has_not_asked_for_longest_makes_room(said: bytes) -> None:
    async def story() -> None:
        house = House(Limits(connections=3), relays=False)
        house.asks()
        older, younger = house.connect(), house.connect()
        for client, _ in (younger, older):
            if said:
                client.data_received(said)
        younger[0].since = older[0].since + 1
        newest, transport = house.connect()
        newest.data_received(asked())
        await turns()
        assert older[0].gone
        assert not younger[0].gone
        assert len(house.requests) == 2
        assert not transport.sent
        assert house.connections.open == {house.client, younger[0], newest}

    run(story)


def after(seconds: float) -> Callable[[House], None]:
    return lambda house: house.client.watch(house.client.since + seconds)


@pytest.mark.parametrize(
    ("sent", "seconds", "told"),
    [
        (b"", 10.5, None),
        (b"POST /", 10.5, 408),
        (HEAD + b"Content-Length: 5\r\n\r\nab", 9.5, 408),
    ],
)
def test_who_is_slow_to_ask_is_not_waited_for(
    sent: bytes, seconds: float, told: int | None
) -> None:
    async def story() -> None:
        house = House(relays=False)
        if sent:
            house.asks(sent)
        after(0.0)(house)
        after(seconds - 1)(house)
        await turns()
        assert not house.client.gone
        assert house.near.sent == b""
        after(seconds)(house)
        if told:
            assert status(house.near) == told
            after(3.0)(house)
        await turns()
        assert house.client.gone
        assert house.at_rest()

    run(story)


def test_a_head_that_comes_byte_by_byte_has_no_more_time() -> None:
    async def story() -> None:
        house = House(relays=False)
        began = house.client.since
        for second, byte in enumerate(b"POST /abcdefgh"):
            house.asks(bytes([byte]))
            house.client.watch(began + second)
            if house.near.sent:
                break
        assert status(house.near) == 408

    run(story)


def test_empty_lines_before_a_request_are_passed_over_and_win_no_time() -> None:
    async def story() -> None:
        house = House(relays=False)
        began = house.client.since
        house.asks(b"\r\n" * 30_000)
        house.asks(b"\n\r\n" + asked(b"1"))
        assert [r.body for r in house.requests] == [b"1"]
        other, transport = house.connect()
        other.data_received(b"\r\n")
        other.watch(began + 10.5)
        await turns()
        assert transport.aborted

    run(story)


def test_a_body_may_take_its_time_as_long_as_it_comes() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(HEAD + b"Content-Length: 163840\r\n\r\n")
        now = house.client.since
        for byte in b"hello":
            now += 25
            house.asks(bytes([byte]) * 32768)
            house.client.watch(now)
            house.client.watch(now + 8)
        assert [len(r.body) for r in house.requests] == [163840]

    run(story)


@pytest.mark.parametrize("framing", [b"Content-Length: 9999", b"Transfer-Encoding: chunked"])
def test_a_body_that_only_drips_is_not_waited_for_to_its_end(framing: bytes) -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(HEAD + framing + b"\r\n\r\n")
        if b"chunked" in framing:
            house.asks(b"1;")
        now = house.client.since
        for _ in range(30):  # a byte a second: of the body, or of what may stand beside a chunk
            now += 1
            house.asks(b"x")
            house.client.watch(now)
        assert house.near.sent == b""
        house.asks(b"x")
        house.client.watch(now + 1)
        assert status(house.near) == 408
        assert house.connections.held == 0

    run(story)


def test_a_body_in_tiny_pieces_takes_no_more_than_its_size() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(HEAD + b"Content-Length: 40001\r\n\r\n")
        before = tracemalloc.get_traced_memory()[0]
        for i in range(20_000):
            house.client.data_received(b"%d%d" % (i % 10, i // 10 % 10))
        assert tracemalloc.get_traced_memory()[0] - before < 3 * 40_000
        house.asks(b"!")
        assert len(house.requests[0].body) == 40_001

    tracemalloc.start()
    try:
        run(story)
    finally:
        tracemalloc.stop()


def test_a_connection_may_rest_between_requests_but_not_for_ever() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks()
        house.client.answer(YES)
        after(74.0)(house)
        await turns()
        assert not house.client.gone
        after(76.0)(house)
        await turns()
        assert house.client.gone

    run(story)


def test_who_does_not_read_for_two_minutes_is_cut_off() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks()
        house.client.pause_writing()
        after(119.0)(house)
        house.client.resume_writing()
        house.client.pause_writing()
        after(119.0)(house)
        await turns()
        assert not house.client.gone
        after(121.0)(house)
        await turns()
        assert house.near.aborted
        assert house.at_rest()

    run(story)


def test_the_rest_of_a_last_answer_may_be_read_slowly() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(asked(b"{}", b"Connection: close"))
        house.near.unsent = 5000
        house.client.answer(YES)
        after(60.0)(house)
        await turns()
        assert not house.client.gone
        house.near.unsent = 0
        after(61.0)(house)
        await turns()
        assert house.client.gone

    run(story)
