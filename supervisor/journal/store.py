"""A SQLite file behind one thread: whoever writes never waits for a disk it need not wait for.

Writes are queued and committed in order, many at a time. While the disk is full, fails, or may
only be read they wait in memory and are tried again; a file that cannot be read is set aside, never
deleted.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from .damage import (
    Corrupt,
    check_empty,
    has_begun,
    is_corrupt,
    is_hopeless,
    is_passing,
    is_shut,
    set_aside,
    version_of,
)

log = logging.getLogger("ullage.journal")

Statement = tuple[str, tuple[object, ...]]
Connect = Callable[[str], sqlite3.Connection]

BUSY_TIMEOUT = 5000  # milliseconds, as SQLite has it
BATCH = 200  # writes in one transaction
# Seconds; and so long after the start for the first time: by a clock that was wrong as the machine
# came up, and has been set since, all would be old.
PRUNE_EVERY = 3600.0
RETRY_DELAYS = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)  # seconds; the last one for ever after

# The write is at fault and not the disk: it would fail for ever.
_POISON = (
    ValueError,
    OverflowError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)


class Unusable(Exception):
    """The file cannot be used, now or later; the message says why."""


def connect(target: str) -> sqlite3.Connection:
    """`target` is a file: URI. Transactions are begun and ended by hand."""
    return sqlite3.connect(target, uri=True, isolation_level=None, check_same_thread=False)


@dataclass(slots=True)
class Write:
    """Statements that are committed together. `done` gets True once they are."""

    statements: Sequence[Statement]
    done: Future[bool] = field(default_factory=Future)

    def tell(self, committed: bool) -> None:
        if not self.done.done():
            self.done.set_result(committed)


class Store:
    """`migrations[n]` leads from version n to n + 1.

    `load` reads an opened database into memory; `refill` says what writes all of that memory
    again, for a file begun afresh; `prune` what deletes the old.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Sequence[str]],
        *,
        load: Callable[[sqlite3.Connection], None],
        refill: Callable[[], Sequence[Statement]],
        prune: Callable[[], Sequence[Statement]],
        connect: Connect = connect,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        most_waiting: int = 10_000,
        prune_every: float = PRUNE_EVERY,
    ) -> None:
        self._path, self._migrations, self._connect = path, migrations, connect
        self._load, self._refill, self._prune = load, refill, prune
        self._delays, self._most, self._prune_every = retry_delays, most_waiting, prune_every
        self._waiting: deque[Write] = deque()
        self._in_hand: list[Write] = []
        self._changed = threading.Condition()
        self._db: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._failed_in_a_row = 0
        self._stale = False  # the file lacks writes that were dropped
        self._closing = False  # no more than one attempt from here on
        self._ended = False
        self._retry = False
        self.failures = 0  # attempts that failed
        self.dropped = 0  # writes that will never be on disk

    @property
    def lag(self) -> int:
        """Writes that are not on disk yet. Asked while some change hands, none is overlooked."""
        with self._changed:
            return len(self._waiting) + len(self._in_hand)

    def open(self) -> None:
        """Load the file and start writing. Raises Unusable; what may pass is tried again."""
        try:
            self._db = self._begin(first=True)
        except (OSError, sqlite3.Error) as error:
            known = self._load_read_only()
            if is_hopeless(error) or (is_shut(error) and not known):
                raise Unusable(str(error)) from error
            self._failed_in_a_row = self.failures = 1
            self._say(error)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, statements: Sequence[Statement]) -> Future[bool]:
        """Queue a write. The future is True once committed, False once it is known to wait."""
        write = Write(statements)
        with self._changed:
            if self.lag >= self._most:
                oldest = self._waiting.popleft() if self._waiting else write
                oldest.tell(False)
                self.dropped += 1
                self._stale = True
            self._waiting.append(write)
            if self._failed_in_a_row or self._ended:
                write.tell(False)
            self._changed.notify_all()
        return write.done

    def retry_now(self) -> None:
        """Do not wait any longer after a failure."""
        with self._changed:
            self._retry = True
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until everything is on disk, at most `timeout` seconds. False: it is not."""
        with self._changed:
            return self._changed.wait_for(lambda: self.lag == 0, timeout)

    def close(self, timeout: float) -> None:
        """Write what waits, trying once, and stop; after `timeout` seconds stop all the same."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
        with self._changed:
            self._ended = True
            for write in (*self._in_hand, *self._waiting):
                write.tell(False)
        if self.lag:
            log.error("%s: %d writes are lost", self._path, self.lag)

    # -- the thread

    def _run(self) -> None:
        prune_at = time.monotonic() + self._prune_every
        while self._wait(prune_at):
            error: Exception | None
            try:
                if time.monotonic() >= prune_at:
                    prune_at = time.monotonic() + self._prune_every
                    self.put(self._prune())
                with self._changed:
                    self._in_hand = list(islice(self._waiting, BATCH))
                    for _ in self._in_hand:  # once the list is whole: memory may be short
                        self._waiting.popleft()
                error = self._write(self._in_hand)
            except Exception as unforeseen:  # want of memory, above all: it may pass as well
                error = unforeseen
            with self._changed:
                self._settle(error)
                self._changed.notify_all()
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()

    def _wait(self, until: float) -> bool:
        """Sleep until there is something to do. False: it is time to end."""
        with self._changed:
            if self._failed_in_a_row:
                delay = self._delays[min(self._failed_in_a_row, len(self._delays)) - 1]
                self._changed.wait_for(lambda: self._closing or self._retry, delay)
                self._retry = False
            else:
                rest = min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX)
                self._changed.wait_for(lambda: self._closing or self._waiting, rest)
            return not self._ended and not (self._closing and not self._waiting)

    def _settle(self, error: Exception | None) -> None:
        if error is None:
            if self._failed_in_a_row:
                log.warning("%s: writing again", self._path)
            self._failed_in_a_row = 0
            for write in self._in_hand:
                write.tell(True)
            self._in_hand = []
            return
        self._failed_in_a_row += 1
        self.failures += 1
        self._say(error)
        self._waiting.extendleft(reversed(self._in_hand))
        self._in_hand = []
        for write in self._waiting:
            write.tell(False)
        self._ended = self._closing

    def _say(self, error: Exception) -> None:
        level = logging.ERROR if self._failed_in_a_row <= 1 else logging.DEBUG
        what = str(error) or type(error).__name__  # a MemoryError says nothing
        log.log(level, "%s: %s; kept in memory and tried again", self._path, what)

    def _write(self, batch: Sequence[Write]) -> Exception | None:
        """Commit `batch`. Returns what went wrong with the disk."""
        try:
            if self._db is None:
                self._db = self._begin()
            if self._stale:
                self._fill()
            _commit(self._db, [s for w in batch for s in w.statements])
        except _POISON as error:
            if len(batch) > 1:
                return next((e for w in batch if (e := self._write([w]))), None)
            log.error("%s: a write cannot be kept: %s", self._path, error)
            self.dropped += len(batch)
            with self._changed:
                for write in batch:
                    write.tell(False)
        except (OSError, sqlite3.Error, Unusable) as error:
            if not is_passing(error):
                self._give_up_connection(error)
            return error
        return None

    def _fill(self) -> None:
        """What is dropped meanwhile makes it stale again."""
        assert self._db is not None
        self._stale = False
        try:
            _commit(self._db, self._refill())
        except BaseException:
            self._stale = True
            raise

    def _give_up_connection(self, error: Exception) -> None:
        """The next attempt opens the file again: it may be gone, moved, or corrupt."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
        self._db = None
        if is_corrupt(error):
            with contextlib.suppress(OSError):
                set_aside(self._path, error)

    # -- opening

    def _begin(self, *, first: bool = False) -> sqlite3.Connection:
        try:
            return self._opened(first)
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            set_aside(self._path, error)
            return self._opened(False)

    def _opened(self, first: bool) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        was_there = self._path.exists()
        os.close(os.open(self._path, flags, 0o600))
        for end in ("-wal", "-shm"):  # SQLite follows links, and writes where they lead
            if (link := self._path.with_name(self._path.name + end)).is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(link))
        check_empty(self._path, first and was_there)
        db = self._connect(f"{self._path.absolute().as_uri()}?mode=rw")
        try:
            db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
            version = version_of(db)
            if version > len(self._migrations):
                raise Unusable(f"{self._path} was written by a newer Ullage")
            if has_begun(db) and (first or version <= 0):
                self._check(db, version, first)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            self._migrate(db, version)
            if first:
                self._load(db)
        except BaseException:
            db.close()
            raise
        return db

    def _check(self, db: sqlite3.Connection, version: int, first: bool) -> None:
        try:
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            found = str(error) if is_corrupt(error) else "ok"
        if version <= 0:  # there are tables, and they were made with a version
            found = "its version is lost"
        if found != "ok":
            if first:  # what can still be read goes into the file that is begun afresh
                self._load(db)
            raise Corrupt(found)

    def _migrate(self, db: sqlite3.Connection, version: int) -> None:
        steps = [(sql, ()) for script in self._migrations[version:] for sql in script]
        if steps:
            stamp = (f"PRAGMA user_version = {len(self._migrations)}", ())
            _commit(db, [*steps, stamp, *(self._refill() if version == 0 else ())])

    def _load_read_only(self) -> bool:
        """Whether all that is in the file is known now."""
        try:
            if not stat.S_ISREG(self._path.lstat().st_mode):
                return False
            if self._loaded("mode=ro"):
                return True
            ahead = self._path.with_name(f"{self._path.name}-wal")
            whole = not ahead.exists() or ahead.stat().st_size == 0
        except OSError as error:
            return error.errno == errno.ENOENT
        return self._loaded("mode=ro&immutable=1") and whole

    def _loaded(self, how: str) -> bool:
        """`immutable` knows nothing of what is in the -wal, and needs no -shm beside it."""
        try:
            with contextlib.closing(self._connect(f"{self._path.absolute().as_uri()}?{how}")) as db:
                if has_begun(db):
                    self._load(db)
        except sqlite3.Error:
            return False
        return True


def _commit(db: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for sql, values in statements:
            db.execute(sql, [_storable(v) for v in values])
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _storable(value: object) -> object:
    """Names come from engines: text that is no valid Unicode must not stop the journal."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int):
        return max(-(2**63), min(value, 2**63 - 1))
    return value
