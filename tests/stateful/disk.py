"""A disk that outlives daemons, without a thread: what is put on it is there at once, or late."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from supervisor.journal.journal import Journal
from supervisor.journal.schema import MIGRATIONS
from supervisor.journal.store import Statement

Json = dict[str, Any]


class Disk:
    """`delay`: seconds until a write is there. `decisions` and `outcomes` are what is on it, as
    whoever reads the file would see it; those of an earlier daemon too."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        for statement in (s for migration in MIGRATIONS for s in migration):
            self.db.execute(statement)
        self.delay = 0.0
        self.decisions: dict[str, Json] = {}
        self.outcomes: dict[str, list[Json]] = {}

    def write(self, statements: Sequence[Statement]) -> None:
        for sql, values in statements:
            self.db.execute(sql, values)
            words = sql.split()
            if (body := _decision((sql, values))) is not None:
                self.decisions[body["id"]] = body
            elif words[0] == "INSERT" and "outcomes" in words:
                self.outcomes.setdefault(str(values[1]), []).append(json.loads(values[-1]))

    def open_decisions(self) -> list[Json]:
        """Those some action of which has no outcome yet, the oldest first."""
        return [d for d in self.decisions.values() if self.lacks(d)]

    def lacks(self, decision: Json) -> list[Json]:
        told = {(o["action"], o["model"]) for o in self.outcomes.get(decision["id"], ())}
        return [a for a in decision["actions"] if (a["action"], a["model"]) not in told]


def _decision(statement: Statement) -> Json | None:
    """What is written down of one."""
    sql, values = statement
    words = sql.split()
    found: Json = json.loads(values[-1]) if {"INSERT", "decisions"} <= set(words) else {}
    return found or None


class Pen:
    """In place of a journal's store. `stopped`: its daemon was killed, and nothing is written.
    `given` and `written` count what it was given to write, and what is there; `decisions` are those
    that it was given, on disk or not."""

    lag = failures = dropped = 0

    def __init__(self, disk: Disk, load: Callable[[sqlite3.Connection], None]) -> None:
        self.disk, self._load, self.stopped = disk, load, False
        self._waiting: deque[tuple[Sequence[Statement], Future[bool]]] = deque()
        self.given = self.written = 0
        self.decisions: dict[str, Json] = {}

    def open(self) -> None:
        self._load(self.disk.db)

    def put(self, statements: Sequence[Statement]) -> Future[bool]:
        done: Future[bool] = Future()
        self.given += 1
        self.decisions |= {body["id"]: body for body in map(_decision, statements) if body}
        self._waiting.append((statements, done))
        if self.disk.delay or len(self._waiting) > 1:  # one after the other, as they came
            asyncio.get_running_loop().call_later(self.disk.delay, self._write_next)
        else:
            self._write_next()
        return done

    def _write_next(self) -> None:
        if self._waiting and not self.stopped:
            statements, done = self._waiting.popleft()
            self.disk.write(statements)
            self.written += 1
            done.set_result(True)

    def catch_up(self) -> None:
        """Whatever waits is there at once."""
        while self._waiting and not self.stopped:
            self._write_next()

    def stop(self, after: int | None) -> None:
        """So many of those that wait are written yet, None: all of them. And nothing any more."""
        for _ in range(len(self._waiting) if after is None else after):
            self._write_next()
        self.stopped = True

    def flush(self, timeout: float) -> bool:
        return True

    def retry_now(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        pass


def journal_on(disk: Disk, wall: Callable[[], float]) -> tuple[Journal, Pen]:
    journal = Journal(None, wall)
    pen = Pen(disk, journal._load)
    journal._store = pen  # type: ignore[assignment]
    return journal, pen
