"""Connections made of values: what the hot path writes is kept, what it reads is handed to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from supervisor.gateway.client import Client
from supervisor.gateway.connections import Admit, Connections
from supervisor.gateway.heads import Headers, forward
from supervisor.gateway.limits import Limits
from supervisor.gateway.relay import End, Relay
from supervisor.gateway.stages import Request
from supervisor.gateway.upstream import Link, Links, Origin

ENGINE = Origin.of("http://127.0.0.1:1")
HEAD = b"POST /v1/chat HTTP/1.1\r\nHost: here\r\n"


def asked(body: bytes = b"{}", *lines: bytes, version: bytes = b"1.1") -> bytes:
    """A request as a client sends it."""
    head = b"POST /v1/chat HTTP/%s\r\nHost: here\r\nContent-Length: %d\r\n" % (version, len(body))
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def streamed(*events: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A stream of events as an engine sends it."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(e), e) for e in events) + end


def whole(body: bytes = b"{}", status: bytes = b"200 OK", *lines: bytes) -> bytes:
    """An answer of a known length, as an engine sends it."""
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    return head % (status, len(body)) + b"".join(ln + b"\r\n" for ln in lines) + b"\r\n" + body


class FakeTransport(asyncio.Transport):
    """The other end of it is the test. An end is told to the protocol in the loop's next turn."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 5)})
        self.protocol = protocol
        self.sent = b""
        self.reading = True
        self.ended = self.aborted = self.half_closed = False
        self.unsent = 0  # bytes that the other end has not taken
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.half_closed
        self.sent += bytes(data)

    def taken(self) -> bytes:
        """What was written since it was last taken."""
        taken, self.sent = self.sent, b""
        return taken

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Heard:
    """Who hears of relays."""

    def __init__(self) -> None:
        self.ends: list[tuple[End, int]] = []
        self.moves = self.words_begun = 0
        self.added: Headers = ((b"x-ullage-model", b"one/small"),)
        self.words: bytes | None = b"data: broke\n\n"
        self.flight = self
        self.then: Callable[[], None] = lambda: None

    def moved(self) -> None:
        self.moves += 1

    def answered(self, status: int, headers: Headers) -> Headers:
        return self.added

    def spoke(self) -> None:
        self.words_begun += 1

    def ended(self, end: End, status: int) -> None:
        self.ends.append((end, status))
        self.then()

    def last_words(self, content_type: bytes) -> bytes | None:
        return self.words if content_type.startswith(b"text/event-stream") else None

    def event_of(self, status: int, content_type: bytes, body: bytes) -> bytes:
        return b"data: %d %s\n\n" % (status, body)


class House:
    """A client at one end, an engine at the other. Each request is kept; `relay` sends it on."""

    def __init__(
        self, limits: Limits | None = None, admit: Admit | None = None, relays: bool = True
    ) -> None:
        self.limits = limits or Limits()
        self.requests: list[Request] = []
        self.connections = Connections(self._serve, self.limits, admit)
        self.links = Links(self.limits)
        self.heard = Heard()
        self.relays = relays
        self.relay: Relay | None = None
        self.client, self.near = self.connect()
        self.line, self.far = self.engine()

    def connect(self) -> tuple[Client, FakeTransport]:
        client = self.connections()
        return client, FakeTransport(client)

    def engine(self) -> tuple[Link, FakeTransport]:
        """An idle connection to the engine."""
        line = Link(self.links, self.links.idle.setdefault(ENGINE, []))
        transport = FakeTransport(line)
        self.links.give(line)
        return line, transport

    def _serve(self, client: Client, request: Request) -> None:
        self.requests.append(request)
        if self.relays:
            self.send(client, request)

    def send(self, client: Client, request: Request) -> None:
        to = forward(request.head, request.body, ENGINE.header)
        self.relay = Relay(client, self.links, ENGINE, to, self.heard)

    def asks(self, data: bytes | None = None) -> None:
        self.client.data_received(asked() if data is None else data)

    def says(self, data: bytes) -> None:
        self.line.data_received(data)

    def idle(self) -> int:
        return sum(map(len, self.links.idle.values()))

    def at_rest(self) -> bool:
        """Nothing is under way, and nothing is held."""
        return not self.links.users and not self.connections.held


def status(transport: FakeTransport) -> int:
    """Of the one answer that was written since the last look."""
    sent = transport.taken()
    assert sent.count(b"HTTP/1.1 ") == 1, sent
    return int(sent[9:12])


async def turns(count: int = 5) -> None:
    """The loop goes round."""
    for _ in range(count):
        await asyncio.sleep(0)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())
