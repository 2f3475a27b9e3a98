"""Clients that are slow on purpose: each is let go of in its time, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from statistics import median

import pytest

from supervisor.gateway.limits import Limits
from supervisor.web.guard import rules
from tests.gateway.loopback import Call, town
from tests.gateway.wires import asked, streamed, whole
from tests.web.fakes import API, World, running, site
from tests.web.test_server import serving

pytestmark = pytest.mark.slow

POLL = 0.02  # seconds between two looks
MANY = 60  # of each kind
PATIENT = Limits(head_within=1.0, body_within=1.0, idle=1.0, stalled=1.0, leave_within=0.2)
POST = b"POST /api/v1/evict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SILENT, HALF_HEAD = b"", POST + b"X-Half: "
HALF_BODY = POST + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
HALF_CHUNK = POST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def crowd(connect: Connect, ask: Callable[[], Awaitable[bytes]]) -> tuple[float, float]:
    """How long it took until the last of them was let go, and what an answer took meanwhile, as a
    rule: one or the other is slow on a machine that is busy elsewhere."""
    began = time.monotonic()

    async def one(raw: bytes) -> None:
        reader, writer = await connect()
        writer.write(raw)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    loris = [one(raw) for raw in (SILENT, HALF_HEAD, HALF_BODY, HALF_CHUNK) for _ in range(MANY)]
    gone = asyncio.ensure_future(asyncio.gather(*loris))
    answers = []
    while not gone.done():
        asked_at = time.monotonic()
        assert (await ask()).startswith(b"HTTP/1.1 200")
        answers.append(time.monotonic() - asked_at)
        await asyncio.sleep(POLL)
    await gone
    return time.monotonic() - began, median(answers)


def test_slow_clients_of_the_gateway_are_let_go_and_others_are_served_meanwhile() -> None:
    async def engine(call: Call) -> None:
        await call.say(whole())

    async def story() -> None:
        async with town(engine, PATIENT) as here:
            last = asked(b"{}", b"Connection: close")
            took, answer = await crowd(here.connect, lambda: here.ask(last))
            assert took < 9, "what they are given where nobody says less"
            assert answer < 0.5
            assert here.connections.held == 0

    asyncio.run(story())


def test_slow_clients_of_the_api_are_let_go_and_others_are_served_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.web.server.MOST_CONNECTIONS", 4 * MANY + 10)
    quick = lambda *given: replace(rules(*given), body_timeout=1.0)  # noqa: E731
    monkeypatch.setattr("supervisor.web.server.rules", quick)

    async def story() -> None:
        of = site(World())
        async with running(of), serving(of, head_timeout=1.0) as server:

            async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                return await asyncio.open_connection("127.0.0.1", server.port)

            async def ask() -> bytes:
                reader, writer = await connect()
                writer.write(
                    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                )
                answer = await reader.read()
                writer.close()
                return answer

            took, answer = await crowd(connect, ask)
            assert took < 9, "what they are given where nobody says less"
            assert answer < 0.5

    asyncio.run(story())


@pytest.mark.parametrize("said", [SILENT, HALF_HEAD, HALF_BODY, HALF_CHUNK])
def test_however_many_say_half_of_something_the_api_answers_who_says_all(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.web.server.MOST_CONNECTIONS", 20)

    async def story() -> None:
        of = site(World())
        async with running(of), serving(of) as server:
            others = []
            for _ in range(3 * 20):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(said)
                others.append(writer)
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(f"GET {API}/state HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                writer.close()
            for other in others:
                other.close()

    asyncio.run(story())


def test_a_client_that_never_reads_its_stream_stops_the_engine_and_is_cut_off() -> None:
    sent = 0

    async def engine(call: Call) -> None:
        nonlocal sent
        await call.say(streamed(end=b""))
        event = b"%x\r\n%s\r\n" % (65536, b"x" * 65536)
        while sent < 1 << 28:
            await call.say(event)
            sent += len(event)

    async def story() -> None:
        async with town(engine, PATIENT) as here:
            _, writer = await here.connect(65536)
            began = time.monotonic()
            writer.write(asked(b'{"stream":true}'))
            while here.links.users or not here.calls:
                await asyncio.sleep(POLL)
            assert time.monotonic() - began < 5
            assert sent < 64 << 20  # what sockets hold by themselves, and no more
            writer.close()

    asyncio.run(story())


def test_a_client_that_never_reads_its_answers_holds_no_place_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.web.patient.Patient.read_timeout", 0.5)

    async def story() -> None:
        of = site(World())
        async with running(of), serving(of) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            line = f"GET {API}/state HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            async with asyncio.timeout(25):  # of the 30 that it has as a rule
                try:
                    while True:  # without ever reading an answer
                        writer.write(line * 100)
                        await writer.drain()
                        await asyncio.sleep(POLL)
                except ConnectionError:
                    pass
            writer.close()

    asyncio.run(story())
