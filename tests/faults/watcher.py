"""Whoever looks on: what the daemon says of its memory and of its promises, beside what the bench
knows, from the start to the end, whatever is broken or well meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.faults import book
from tests.readers import GPU

if TYPE_CHECKING:
    from tests.faults.bench import Bench

EVERY = 0.2  # seconds between two looks
LATE = 1.0  # seconds: for so long it may seem so, as memory is read before those who hold it
Json = dict[str, Any]


def unsound(state: Json) -> Iterator[str]:
    """What may not be in any one answer, at no moment."""
    for pool in _read(state):
        used, parts = pool["total"] - pool["free"], sum(p["size"] for p in pool["parts"])
        if parts != used:
            yield f"of {used} bytes of {pool['id']} the parts are {parts}"


def untrue(state: Json, figures: Collection[int]) -> Iterator[str]:
    """`figures` are the bytes of the GPU that were in use lately, by its driver."""
    for pool in (p for p in _read(state) if p["id"] == GPU):
        used = pool["total"] - pool["free"]
        if used not in figures:
            yield f"{used} bytes of the GPU are in use, and by its driver {sorted(figures)}"


def misjudged(state: Json, held: Mapping[str, int]) -> list[str]:
    """Those of these models that are said to have more or less of the GPU than they have had for a
    while: no wrong where that passes, as who has just come may be listed before it is measured."""
    for pool in (p for p in _read(state) if p["id"] == GPU):
        found = {p["name"]: p["size"] for p in pool["parts"] if p["owner"] == "model"}
        return [ref for ref, size in held.items() if found.get(ref, 0) != size]
    return []


def promised(state: Json) -> list[str]:
    """Pools of which more is promised than may be: no wrong where that passes, as what has come
    is taken for used and for promised until its process is listed."""
    return [p["id"] for p in _read(state) if p["promised"] > max(0, p["free"] - p["reserve"])]


def lost(state: Json, pins: Collection[str], leases: Collection[str]) -> Iterator[str]:
    """What somebody was promised, and is not so."""
    if gone := sorted(set(pins) - set(state["pins"])):
        yield f"pinned no more: {gone}"
    if gone := sorted(set(leases) - {lease["model"] for lease in state["leases"]}):
        yield f"leased no more: {gone}"


def _read(state: Json) -> Iterator[Json]:
    return (p for p in state["pools"] if p["blind"] is None)


class Watcher:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._since: dict[str, float] = {}  # from when on it has been so
        self._said: set[tuple[str, int]] = set()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            self._count()
            if self.bench.people.gateway:
                await self._look()
            else:
                self._since.clear()

    def _count(self) -> None:
        """Also while there is no daemon."""
        if self.bench.book is not None:
            for words in book.twice(book.living(book.begun(self.bench.book))):
                self._once("children", words)

    async def _look(self) -> None:
        people, history = self.bench.people, self.bench.history
        life, wishes = len(history.lives), len(history.wishes)
        pins, leases = set(people.pins), set(people.leases)
        try:
            reply = await self.bench.daemon.client.get("/api/v1/state")
        except (httpx.HTTPError, RuntimeError):  # it has just gone, or its client was closed
            return
        if len(history.lives) != life or not people.gateway:
            return
        if reply.status_code != 200:
            if not any(t.daemon for t in history.open()):
                self._say("state", f"{reply.status_code}: {reply.text[:200]}")
            return
        history.looks += 1
        state = reply.json()
        self._accounts(state)
        if len(history.wishes) == wishes:  # nobody has asked for anything else meanwhile
            for words in lost(state, pins & people.pins, leases & people.leases.keys()):
                self._say("I9", words)

    def _accounts(self, state: Json) -> None:
        history, now = self.bench.history, self.bench.history.now()
        for words in unsound(state):
            self._say("I5", words)
        open_ = list(history.open())
        if any(t.dark or t.meddles for t in open_):
            self._since.clear()
            return
        since = now - LATE - (state["sample_age"] or 0.0)
        for words in untrue(state, history.used_since(since)):
            self._say("I5", words)
        over = promised(state)
        if over and self.bench.makes_room(state["running"]):
            over = []
        wrong = [f"more of {pool} is promised than is there for it" for pool in over]
        if not any(t.daemon for t in open_):
            held = self.bench.held(since, [e for t in open_ for e in t.engines])
            wrong += [
                f"{ref} has {held[ref]} bytes, and not as is said" for ref in misjudged(state, held)
            ]
        self._since = {words: self._since.get(words, now) for words in wrong}
        for words, began in self._since.items():
            if now - began > 2 * LATE:
                self._say("I5", words)

    def _say(self, kind: str, words: str) -> None:
        self._once(kind, f"by the state of the daemon: {words}")

    def _once(self, kind: str, words: str) -> None:
        """In a trouble: what stays wrong is seen five times a second."""
        at = kind, len(self.bench.history.troubles)
        if at not in self._said:
            self._said.add(at)
            self.bench.history.say(kind, words)


@asynccontextmanager
async def watched(bench: Bench) -> AsyncIterator[None]:
    """Inside, somebody looks on."""
    task = asyncio.create_task(Watcher(bench).watch())
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(ended, asyncio.CancelledError):
            bench.history.say("bench", f"the watcher has ended: {ended!r}")
