"""All clients' connections: how many, how many bytes they hold, and who takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from . import reply
from .client import Client, Serve
from .heads import Head, Heads
from .limits import Limits
from .reply import Fault, Reply
from .sweep import Sweep

# Who may go on, before the body is read: an answer refuses.
Admit = Callable[[Client, Head], Reply | None]
# Whether there is memory for so many bytes more.
Room = Callable[[int], bool]

SMALL = 256 * 1024  # bytes of a body for which nobody asks how much memory there is
COPIES = 3  # of a body that is read, besides itself: while it is understood and passed on


class Connections:
    """Makes a Client of each connection: what a listener is given as its protocol's factory."""

    def __init__(
        self,
        serve: Serve,
        limits: Limits,
        admit: Admit | None = None,
        fault: Fault = reply.fault,
    ) -> None:
        self.serve, self.limits, self.admit, self.fault = serve, limits, admit, fault
        self.heads = Heads(limits.headers)
        self.open: set[Client] = set()
        self.held = 0  # bytes of requests' bodies
        self.room: Room | None = None
        self.closing = False  # answers close their connections
        self._empty = asyncio.Event()
        self.clock = Sweep(self.watch)

    def __call__(self) -> Client:
        return Client(self.serve, self.limits, self)

    @property
    def now(self) -> float:
        """The loop's time, to within a second."""
        return self.clock.now

    def add(self, client: Client) -> bool:
        """Whether there is room for one more. Watched it is in any case. Where there is none, who
        has kept us waiting the longest for a request makes room."""
        self.open.add(client)
        self.clock.wake()
        if len(self.open) <= self.limits.connections:
            return True
        waited_for = (c for c in self.open if c is not client and c.keeps_us_waiting)
        first = min(waited_for, key=lambda c: c.since, default=None)
        if first is None:
            return False
        self.open.discard(first)
        first.transport.abort()
        return True

    def remove(self, client: Client) -> None:
        self.open.discard(client)
        if not self.open:
            self._empty.set()

    async def emptied(self) -> None:
        """Returns when none is open."""
        while self.open:
            self._empty.clear()
            await self._empty.wait()

    def take(self, more: int, size: int) -> str | None:
        """`more` bytes are held of a body that has `size` so far. Why not, in words."""
        self.held += more
        if self.held > self.limits.bodies:
            return "too many bytes of requests are held"
        if size > SMALL and self.room is not None and not self.room(COPIES * self.held):
            return "there is too little memory for so large a body; ask again later"
        return None

    def close(self) -> None:
        """From now on each answer is its connection's last; those without a request end now."""
        self.closing = True
        for client in list(self.open):
            client.rest()

    def abort(self) -> None:
        """Ends what is left."""
        for client in list(self.open):
            client.transport.abort()
        self.clock.stop()

    def watch(self, now: float) -> bool:
        """Called each second. Whether there is anybody left to watch."""
        for client in list(self.open):
            client.watch(now)
        return bool(self.open)
