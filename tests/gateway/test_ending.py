"""The end of a gateway, on real sockets, on both loops: whoever asks is told, until nobody can."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from supervisor.config.gated import GatewayConfig
from supervisor.gateway.gate import Gate
from supervisor.gateway.limits import Limits
from supervisor.gateway.reply import Reply, fault
from supervisor.gateway.server import Gateway
from tests.gateway.loopback import Run, loops
from tests.gateway.wires import asked

ASKED = asked(b"{}")
MANY = 50
LONG = Limits(last_new=30.0, last_kept=30.0)


@asynccontextmanager
async def gateway(limits: Limits) -> AsyncIterator[Gateway]:
    """It refuses everybody, in words."""
    told = Reply(503, b"stopping")
    gate = SimpleNamespace(
        config=GatewayConfig(port=0),
        admit=lambda client, head: None,
        entry=lambda client, head: told,
        fault=lambda head, status, message: fault(SimpleNamespace(), status, message, "x"),
        admission=SimpleNamespace(stop=lambda: None),
        fleet=None,
        links=SimpleNamespace(close=lambda: None),
        under_way=set(),
    )
    made = Gateway(cast(Gate, gate), limits)
    await made.start()
    async with asyncio.timeout(20):
        yield made
    assert not made.clients.open


def connects(made: Gateway, said: bytes = b"") -> socket.socket:
    """The loop does not run meanwhile: the kernel alone has seen it."""
    found = socket.create_connection(("127.0.0.1", made.port))
    found.sendall(said)
    found.setblocking(False)
    return found


async def heard(sock: socket.socket) -> bytes:
    """All that comes until the connection ends; a reset raises."""
    loop, found = asyncio.get_running_loop(), b""
    with sock:
        while piece := await loop.sock_recv(sock, 65536):
            found += piece
    return found


async def ends(made: Gateway) -> asyncio.Task[None]:
    ending = asyncio.create_task(made.stop(10.0))
    while not made.clients.closing:
        await asyncio.sleep(0)
    return ending


@loops
def test_who_has_connected_and_was_not_yet_let_in_is_answered(run: Run) -> None:
    async def story() -> None:
        async with gateway(Limits()) as made:
            socks = [connects(made, ASKED) for _ in range(MANY)]
            ending = await ends(made)
            for answer in await asyncio.gather(*map(heard, socks)):
                assert answer.endswith(b"stopping")
            await ending

    run(story())


@loops
def test_a_request_that_comes_on_a_connection_just_made_is_answered(run: Run) -> None:
    async def story() -> None:
        async with gateway(LONG) as made:
            socks = [connects(made) for _ in range(MANY)]
            ending = await ends(made)
            for sock in socks:
                sock.send(ASKED)
            for answer in await asyncio.gather(*map(heard, socks)):
                assert answer.endswith(b"stopping")
            await ending

    run(story())


@loops
def test_a_request_that_crosses_the_end_on_a_connection_that_was_kept_is_answered(run: Run) -> None:
    async def story() -> None:
        async with gateway(LONG) as made:
            loop, sock = asyncio.get_running_loop(), connects(made, ASKED)
            assert (await loop.sock_recv(sock, 65536)).endswith(b"stopping")
            ending = await ends(made)
            sock.send(ASKED)
            assert (await heard(sock)).endswith(b"stopping")
            await ending

    run(story())


@loops
def test_who_asks_for_nothing_is_not_waited_for(run: Run) -> None:
    async def story() -> None:
        async with gateway(Limits(last_new=0.02, last_kept=0.01)) as made:
            loop = asyncio.get_running_loop()
            kept, new = connects(made, ASKED), connects(made)
            await loop.sock_recv(kept, 65536)
            await made.stop(10.0)
            assert [await heard(kept), await heard(new)] == [b"", b""]

    run(story())


@loops
def test_nobody_is_let_in_once_it_has_ended(run: Run) -> None:
    async def story() -> None:
        async with gateway(Limits()) as made:
            port = made.port
            await made.stop(0.0)
            probe: Any = socket.socket()
            with probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0

    run(story())
