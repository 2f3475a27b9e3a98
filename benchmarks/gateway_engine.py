"""The engine of the gateway's benchmark: `python -m benchmarks.gateway_engine GAP_MS`.

Answers any POST with fifty events, all at once, or GAP_MS apart, each in a write of its own, as
engines do, and any GET with the one model that it has. Prints its port. Costs as little as it can:
what is measured is what stands before it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

CHUNKS = 50
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,'
    b'"model":"llama3","choices":[{"index":0,"delta":{"content":"token "}}]}\n\n'
)
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
MODELS = b'[{"name":"llama3","state":"loaded"}]'
LISTED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(MODELS),
    MODELS,
)
DONE = b"data: [DONE]\n\n"
LAST = b"%x\r\n%s\r\n0\r\n\r\n" % (len(DONE), DONE)


class Engine(asyncio.Protocol):
    """One connection of it. It reads no more of a request than where that ends."""

    def __init__(self, gap: float) -> None:
        self._gap, self._read, self._sent = gap, b"", 0
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower() + b"\r\n"
            at = head.find(b"content-length:")
            length = 0 if at < 0 else int(head[at + 15 : head.find(b"\r\n", at)])
            if len(self._read) < end + 4 + length:
                return
            self._read = self._read[end + 4 + length :]
            if head.startswith(b"get "):
                self._transport.write(LISTED)
            else:
                self._begin()

    def _begin(self) -> None:
        self._transport.write(HEAD)
        if self._gap:
            self._sent, self._due = 0, self._loop.time()
            self._next()
            return
        for _ in range(CHUNKS):
            self._transport.write(CHUNK)
        self._transport.write(LAST)

    def _next(self) -> None:
        """One event now, and the next one when it is due: late ones are not caught up with."""
        if self._transport.is_closing():
            return
        if self._sent == CHUNKS:
            self._transport.write(LAST)
            return
        self._transport.write(CHUNK)
        self._sent += 1
        self._due = max(self._due + self._gap, self._loop.time())
        self._loop.call_at(self._due, self._next)


async def serve(gap: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Engine(gap), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1]) / 1000))
