"""What is wrong with the journal's file, by what SQLite and the system say, and by what is in it;
and a file that is set aside, never deleted."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import time
from pathlib import Path

log = logging.getLogger("ullage.journal")

# What lies in the way will not go by itself: a file in the place of a folder, a link.
_HOPELESS = {
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT),
    *(errno.ELOOP, errno.ENAMETOOLONG),
}
# May pass as well, but then our memory must know all that is in the file.
_SHUT = {errno.EROFS, errno.EACCES, errno.EPERM}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Corrupt(sqlite3.DatabaseError):
    """The file is not, or no longer, a sound database."""


def is_corrupt(error: Exception) -> bool:
    return isinstance(error, Corrupt) or _code(error) in _CORRUPT


def is_hopeless(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _HOPELESS


def is_shut(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _SHUT
    return _code(error) in _READ_ONLY


def is_passing(error: Exception) -> bool:
    """The connection is good, and the same may work the next time."""
    return _code(error) in _PASSING


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def has_begun(db: sqlite3.Connection) -> bool:
    """Whether anybody has written to it. A version of 0 may be one that was lost."""
    if version_of(db):
        return True
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def version_of(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def check_empty(path: Path, was_there: bool) -> None:
    """A journal of no bytes that `was_there` already: it was lost, or its writer was killed as it
    began. That is told, since nobody can know which. What was to be moved into it may stand beside
    it still, and SQLite would delete that: then it is Corrupt."""
    ahead = path.with_name(f"{path.name}-wal")
    if path.stat().st_size:
        return
    with contextlib.suppress(FileNotFoundError):
        if ahead.lstat().st_size:
            raise Corrupt(f"it is empty, and {ahead.name} is not")
    if was_there:
        log.warning(
            "%s is empty, and is begun anew: what was pinned, leased, set and learned before is"
            " lost, if there was anything",
            path,
        )


def set_aside(path: Path, error: Exception) -> None:
    aside = path.with_name(f"{path.name}.corrupt-{int(time.time())}")
    while aside.exists():
        aside = aside.with_name(aside.name + "-again")
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{end}", f"{aside}{end}")
    log.warning("%s is corrupt (%s): set aside as %s", path, error, aside.name)
