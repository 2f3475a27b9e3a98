"""The clients of the gateway's benchmark:
`python -m benchmarks.gateway_load PORT CONNECTIONS SECONDS SPREAD [ROUNDS]`.

So many connections, begun evenly over SPREAD seconds, each with the next request as soon as the
last one is answered: for SECONDS after a warm-up, or, with ROUNDS, until each has had so many
answers. Prints one line of JSON: requests per second, milliseconds to the first byte and to the
last, answers that were whole.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any, cast

import httptools
import uvloop

WARM_UP = 0.7
ASKED = {"model": "llama3", "stream": True}
BODY = json.dumps(
    ASKED | {"messages": [{"role": "user", "content": "hello " * 150}], "user": "bench"}
).encode()
# The headers that the openai package sends.
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
    b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n"
    b"Content-Type: application/json\r\n"
    b"User-Agent: OpenAI/Python 2.1.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Async: false\r\n"
    b"X-Stainless-Package-Version: 2.1.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n"
    b"X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.7\r\n"
    b"x-stainless-retry-count: 0\r\nAuthorization: Bearer sk-none\r\nContent-Length: %d\r\n\r\n%s"
)


class Caller(asyncio.Protocol):
    """One connection: asks, times, asks again."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._over = False
        self._first = 0.0
        self._rounds = load.rounds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._ask()

    def _ask(self) -> None:
        self._over, self._first = False, 0.0
        self._asked = time.perf_counter()
        self._transport.write(self._load.request)

    def on_message_complete(self) -> None:
        self._over = self._parser.get_status_code() == 200

    def data_received(self, data: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter()
        self._parser.feed_data(data)
        if not self._over:
            return
        now, load = time.perf_counter(), self._load
        self._rounds -= 1
        if load.begun < self._asked:
            load.first.append(self._first - self._asked)
            load.whole.append(now - self._asked)
        if now < load.until and self._rounds:
            self._ask()
        else:
            self._over = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.left(self._over)


class Load:
    """All of them, and what they saw."""

    def __init__(
        self, port: int, connections: int, seconds: float, spread: float, rounds: int
    ) -> None:
        self.request = REQUEST % (port, len(BODY), BODY)
        self.rounds = rounds or -1
        self.first: list[float] = []
        self.whole: list[float] = []
        self.cut = 0
        self._port, self._connections, self._seconds = port, connections, seconds
        self._spread = spread
        self.begun = self.until = 0.0

    def left(self, whole: bool) -> None:
        self.cut += not whole
        self._open -= 1
        if not self._open:
            self._over.set()

    async def run(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        self._open, self._over = self._connections, asyncio.Event()
        started = time.perf_counter()
        self.begun = started + (max(WARM_UP, self._spread) if self.rounds < 0 else 0.0)
        self.until = self.begun + self._seconds
        if self.rounds > 0:
            self.begun, self.until = 0.0, float("inf")
        for i in range(self._connections):
            begins = started + self._spread * i / self._connections
            if (early := begins - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            await loop.create_connection(lambda: Caller(self), "127.0.0.1", self._port)
        async with asyncio.timeout(self._seconds + 60):
            await self._over.wait()
        took = time.perf_counter() - started if self.rounds > 0 else self._seconds
        return {
            "answers": len(self.whole),
            "cut": self.cut,
            "took": took,
            "requests_per_s": len(self.whole) / took,
            "first_p50_ms": at(self.first, 0.5) * 1000,
            "first_p99_ms": at(self.first, 0.99) * 1000,
            "whole_p50_ms": at(self.whole, 0.5) * 1000,
            "whole_p99_ms": at(self.whole, 0.99) * 1000,
        }


def at(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


if __name__ == "__main__":
    port, connections, seconds, spread, *rounds = sys.argv[1:]
    more = int(rounds[0]) if rounds else 0
    load = Load(int(port), int(connections), float(seconds), float(spread), more)
    print(json.dumps(uvloop.run(load.run())))
