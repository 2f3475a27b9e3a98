"""The journal's tables, and the statements that write its records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from collectors.reading import PoolId
from supervisor.core.plan import Why
from supervisor.core.snapshot import ModelRef

from .store import Statement

Json = dict[str, Any]

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE decisions (id TEXT PRIMARY KEY, at REAL NOT NULL, model TEXT,
        trigger TEXT NOT NULL, body TEXT NOT NULL)""",
        "CREATE INDEX decisions_at ON decisions (at)",
        "CREATE INDEX decisions_model ON decisions (model)",
        "CREATE INDEX decisions_trigger ON decisions (trigger)",
        """CREATE TABLE outcomes (n INTEGER PRIMARY KEY, decision TEXT NOT NULL, at REAL NOT NULL,
        body TEXT NOT NULL)""",
        "CREATE INDEX outcomes_decision ON outcomes (decision)",
        """CREATE TABLE findings (kind TEXT, subject TEXT, opened REAL, cleared REAL,
        body TEXT NOT NULL, PRIMARY KEY (kind, subject, opened)) WITHOUT ROWID""",
        "CREATE TABLE pins (name TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
        """CREATE TABLE footprints (engine TEXT, model TEXT, pool TEXT, bytes INTEGER NOT NULL,
        earlier INTEGER NOT NULL, since REAL NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (engine, model, pool)) WITHOUT ROWID""",
        "CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    ),
    (
        """CREATE TABLE holdings (engine TEXT, model TEXT, moment TEXT, context INTEGER, pool TEXT,
        bytes INTEGER NOT NULL, earlier INTEGER NOT NULL, since REAL NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (engine, model, moment, context, pool)) WITHOUT ROWID""",
        """INSERT INTO holdings SELECT engine, model, 'loaded', 0, pool, bytes, earlier, since, at
        FROM footprints""",
        "DROP TABLE footprints",
        """CREATE TABLE departures (n INTEGER PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL)""",
        "CREATE INDEX departures_at ON departures (at)",
    ),
    (
        """CREATE TABLE shelves (shelf TEXT, key TEXT, body TEXT NOT NULL,
        PRIMARY KEY (shelf, key))""",
        """INSERT INTO shelves (shelf, key, body)
        SELECT 'pins', name, json_object('at', at) FROM pins ORDER BY at""",
        "DROP TABLE pins",
        """CREATE TABLE held (engine TEXT, model TEXT, moment TEXT, context INTEGER,
        slots INTEGER, devices TEXT, pool TEXT, bytes INTEGER NOT NULL, earlier INTEGER NOT NULL,
        since REAL NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (engine, model, moment, context, slots, devices, pool))""",
        # On which devices each was is in its rows; how many slots it had was not asked.
        """INSERT INTO held SELECT engine, model, moment, context, 0, coalesce((
        SELECT group_concat(pool, ' ') FROM (SELECT pool FROM holdings AS other
        WHERE other.engine = holdings.engine AND other.model = holdings.model
        AND other.moment = holdings.moment AND other.context = holdings.context
        AND other.bytes > 0 AND other.pool != 'ram' ORDER BY pool)), ''),
        pool, bytes, earlier, since, at FROM holdings ORDER BY at""",
        "DROP TABLE holdings",
        "ALTER TABLE held RENAME TO holdings",
        """CREATE TABLE arrivals (at REAL NOT NULL, engine TEXT NOT NULL, model TEXT NOT NULL,
        service REAL, load REAL, bytes INTEGER)""",
        "CREATE INDEX arrivals_at ON arrivals (at)",
    ),
    (
        """CREATE TABLE audit (n INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL,
        body TEXT NOT NULL)""",
        "CREATE INDEX audit_at ON audit (at)",
    ),
)

_DECISION = """INSERT INTO decisions (id, at, model, trigger, body) VALUES (?, ?, ?, ?, ?)
 ON CONFLICT (id) DO UPDATE SET at = excluded.at, model = excluded.model,
 trigger = excluded.trigger, body = excluded.body"""
_OUTCOME = "INSERT OR REPLACE INTO outcomes (n, decision, at, body) VALUES (?, ?, ?, ?)"
_FINDING = """INSERT OR REPLACE INTO findings (kind, subject, opened, cleared, body)
 VALUES (?, ?, ?, ?, ?)"""
_HOLDING = """INSERT OR REPLACE INTO holdings
 (engine, model, moment, context, slots, devices, pool, bytes, earlier, since, at)
 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_DEPARTURE = "INSERT OR REPLACE INTO departures (n, at, body) VALUES (?, ?, ?)"
_NUMBER = "INSERT OR REPLACE INTO numbers (name, value) VALUES (?, ?)"


@dataclass(slots=True)
class Peak:
    """The most bytes held in the window that began at `since`, and in the one before."""

    size: int
    earlier: int
    since: float

    @property
    def most(self) -> int:
        return max(self.size, self.earlier)


def _subject(body: Json) -> str | None:
    """The one model that a decision is about: the one that is wanted, else the first to go."""
    wanted = [n["model"] for n in body["notes"] if n["why"] == Why.WANTED.value]
    return next(iter([*wanted, *(a["model"] for a in body["actions"])]), None)


def read(text: str) -> Json:
    """A row's body. Raises ValueError."""
    found: Json = json.loads(text)
    return found


class Decided(NamedTuple):
    """A decision as it is kept, in memory as on disk: as text, with what most searches ask for
    beside it. As objects a thousand of them take twice the room, and every look for garbage goes
    through all they name."""

    id: str
    at: float
    subject: str | None
    trigger: str
    text: str

    @classmethod
    def of(cls, body: Json) -> Decided:
        return cls(body["id"], body["at"], _subject(body), body["trigger"], json.dumps(body))

    def body(self) -> Json:
        """A copy of its own for whoever asks."""
        return read(self.text)

    def may_name(self, model: str | None = None, engine: str | None = None) -> bool:
        """False: it does not name them, as "model" or "engine/model". True: read it to know."""
        # A name is the end of a text that is quoted, and its engine's the beginning of one.
        ends, begins = json.dumps(model or "")[1:], json.dumps(f"{engine or ''}/")[:-1]
        return (model is None or ends in self.text) and (engine is None or begins in self.text)


def write_decision(decided: Decided) -> Statement:
    return _DECISION, decided


class Became(NamedTuple):
    """What became of an action, as it is kept: as text, for the same reasons."""

    n: int
    decision: str
    at: float
    text: str

    @classmethod
    def of(cls, n: int, body: Json) -> Became:
        return cls(n, body["decision"], body["at"], json.dumps(body))

    def body(self) -> Json:
        """A copy of its own for whoever asks."""
        return read(self.text)


def write_outcome(became: Became) -> Statement:
    return _OUTCOME, became


def write_finding(body: Json) -> Statement:
    row = (body["kind"], body["subject"], body["opened"], body["cleared"], json.dumps(body))
    return _FINDING, row


def write_cleared(kind: str, subject: str, opened: float, at: float) -> Statement:
    sql = "UPDATE findings SET cleared = ? WHERE kind = ? AND subject = ? AND opened = ?"
    return sql, (at, kind, subject, opened)


def write_holding(
    ref: ModelRef,
    moment: str,
    context: int,
    slots: int,
    devices: str,
    peaks: dict[PoolId, Peak],
    at: float,
) -> list[Statement]:
    """All pools at once: those that are not in `peaks` are forgotten."""
    key = (moment, context, slots, devices)
    rows = [(*ref, *key, pool, p.size, p.earlier, p.since, at) for pool, p in peaks.items()]
    return [drop_holding(ref, *key), *((_HOLDING, row) for row in rows)]


def drop_holding(ref: ModelRef, moment: str, context: int, slots: int, devices: str) -> Statement:
    where = "engine = ? AND model = ? AND moment = ? AND context = ? AND slots = ? AND devices = ?"
    return f"DELETE FROM holdings WHERE {where}", (*ref, moment, context, slots, devices)


def write_departure(n: int, body: Json) -> Statement:
    return _DEPARTURE, (n, body["at"], json.dumps(body))


def write_number(name: str, value: int) -> Statement:
    return _NUMBER, (name, value)


def delete_old(horizon: float, most: int) -> list[Statement]:
    """Whatever is older than `horizon`, in Unix time, and decisions beyond the `most` newest."""
    beyond = """DELETE FROM decisions WHERE rowid <=
 (SELECT rowid FROM decisions ORDER BY rowid DESC LIMIT 1 OFFSET ?)"""
    return [
        ("DELETE FROM decisions WHERE at < ?", (horizon,)),
        (beyond, (most,)),
        ("DELETE FROM outcomes WHERE decision NOT IN (SELECT id FROM decisions)", ()),
        ("DELETE FROM findings WHERE cleared < ?", (horizon,)),
        ("DELETE FROM departures WHERE at < ?", (horizon,)),
    ]
