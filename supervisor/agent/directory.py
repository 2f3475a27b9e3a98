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
CHANGES: Final = 16  # of each host that are kept: who reads each second lacks one or two
FORGOTTEN: Final = 3600.0  # seconds after which nobody asks about a host that is gone

Row = dict[str, Any]


@dataclass(slots=True)
class _Host:
    agent: str
    told: float
    version: int = 0
    word: Row | None = None
    changes: list[tuple[int, Row]] = field(
        default_factory=list
    )  # the latest, each with its version
    base: int = 0  # the version of the word that the first of them was made from
    kept: tuple[Row, ...] = ()
    engine: Row = field(default_factory=dict)  # Ray's version there, and the node


@dataclass(frozen=True, slots=True)
class _Bar:
    """A load that may begin on `host` until `ends`. After that a word of the host's tells whether
    it did: until one is heard it may have. It bars nobody while the host was silent for `lost`
    seconds, and does again if that is back with a word of before."""

    host: str
    model: str
    ends: float
    lost: float


@dataclass(slots=True)
class Directory:
    """Times are seconds of `clock`, which is monotonic and nobody else's."""

    clock: Callable[[], float] = time.monotonic
    id: str = field(default_factory=lambda: uuid4().hex[:12])
    _version: int = 0
    _began: float = -1.0
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _bars: dict[tuple[str, str], _Bar] = field(default_factory=dict)  # by claim and host

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
        basis: str = "",
    ) -> Row:
        """How `host` stands, by the `agent` there; `word` None: as it last said. The answer is what
        is known since version `since`; `again`: its word is not known here, and is wanted whole.
        A word may bring its own "change" along, from the one before: whoever has that is told the
        change alone.
        `basis` is the version that was known there before its word was asked for: so it is known
        here how old that is at most, however long it was on its way."""
        now = self.clock()
        self._forget(now)
        known = self._hosts.get(host)
        if known is None or known.agent != agent:
            known = self._hosts[host] = _Host(agent, now)
        known.told, known.engine = now, engine or {}
        known.kept = tuple(row for row in kept if isinstance(row.get("left"), int | float))
        asked = self._time(basis)
        self._bars = {
            key: bar
            for key, bar in self._bars.items()
            if (bar.host != host or asked < bar.ends) and now < bar.ends + FORGOTTEN
        }
        if word is not None:
            self._take(known, {k: v for k, v in word.items() if k != "change"}, word.get("change"))
        return {**self.read(since), "again": known.word is None}

    def read(self, since: str = "") -> Row:
        """What is known, without telling anything."""
        now = self.clock()
        last = self._since(since)
        said = {name: h for name, h in self._hosts.items() if h.word is not None}
        return {
            "version": f"{self.id}:{self._version}:{now}",
            "up": now - self._began,
            "ages": {name: now - h.told for name, h in said.items()},
            "told": [
                {"word": row, "engine": h.engine}
                for h in said.values()
                if h.version > last
                for row in _since_then(h, last)
            ],
            "kept": [
                {**row, "owner": name, "left": row["left"] - (now - h.told)}
                for name, h in self._hosts.items()
                for row in h.kept
            ]
            + [
                {
                    "id": id,
                    "model": bar.model,
                    "shares": {bar.host: 0},
                    "owner": bar.host,
                    "left": self._until(bar) - now,
                }
                for (id, _), bar in self._bars.items()
                if now < self._until(bar)
            ],
        }

    def bar(self, host: str, claim: str, model: str, seconds: float, lost: float) -> None:
        """`model` is coming to `host`, by that `claim`: until the offer's time has run out, and the
        host has said what became of it, nobody else is to begin it anywhere."""
        self._bars[claim, host] = _Bar(host, model, self.clock() + seconds, lost)

    def unbar(self, host: str, claim: str) -> None:
        """It is not coming to `host`: it was refused there."""
        self._bars.pop((claim, host), None)

    def leave(self, host: str, agent: str) -> None:
        """The agent there ends. Not of another one, which came since."""
        known = self._hosts.get(host)
        if known is not None and known.agent == agent:
            del self._hosts[host]

    def _take(self, known: _Host, word: Row, change: Row | None) -> None:
        if word == known.word:
            return
        self._version += 1
        if change is None or known.word is None:
            known.changes, known.base = [], self._version
        else:
            known.changes.append((self._version, change))
            while len(known.changes) > CHANGES:
                known.base, _ = known.changes.pop(0)
        known.word, known.version = word, self._version

    def _since(self, since: str) -> int:
        """Of another directory, before this one was restarted, nothing is known."""
        id, _, rest = since.partition(":")
        version = rest.partition(":")[0]
        return int(version) if id == self.id and version.isdecimal() else -1

    def _time(self, version: str) -> float:
        """When that version was told. Of another directory it is not known."""
        id, _, rest = version.partition(":")
        return float(rest.partition(":")[2]) if id == self.id and rest else float("-inf")

    def _until(self, bar: _Bar) -> float:
        told = self._hosts.get(bar.host)
        return max(bar.ends, float("-inf") if told is None else told.told + bar.lost)

    def _forget(self, now: float) -> None:
        for name in [n for n, h in self._hosts.items() if now - h.told > FORGOTTEN]:
            del self._hosts[name]


def _since_then(known: _Host, last: int) -> list[Row]:
    """What has to be told of it to who has all up to version `last`."""
    if last >= known.base:
        return [change for version, change in known.changes if version > last]
    assert known.word is not None
    return [known.word]
