"""Connections to engines, of each address its own: one that hangs holds none of the others'.

A pool of httpcore's looks at all of its connections, by a system call each, whenever a request
begins or ends. With twenty engines that are asked about their models at once, a quarter of all
samples of the daemon's main thread were in there. So each connection is a pool of one here, and
taken from a list.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from supervisor.addresses import connect

AT_ONCE = 64  # calls of one engine: it is asked about each of its models at once
KEPT = 8  # connections of one engine without a call
# Kept for less than the 5 s after which llama-server closes an idle connection: a request sent into
# a closing one looks like an engine that is down.
EXPIRES = 2.0  # seconds
ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=EXPIRES)
MOST = 64  # addresses; children of ours have another port at each start
SILENT = 3600.0  # seconds after which an address is forgotten: longer than any call takes

Address = tuple[str, str, int | None]


@dataclass(slots=True, eq=False)
class _Line:
    """One connection, or none yet. `rested_at` is when its last call ended."""

    transport: httpx.AsyncBaseTransport
    rested_at: float = 0.0


@dataclass(slots=True, eq=False)
class _Place:
    """One address. Of `rest`, those without a call, the one that was used last stands last."""

    used_at: float = 0.0
    busy: set[_Line] = field(default_factory=set)
    rest: deque[_Line] = field(default_factory=deque)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))


class Pools(httpx.AsyncBaseTransport):
    """`make` makes a transport for one connection; `clock` is monotonic, in seconds."""

    def __init__(
        self,
        make: Callable[[], httpx.AsyncBaseTransport],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._clock = make, clock
        self._places: dict[Address, _Place] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._places)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises PoolTimeout where so many calls are under way that none ends in time."""
        url = request.url
        address = (url.scheme, url.host, url.port)
        place = self._places.get(address)
        if place is None:
            self._forget()
            place = self._places[address] = _Place()
        place.used_at = self._clock()
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await place.room.acquire()
        except TimeoutError:
            busy = f"{AT_ONCE} calls are under way"
            raise httpx.PoolTimeout(busy, request=request) from None
        try:
            line = place.rest.pop() if place.rest else _Line(self._make())
            place.busy.add(line)
        except BaseException:  # want of memory, above all
            place.room.release()
            raise
        try:
            reply = await line.transport.handle_async_request(request)
        except BaseException as error:
            self._ended(place, line, cut=isinstance(error, asyncio.CancelledError))
            raise
        assert isinstance(reply.stream, httpx.AsyncByteStream)
        return httpx.Response(
            reply.status_code,
            headers=reply.headers,
            stream=_Body(reply.stream, lambda cut: self._ended(place, line, cut=cut)),
            extensions=reply.extensions,
        )

    def _ended(self, place: _Place, line: _Line, *, cut: bool) -> None:
        """A call that was cut short may have left its connection in use for ever (httpcore 1.0.9):
        such a line serves no further call."""
        if line not in place.busy:
            return  # all is closed already
        place.busy.discard(line)
        place.room.release()
        now = line.rested_at = self._clock()
        if cut or self._closed:
            self._close((line,))
        else:
            place.rest.append(line)
        self._let_go(place, now)
        if place.rest and self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(EXPIRES, self._swept)

    def _let_go(self, place: _Place, now: float) -> None:
        """Of those too many, and of those that have rested for long."""
        while place.rest and (len(place.rest) > KEPT or now - place.rest[0].rested_at > EXPIRES):
            self._close((place.rest.popleft(),))

    def _swept(self) -> None:
        """An address that is not called any more keeps nothing open either."""
        now, self._sweep = self._clock(), None
        for place in self._places.values():
            self._let_go(place, now)
        if any(place.rest for place in self._places.values()):
            self._sweep = asyncio.get_running_loop().call_later(EXPIRES, self._swept)

    def _close(self, lines: Iterable[_Line]) -> None:
        for line in lines:
            task = asyncio.create_task(line.transport.aclose(), name="close a connection")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _forget(self) -> None:
        if len(self._places) < MOST:
            return
        silent = self._clock() - SILENT
        idle = [a for a, place in self._places.items() if place.used_at < silent and not place.busy]
        for address in idle:
            self._close(self._places.pop(address).rest)

    async def aclose(self) -> None:
        """Also of calls that are under way: they fail."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        while self._places:
            _, place = self._places.popitem()
            self._close((*place.rest, *place.busy))
            place.rest.clear()
            place.busy.clear()
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


class _Looked:
    """httpcore's way to the network, with a look at whom a name leads to at each connection."""

    def __init__(self, way: Any) -> None:
        self._way = way

    async def connect_tcp(self, host: str, port: int, *how: Any, **more: Any) -> Any:
        """Raises httpx.ConnectError where the name leads to nobody who may be called."""
        try:
            return await connect(
                host, port, lambda address: self._way.connect_tcp(address, port, *how, **more)
            )
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error

    async def sleep(self, seconds: float) -> None:
        await self._way.sleep(seconds)


def pooled(trust: ssl.SSLContext) -> Pools:
    def make() -> httpx.AsyncBaseTransport:
        made = httpx.AsyncHTTPTransport(verify=trust, trust_env=False, limits=ONE)
        pool: Any = made._pool  # httpx hands no such thing down
        pool._network_backend = _Looked(pool._network_backend)
        return made

    return Pools(make)
