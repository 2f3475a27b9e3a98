"""Writes that had to be dropped: the file is filled anew from memory, as often as it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from supervisor.journal.store import Statement, Store
from supervisor.journal.trail import Passed
from tests.builders import ref
from tests.journals import PATIENT, Disk, decision, journals, query, record

TABLES = [["CREATE TABLE t (k INTEGER PRIMARY KEY)"]]
INSERT = "INSERT OR REPLACE INTO t VALUES (?)"


def test_what_is_dropped_while_the_file_is_filled_has_it_filled_once_more(tmp_path: Path) -> None:
    path, disk = tmp_path / "journal.db", Disk()
    kept: list[int] = []
    fills: list[int] = []

    def keep(number: int) -> None:
        kept.append(number)
        store.put([(INSERT, (number,))])

    def refill() -> list[Statement]:
        found: list[Statement] = [(INSERT, (number,)) for number in kept]
        fills.append(len(found))
        if len(fills) == 2:  # the first one was of a file that is new
            for number in range(20, 25):
                keep(number)
        return found

    options: dict[str, Any] = {"connect": disk.connect, "retry_delays": PATIENT}
    store = Store(
        path, TABLES, load=lambda db: None, refill=refill, prune=list, most_waiting=2, **options
    )
    store.open()
    disk.full()
    for number in range(10, 15):
        keep(number)
    disk.error = None
    store.retry_now()
    assert store.flush(60)
    keep(30)
    assert store.flush(60)
    store.close(5)
    assert query(path, "SELECT k FROM t ORDER BY k") == [(number,) for number in kept]
    assert fills == [0, 5, 10]


def test_requests_that_are_on_disk_already_are_there_once_when_it_was_filled(
    tmp_path: Path,
) -> None:
    disk, a = Disk(), ref("a")
    with journals(tmp_path / "journal.db") as begin:
        journal = begin(connect=disk.connect, most_waiting=10)
        journal.trail.add(Passed(at, a) for at in (1.0, 2.0, 2.0))  # two of the same moment
        assert journal.flush()
        disk.full()
        record(journal, *(decision(f"d-{n:06}") for n in range(1, 21)))
        assert journal.dropped
        journal.trail.add([Passed(3.0, a)])  # it waits to be written, and is in memory
        disk.error = None
        journal.retry_now()
        assert journal.flush()
        assert [p.at for p in journal.trail.since(0)] == [1.0, 2.0, 2.0, 3.0]
