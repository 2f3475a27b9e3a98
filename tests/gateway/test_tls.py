"""What clients are told over TLS, where a connection's end is said and not only seen."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing

import pytest

from supervisor.config.gated import GatewayConfig
from supervisor.gateway.build import assemble
from supervisor.gateway.client import Client
from supervisor.gateway.limits import Limits
from supervisor.gateway.reply import Reply
from tests.certificates import Authority, authority
from tests.gateway.loopback import Call, Run, loops, town, until
from tests.gateway.wires import HEAD, FakeTransport, House, asked, streamed, whole
from tests.web.fakes import World, site

EVENT = b"data: x\n\n"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


async def streams(call: Call) -> None:
    await call.say(streamed(EVENT * 3, EVENT))


async def says(call: Call) -> None:
    await call.say(whole(b'{"n": %d}' % len(call.body)))


@loops
def test_requests_on_one_connection_are_answered_as_without(run: Run, issuer: Authority) -> None:
    async def story() -> None:
        async with town(says, by=(issuer.serve(), issuer.trust())) as here:
            reader, writer = await here.connect()
            with closing(writer):
                for size in (1, 1000, 300_000):
                    writer.write(asked(b"x" * size))
                    await reader.readuntil(b"\r\n\r\n")
                    answer = b'{"n": %d}' % size
                    assert await reader.readexactly(len(answer)) == answer

    run(story())


@loops
def test_who_reads_until_the_end_has_it_at_once_and_whole(run: Run, issuer: Authority) -> None:
    """Half a goodbye is not to be had in TLS: the whole one is said when all is written."""

    async def story() -> None:
        limits = Limits(leave_within=60.0, stalled=60.0)
        async with town(streams, limits, by=(issuer.serve(), issuer.trust())) as here:
            said = await here.ask(asked(b"{}", b"Connection: close"))
            assert said.endswith(b"0\r\n\r\n")

    run(story())


@loops
def test_a_large_answer_is_whole_also_for_who_reads_it_late(run: Run, issuer: Authority) -> None:
    large = b"x" * 3_000_000

    async def script(call: Call) -> None:
        await call.say(whole(large))

    async def story() -> None:
        async with town(script, by=(issuer.serve(), issuer.trust())) as here:
            reader, writer = await here.connect()
            with closing(writer):
                writer.write(asked(b"{}", b"Connection: close"))
                await until(lambda: here.heard and here.heard[0].ends)
                said = await reader.read()
                assert said.partition(b"\r\n\r\n")[2] == large

    run(story())


class Encrypted(FakeTransport):
    """As TLS has it: an end is for both sides, and has its time."""

    def can_write_eof(self) -> bool:
        return False


def test_the_end_is_not_begun_before_all_is_written() -> None:
    """It may not take long, and the rest of an answer may."""

    async def story() -> None:
        house = House(relays=False)
        client = Client(house.client.serve, house.client.limits)
        wire = Encrypted(client)
        wire.unsent = 10
        client.data_received(asked(b"{}", b"Connection: close"))
        client.answer(Reply(200, b"yes"))
        client.watch(client.since + 10)
        assert not wire.ended
        wire.unsent = 0
        client.watch(client.since + 10)
        assert (wire.ended, wire.aborted) == (True, False)

    asyncio.run(story())


@loops
def test_who_is_refused_in_the_middle_of_a_body_has_its_answer(run: Run, issuer: Authority) -> None:
    async def story() -> None:
        limits = Limits(body=1000, leave_within=60.0)
        async with town(says, limits, by=(issuer.serve(), issuer.trust())) as here:
            reader, writer = await here.connect()
            with closing(writer):
                writer.write(HEAD + b"Content-Length: 900000\r\n\r\n")
                for _ in range(800):  # all of it before it reads anything
                    writer.write(b"x" * 1000)
                    await writer.drain()
                    await asyncio.sleep(0)
                said = await reader.readuntil(b"\r\n\r\n")
                assert said.startswith(b"HTTP/1.1 413 ")

    run(story())


@loops
def test_an_answer_that_breaks_off_is_no_whole_one(run: Run, issuer: Authority) -> None:
    async def script(call: Call) -> None:
        await call.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        call.writer.transport.abort()

    async def story() -> None:
        async with town(script, by=(issuer.serve(), issuer.trust())) as here:
            reader, writer = await here.connect()
            with closing(writer):
                writer.write(asked(b"{}"))
                await reader.readuntil(b"\r\n\r\n")
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await reader.readexactly(100)

    run(story())


def test_a_gateway_says_where_it_is_and_does_not_listen_by_a_broken_certificate(issuer) -> None:
    async def story() -> None:
        gateway = assemble(GatewayConfig(port=0), (), site(World()).loop)
        gateway.certificate = served = issuer.serve()
        key = served.files.key.read_bytes()
        served.files.key.write_bytes(b"")
        await gateway.start()
        assert gateway.addresses == []
        assert "gateway.tls_key" in (gateway.fault or "")
        assert "holds no private key" in (gateway.fault or "")
        served.files.key.write_bytes(key)
        await gateway.start()
        assert gateway.addresses == [f"https://127.0.0.1:{gateway.port}"]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", gateway.port, ssl=issuer.trust(), server_hostname="localhost"
        )
        with closing(writer):
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")  # nobody has looked at the machine yet
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            assert "error" in json.loads(await reader.readexactly(size))
        await gateway.stop(1.0)

    asyncio.run(story())
