"""The trail of requests: who was asked for when, as far back as the journal goes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from collectors.reading import Bytes, Seconds
from supervisor.core.snapshot import EngineId, ModelId, ModelRef

from .shelves import Put
from .store import Statement

IN_MEMORY = 5000  # what there is where there is no file
MOST = 200_000  # rows in the file

# By a number of its own, so that what is written once more, as into a file that lacks some, is
# there once.
_PASSED = """INSERT OR REPLACE INTO arrivals
 (rowid, at, engine, model, service, load, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_READ = """SELECT at, engine, model, service, load, bytes FROM arrivals WHERE at >= ?
 ORDER BY at, rowid LIMIT ?"""


class Passed(NamedTuple):
    """One request. `at` is Unix time, `service` how long its model was at work on it, `load` how
    long that had to be loaded first, in seconds, `size` what it then held. None: not known, and
    of `load` that it was there, or nobody knows."""

    at: float
    ref: ModelRef
    service: Seconds | None = None
    load: Seconds | None = None
    size: Bytes | None = None


@dataclass(slots=True)
class Trail:
    """Safe from any thread. `path` is the journal's file, None where there is none."""

    _lock: RLock
    _put: Put
    path: Path | None
    _latest: deque[Passed] = field(default_factory=lambda: deque(maxlen=IN_MEMORY))
    _numbers: deque[int] = field(default_factory=lambda: deque(maxlen=IN_MEMORY))  # theirs
    _last: int = 0

    def add(self, passed: Iterable[Passed]) -> None:
        with self._lock:
            rows = [(self._next(p.at), p) for p in passed]
            self._latest.extend(p for _, p in rows)
            self._numbers.extend(n for n, _ in rows)
            self._put([(_PASSED, _written(n, p)) for n, p in rows])

    def _next(self, at: float) -> int:
        """Its microsecond: it grows over restarts, too, and nothing has to be read for that."""
        self._last = max(self._last + 1, int(at * 1e6))
        return self._last

    def since(self, at: float, most: int = MOST) -> list[Passed]:
        """Requests from `at` (Unix time) on, the oldest first, at most `most` of them. Reads the
        file, for as long as that takes. Raises OSError where it cannot be read."""
        if self.path is None or not self.path.exists():
            with self._lock:
                return [p for p in self._latest if p.at >= at][:most]
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)
            ) as db:
                rows = db.execute(_READ, (at, most)).fetchall()
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error
        return [
            Passed(t, ModelRef(EngineId(e), ModelId(m)), service, load, size)
            for t, e, m, service, load, size in rows
        ]

    def forget(self, horizon: float) -> list[Statement]:
        """What deletes those before `horizon` (Unix time), and the oldest of too many."""
        beyond = """DELETE FROM arrivals WHERE rowid <=
 (SELECT rowid FROM arrivals ORDER BY rowid DESC LIMIT 1 OFFSET ?)"""
        return [("DELETE FROM arrivals WHERE at < ?", (horizon,)), (beyond, (MOST,))]

    def everything(self) -> list[Statement]:
        """What writes those in memory, for a file begun afresh."""
        return [(_PASSED, _written(n, p)) for n, p in zip(self._numbers, self._latest, strict=True)]


def _written(number: int, passed: Passed) -> tuple[object, ...]:
    return (number, passed.at, *passed.ref, passed.service, passed.load, passed.size)
