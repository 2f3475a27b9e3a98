"""Looks for engines: those that were named without a kind, and those on the usual ports."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from collectors.reading import Seconds

from .config.config import EngineConfig
from .config.forms import is_loopback, split_url
from .config.served import Launching
from .core.snapshot import EngineId, EngineState
from .engines import ENGINES
from .engines.base import Engine, EngineDown, EngineError, Notes
from .engines.detect import Found, identify, listens, usual
from .events import EnginesFound

log = logging.getLogger("ullage.scout")

# Whoever answers on a usual port and is no engine has its own work, and an access log.
STRANGER = Seconds(60.0)


@dataclass(slots=True)
class Scout:
    """`engines` are those that are known, by whatever way; `ours` are ports on which we answer as
    an engine would; `replaceable` are engines at whose address something else answers by now. Its
    tasks post, and change nothing.

    Who is named with a kind is there from the start, or else was named while running.
    """

    client: httpx.AsyncClient
    named: Sequence[EngineConfig]
    search: bool  # the usual ports too
    engines: Mapping[EngineId, Engine]
    post: Callable[[EnginesFound], None]
    clock: Callable[[], float] = time.monotonic
    listens: Callable[[str], bool] = listens
    ours: Callable[[], Collection[int]] = tuple
    replaceable: Callable[[], Collection[EngineId]] = tuple
    notes: Notes | None = None  # what engines have to remember
    _found: set[str] = field(default_factory=set)  # URLs of whom nobody had named
    _strangers: dict[str, float] = field(default_factory=dict)  # url → when to ask again
    _said: bool = False

    async def look(self) -> None:
        """Once round. Bounded by the deadline of one question, for all are asked at once."""
        missed = [e for e in self.named if e.id not in self.engines]
        unknown = [e for e in missed if e.kind is None]
        own = self.ours()
        places = [url for url in usual() if urlsplit(url).port not in own] if self.search else []
        ports = [url for url in places if self._worth_asking(url)]
        moved = self._moved()
        answers, on_ports, instead = await asyncio.gather(
            asyncio.gather(*(self._ask(e.url, e.id, e.key) for e in unknown)),
            asyncio.gather(*(self._ask(url, EngineId(url), None) for url in ports)),
            asyncio.gather(*(self._ask(e.url, e.id, self._key(e.url)) for e in moved)),
        )
        found = [self._told(e, e.kind) for e in missed if e.kind is not None]
        missing: list[EngineState] = []
        for engine, answer in zip(unknown, answers, strict=True):
            if isinstance(answer, Found):
                found.append(self._told(engine, answer.kind))
            else:
                fault = f"{answer.message}; looking again"
                missing.append(EngineState(engine.id, "not known yet", engine.url, fault=fault))
        for url, answer in zip(ports, on_ports, strict=True):
            if isinstance(answer, Found):
                self._found.add(url)
                found.append(self._made(answer.kind, url, found))
            elif not isinstance(answer, EngineDown):
                self._strangers[url] = self.clock() + STRANGER
        for before, answer in zip(moved, instead, strict=True):
            self._strangers[before.url] = self.clock() + STRANGER
            if isinstance(answer, Found) and answer.kind != before.kind:
                told = self._named_at(before.url)
                found.append(
                    self._made(answer.kind, before.url, found)
                    if told is None
                    else self._told(told, answer.kind)
                )
        self.post(EnginesFound(tuple(found), tuple(missing)))
        if not self._said and not found and not self.engines and not missing:
            self._said = True
            log.warning("%s", self._nobody())

    def takes(self, engine: EngineConfig) -> bool:
        """Can it be named while running? Not if its processes or its unit are ours to look after,
        or if it is known by another name."""
        if isinstance(engine.options, Launching) or engine.service is not None:
            return False
        known = {e.url for e in self.engines.values()}
        twin = is_loopback(split_url(engine.url)[1]) and _same_port(engine.url, known)
        return engine.id not in self.engines and engine.url not in known and not twin

    def _told(self, named: EngineConfig, kind: str) -> Engine:
        return self._speaks(kind, named.id, named.url, named.key, named.options)

    def take(self, engines: Iterable[EngineConfig]) -> None:
        """They are looked for from now on."""
        self.named = (*self.named, *engines)

    async def _ask(self, url: str, id: EngineId, key: str | None) -> Found | EngineError:
        try:
            return await identify(self.client, url, id, key)
        except EngineError as error:
            return error

    def _worth_asking(self, url: str) -> bool:
        known = {e.url for e in self.engines.values()} | {e.url for e in self.named}
        known |= {url for e in self.named for url in _served(e)}
        if self._strangers.get(url, 0.0) > self.clock() or url in known or _same_port(url, known):
            return False
        return self.listens(url)

    def _moved(self) -> list[Engine]:
        """Those whose kind we found out ourselves, and whose port something else has by now, where
        it is time to ask what."""
        replaceable, now = self.replaceable(), self.clock()
        guessed = self._found - {e.url for e in self.named}
        guessed |= {e.url for e in self.named if e.kind is None}
        return [
            e
            for id, e in self.engines.items()
            if id in replaceable and e.url in guessed and self._strangers.get(e.url, now) <= now
        ]

    def _named_at(self, url: str) -> EngineConfig | None:
        return next((e for e in self.named if e.url == url), None)

    def _key(self, url: str) -> str | None:
        told = self._named_at(url)
        return None if told is None else told.key

    def _made(self, kind: str, url: str, found: Iterable[Engine]) -> Engine:
        return self._speaks(kind, self._name_for(kind, url, found), url)

    def _speaks(
        self, kind: str, id: EngineId, url: str, key: str | None = None, options: object = None
    ) -> Engine:
        made = ENGINES[kind](id, url, self.client, key, options)
        if self.notes is not None:
            made.remembers(self.notes)
        return made

    def _name_for(self, kind: str, url: str, found: Iterable[Engine]) -> EngineId:
        taken = set(self.engines) | {e.id for e in found} | {e.id for e in self.named}
        return EngineId(kind if kind not in taken else f"{kind}-{urlsplit(url).port}")

    def _nobody(self) -> str:
        if not self.search:
            return "no engine is named, and detect is off: there is nothing to look after"
        return (
            "no engine found on this machine's usual ports; still looking. "
            "Name one with --engine NAME=URL, or see `ullage demo`"
        )


def _served(engine: EngineConfig) -> Iterator[str]:
    """Where models answer that are ours to start: they are no engines of their own."""
    if isinstance(engine.options, Launching):
        for served in engine.options.served.values():
            if served.url is not None:
                yield served.url


def _same_port(url: str, urls: Iterable[str]) -> bool:
    """Is the engine at `url` known already by another name of this machine?"""
    port = urlsplit(url).port
    local = ("localhost", "127.0.0.1", "::1")
    return any(urlsplit(u).hostname in local and urlsplit(u).port == port for u in urls)
