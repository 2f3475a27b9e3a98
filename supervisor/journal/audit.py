"""The audit trail: who changed what, and who was refused, as far back as the journal goes.

An entry is queued for the disk before what it tells of is begun, and once more, with what came of
it, before whoever asked is answered. What repeats itself is one entry that counts: renewals of a
lease, and whoever knocks with a wrong token, however often.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import Any

from collectors.reading import Seconds
from supervisor.asker import asker
from supervisor.telemetry.redact import HIDDEN, Redact, is_secret, plain

from .schema import read
from .shelves import Put
from .store import Statement

log = logging.getLogger("ullage.audit")

Json = dict[str, Any]

IN_MEMORY = 1000
MOST = 50_000  # entries in the file
KEPT_DAYS = 90
DAY = 86400.0
LOOKED = 4096  # characters of any text that are looked through for secrets
LONGEST = 500  # characters of what was asked for, and of why it was refused
MOST_DECISIONS = 20  # of one entry
MOST_SUMS = 200  # that are under way at once; those beyond are one
MINUTE, HOUR = 60.0, 3600.0
EVERY = Seconds(MINUTE)  # counts are written down
OTHERS = "others"
# Who may not: no token or a wrong one, no scope, another name than ours, too often.
REFUSED = frozenset({401, 403, 421, 429})

_WRITE = "INSERT OR REPLACE INTO audit (n, at, who, body) VALUES (?, ?, ?, ?)"
_READ = """SELECT n, body FROM audit WHERE n < ? AND at >= ? AND (? IS NULL OR who = ?)
 ORDER BY n DESC LIMIT ?"""


@dataclass(slots=True)
class _Sum:
    """Entry `n` counts what is like it, until `over` (Unix time)."""

    n: int
    over: float
    told: bool = True


@dataclass(slots=True)
class Audit:
    """Safe from any thread. `path` is the journal's file, None where there is none."""

    _lock: RLock
    _put: Put
    path: Path | None = None
    wall: Callable[[], float] = time.time
    redact: Redact = field(default_factory=Redact)
    _rows: OrderedDict[int, str] = field(default_factory=OrderedDict)  # as text
    _sums: dict[tuple[object, ...], _Sum] = field(default_factory=dict)
    _number: int = 0

    # -- writing

    def begin(self, who: str, what: str, **told: Any) -> int:
        """Somebody begins to change something. `told`: via, address, target, wish. The number of
        its entry."""
        with self._lock:
            return self._add(self._row(who, what, **told))

    def end(self, n: int, status: int | None, why: str | None = None) -> None:
        """What came of it, as an HTTP status; None: it does not end by an answer."""
        with self._lock:
            row = self._get(n)
            if row is None:
                return
            row |= {"status": status, "why": self._short(why), "result": _result(status)}
            self._write(n, row)
        self._log(row)

    def decided(self, n: int, decision: str) -> None:
        """A decision was made for it."""
        with self._lock:
            row = self._get(n)
            if row is not None and len(row["decisions"]) < MOST_DECISIONS:
                row["decisions"].append(decision)
                self._write(n, row)

    def note(self, who: str, what: str, **told: Any) -> None:
        """Something has happened, and is over."""
        with self._lock:
            row = self._row(who, what, **told) | {"result": "done"}
            self._add(row)
        self._log(row)

    def sum_up(
        self, who: str, what: str, within: float, status: int, why: str | None = None, **told: Any
    ) -> int:
        """The same again, and within so many seconds of the first time it is one entry. Of those
        who are refused the source counts, and not what they ask for."""
        now = self.wall()
        key: tuple[object, ...] = (who, told.get("address"), status)
        if status < 400:
            # The wish may be as long as a body, and its key stays for as long as it is summed up.
            wish = sha256(str(told.get("wish")).encode(errors="replace")).digest()
            key = (*key, what, told.get("target"), wish)
        with self._lock:
            known = self._sums.get(key)
            if known is None and len(self._sums) >= MOST_SUMS:
                self._settle(now)
                if len(self._sums) >= MOST_SUMS:
                    # Whoever comes first of them is not the one who did it all.
                    key = (OTHERS, status, what if status < 400 else None)
                    who, told = OTHERS, {"address": OTHERS}
                    known = self._sums.get(key)
            row = None if known is None else self._get(known.n)
            if known is not None and row is not None and now < known.over:
                row["times"] += 1
                row["last_at"] = now
                self._keep(known.n, row)
                known.told = False
                return known.n
            if known is not None:
                self._tell(known)
            row = self._row(who, what, **told) | {"status": status, "why": self._short(why)}
            row["result"] = _result(status)
            n = self._add(row)
            self._sums[key] = _Sum(n, now + within)
        self._log(row)
        return n

    async def settle(self) -> None:
        """Once. Counts that have changed go to the disk."""
        self.flush()

    def flush(self) -> None:
        with self._lock:
            self._settle(self.wall())

    def _settle(self, now: float) -> None:
        for key, known in list(self._sums.items()):
            self._tell(known)
            if now >= known.over:
                del self._sums[key]

    def _tell(self, known: _Sum) -> None:
        if known.told:
            return
        known.told = True
        row = self._get(known.n)
        if row is not None:
            self._write(known.n, row)
            self._log(row)

    def brief(self, wish: Any) -> str | None:
        """A body, as a text without secrets. None: there is nothing in it."""
        return json.dumps(self._masked(wish)) if wish else None

    def _masked(self, value: Any) -> Any:
        """Each text by itself: once they are JSON, an escape may stand where a secret begins."""
        if isinstance(value, dict):
            return {k: HIDDEN if is_secret(str(k)) else self._masked(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._masked(v) for v in value]
        return self.redact(value[:LOOKED]) if isinstance(value, str) else value

    def _row(
        self,
        who: str,
        what: str,
        *,
        via: str = "api",
        address: str | None = None,
        target: str | None = None,
        wish: str | None = None,
    ) -> Json:
        now = self.wall()
        return {
            "at": now,
            "last_at": now,
            "times": 1,
            "who": who,
            "via": via,
            "address": address,
            "what": self._short(what),
            "target": self._short(target),
            "wish": self._short(wish),
            "status": None,
            "result": "begun",
            "why": None,
            "decisions": [],
        }

    def _add(self, row: Json) -> int:
        self._number += 1
        n = self._number
        row["id"] = f"a-{n:06}"
        self._write(n, row)
        while len(self._rows) > IN_MEMORY:
            self._rows.popitem(last=False)
        return n

    def _get(self, n: int) -> Json | None:
        """A copy: what is changed in it is to be kept. None: it is not in memory."""
        text = self._rows.get(n)
        return None if text is None else read(text)

    def _keep(self, n: int, row: Json) -> str:
        self._rows[n] = text = json.dumps(row)
        return text

    def _write(self, n: int, row: Json) -> None:
        self._put([_written(n, row, self._keep(n, row))])

    def _short(self, text: str | None) -> str | None:
        if text is None:
            return None
        text = plain(self.redact(text[:LOOKED]))
        return text if len(text) <= LONGEST else text[:LONGEST] + "…"

    def _log(self, row: Json) -> None:
        times = f" ({row['times']} times)" if row["times"] > 1 else ""
        told = " ".join(str(row[k]) for k in ("what", "target", "wish") if row[k] is not None)
        came = "" if row["status"] is None else f": {row['status']}"
        why = "" if row["why"] is None else f", {row['why']}"
        where = "" if row["address"] is None else f" at {row['address']}"
        extra = {"event": "audit", "audit": json.dumps(row)}
        log.info("%s%s: %s%s%s%s", row["who"], where, told, came, why, times, extra=extra)

    def reread(self, why: str, told: Json) -> None:
        """The configuration was read anew: `why`, and what came of it, as reloading.py tells it."""
        by, usual = asker(), ("daemon", "daemon")
        if by is not None:
            usual = (by.name, "api")
        who, via = {"has changed": ("file", "file"), "read by SIGHUP": ("signal", "signal")}.get(
            why, usual
        )
        with self._lock:
            wish = self.brief({k: told[k] for k in ("changed", "restart") if told[k]})
            row = self._row(who, "configuration", via=via, wish=wish)
            row |= {"result": "done" if told["ok"] else "failed"}
            row["why"] = self._short("; ".join(told["mistakes"]) or None)
            self._add(row)
        self._log(row)

    # -- reading

    def find(
        self,
        limit: int,
        since: float = 0.0,
        who: str | None = None,
        before: int | None = None,
    ) -> list[Json]:
        """The newest first. `since` is Unix time, `before` the number of an entry. Reads the file
        where memory does not go back far enough. Raises OSError where that cannot be read."""
        top = before or self._number + 1
        with self._lock:
            oldest = next(iter(self._rows), top)
            rows = (read(text) for n, text in reversed(self._rows.items()) if n < top)
            fitting = (r for r in rows if r["at"] >= since and who in (None, r["who"]))
            mine = list(islice(fitting, limit))
        if len(mine) == limit or self.path is None or not self.path.exists():
            return mine
        wanted = (min(top, oldest), since, who, who, limit - len(mine))
        try:
            uri = f"{self.path.as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                found = db.execute(_READ, wanted).fetchall()
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error
        return [*mine, *(json.loads(body) for _, body in found)]

    # -- the disk

    def forget(self, now: float) -> list[Statement]:
        """What deletes the old, and the oldest of too many."""
        beyond = "DELETE FROM audit WHERE n <= (SELECT max(n) FROM audit) - ?"
        return [("DELETE FROM audit WHERE at < ?", (now - KEPT_DAYS * DAY,)), (beyond, (MOST,))]

    def everything(self) -> list[Statement]:
        """What writes those in memory, for a file begun afresh."""
        return [_written(n, read(text), text) for n, text in self._rows.items()]

    def load(self, db: sqlite3.Connection) -> None:
        sql = "SELECT n, body FROM audit ORDER BY n DESC LIMIT ?"
        found = reversed(db.execute(sql, (IN_MEMORY,)).fetchall())
        earlier = dict(found)
        for text in earlier.values():
            read(text)  # or it cannot be read
        self._number = max([self._number, *earlier])
        self._rows = OrderedDict(earlier | self._rows)


def _result(status: int | None) -> str:
    if status is None or status < 400:
        return "done"
    return "refused" if status in REFUSED else "failed"


def _written(n: int, row: Json, text: str) -> Statement:
    return _WRITE, (n, row["at"], row["who"], text)
