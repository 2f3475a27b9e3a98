"""The journal's file as it is found: corrupt, read-only, of another version, not there."""

import logging
import os
import sqlite3

import pytest

from supervisor.schema import MIGRATIONS
from supervisor.store import Store, Unusable
from tests.journals import (
    Disk,
    decision,
    ids,
    journals,
    outcome,
    pin,
    pins,
    query,
    record,
    ref,
    share,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def begin(path):
    with journals(path) as begin:
        yield begin


def set_aside(path):
    return sorted(p.name for p in path.parent.iterdir() if ".corrupt-" in p.name)


def test_a_file_that_is_no_database_is_set_aside(begin, path, caplog):
    path.parent.mkdir()
    path.write_bytes(b"This is no database." * 100)
    journal = begin()
    assert record(journal, decision(journal.next_id())) == [True]
    (aside,) = set_aside(path)
    assert (path.parent / aside).read_bytes().startswith(b"This is no database.")
    assert f"set aside as {aside}" in caplog.text
    journal.close()
    assert ids(begin()) == ["d-000001"]


def test_a_damaged_database_is_set_aside_and_what_can_be_read_is_saved(begin, path, caplog):
    first = begin()
    pin(first, "gemma")
    record(first, *(decision(first.next_id(), victim="x" * 2000) for _ in range(50)))
    first.close()
    with path.open("r+b") as file:  # the last pages hold decisions, the pins are in front
        file.seek(-40_000, os.SEEK_END)
        file.write(b"\xff" * 40_000)
    second = begin()
    assert pins(second) == {"gemma"}
    assert second.next_id() == "d-000051"
    assert len(set_aside(path)) == 1
    assert "corrupt" in caplog.text
    second.close()
    assert pins(begin()) == {"gemma"}
    assert len(set_aside(path)) == 1


def test_a_database_that_goes_bad_under_way_is_begun_afresh_from_memory(begin, path):
    disk = Disk()
    journal = begin(connect=disk.connect)
    pin(journal, "gemma")
    record(journal, decision("d-000001"))
    journal.add_outcome(outcome("d-000001"))
    journal.remember(ref(), (share(5),))
    assert journal.flush()
    disk.error = ("database disk image is malformed", sqlite3.SQLITE_CORRUPT)
    assert record(journal, decision("d-000002")) == [False]
    disk.error = None
    journal.retry_now()
    assert journal.flush()
    asked = journal.decisions(10)
    journal.close()
    assert len(set_aside(path)) == 1
    again = begin()
    assert again.decisions(10) == asked
    assert len(asked) == 2
    assert pins(again) == {"gemma"}
    assert again.footprint(ref())[0].size == 5


def test_a_file_that_was_deleted_is_begun_afresh_from_memory(begin, path):
    disk = Disk()
    journal = begin(connect=disk.connect)
    pin(journal, "gemma")
    assert journal.flush()
    for file in path.parent.iterdir():
        file.unlink()
    disk.error = ("disk I/O error", sqlite3.SQLITE_IOERR)
    record(journal, decision())
    disk.error = None
    journal.retry_now()
    assert journal.flush()
    journal.close()
    again = begin()
    assert (pins(again), ids(again)) == ({"gemma"}, ["d-000001"])


def works_in_memory(journal):
    assert record(journal, decision(journal.next_id())) == [False]
    assert not pin(journal, "gemma")
    journal.remember(ref(), (share(5),))
    assert ids(journal)[0].startswith("d-")
    assert "gemma" in pins(journal)
    assert journal.footprint(ref()) is not None
    assert (journal.persistent, journal.lag, journal.failures) == (False, 0, 0)
    assert not journal.flush()
    return True


def test_without_a_path_everything_is_kept_in_memory(begin, caplog):
    assert works_in_memory(begin(where=None))
    assert caplog.records == []


def test_where_nothing_can_be_written_everything_is_kept_in_memory(begin, tmp_path, caplog):
    file = tmp_path / "file"
    file.touch()
    assert works_in_memory(begin(where=file / "journal.db"))
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


def test_a_journal_that_may_only_be_read_is_read(begin, path, caplog):
    first = begin()
    pin(first, "qwen")
    record(first, decision(first.next_id()))
    first.close()
    disk = Disk()
    disk.error = ("attempt to write a readonly database", sqlite3.SQLITE_READONLY)
    second = begin(connect=disk.connect)
    assert works_in_memory(second)
    assert pins(second) == {"gemma", "qwen"}
    assert ids(second) == ["d-000002", "d-000001"]
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


def test_the_journal_of_a_newer_version_is_left_alone(begin, path, caplog):
    begin().close()
    query(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    assert works_in_memory(begin())
    assert path.read_bytes() == before
    assert "newer" in caplog.text


def test_an_older_journal_is_brought_up_to_date(path):
    first = ["CREATE TABLE t (x INTEGER)", "INSERT INTO t VALUES (1)"]
    second = ["ALTER TABLE t ADD COLUMN y INTEGER DEFAULT 2"]
    seen = []

    def load(db):
        seen.extend(db.execute("SELECT * FROM t").fetchall())

    for migrations in ([first], [first, second], [first, second]):
        kept = Store(path, migrations, load=load, refill=list, prune=list)
        kept.open()
        kept.close(5)
    assert seen == [(1,), (1, 2), (1, 2)]
    with pytest.raises(Unusable, match="newer"):
        Store(path, [first], load=load, refill=list, prune=list).open()


def test_the_file_is_private_and_kept_as_agreed(begin, path):
    journal = begin()
    record(journal, decision())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
