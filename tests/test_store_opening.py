"""The journal's file as it is found: corrupt, read-only, of another version, not there."""

import logging
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from supervisor.journal.schema import MIGRATIONS
from supervisor.journal.store import Store, Unusable
from tests.journals import (
    Disk,
    decision,
    finding,
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


@pytest.mark.parametrize("what", ["shelves", "decisions", "findings", "audit"])
def test_a_part_that_cannot_be_read_is_named_and_costs_no_other(begin, path, caplog, what):
    first = begin()
    pin(first, "gemma")
    record(first, decision())
    first.add_finding(finding(), 1.0)
    first.audit.note("ci", "post_load")
    first.close()
    query(path, f"UPDATE {what} SET body = '{{'")
    again = begin()
    there = {
        "shelves": pins(again),
        "decisions": ids(again),
        "findings": again.findings(9),
        "audit": again.audit.everything(),
    }
    assert [part for part, found in there.items() if not found] == [what]
    warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert [words.split()[0] for words in warned] == [f"{what}:"]


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


def test_a_journal_that_may_only_be_read_is_read_and_written_once_it_may_be(begin, path, caplog):
    first = begin()
    pin(first, "qwen")
    record(first, decision(first.next_id()))
    first.close()
    disk = Disk()
    disk.error = ("attempt to write a readonly database", sqlite3.SQLITE_READONLY)
    second = begin(connect=disk.connect)
    assert second.next_id() == "d-000002"
    assert record(second, decision("d-000002")) == [False]
    assert not pin(second, "gemma")
    assert pins(second) == {"gemma", "qwen"}
    assert ids(second) == ["d-000002", "d-000001"]
    assert (second.persistent, second.failures) == (True, 1)
    assert second.lag > 0
    disk.error = None
    second.retry_now()
    assert second.flush()
    second.close()
    third = begin()
    assert (pins(third), ids(third)) == ({"gemma", "qwen"}, ["d-000002", "d-000001"])
    assert sum("readonly" in r.getMessage() for r in caplog.records) == 1


@pytest.fixture
def nobody():
    """Somebody whom the modes of files hold up; root is not."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


@pytest.mark.parametrize("shut", ["file", "folder", "above"])
def test_a_journal_that_may_not_even_be_read_is_never_written_over(begin, shut, request):
    """What it has is not known, so that new decisions would take the names of others."""
    request.getfixturevalue("nobody")
    with tempfile.TemporaryDirectory(prefix="ullage-") as own:
        path = Path(own) / "state" / "journal.db"
        first = begin(where=path)
        pin(first, "qwen")
        first.close()
        what = {"file": path, "folder": path.parent, "above": path.parent.parent}[shut]
        mode = what.stat().st_mode
        what.chmod(0)
        second = begin(where=path)
        assert works_in_memory(second)
        assert pins(second) == {"gemma"}
        second.close()
        what.chmod(mode)
        third = begin(where=path)
        assert pins(third) == {"qwen"}
        third.close()


def test_a_folder_that_may_not_be_written_to_is_written_to_once_it_may_be(begin, request):
    request.getfixturevalue("nobody")
    with tempfile.TemporaryDirectory(prefix="ullage-") as own:
        path = Path(own) / "state" / "journal.db"
        Path(own).chmod(0o500)
        journal = begin(where=path)
        assert not pin(journal, "qwen")
        Path(own).chmod(0o700)
        journal.retry_now()
        assert journal.flush()
        journal.close()
        again = begin(where=path)
        assert pins(again) == {"qwen"}
        again.close()


def test_what_a_daemon_that_was_killed_had_not_yet_moved_into_the_file_is_read_too(begin, path):
    """The -wal is read where nothing may be written; without it pins would be lost meanwhile."""
    first = begin()
    pin(first, "qwen")
    assert first.flush()
    killed = path.parent.parent / "killed"
    shutil.copytree(path.parent, killed)  # as it was found
    disk = Disk()
    disk.error = ("attempt to write a readonly database", sqlite3.SQLITE_READONLY)
    assert pins(begin(where=killed / path.name, connect=disk.connect)) == {"qwen"}


def test_what_can_only_be_read_in_part_is_never_written_over(begin, request):
    request.getfixturevalue("nobody")
    with tempfile.TemporaryDirectory(prefix="ullage-") as own:
        path = Path(own) / "state" / "journal.db"
        first = begin(where=path)
        pin(first, "qwen")
        assert first.flush()
        killed = Path(own) / "killed"
        shutil.copytree(path.parent, killed)
        first.close()
        (killed / "journal.db-shm").unlink()  # without it nobody knows what is in the -wal
        killed.chmod(0o500)
        (killed / path.name).chmod(0o400)
        assert works_in_memory(begin(where=killed / path.name))
        killed.chmod(0o700)


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


@pytest.fixture
def killed(begin, path):
    """As a daemon leaves its files that is killed: a pin is in the -wal, and not in the file."""
    first = begin()
    pin(first, "gemma")
    assert first.flush()
    left = path.parent.parent / "killed"
    shutil.copytree(path.parent, left)
    assert (left / "journal.db-wal").stat().st_size
    return left / path.name


def test_an_empty_file_is_begun_anew_and_that_is_told(begin, path, caplog):
    path.parent.mkdir()
    path.touch()
    first = begin()
    assert [r.getMessage().split(",")[0] for r in caplog.records] == [f"{path} is empty"]
    assert pin(first, "gemma")
    first.close()
    caplog.clear()
    assert pins(begin()) == {"gemma"}
    assert caplog.records == []


def test_nothing_is_told_of_a_journal_that_was_never_there(begin, caplog):
    begin()
    assert caplog.records == []


@pytest.mark.parametrize("what", ["emptied", "removed"])
def test_what_was_to_be_moved_into_a_file_that_is_lost_is_set_aside(begin, killed, what, caplog):
    """SQLite deletes it: for an empty database it has no meaning."""
    killed.write_bytes(b"") if what == "emptied" else killed.unlink()
    ahead = killed.with_name("journal.db-wal").read_bytes()
    assert pins(begin(where=killed)) == set()
    (log,) = [n for n in set_aside(killed) if n.endswith("-wal")]
    assert (killed.parent / log).read_bytes() == ahead
    assert "it is empty, and journal.db-wal is not" in caplog.text


@pytest.mark.parametrize("version", [0, -2])
def test_a_journal_whose_version_is_lost_is_set_aside_and_read(begin, path, version, caplog):
    """It could be brought up to date from no version, and would be tried for ever."""
    first = begin()
    pin(first, "gemma")
    first.close()
    query(path, f"PRAGMA user_version = {version}")
    second = begin()
    assert pins(second) == {"gemma"}
    assert record(second, decision("d-000001")) == [True]
    assert len(set_aside(path)) == 1
    assert "its version is lost" in caplog.text


def test_a_journal_whose_version_is_lost_is_read_where_nothing_may_be_written(begin, path):
    first = begin()
    pin(first, "gemma")
    first.close()
    query(path, "PRAGMA user_version = 0")
    disk = Disk()
    disk.error = ("attempt to write a readonly database", sqlite3.SQLITE_READONLY)
    assert pins(begin(connect=disk.connect)) == {"gemma"}


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
def test_a_link_in_the_place_of_the_file_is_not_followed(begin, path, tmp_path, end):
    first = begin()
    pin(first, "gemma")
    first.close()
    precious = tmp_path / "precious"
    path.rename(precious) if not end else precious.write_bytes(b"mine")
    before = precious.read_bytes()
    path.with_name(path.name + end).symlink_to(precious)
    journal = begin()
    if not end:
        assert pins(journal) == set()  # nor is it read
    pin(journal, "other")
    journal.close()
    assert precious.read_bytes() == before
