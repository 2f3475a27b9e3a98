"""What was found to be wrong, when that began and when it ended; the last thousand are kept."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from supervisor.core.rows import finding_row
from supervisor.core.watch import Finding

from .schema import Json, write_cleared, write_finding
from .store import Statement

KEPT = 1000


class Findings:
    """`lock` is of what is in memory; `put` writes it down."""

    def __init__(self, lock: threading.RLock, put: Callable[[Sequence[Statement]], object]) -> None:
        self._lock, self._put = lock, put
        self._rows: OrderedDict[tuple[str, str, float], Json] = OrderedDict()
        self._open: dict[tuple[str, str], float] = {}

    @property
    def open(self) -> list[tuple[str, str]]:
        """Kind and subject of those that have not ended."""
        with self._lock:
            return list(self._open)

    def add(self, finding: Finding, at: float) -> Json | None:
        """One that begins, or goes on. None: it was open already, and stays as it was opened."""
        key = (finding.kind.value, finding.subject)
        with self._lock:
            is_new, opened = key not in self._open, self._open.setdefault(key, at)
            body = finding_row(finding) | {"opened": opened, "cleared": None}
            self._rows[*key, opened] = body
            while len(self._rows) > KEPT:
                self._rows.popitem(last=False)
            self._put([write_finding(body)])
        return body if is_new else None

    def clear(self, kind: str, subject: str, at: float) -> Json | None:
        """One that ends. None: it was not open, or so long ago that it is not kept."""
        with self._lock:
            opened = self._open.pop((kind, subject), None)
            if opened is None:
                return None
            body = self._rows.get((kind, subject, opened))
            if body is not None:
                body["cleared"] = at
            self._put([write_cleared(kind, subject, opened, at)])
        return body

    def last(self, limit: int) -> list[Json]:
        """The newest first."""
        with self._lock:
            return [dict(f) for f in list(self._rows.values())[: -limit - 1 : -1]]

    def everything(self) -> list[Statement]:
        return [write_finding(body) for body in self._rows.values()]

    def load(self, db: sqlite3.Connection) -> None:
        sql = (
            "SELECT kind, subject, opened, cleared, body FROM findings ORDER BY opened DESC LIMIT ?"
        )
        rows: list[Any] = db.execute(sql, (KEPT,)).fetchall()
        for kind, subject, opened, cleared, body in reversed(rows):
            self._rows[kind, subject, opened] = json.loads(body) | {"cleared": cleared}
            if cleared is None:
                self._open[kind, subject] = opened
