"""A listener that speaks TLS: connections become clients once their handshake is over.

Until then they cost a socket and a timer, and nobody's place: of too many that are half open the
oldest go. Whoever speaks plain HTTP here is told so, and does not wait for an answer in TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable

from .certificates import Certificate

log = logging.getLogger("ullage.tls")

WITHIN = 10.0  # seconds for the handshake, from the connection's first moment
MOST = 256  # handshakes at once
SHUTDOWN = 10.0  # seconds for a client to take the last of its answer, and to say goodbye
PAUSE = 1.0  # seconds, where there are no descriptors left
BACKLOG = 2048
RECORD = b"\x16"  # with which every handshake begins
FIRST = 65536  # bytes of a plain request that are read, so that its answer is not lost

_WORDS = "this port speaks HTTPS: write https:// before its address"
_BODY = json.dumps({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": _WORDS})
PLAIN = (
    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
    f"content-length: {len(_BODY)}\r\nconnection: close\r\n\r\n{_BODY}"
).encode()

Factory = Callable[[], asyncio.Protocol]


class Handshakes:
    """Serves `bound`, a listening socket that does not block, from when it is made. `failed` are
    handshakes that came to nothing."""

    def __init__(
        self,
        bound: socket.socket,
        factory: Factory,
        certificate: Certificate,
        *,
        within: float = WITHIN,
        most: int = MOST,
    ) -> None:
        self._bound, self._factory, self._certificate = bound, factory, certificate
        self._within, self._most = within, most
        self._under_way: dict[asyncio.Task[None], None] = {}  # the oldest first
        self.failed = 0
        bound.listen(BACKLOG)
        self._accepting = asyncio.create_task(self._accept(), name="TLS listener")

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def close(self) -> None:
        """Nobody new; handshakes under way end. Clients are their protocols' business."""
        for task in (self._accepting, *self._under_way):
            task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        with self._bound:  # closed here, once the loop looks at it no more
            while True:
                try:
                    client, _ = await loop.sock_accept(self._bound)
                except OSError as error:
                    log.warning("a connection could not be accepted: %s", error.strerror)
                    await asyncio.sleep(PAUSE)
                    continue
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        task = asyncio.create_task(self._receive(client), name="TLS handshake")
        self._under_way[task] = None
        task.add_done_callback(self._ended)
        if len(self._under_way) > self._most:
            oldest = next(iter(self._under_way))
            del self._under_way[oldest]
            oldest.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a TLS handshake could not be led", exc_info=error)

    async def _receive(self, client: socket.socket) -> None:
        ours, served = True, False
        try:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._within):
                first = await _peek(client)
                if first == RECORD:
                    ours = False  # the transport closes it
                    await self._shake_hands(client)
                    served = True
                elif first:
                    await _say(client)
        except (OSError, TimeoutError):  # an ssl.SSLError is an OSError
            pass
        finally:
            self.failed += not served
            if ours:
                client.close()

    async def _shake_hands(self, client: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(
            self._factory,
            client,
            ssl=self._certificate.context,
            ssl_handshake_timeout=self._within,
            ssl_shutdown_timeout=SHUTDOWN,
        )


async def _peek(client: socket.socket) -> bytes:
    """The first byte that the client sends, which stays where it is. Empty: it has hung up."""
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        if not there.done():
            there.set_result(None)

    loop.add_reader(client, ready)
    try:
        await there
    finally:
        loop.remove_reader(client)
    return client.recv(1, socket.MSG_PEEK)


async def _say(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_recv(client, FIRST)
    await loop.sock_sendall(client, PLAIN)
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)
