"""How a client is answered: at once, in a stream of ours, or not at all, because it left."""

from __future__ import annotations

import pytest

from supervisor.gateway.client import Client
from supervisor.gateway.heads import Head
from supervisor.gateway.limits import Limits
from supervisor.gateway.reply import Reply
from supervisor.gateway.stages import Stage
from tests.gateway.wires import HEAD, House, asked, run, status, turns

YES = Reply(200, b"yes")


def test_a_client_that_asks_first_whether_it_may_send_is_told() -> None:
    def admit(client: Client, head: Head) -> Reply | None:
        return None if head.get(b"authorization") == b"Bearer good" else Reply(401, b"no")

    async def story() -> None:
        house = House(admit=admit, relays=False)
        ask = b"Expect: 100-continue\r\nContent-Length: 2\r\nAuthorization: Bearer %s\r\n\r\n"
        house.asks(HEAD + ask % b"good")
        assert house.near.taken() == b"HTTP/1.1 100 Continue\r\n\r\n"
        house.asks(b"{}")
        assert len(house.requests) == 1
        house.client.answer(YES)
        house.near.taken()
        house.asks(HEAD + ask % b"bad")
        assert status(house.near) == 401
        assert house.near.half_closed
        assert len(house.requests) == 1

    run(story)


def test_a_request_that_is_refused_whole_leaves_its_connection_open() -> None:
    async def story() -> None:
        house = House(admit=lambda client, head: Reply(401, b"no"), relays=False)
        house.asks()
        assert b"close" not in house.near.taken()
        house.asks()
        assert status(house.near) == 401

    run(story)


def test_an_answer_to_a_head_request_has_no_body() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        house.client.answer(YES)
        sent = house.near.taken()
        assert b"content-length: 3\r\n" in sent
        assert sent.endswith(b"\r\n\r\n")

    run(story)


@pytest.mark.parametrize("next", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a"])
def test_what_is_wrong_with_the_request_after_a_head_request_is_told_in_full(next: bytes) -> None:
    """Without the body that its length announces, the client would wait for it."""

    async def story() -> None:
        house = House(relays=False)
        house.asks(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        house.client.answer(YES)
        house.near.taken()
        house.asks(next)
        house.client.watch(house.client.since + 60)  # half a head is waited for so long
        head, _, body = house.near.taken().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 40")
        assert body
        assert b"content-length: %d\r\n" % len(body) in head

    run(story)


def test_an_old_client_gets_one_answer_and_the_end() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(asked(version=b"1.0"))
        house.client.answer(YES)
        assert b"\r\nconnection: close\r\n" in house.near.taken()
        assert house.near.half_closed

    run(story)


def test_a_stream_of_events_begins_while_the_request_is_held() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks()
        house.client.hint(((b"x-ullage-position", b"1"),))
        assert house.near.taken() == b"HTTP/1.1 103 Early Hints\r\nx-ullage-position: 1\r\n\r\n"
        house.client.begin_events(((b"x-ullage-model", b"a/b"),))
        head = house.near.taken()
        assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        assert b"\r\nx-ullage-model: a/b\r\n" in head
        house.client.comment(b"ullage loading")
        assert house.near.taken() == b"12\r\n: ullage loading\n\n\r\n"
        house.client.end_events(b"data: x\n\n")
        assert house.near.taken() == b"9\r\ndata: x\n\n\r\n0\r\n\r\n"
        house.client.comment(b"too late")
        house.client.answer(YES)
        assert house.near.taken() == b""
        house.asks()
        assert len(house.requests) == 2

    run(story)


def test_an_old_client_gets_a_stream_that_ends_with_its_connection() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks(asked(version=b"1.0"))
        house.client.begin_events()
        assert b"chunked" not in house.near.taken()
        house.client.comment(b"x")
        house.client.end_events()
        assert house.near.taken() == b": x\n\n"
        assert house.near.half_closed

    run(story)


def test_a_client_that_leaves_while_its_request_is_held_is_noticed_once() -> None:
    async def story() -> None:
        house = House(relays=False)
        house.asks()
        left: list[str] = []
        house.client.on_gone = lambda: left.append("gone")
        house.near.close()
        await turns()
        house.client.answer(YES)
        house.client.comment(b"x")
        assert left == ["gone"]
        assert house.client.stage is Stage.CLOSED
        assert house.near.sent == b""
        assert house.at_rest()
        assert not house.connections.open

    run(story)


def test_when_the_listener_closes_nobody_is_cut_off() -> None:
    async def story() -> None:
        house = House(Limits(last_new=0.0), relays=False)
        _, resting = house.connect()
        house.asks()
        house.connections.close()
        await turns()
        assert resting.ended
        assert not house.client.gone
        house.client.answer(YES)
        assert b"connection: close" in house.near.taken()
        assert house.near.half_closed

    run(story)
