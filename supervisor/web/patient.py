"""The HTTP protocol, with an end to its patience.

uvicorn waits for ever for a request's headers and takes as many as are sent: every such
connection holds a place of `limit_concurrency`. Bodies are timed where they are read. Where places
run short, whoever has kept us waiting the longest for a whole request gives its own up.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from supervisor.accounts import PEER, Peer, peer_of

HEAD_TIMEOUT = 10.0  # seconds for a request's first line and headers
READ_TIMEOUT = 30.0  # seconds in which a client reads some of what it was sent
LARGEST_HEAD = 64 * 1024  # bytes
PLACES = 8  # kept free: who is let go of takes a moment to be gone


class Patient(HttpToolsProtocol):
    """Closes connections that are silent, dribble their headers, send too many of them, or do not
    read what they asked for."""

    head_timeout = HEAD_TIMEOUT
    read_timeout = READ_TIMEOUT
    _timer: asyncio.TimerHandle | None = None
    _since = 0.0  # the loop's time, when the request began that is waited for
    _unread: asyncio.TimerHandle | None = None
    _head = 0
    _url_begins = True
    _peer: Peer | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = peer_of(transport.get_extra_info("socket"))
        self._wait()
        self._make_place()

    def _make_place(self) -> None:
        most = self.limit_concurrency
        if most is None or len(self.connections) < most - PLACES:
            return
        others = [c for c in self.connections if isinstance(c, Patient) and c is not self]
        if waited_for := [c for c in others if c._keeps_us_waiting]:
            first = min(waited_for, key=lambda c: c._since)
            self.connections.discard(first)
            first.transport.abort()

    @property
    def _keeps_us_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.read_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()  # uvicorn's own timer ends with the first byte of the next request
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head = 0
        self._url_begins = True
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[PEER] = self._peer

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        if self._url_begins and not url.startswith((b"/", b"*")):
            # "GET http://other/": its host counts more than the header that the guard looks at.
            raise ValueError("a proxy's target")
        self._url_begins = False
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > LARGEST_HEAD:
            raise ValueError("too much of a head")  # the parser makes it a 400, and closes

    def _wait(self) -> None:
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self.head_timeout, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
