"""One question to the agent: its answer whole, however it is framed, or why there is none."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from supervisor.gateway.limits import Limits
from supervisor.gateway.question import Question, Said, written
from supervisor.gateway.upstream import Link, Links, Origin, far, notice_end
from tests.gateway.wires import FakeTransport

AGENT = Origin("localhost", 0, unix="/nowhere/fleet.sock")


class Asks:
    """A question that was asked over a connection that was idle."""

    def __init__(self, within: float = 60.0) -> None:
        self.links = Links(Limits())
        self.line = Link(self.links, self.links.idle.setdefault(AGENT, []))
        self.wire = FakeTransport(self.line)
        self.links.give(self.line)
        self.said: list[Said | str] = []
        self.question = Question(
            self.links, AGENT, written(b"GET", b"/fleet"), within, self.said.append
        )

    @property
    def idle(self) -> int:
        return len(self.links.idle[AGENT])


def test_an_answer_is_put_together_however_it_is_framed_and_comes() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    counted = b"HTTP/1.1 404 X\r\ncontent-length: 2\r\n\r\n{}"
    early = b"HTTP/1.1 100 Continue\r\n\r\n"

    async def story() -> None:
        for answer, status in ((chunked, 200), (counted, 404), (early + counted, 404)):
            for step in (1, len(answer)):
                asks = Asks()
                assert asks.wire.taken().startswith(b"GET /fleet HTTP/1.1\r\n")
                for at in range(0, len(answer), step):
                    asks.line.data_received(answer[at : at + step])
                assert asks.said == [Said(status, b"{}")]
                assert asks.idle == 1  # and the connection is good for the next
                assert not asks.links.users

    asyncio.run(story())


def test_an_answer_that_ends_with_its_connection_is_whole_then() -> None:
    async def story() -> None:
        asks = Asks()
        asks.line.data_received(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        assert asks.said == []
        asks.wire.close()
        await asyncio.sleep(0)
        assert asks.said == [Said(200, b"all of it")]

    asyncio.run(story())


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n",
    ],
)
def test_what_is_no_http_is_no_answer(answer: bytes) -> None:
    async def story() -> None:
        asks = Asks()
        asks.line.data_received(answer)
        (said,) = asks.said
        assert isinstance(said, str)
        assert asks.wire.aborted
        assert not asks.links.users

    asyncio.run(story())


def test_who_hangs_up_in_the_middle_has_not_answered() -> None:
    async def story() -> None:
        asks = Asks()
        asks.line.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")
        asks.wire.close()
        await asyncio.sleep(0)
        assert asks.said == ["it hung up before it had answered"]

    asyncio.run(story())


def test_nobody_is_waited_for_longer_than_it_was_said() -> None:
    async def story() -> None:
        asks = Asks(within=0.0)
        while not asks.said:
            await asyncio.sleep(0)
        assert asks.said == ["no answer within 0 s"]
        asks.line.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        assert len(asks.said) == 1

    asyncio.run(story())


def test_where_nobody_listens_that_is_the_answer(tmp_path: Path) -> None:
    async def story() -> None:
        links, said = Links(Limits()), list[Said | str]()
        origin = Origin("localhost", 0, unix=str(tmp_path / "fleet.sock"))
        Question(links, origin, written(b"GET", b"/fleet"), 60.0, said.append)
        while not said:
            await asyncio.sleep(0)
        (why,) = said
        assert isinstance(why, str)
        assert why
        assert not links.users
        links.close()

    asyncio.run(story())


def test_a_question_that_is_dropped_is_answered_to_nobody() -> None:
    async def story() -> None:
        asks = Asks()
        asks.question.drop()
        assert asks.wire.aborted
        assert asks.said == []
        assert not asks.links.users

    asyncio.run(story())


def test_the_end_of_another_host_is_noticed_by_the_kernel_and_its_address_is_no_engines() -> None:
    one, other = Origin.of("http://b:1"), far("http://b:1")
    assert one != other  # no connection of the one is used for the other
    assert other.header == one.header
    assert Limits().connect_far < Limits().connect
    with socket.socket() as sock:

        class Transport(asyncio.BaseTransport):
            def get_extra_info(self, name: str, default: object = None) -> object:
                return sock if name == "socket" else default

        notice_end(Transport())
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
