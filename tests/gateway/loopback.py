"""A gateway, an engine that follows a script, and clients, all on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import uvloop

from supervisor.gateway.client import Client
from supervisor.gateway.connections import Connections
from supervisor.gateway.heads import forward
from supervisor.gateway.limits import Limits
from supervisor.gateway.relay import End, Relay
from supervisor.gateway.reply import Reply
from supervisor.gateway.stages import Request
from supervisor.gateway.upstream import Links, Origin
from supervisor.listen import tcp
from supervisor.tls.certificates import Certificate
from supervisor.tls.handshakes import Handshakes
from tests.gateway.wires import Heard

Script = Callable[["Call"], Awaitable[None]]

loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
Run = Callable[[Coroutine[Any, Any, None]], None]


@dataclass
class Call:
    """One request as the engine has it, and its way to answer."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, *parts: bytes) -> None:
        """Each part in a write of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()


@dataclass
class Town:
    """What stands while a story is told."""

    port: int
    origin: Origin
    connections: Connections
    links: Links
    heard: list[Heard] = field(default_factory=list)
    calls: int = 0
    engine_open: int = 0
    trust: ssl.SSLContext | None = None  # of clients, where it speaks TLS

    def at_rest(self) -> bool:
        """No request is under way anywhere, and nobody holds anything."""
        busy = self.connections.open or self.links.users or self.connections.held
        return not busy and self.engine_open == len(self.links.open)

    async def connect(
        self, buffer: int | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        name = None if self.trust is None else "localhost"
        return await asyncio.open_connection(sock=sock, ssl=self.trust, server_hostname=name)

    async def ask(self, request: bytes) -> bytes:
        """All that comes for a request after which the connection is closed."""
        reader, writer = await self.connect()
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


class Answers(Heard):
    """Answers for engines that did not."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.then = lambda: client.answer(Reply(502, self.ends[-1][0].name.encode()))

    def ended(self, end: End, status: int) -> None:
        if end not in (End.NOT_BEGUN, End.BAD, End.SILENT):
            self.then = lambda: None
        super().ended(end, status)


@asynccontextmanager
async def town(
    script: Script,
    limits: Limits | None = None,
    origin: Origin | None = None,
    *,
    by: tuple[Certificate, ssl.SSLContext] | None = None,
    **listen: Any,
) -> AsyncIterator[Town]:
    """A gateway before an engine that answers each request by `script`. In the end all has to be
    at rest, whatever happened. It speaks TLS `by` a certificate, to clients who trust that."""
    limits = limits or Limits()
    here: Town

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.engine_open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, found, length = head.partition(b"content-length: ")
                size = int(length.partition(b"\r\n")[0]) if found else 0
                body = await reader.readexactly(size)
                here.calls += 1
                await script(Call(head, body, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            here.engine_open -= 1
            writer.close()

    if origin is not None and origin.unix is not None:
        stands = await asyncio.start_unix_server(engine, origin.unix)
    else:
        stands = await asyncio.start_server(engine, "127.0.0.1", 0, **listen)
        port = stands.sockets[0].getsockname()[1]
        origin = origin or Origin.of("http://127.0.0.1:0")
        origin = replace(origin, host="127.0.0.1", port=port)

    def serve(client: Client, request: Request) -> None:
        heard = Answers(client)
        here.heard.append(heard)
        to = forward(request.head, request.body, here.origin.header)
        Relay(client, here.links, here.origin, to, heard)

    connections, links = Connections(serve, limits), Links(limits)
    bound = tcp("127.0.0.1", 0)
    server: asyncio.Server | Handshakes
    if by is None:
        server = await asyncio.get_running_loop().create_server(connections, sock=bound)
    else:
        by[0].load()
        server = Handshakes(bound, connections, by[0])
    here = Town(bound.getsockname()[1], origin, connections, links, trust=by and by[1])
    try:
        async with asyncio.timeout(20):
            yield here
            await until(here.at_rest)
            links.close()
            await until(lambda: not here.engine_open)
    finally:
        links.close()
        connections.abort()
        server.close()
        stands.close()
    assert all(len(heard.ends) == 1 for heard in here.heard)


async def until(so: Callable[[], object]) -> None:
    while not so():
        await asyncio.sleep(0)
