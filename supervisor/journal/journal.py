"""What is remembered: pins, decisions, outcomes, findings, and what each model held.

Reads are answered from memory and always work. Writes reach memory at once and the disk a
moment later; `record` waits for that, or until it is known that it cannot be yet, and says
which. Records are kept and read as the JSON of core/rows.py.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path

from collectors.reading import PoolId
from supervisor.core.footprint import Moment
from supervisor.core.record import Decision, Departure, Outcome
from supervisor.core.rows import decision_row, departure_row, outcome_row
from supervisor.core.snapshot import ModelRef, Share
from supervisor.core.watch import Finding

from .audit import Audit
from .findings import Findings
from .holdings import Holdings, key
from .schema import (
    MIGRATIONS,
    Became,
    Decided,
    Json,
    delete_old,
    write_decision,
    write_departure,
    write_number,
    write_outcome,
)
from .search import Search
from .shelves import Shelves, told
from .store import PRUNE_EVERY, RETRY_DELAYS, Connect, Statement, Store, Unusable, connect
from .trail import Trail

log = logging.getLogger("ullage.journal")

IN_MEMORY = 1000  # decisions, and departures, that reads are answered from
KEPT_DAYS = 30
KEPT_DECISIONS = 50_000
CLOSING = 5.0  # seconds
DAY = 86400.0

# Numbers are set aside so many at a time: none is given twice, even after a sudden end.
IDS_AT_ONCE = 100


class Journal:
    """`path` None: memory alone. `clock` gives Unix time in seconds.

    All of it may be called from any thread; what is async from any event loop.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], float] = time.time,
        *,
        connect: Connect = connect,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        most_waiting: int = 10_000,
        prune_every: float = PRUNE_EVERY,
        kept_decisions: int = KEPT_DECISIONS,
    ) -> None:
        self._clock, self._kept = clock, kept_decisions
        self._lock = threading.RLock()  # of what follows; also taken by the store's thread
        self._decisions: OrderedDict[str, Decided] = OrderedDict()
        self._outcomes: dict[str, list[Became]] = {}  # oldest first
        self._findings = Findings(self._lock, self._put)
        self.shelves = Shelves(self._lock, self._put)
        self.trail = Trail(self._lock, self._put, path)
        self.audit = Audit(self._lock, self._put, path, clock)
        self._holdings = Holdings()
        self._departures: deque[Json] = deque(maxlen=IN_MEMORY)
        self._last_id = self._ids_kept = 0
        self._outcome_number = self._departure_number = 0
        self._persistent = False
        # Hear of each "decision", "outcome", "finding" and "departure" that is written down, in the
        # thread in which it is.
        self.listeners: list[Callable[[str, Json], None]] = []
        self._store: Store | None = None
        if path is not None:
            self._store = Store(
                path,
                MIGRATIONS,
                load=self._load,
                refill=self._everything,
                prune=self._prune,
                connect=connect,
                retry_delays=retry_delays,
                most_waiting=most_waiting,
                prune_every=prune_every,
            )

    # -- life

    def open(self) -> None:
        """Read what is there and start writing. Without a usable disk: memory alone, said once."""
        if self._store is None:
            return
        try:
            self._store.open()
        except Unusable as error:
            log.warning("%s; what is decided is kept in memory only", error)
        else:
            self._persistent = True
        now = self._clock()
        for kind, subject in self._findings.open:
            self.clear_finding(kind, subject, now)  # whoever watched it is gone
        self._keep_ids()

    def close(self, timeout: float = CLOSING) -> None:
        """Write what waits, for at most `timeout` seconds, and stop. Blocks that long."""
        if self._store is not None and self._persistent:
            self.audit.flush()
            self._put([write_number("decision", self._last_id)])
            self._persistent = False
            self._store.close(timeout)

    def flush(self, timeout: float = CLOSING) -> bool:
        """Block until all is on disk, at most `timeout` seconds. False: it is not."""
        return self._persistent and self._store is not None and self._store.flush(timeout)

    async def written(self) -> bool:
        """Whether all that is in memory by now is on disk: waited for as `record` does."""
        store = self._store if self.lag else None
        return self._persistent if store is None else await told(store.put(()))

    def retry_now(self) -> None:
        """Try again at once to write what waits."""
        if self._store is not None:
            self._store.retry_now()

    @property
    def persistent(self) -> bool:
        """Whether there is a file behind it, be its disk full or not."""
        return self._persistent

    @property
    def meant_to_persist(self) -> bool:
        """Whether it was given a file. A demo's is not: its memory is all that it is to have."""
        return self._store is not None

    @property
    def lag(self) -> int:
        """Writes that wait for the disk."""
        return self._store.lag if self._store is not None else 0

    @property
    def failures(self) -> int:
        """Attempts to write that failed, since the start."""
        return self._store.failures if self._store is not None else 0

    @property
    def dropped(self) -> int:
        """Writes given up, since the start: too many waited, or one could not be stored at all."""
        return self._store.dropped if self._store is not None else 0

    # -- writing

    def next_id(self) -> str:
        """The next decision's name: "d-000001" and so on, never one that was given before."""
        with self._lock:
            self._last_id += 1
            if self._ids_kept - self._last_id < IDS_AT_ONCE // 2:
                self._keep_ids()
            return f"d-{self._last_id:06}"

    async def record(self, decision: Decision) -> bool:
        """Write a decision down. True: it is on disk. False: not yet, or there is none."""
        return await self.amend(decision, anew=True)

    async def amend(self, decision: Decision, *, anew: bool = False) -> bool:
        """The same of one that is written down already, of which more is done than was decided."""
        with self._lock:
            body = decision_row(decision)
            self._decisions[decision.id] = decided = Decided.of(body)
            while len(self._decisions) > IN_MEMORY:
                gone, _ = self._decisions.popitem(last=False)
                self._outcomes.pop(gone, None)
            done = self._put([write_decision(decided)])
        if anew:
            self._tell("decision", body)
        return await told(done)

    def add_outcome(self, outcome: Outcome) -> None:
        with self._lock:
            self._outcome_number += 1
            body = outcome_row(outcome)
            became = Became.of(self._outcome_number, body)
            if outcome.decision in self._decisions:
                self._outcomes.setdefault(outcome.decision, []).append(became)
            self._put([write_outcome(became)])
        self._tell("outcome", body)

    def add_finding(self, finding: Finding, at: float) -> None:
        """`at` is Unix time. One that is open already stays as it was opened."""
        body = self._findings.add(finding, at)
        if body is not None:
            self._tell("finding", body)

    def clear_finding(self, kind: str, subject: str, at: float) -> None:
        """`kind` is the value of a watch.Kind. One that is not open is passed over."""
        body = self._findings.clear(kind, subject, at)
        if body is not None:
            self._tell("finding", body)

    def remember(
        self,
        ref: ModelRef,
        shares: tuple[Share, ...],
        moment: Moment = Moment.LOADED,
        context: int = 0,
        slots: int = 0,
    ) -> None:
        """Note what a model holds. Pools where it holds nothing any more are forgotten."""
        with self._lock:
            held = key(ref, moment, shares, context, slots)
            self._put(self._holdings.remember(held, shares, self._clock()))

    def add_departure(self, departure: Departure) -> None:
        """A model left, and not by our doing."""
        with self._lock:
            self._departure_number += 1
            body = departure_row(departure)
            self._departures.append(body)
            self._put([write_departure(self._departure_number, body)])
        self._tell("departure", body)

    def _tell(self, kind: str, body: Json) -> None:
        for listener in self.listeners:
            listener(kind, body)

    # -- reading

    def footprint(
        self,
        ref: ModelRef,
        moment: Moment = Moment.LOADED,
        context: int | None = None,
        slots: int | None = None,
        within: Collection[PoolId] | None = None,
    ) -> tuple[Share, ...] | None:
        """The most that this model held lately, pool by pool. None: never seen, or not so."""
        with self._lock:
            return self._holdings.get(ref, moment, context, slots, within)

    def residues(self) -> dict[ModelRef, tuple[Share, ...]]:
        """What models kept while they slept."""
        with self._lock:
            return self._holdings.asleep()

    def departures(self, limit: int, model: str | None = None) -> list[Json]:
        """Who left by themselves, newest first; `model` as in `decisions`."""
        with self._lock:
            mine = [
                d
                for d in reversed(self._departures)
                if model is None or model in (d["model"], d["model"].partition("/")[2])
            ]
        return mine[:limit]

    def decisions(
        self,
        limit: int,
        model: str | None = None,
        before: str | None = None,
        *,
        search: Search | None = None,
    ) -> list[Json]:
        """The last decisions, newest first, each with its "outcomes"; of the last 1,000.

        `search` says which; else those of `model` that were made `before` the one of this id.
        """
        wanted = search or Search(model, before)
        found: list[Json] = []
        with self._lock:
            for id, decided in reversed(self._decisions.items()):
                if len(found) >= limit:
                    break
                outcomes = self._outcomes.get(id, [])
                body = wanted.fitting(decided, outcomes)
                if body is not None:
                    found.append({**body, "outcomes": [o.body() for o in outcomes]})
        return found

    def decision(self, id: str) -> Json | None:
        """The one of this id, with its "outcomes". None: there is none, or none any more."""
        with self._lock:
            decided = self._decisions.get(id)
            outcomes = [o.body() for o in self._outcomes.get(id, [])]
        return None if decided is None else {**decided.body(), "outcomes": outcomes}

    def findings(self, limit: int) -> list[Json]:
        """The last findings, newest first, "opened" and "cleared" in Unix time."""
        return self._findings.last(limit)

    # -- the disk

    def _put(self, statements: Sequence[Statement]) -> Future[bool] | None:
        if not statements or self._store is None or not self._persistent:
            return None
        return self._store.put(statements)

    def _keep_ids(self) -> None:
        with self._lock:
            self._ids_kept = self._last_id + IDS_AT_ONCE
            self._put([write_number("decision", self._ids_kept)])

    def _prune(self) -> list[Statement]:
        with self._lock:
            forgotten = self._holdings.forget(self._clock())
        passed = [*self.trail.forget(self._horizon()), *self.audit.forget(self._clock())]
        return [*delete_old(self._horizon(), self._kept), *forgotten, *passed]

    def _horizon(self) -> float:
        return self._clock() - KEPT_DAYS * DAY

    def _everything(self) -> list[Statement]:
        """What writes all that is in memory, for a file begun afresh."""
        now = self._clock()
        with self._lock:
            found: list[Statement] = [write_decision(d) for d in self._decisions.values()]
            for outcomes in self._outcomes.values():
                found += map(write_outcome, outcomes)
            found += self._findings.everything() + self.shelves.everything()
            found += self.trail.everything() + self.audit.everything()
            found += self._holdings.everything(now)
            first = self._departure_number - len(self._departures) + 1
            found += [write_departure(first + i, d) for i, d in enumerate(self._departures)]
            found.append(write_number("decision", max(self._ids_kept, self._last_id)))
        return found

    def _load(self, db: sqlite3.Connection) -> None:
        """Take in what can be read; of a file that is not sound, that may be only a part."""
        loaders = {
            "shelves": self.shelves.load,
            "numbers": self._load_numbers,
            "holdings": self._holdings.load,
            "decisions": self._load_decisions,
            "findings": self._findings.load,
            "departures": self._load_departures,
            "audit": self.audit.load,
        }
        for what, load in loaders.items():
            try:
                with self._lock:
                    load(db)
            except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
                log.warning("%s: %s", what, error)

    def _load_numbers(self, db: sqlite3.Connection) -> None:
        highest = (
            "SELECT max(CAST(substr(id, 3) AS INTEGER)) FROM decisions WHERE id GLOB 'd-[0-9]*'"
        )
        for sql in ("SELECT max(value) FROM numbers WHERE name = 'decision'", highest):
            self._last_id = max(self._last_id, db.execute(sql).fetchone()[0] or 0)
        self._outcome_number = db.execute("SELECT max(n) FROM outcomes").fetchone()[0] or 0

    def _load_departures(self, db: sqlite3.Connection) -> None:
        sql = "SELECT n, body FROM departures ORDER BY n DESC LIMIT ?"
        for n, body in reversed(db.execute(sql, (IN_MEMORY,)).fetchall()):
            self._departure_number = max(self._departure_number, n)
            self._departures.append(json.loads(body))

    def _load_decisions(self, db: sqlite3.Connection) -> None:
        sql = "SELECT id, at, model, trigger, body FROM decisions ORDER BY rowid DESC LIMIT ?"
        for decided in map(Decided._make, reversed(db.execute(sql, (IN_MEMORY,)).fetchall())):
            decided.body()  # or it cannot be read
            self._decisions[decided.id] = decided
        sql = "SELECT n, decision, at, body FROM outcomes WHERE decision = ? ORDER BY n"
        for id in self._decisions:
            if found := [Became._make(row) for row in db.execute(sql, (id,))]:
                for became in found:
                    became.body()  # or it cannot be read
                self._outcomes[id] = found
