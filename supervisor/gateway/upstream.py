"""Engines' addresses, and connections to them that are kept for the next request."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

from supervisor.addresses import NeverCalled, connect

from .answers import Answer
from .bodies import Chunked
from .limits import Limits
from .sweep import Sweep

log = logging.getLogger("ullage.gateway")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an engine answers: by TCP, or by a unix socket; `base` stands before its paths. `far`:
    it is another host's gateway, and the whole host may be gone without a word."""

    host: str
    port: int
    tls: bool = False
    unix: str | None = None
    base: bytes = b""
    header: bytes = field(default=b"", compare=False)  # its Host
    far: bool = False
    _hash: int = field(default=0, compare=False, repr=False)  # asked for with each request

    def __post_init__(self) -> None:
        told = (self.host, self.port, self.tls, self.unix, self.base)
        object.__setattr__(self, "_hash", hash(told))

    def __hash__(self) -> int:
        return self._hash

    @staticmethod
    @lru_cache(maxsize=512)
    def of(url: str) -> Origin:
        """Of http://, https://, unix:///run/x.sock, or http+unix://%2Frun%2Fx.sock/base.
        Raises ValueError."""
        parts = urlsplit(url)
        base = parts.path.rstrip("/").encode()
        if parts.scheme == "unix":
            return Origin("localhost", 0, unix=parts.path, header=b"localhost")
        if parts.scheme == "http+unix":
            unix = unquote(parts.netloc)
            return Origin("localhost", 0, unix=unix, base=base, header=b"localhost")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of an engine")
        tls = parts.scheme == "https"
        usual = 443 if tls else 80
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = parts.port or usual
        header = host if port == usual else f"{host}:{port}"
        return Origin(parts.hostname, port, tls, None, base, header.encode())


def far(url: str) -> Origin:
    """Another host's gateway. Raises ValueError."""
    return _far(Origin.of(url))


@lru_cache(maxsize=512)
def _far(origin: Origin) -> Origin:
    return replace(origin, far=True)


class Receiver(Protocol):
    """Who uses a link."""

    def connected(self, link: Link) -> None: ...
    def refused(self, error: OSError) -> None: ...
    def received(self, data: bytes) -> None: ...
    def lost(self, exc: Exception | None) -> None: ...
    def flow(self, on: bool) -> None: ...
    def watch(self, now: float) -> None: ...


class Link(asyncio.Protocol):
    """One connection to an engine, used by one at a time."""

    __slots__ = ("_links", "answer", "chunked", "idle", "since", "transport", "user", "write")

    def __init__(self, links: Links, idle: list[Link]) -> None:
        self._links = links
        self.idle = idle  # the idle ones of its origin
        self.chunked = Chunked()  # for whoever uses it
        self.answer: Answer | None = None  # the last that came
        self.user: Receiver | None = None
        self.since = 0.0  # when it became idle
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.write: Callable[[bytes], None] = None  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        self._links.open.add(self)

    def data_received(self, data: bytes) -> None:
        user = self.user
        if user is not None:
            user.received(data)
        else:
            self.drop()  # nobody asked

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.lost(self)
        user, self.user = self.user, None
        if user is not None:
            user.lost(exc)

    def pause_writing(self) -> None:
        if self.user is not None:
            self.user.flow(False)

    def resume_writing(self) -> None:
        if self.user is not None:
            self.user.flow(True)

    def drop(self) -> None:
        """Closes it at once. Its user hears nothing more."""
        self.user = None
        self.transport.abort()


class Links:
    """All connections to engines: those in use, and by origin those that are idle. `authorities`:
    whom to trust about other hosts' gateways; None: whom the system trusts."""

    def __init__(self, limits: Limits, authorities: ssl.SSLContext | None = None) -> None:
        self.limits = limits
        self.authorities = authorities
        self.idle: dict[Origin, list[Link]] = {}
        self.open: set[Link] = set()
        self.users: set[Receiver] = set()
        self._connecting: dict[Receiver, asyncio.Task[None]] = {}
        self._warned: set[Origin] = set()  # of where they lead to
        self.clock = Sweep(self.watch)

    @property
    def now(self) -> float:
        """The loop's time, to within a second."""
        return self.clock.now

    def take(self, origin: Origin, user: Receiver, fresh: bool = False) -> Link | None:
        """An idle link; or else None, and `user` is told when a new one stands, or why none does.
        `user` is watched until it says `leave`."""
        if not self.users:
            self.clock.wake()
        self.users.add(user)
        if not fresh:
            idle = self.idle.get(origin)
            while idle:
                link = idle.pop()
                if not link.transport.is_closing():
                    link.user = user
                    return link
        task = asyncio.get_running_loop().create_task(self._connect(origin, user))
        self._connecting[user] = task
        return None

    def leave(self, user: Receiver) -> None:
        """The user is done with its link, or with waiting for one."""
        self.users.discard(user)
        if self._connecting and (task := self._connecting.pop(user, None)) is not None:
            task.cancel()

    def give(self, link: Link) -> None:
        """The link is idle again, and may be used for another request."""
        link.user = None
        if len(link.idle) >= self.limits.pool:
            link.drop()
        else:
            link.since = self.clock.now
            link.idle.append(link)

    def lost(self, link: Link) -> None:
        self.open.discard(link)
        if link in link.idle:
            link.idle.remove(link)

    def trusts(self, authorities: ssl.SSLContext | None) -> None:
        """From now on, about other hosts' gateways. Idle links that were made before are not used
        again."""
        self.authorities = authorities
        for origin, idle in self.idle.items():
            while origin.far and origin.tls and idle:
                idle.pop().drop()

    def close(self) -> None:
        """Every link is dropped; their users hear nothing."""
        for task in self._connecting.values():
            task.cancel()
        for link in list(self.open):
            link.drop()
        self.clock.stop()

    async def _connect(self, origin: Origin, user: Receiver) -> None:
        try:
            within = self.limits.connect_far if origin.far else self.limits.connect
            async with asyncio.timeout(within):
                link = await self._connected(origin)
        # A time-out is an OSError as well; a name that nobody could look up is a ValueError.
        except (OSError, ValueError) as error:
            if isinstance(error, NeverCalled) and origin not in self._warned:
                self._warned.add(origin)
                log.warning("requests are not passed to %s: %s", origin.host, error)
            self._connecting.pop(user, None)
            user.refused(error if isinstance(error, OSError) else OSError(str(error)))
            return
        self._warned.discard(origin)
        self._connecting.pop(user, None)
        if origin.far:
            notice_end(link.transport)
        link.user = user
        user.connected(link)

    async def _connected(self, origin: Origin) -> Link:
        loop, idle = asyncio.get_running_loop(), self.idle.setdefault(origin, [])

        def made() -> Link:
            return Link(self, idle)

        if origin.unix is not None:
            return (await loop.create_unix_connection(made, origin.unix))[1]
        tls: dict[str, Any] = {}
        if origin.tls:
            trusted = (origin.far and self.authorities) or trust()
            tls = {"ssl": trusted, "server_hostname": origin.host}

        async def to(address: str) -> Link:
            return (await loop.create_connection(made, address, origin.port, **tls))[1]

        return await connect(origin.host, origin.port, to)

    def watch(self, now: float) -> bool:
        """Called each second. Whether there is anybody left to watch."""
        for user in list(self.users):
            user.watch(now)
        for idle in self.idle.values():
            while idle and now - idle[0].since > self.limits.pooled:  # the last used is the last
                idle.pop(0).drop()
        return bool(self.users or self.open)


# Of another host: it is asked whether it is still there after so many seconds without a byte, then
# each second, and is taken for gone after three times; and so where what is sent reaches nobody.
_QUIET = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 5000}


def notice_end(transport: asyncio.BaseTransport) -> None:
    """The kernel is to notice when who is at the other end has no power, or no network, any more:
    that is told by nobody, and a request would wait for its answer for minutes."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.family == socket.AF_UNIX:
        return
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _QUIET.items():
            option: int | None = getattr(socket, name, None)  # not every system has them
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


@cache
def trust() -> ssl.SSLContext:
    """Whom to trust, read once: that takes 15 ms."""
    return ssl.create_default_context()
