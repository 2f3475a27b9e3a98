"""The hot path on real sockets, on both loops: what goes wrong on either side, and no leak after
it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from supervisor.gateway import upstream
from supervisor.gateway.limits import Limits
from supervisor.gateway.relay import End
from supervisor.gateway.upstream import Origin
from tests.gateway.loopback import Call, Run, loops, town, until
from tests.gateway.wires import HEAD, asked, streamed, whole

EVENT = b"data: x\n\n"
SMALL = 65536  # bytes that the kernel keeps for a client that does not read
LAST_ASKED = asked(b"{}", b"Connection: close")


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


async def streams(call: Call) -> None:
    """What was asked comes back, in a stream."""
    answer = streamed(b"data: " + call.body + b"\n\n", EVENT)
    await call.say(answer[:40], answer[40:90], answer[90:])


@loops
def test_many_clients_ask_many_times_and_each_gets_its_own_answer(run: Run) -> None:
    async def story() -> None:
        async with town(streams) as here:

            async def client(number: int) -> None:
                reader, writer = await here.connect()
                for turn in range(5):
                    said = b"%d:%d" % (number, turn)
                    writer.write(asked(said))
                    await reader.readuntil(b"\r\n\r\n")
                    body = streamed(b"data: " + said + b"\n\n", EVENT).partition(b"\r\n\r\n")[2]
                    assert await reader.readexactly(len(body)) == body
                writer.close()

            await asyncio.gather(*(client(number) for number in range(20)))
            assert here.calls == 100
            assert len(here.links.open) <= 20

    run(story())


@loops
def test_a_connection_that_the_engine_closed_meanwhile_is_replaced_in_silence(run: Run) -> None:
    async def once(call: Call) -> None:
        await call.say(whole(b"yes"))
        # It says nothing of it, and takes the next request before it goes.
        await call.reader.readuntil(b"\r\n\r\n")
        raise ConnectionError

    async def story() -> None:
        async with town(once) as here:
            for _ in range(3):
                assert body_of(await here.ask(LAST_ASKED)) == b"yes"
            assert here.calls == 3

    run(story())


@loops
def test_an_engine_that_is_not_there_is_told_of(run: Run) -> None:
    async def story() -> None:
        async with town(streams) as here:
            with socket.create_server(("127.0.0.1", 0)) as once:
                port = once.getsockname()[1]
            here.origin = Origin.of(f"http://127.0.0.1:{port}")
            assert body_of(await here.ask(LAST_ASKED)) == b"NOT_BEGUN"
            here.origin = Origin("localhost", 0, unix="/nowhere/at.all")
            assert body_of(await here.ask(LAST_ASKED)) == b"NOT_BEGUN"

    run(story())


@loops
def test_an_engine_that_dies_before_it_answers_may_be_asked_again_by_others(run: Run) -> None:
    async def dies(call: Call) -> None:
        call.writer.transport.abort()

    async def story() -> None:
        async with town(dies) as here:
            assert body_of(await here.ask(LAST_ASKED)) == b"NOT_BEGUN"
            assert here.calls == 1

    run(story())


@loops
def test_a_stream_whose_engine_dies_ends_with_an_error(run: Run) -> None:
    async def dies(call: Call) -> None:
        await call.say(streamed(EVENT, end=b""))
        await died.wait()
        call.writer.transport.abort()

    died = asyncio.Event()

    async def story() -> None:
        async with town(dies) as here:
            reader, writer = await here.connect()
            writer.write(LAST_ASKED)
            await reader.readuntil(EVENT + b"\r\n")
            died.set()
            assert await reader.read() == b"d\r\ndata: broke\n\n\r\n0\r\n\r\n"
            writer.close()

    run(story())


@loops
@pytest.mark.parametrize("answer", [whole(b"hello")[:-2], streamed(EVENT, end=b"9\r\nda")])
def test_an_engine_that_promises_more_than_it_sends(run: Run, answer: bytes) -> None:
    async def lies(call: Call) -> None:
        await call.say(answer)
        raise ConnectionError

    async def story() -> None:
        async with town(lies) as here:
            got = await here.ask(LAST_ASKED)
            assert got.startswith(b"HTTP/1.1 200 OK")
            assert body_of(got) == body_of(answer)  # and then the end, in its middle
            assert here.heard[0].ends == [(End.CUT, 200)]

    run(story())


@loops
def test_an_answer_without_a_length_that_breaks_is_seen_to_be_broken(run: Run) -> None:
    async def breaks(call: Call) -> None:
        await call.say(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await seen.wait()
        sock = call.writer.get_extra_info("socket")
        sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0: it resets
        call.writer.transport.abort()

    seen = asyncio.Event()

    async def story() -> None:
        async with town(breaks) as here:
            reader, writer = await here.connect()
            writer.write(LAST_ASKED)
            await reader.readuntil(b"half")
            seen.set()
            with pytest.raises(ConnectionError):
                await reader.read()
            writer.close()

    run(story())


@loops
def test_an_engine_that_answers_twice_is_heard_once(run: Run) -> None:
    async def twice(call: Call) -> None:
        await call.say(streamed(EVENT) + streamed(b"data: secret\n\n"))

    async def story() -> None:
        async with town(twice) as here:
            assert body_of(await here.ask(LAST_ASKED)) == b"9\r\n" + EVENT + b"\r\n0\r\n\r\n"
            assert not here.links.open

    run(story())


@loops
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 20", streamed(EVENT, end=b"")])
def test_an_engine_stops_working_for_a_client_that_left(run: Run, said: bytes) -> None:
    async def works(call: Call) -> None:
        await call.say(said)
        working.set()
        assert await call.reader.read() == b""  # until it is hung up on
        stopped.set()

    working, stopped = asyncio.Event(), asyncio.Event()

    async def story() -> None:
        async with town(works) as here:
            _, writer = await here.connect()
            writer.write(asked())
            await working.wait()
            writer.transport.abort()
            await stopped.wait()
            await until(lambda: here.heard[0].ends)
            assert here.heard[0].ends[0][0] is End.CLIENT_GONE

    run(story())


@loops
def test_an_engine_that_answers_after_the_client_left_speaks_to_nobody(run: Run) -> None:
    async def late(call: Call) -> None:
        asked_.set()
        await call.reader.read()
        await call.say(whole(b"too late"))

    asked_ = asyncio.Event()

    async def story() -> None:
        async with town(late) as here:
            _, writer = await here.connect()
            writer.write(asked())
            await asked_.wait()
            writer.close()
            await until(lambda: here.heard[0].ends)
            assert not here.links.idle.get(Origin.of("http://127.0.0.1:1"))

    run(story())


@loops
def test_a_client_that_reads_slowly_slows_its_engine_and_loses_nothing(run: Run) -> None:
    size, piece = 24 * 1024 * 1024, b"z" * 65536

    async def pours(call: Call) -> None:
        nonlocal sent
        await call.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            await call.say(piece)
            sent += len(piece)

    sent = 0

    async def story() -> None:
        async with town(pours) as here:
            reader, writer = await here.connect(SMALL)
            writer.write(LAST_ASKED)
            await until(lambda: any(c.paused for c in here.connections.open))
            before, still = -1, 0
            while still < 500:  # turns of the loop, in each of which it could have sent more
                await asyncio.sleep(0)
                before, still = sent, still + 1 if sent == before else 0
            assert sent < size
            await reader.readuntil(b"\r\n\r\n")
            got = 0
            while block := await reader.read(1 << 20):
                got += len(block)
            assert got == size
            writer.close()

    run(story())


@loops
def test_a_client_that_reads_slowly_may_leave(run: Run) -> None:
    async def pours(call: Call) -> None:
        await call.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        while True:
            await call.say(b"z" * 65536)

    async def story() -> None:
        async with town(pours) as here:
            _, writer = await here.connect()
            writer.write(asked())
            await until(lambda: any(c.paused for c in here.connections.open))
            writer.transport.abort()

    run(story())


@loops
def test_a_client_that_sends_less_than_it_announced_and_leaves(run: Run) -> None:
    async def story() -> None:
        async with town(streams) as here:
            _, writer = await here.connect()
            writer.write(asked(b"hello")[:-2])
            await until(lambda: here.connections.held)
            writer.close()
            await until(lambda: not here.connections.open)
            assert here.calls == 0

    run(story())


@loops
def test_a_client_that_sends_more_than_it_announced(run: Run) -> None:
    async def story() -> None:
        async with town(streams) as here:
            got = await here.ask(asked(b"hello") + b"more\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 200 OK")
            assert b"HTTP/1.1 400 Bad Request" in got
            assert here.calls == 1

    run(story())


@loops
def test_who_sends_a_body_that_is_too_large_can_read_why_it_was_refused(run: Run) -> None:
    async def story() -> None:
        async with town(streams, Limits(body=1000)) as here:
            reader, writer = await here.connect()
            writer.write(HEAD + b"Content-Length: 24000000\r\n\r\n")
            writer.write(b"x" * 24_000_000)
            await writer.drain()  # most clients read no word of an answer before
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
            await reader.read()
            writer.close()
            assert here.calls == 0

    run(story())


@loops
def test_a_large_body_arrives_whole(run: Run) -> None:
    async def counts(call: Call) -> None:
        await call.say(whole(b"%d" % len(call.body)))

    async def story() -> None:
        async with town(counts) as here:
            assert (
                body_of(await here.ask(asked(b"x" * 8_000_000, b"Connection: close"))) == b"8000000"
            )

    run(story())


@loops
def test_a_websocket_carries_much_both_ways(run: Run) -> None:
    async def echoes(call: Call) -> None:
        await call.say(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        while data := await call.reader.read(1 << 16):
            await call.say(data)

    async def story() -> None:
        async with town(echoes) as here:
            reader, writer = await here.connect()
            writer.write(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            await reader.readuntil(b"\r\n\r\n")
            sent = os.urandom(4_000_000)
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
            writer.close()

    run(story())


@loops
def test_an_engine_may_listen_on_a_unix_socket(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        async with town(streams, origin=Origin.of(f"unix://{tmp_path}/engine.sock")) as here:
            assert EVENT in await here.ask(LAST_ASKED)

    run(story())


@loops
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate")
def test_an_engine_may_be_reached_by_tls(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-keyout", "key", "-out", "cert", "-subj", "/CN=x", "-days", "1"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    ours = ssl.create_default_context(cafile=tmp_path / "cert")
    monkeypatch.setattr(upstream, "trust", lambda: ours)

    async def story() -> None:
        origin = Origin.of("https://127.0.0.1:1")
        async with town(streams, origin=origin, ssl=theirs) as here:
            assert EVENT in await here.ask(LAST_ASKED)
            assert EVENT in await here.ask(LAST_ASKED)

    run(story())
