"""What happens, told to whoever listens: the latest events are kept, and may be read again.

Nobody has a queue of its own. A reader has its place among the events that are kept; one that falls
so far behind that they are gone is told to read the state anew.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

Json = dict[str, Any]

KEPT = 2000  # events
PASSING = frozenset({"hello", "sample"})  # true for a moment: not kept, and without an id
KINDS = (
    "hello",
    "reset",
    "sample",
    "model",
    "engine",
    "decision",
    "outcome",
    "finding",
    "claim",
    "alert",
    "settings",
    "config",
    "daemon",
)


@dataclass(frozen=True, slots=True)
class Event:
    """`number` None: it is not kept. `text` is what it says, with its "at", in Unix time, as JSON
    in ASCII: names come from engines. As objects those that are kept take three times the room, and
    every look for garbage goes through all of them."""

    number: int | None
    kind: str
    text: str

    @classmethod
    def of(cls, number: int | None, kind: str, data: Json) -> Event:
        return cls(number, kind, _text(data))

    @property
    def data(self) -> Json:
        """A copy of its own for whoever asks."""
        found: Json = json.loads(self.text)
        return found


class NoSuchPlace(Exception):
    """What came after this id is not known; the message says why."""


@dataclass(slots=True)
class Feed:
    """`wall` gives Unix time in seconds. In the loop's own thread alone."""

    wall: Callable[[], float] = time.time
    epoch: str = field(default_factory=lambda: token_hex(4))
    closed: bool = False
    readers: set[Reader] = field(default_factory=set)
    _events: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))
    _count: int = 0

    @property
    def last(self) -> str:
        """The id of the latest event that is kept."""
        return self.id_of(self._count)

    def id_of(self, number: int) -> str:
        return f"{self.epoch}-{number}"

    def tell(self, kind: str, data: Json | None = None, **more: Any) -> None:
        """Something has happened. Where nothing says when, it is now."""
        event = self._made(kind, {"at": self.wall(), **(data or {}), **more})
        for reader in self.readers:
            reader.hear(event)

    def is_read(self, kind: str) -> bool:
        """Is anybody there who would read it?"""
        return any(not reader.kinds or kind in reader.kinds for reader in self.readers)

    def _made(self, kind: str, data: Json) -> Event:
        if kind in PASSING:
            return Event.of(None, kind, data)
        event = Event.of(self._count + 1, kind, data)
        self._count += 1
        self._events.append(event)
        return event

    def place(self, id: str) -> int:
        """The number in `id`. Raises NoSuchPlace where what came since cannot be told."""
        epoch, _, number = id.rpartition("-")
        if epoch != self.epoch:
            raise NoSuchPlace("the daemon was started anew since then")
        if not number.isascii() or not number.isdecimal() or len(number) > 15:
            raise NoSuchPlace(f"{id!r} is not the id of an event")
        if int(number) > self._count:
            raise NoSuchPlace(f"{id} has not happened yet")
        if self.is_gone(int(number)):
            raise NoSuchPlace(f"more than {KEPT} events have happened since then")
        return int(number)

    def is_gone(self, number: int) -> bool:
        """Is any event gone that came after it?"""
        return number < self._count - len(self._events)

    def after(self, number: int) -> Iterator[Event]:
        """Those that are kept and came after it, the oldest first. Not while others are told."""
        skip = max(0, number - (self._count - len(self._events)))
        for place in range(skip, len(self._events)):
            yield self._events[place]

    def read(self, kinds: Collection[str] = (), after: str | None = None) -> Reader:
        """A reader of these `kinds`, () of all, from now on, or of all that came `after` an id.
        To be closed when it is no longer read."""
        reader = Reader(self, frozenset(kinds), self._count)
        if after is not None:
            try:
                reader.number = self.place(after)
            except NoSuchPlace as why:
                reader.lost = str(why)
        self.readers.add(reader)
        return reader

    def close(self) -> None:
        """The daemon ends: so does every reader, once it has read what there is."""
        self.closed = True
        for reader in self.readers:
            reader.wake.set()


@dataclass(slots=True, eq=False)
class Reader:
    """`number` is of the event that was read last; `lost` why those after it cannot be had. Of
    samples only the latest waits to be read."""

    feed: Feed
    kinds: frozenset[str]
    number: int
    lost: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _sample: Event | None = None

    def hear(self, event: Event) -> None:
        if self.kinds and event.kind not in self.kinds:
            if event.number is not None and self.number == event.number - 1:
                self.number = event.number  # passed over, and not missed
            return
        if event.number is None:
            self._sample = event
        self.wake.set()

    def take(self, most: int = 64) -> list[Event]:
        """What is to be read now, at most so many events; nothing: wait for `wake`."""
        feed, found = self.feed, list[Event]()
        self.wake.clear()
        if not self.lost and feed.is_gone(self.number):
            self.lost = f"it was read too slowly: more than {KEPT} events have happened meanwhile"
        if self.lost:
            self.number = feed._count
            why = {"at": feed.wall(), "why": f"{self.lost}; read the state anew"}
            found.append(Event.of(self.number, "reset", why))
            self.lost = ""
        for event in feed.after(self.number):
            assert event.number is not None
            self.number = event.number
            if not self.kinds or event.kind in self.kinds:
                found.append(event)
                if len(found) >= most:
                    self.wake.set()
                    return found
        if self._sample is not None and not feed.closed:  # the last word is that it ends
            found.append(self._sample)
        self._sample = None
        if feed.closed:
            self.wake.set()
        return found

    @property
    def over(self) -> bool:
        """Nothing more is to come."""
        return self.feed.closed and self.number == self.feed._count

    def close(self) -> None:
        self.feed.readers.discard(self)


def _text(data: Json) -> str:
    """JSON knows no number that is not finite: nothing is there instead."""
    try:
        return _plain(data)
    except ValueError:
        return _plain(json.loads(json.dumps(data), parse_constant=lambda _: None))


def _plain(data: Json) -> str:
    return json.dumps(data, allow_nan=False, separators=(",", ":"))
