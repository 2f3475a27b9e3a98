"""Writes that had to be dropped: the file is filled anew from memory, as often as it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from supervisor.journal.store import Statement, Store
from tests.journals import PATIENT, Disk, query

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
