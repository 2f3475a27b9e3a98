"""No request hides another: what reaches an engine is one request that we have framed, or none."""

from __future__ import annotations

import asyncio
import re

import pytest

from supervisor.gateway.limits import Limits
from tests.gateway.loopback import Call, Run, Town, loops, town
from tests.gateway.wires import whole
from tests.hostile.smuggling import HELLO, HIDDEN, REFUSED, REFUSED_BY_THE_GATEWAY
from tests.web.test_server import play, say

pytestmark = pytest.mark.slow

QUICK = Limits(leave_within=0.05)
CLEAN = re.compile(rb"[A-Z]+ /[!-~]* HTTP/1\.1\r\n(?:[!-9;-~]+: [^\r\n\0]*\r\n)+\r\n")


async def heard(here: Town, raw: bytes) -> bytes:
    """All that is answered until the connection is closed, or nothing more comes."""
    reader, writer = await here.connect()
    writer.write(raw)
    answer = b""
    try:
        while piece := await asyncio.wait_for(reader.read(65536), 5.0 if not answer else 0.02):
            answer += piece
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return answer


@loops
def test_what_could_be_read_in_two_ways_is_refused_and_reaches_no_engine(run: Run) -> None:
    calls: list[Call] = []

    async def engine(call: Call) -> None:
        calls.append(call)
        await call.say(whole())

    async def story() -> None:
        async with town(engine, QUICK) as here:
            for what, raw in {**REFUSED, **REFUSED_BY_THE_GATEWAY}.items():
                answer = await heard(here, raw)
                assert answer[9:12] in (b"400", b"405", b"501"), (what, answer)
                assert answer.count(b"HTTP/1.1 ") == 1, what
                assert b"connection: close" in answer, what
                assert not calls, what

    run(story())


@loops
def test_what_is_passed_on_is_one_request_framed_anew(run: Run) -> None:
    calls: list[Call] = []

    async def engine(call: Call) -> None:
        calls.append(call)
        await call.say(whole())

    async def story() -> None:
        async with town(engine, QUICK) as here:
            for what, raw in HELLO.items():
                calls.clear()
                assert (await heard(here, raw)).startswith(b"HTTP/1.1 200"), what
                (call,) = calls
                assert call.body == b"hello", what
                assert CLEAN.fullmatch(call.head), call.head
                names = re.findall(rb"\r\n([^:]+):", call.head)
                assert len(names) == len(set(names)), what
                assert b"content-length: 5\r\n" in call.head, what
                assert not set(names) & {b"transfer-encoding", b"connection", b"upgrade"}, what

    run(story())


def test_the_body_of_a_request_that_only_reads_is_no_request() -> None:
    calls: list[Call] = []

    async def engine(call: Call) -> None:
        calls.append(call)
        await call.say(whole())

    async def story() -> None:
        async with town(engine, QUICK) as here:
            get = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            await heard(here, get + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN)
            assert [call.body for call in calls] == [HIDDEN]
            assert b"content-length: %d\r\n" % len(HIDDEN) in calls[0].head

    asyncio.run(story())


ANSWERS = {
    "a line feed in the first line": b"HTTP/1.1 200 OK\nSet-Cookie: a=b\r\n\r\n",
    "a CR in the first line": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "a line feed in a value": b"HTTP/1.1 200 OK\r\nX: a\nCookie: b\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
    "a status of no kind": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "a switch nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n Set-Cookie: b\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_engines_answer_that_could_be_read_in_two_ways_is_not_passed_on(what: str) -> None:
    async def engine(call: Call) -> None:
        await call.say(ANSWERS[what])

    async def story() -> None:
        async with town(engine, QUICK) as here:
            answer = await heard(here, b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 502"), answer
            assert b"cookie" not in answer.lower()

    asyncio.run(story())


def test_the_other_listener_refuses_the_same() -> None:
    async def story(server: object) -> dict[str, bytes]:
        found = await asyncio.gather(*(say(server, raw) for raw in REFUSED.values()))  # type: ignore[arg-type]
        return dict(zip(REFUSED, found, strict=True))

    for what, answer in play(story).items():
        if what in ("two hosts", "HTTP/0.9"):
            assert answer.startswith(b"HTTP/1.1 421"), what
            continue
        assert answer.startswith(b"HTTP/1.1 400"), (what, answer)
        assert answer.count(b"HTTP/1.1 ") == 1, what
