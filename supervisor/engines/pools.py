"""Connections to engines, a pool for each address: one that hangs holds none of the others'."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx

# Of one engine: it is asked about each of its models at once.
LIMITS = httpx.Limits(
    max_connections=64,
    max_keepalive_connections=8,
    # Kept for less than the 5 s after which llama-server closes an idle connection: a request
    # sent into a closing one looks like an engine that is down.
    keepalive_expiry=2.0,
)
MOST = 64  # addresses; children of ours have another port at each start
SILENT = 3600.0  # seconds after which an address is forgotten: longer than any call takes

Place = tuple[str, str, int | None]


@dataclass(slots=True, eq=False)
class _Pool:
    """`spoilt`: a call was cut short in it, and that may have left a connection in use for ever
    (httpcore 1.0.9). It serves no further call, and is closed after its last one."""

    transport: httpx.AsyncBaseTransport
    used_at: float
    under_way: int = 0
    spoilt: bool = False


class Pools(httpx.AsyncBaseTransport):
    """`make` makes one pool; `clock` is monotonic, in seconds. What a pool does for a request takes
    time in proportion to its connections: with one for all, twenty engines would cost four hundred
    times what one does."""

    def __init__(
        self,
        make: Callable[[], httpx.AsyncBaseTransport],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._clock = make, clock
        self._pools: dict[Place, _Pool] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._pools)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        place = (url.scheme, url.host, url.port)
        pool = self._pools.get(place)
        if pool is None:
            await self._forget()
            # Somebody else may have made one while others were closed.
            pool = self._pools.setdefault(place, _Pool(self._make(), 0.0))
        pool.used_at = self._clock()
        pool.under_way += 1
        try:
            reply = await pool.transport.handle_async_request(request)
        except BaseException as error:
            self._ended(place, pool, cut=isinstance(error, asyncio.CancelledError))
            raise
        assert isinstance(reply.stream, httpx.AsyncByteStream)
        return httpx.Response(
            reply.status_code,
            headers=reply.headers,
            stream=_Body(reply.stream, lambda cut: self._ended(place, pool, cut=cut)),
            extensions=reply.extensions,
        )

    def _ended(self, place: Place, pool: _Pool, *, cut: bool) -> None:
        pool.under_way -= 1
        if cut:
            pool.spoilt = True
            if self._pools.get(place) is pool:
                del self._pools[place]
        if pool.spoilt and not pool.under_way:
            task = asyncio.create_task(pool.transport.aclose(), name="close connections")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _forget(self) -> None:
        if len(self._pools) < MOST:
            return
        silent = self._clock() - SILENT
        for place in [place for place, pool in self._pools.items() if pool.used_at < silent]:
            await self._pools.pop(place).transport.aclose()

    async def aclose(self) -> None:
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.transport.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)


class _Body(httpx.AsyncByteStream):
    """`ended` is told once whether it was cut short."""

    def __init__(self, stream: httpx.AsyncByteStream, ended: Callable[[bool], None]) -> None:
        self._stream, self._ended = stream, ended
        self._cut = self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except asyncio.CancelledError:
            self._cut = True
            raise

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._stream.aclose()
        except asyncio.CancelledError:
            self._cut = True
            raise
        finally:
            self._ended(self._cut)


def pooled(trust: ssl.SSLContext) -> Pools:
    return Pools(lambda: httpx.AsyncHTTPTransport(verify=trust, trust_env=False, limits=LIMITS))
