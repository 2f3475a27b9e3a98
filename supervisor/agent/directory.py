"""The directory of a fleet, as an actor of Ray: what hosts last told, numbered as it changed.

It knows nothing that is not told again within a second: wherever it is restarted, it fills by
itself. It understands no word that it holds, so hosts of two versions can share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

NAME: Final = "ullage-directory"
FORGOTTEN: Final = 3600.0  # seconds after which nobody asks about a host that is gone

Row = dict[str, Any]


@dataclass(slots=True)
class _Host:
    agent: str
    told: float
    version: int = 0
    word: Row | None = None
    kept: tuple[Row, ...] = ()
    engine: Row = field(default_factory=dict)  # Ray's version there, and the node


@dataclass(slots=True)
class Directory:
    """Times are seconds of `clock`, which is monotonic and nobody else's."""

    clock: Callable[[], float] = time.monotonic
    id: str = field(default_factory=lambda: uuid4().hex[:12])
    _version: int = 0
    _began: float = -1.0
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _bars: dict[str, tuple[Row, float]] = field(default_factory=dict)  # and when they end

    def __post_init__(self) -> None:
        self._began = self.clock()

    def tell(
        self,
        host: str,
        agent: str,
        word: Row | None,
        kept: tuple[Row, ...] = (),
        engine: Row | None = None,
        since: str = "",
    ) -> Row:
        """How `host` stands, by the `agent` there; `word` None: as it last said. The answer is what
        is known since version `since`; `again`: its word is not known here, and is wanted whole."""
        now = self.clock()
        self._forget(now)
        known = self._hosts.get(host)
        if known is None or known.agent != agent:
            known = self._hosts[host] = _Host(agent, now)
        known.told, known.kept, known.engine = now, tuple(kept), engine or {}
        if word is not None and word != known.word:
            self._version += 1
            known.word, known.version = word, self._version
        return {**self.read(since), "again": known.word is None}

    def read(self, since: str = "") -> Row:
        """What is known, without telling anything."""
        now = self.clock()
        last = self._since(since)
        said = {name: h for name, h in self._hosts.items() if h.word is not None}
        return {
            "version": f"{self.id}:{self._version}",
            "up": now - self._began,
            "ages": {name: now - h.told for name, h in said.items()},
            "told": [
                {"word": h.word, "engine": h.engine} for h in said.values() if h.version > last
            ],
            "kept": [
                {**row, "owner": name, "left": row["left"] - (now - h.told)}
                for name, h in self._hosts.items()
                for row in h.kept
            ]
            + [{**row, "left": end - now} for row, end in self._bars.values() if end > now],
        }

    def bar(self, host: str, claim: str, model: str, seconds: float) -> None:
        """`model` is coming to `host`, by that `claim`: until the offer's time has run out nobody
        else is to begin it anywhere, whatever becomes of host and claim."""
        now = self.clock()
        self._bars = {id: bar for id, bar in self._bars.items() if bar[1] > now}
        row = {"id": claim, "model": model, "shares": {host: 0}, "owner": host}
        self._bars[claim] = (row, now + seconds)

    def unbar(self, claim: str) -> None:
        """It is not coming: it was refused there."""
        self._bars.pop(claim, None)

    def leave(self, host: str, agent: str) -> None:
        """The agent there ends. Not of another one, which came since."""
        known = self._hosts.get(host)
        if known is not None and known.agent == agent:
            del self._hosts[host]

    def _since(self, since: str) -> int:
        """Of another directory, before this one was restarted, nothing is known."""
        id, _, version = since.partition(":")
        return int(version) if id == self.id and version.isdecimal() else -1

    def _forget(self, now: float) -> None:
        for name in [n for n, h in self._hosts.items() if now - h.told > FORGOTTEN]:
            del self._hosts[name]
