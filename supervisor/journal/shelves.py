"""Small things that outlive the daemon, kept by name: pins, leases, what was set while running."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from .schema import read
from .store import Statement

Json = dict[str, Any]
Put = Callable[[Sequence[Statement]], "Future[bool] | None"]
# Hears of a shelf, a key on it, what was there before, and what is there now; None: nothing.
Listener = Callable[[str, str, Json | None, Json | None], None]

TOLD = 2.0  # seconds: a disk that hangs keeps nobody from unloading a model

_KEEP = "INSERT OR REPLACE INTO shelves (shelf, key, body) VALUES (?, ?, ?)"
_DROP = "DELETE FROM shelves WHERE shelf = ? AND key = ?"


@dataclass(frozen=True, slots=True)
class Shelf:
    """One kind of thing. Read from memory; what is changed is in memory at once, and `put` on disk
    a moment later: the future tells when, None where there is no disk. Safe from any thread.

    It is kept as its text on disk: what is read is a copy. Thousands of small things as objects
    would take more than twice the room, and every look for garbage would go through them."""

    name: str
    _lock: RLock
    _put: Put
    _listeners: Sequence[Listener] = ()
    _kept: dict[str, str] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def keys(self) -> list[str]:
        """Of everything on it, in the order in which it was put there."""
        with self._lock:
            return list(self._kept)

    def all(self) -> dict[str, Json]:
        """Everything on it, in the order in which it was put there."""
        with self._lock:
            kept = dict(self._kept)
        return {key: read(text) for key, text in kept.items()}

    def get(self, key: str) -> Json | None:
        with self._lock:
            text = self._kept.get(key)
        return None if text is None else read(text)

    def keep(self, key: str, body: Json) -> Future[bool] | None:
        text = json.dumps(body)
        with self._lock:
            before = self.get(key)
            self._kept[key] = text
            done = self._put([self._written(key, text)])
        self._tell(key, before, body)
        return done

    def drop(self, key: str) -> Future[bool] | None:
        with self._lock:
            before = self.get(key)
            self._kept.pop(key, None)
            done = self._put([(_DROP, (self.name, key))])
        if before is not None:
            self._tell(key, before, None)
        return done

    def _tell(self, key: str, before: Json | None, now: Json | None) -> None:
        for listener in self._listeners:
            listener(self.name, key, before, now)

    def _written(self, key: str, text: str) -> Statement:
        return _KEEP, (self.name, key, text)


@dataclass(frozen=True, slots=True)
class Shelves:
    """`listeners` hear of every change, in the thread in which it is made."""

    _lock: RLock
    _put: Put
    _shelves: dict[str, Shelf] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)

    def __getitem__(self, name: str) -> Shelf:
        with self._lock:
            new = Shelf(name, self._lock, self._put, self.listeners)
            return self._shelves.setdefault(name, new)

    def everything(self) -> list[Statement]:
        """What writes all of them, for a file begun afresh."""
        found: list[Statement] = [("DELETE FROM shelves", ())]
        for shelf in self._shelves.values():
            found += [shelf._written(key, text) for key, text in shelf._kept.items()]
        return found

    def load(self, db: sqlite3.Connection) -> None:
        for name, key, body in db.execute("SELECT shelf, key, body FROM shelves ORDER BY rowid"):
            read(body)  # or it cannot be read
            self[name]._kept[key] = body


@dataclass(slots=True)
class Notes:
    """A shelf for who writes before each step and does not take it until that is on disk."""

    shelf: Shelf
    _latest: Future[bool] | None = None

    def get(self, key: str) -> Json | None:
        return self.shelf.get(key)

    def keep(self, key: str, body: Json) -> None:
        self._latest = self.shelf.keep(key, body)

    def drop(self, key: str) -> None:
        if key in self.shelf:
            self._latest = self.shelf.drop(key)

    async def settled(self) -> None:
        """What was written is on disk; or that takes too long, or there is none."""
        await told(self._latest)


async def told(done: Future[bool] | None) -> bool:
    """Shielded, so that a caller who is cancelled never races with the writer's answer."""
    if done is None:
        return False
    try:
        async with asyncio.timeout(TOLD):
            return await asyncio.shield(asyncio.wrap_future(done))
    except TimeoutError:
        return False
