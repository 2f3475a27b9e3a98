"""The journal on disks that are full, broken or slow, and after a sudden end."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import pytest

from supervisor.journal.shelves import Notes
from supervisor.journal.store import Store, Unusable
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
    stored,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def begin(path):
    with journals(path) as begin:
        yield begin


def test_what_was_noted_is_on_disk_once_it_has_settled(begin, path):
    notes = Notes(begin().shelves["engines"])
    on_disk = "SELECT key, body FROM shelves WHERE shelf = 'engines'"
    notes.keep("url", {"step": "RELEASED"})
    asyncio.run(notes.settled())
    assert query(path, on_disk) == [("url", '{"step": "RELEASED"}')]
    notes.drop("url")
    notes.drop("another")
    asyncio.run(notes.settled())
    assert query(path, on_disk) == []


def test_the_old_is_deleted_again_and_again(path):
    asked = threading.Semaphore(0)

    def prune():
        asked.release()
        return []

    kept = Store(path, [], load=lambda db: None, refill=list, prune=prune, prune_every=0.001)
    kept.open()
    assert all(asked.acquire(timeout=60) for _ in range(3))
    kept.close(5)


def test_a_full_disk_is_outlived(begin, caplog):
    disk = Disk()
    journal = begin(connect=disk.connect)
    record(journal, decision("d-000001"))
    assert journal.flush()
    disk.full()
    assert record(journal, decision("d-000002"), decision("d-000003")) == [False, False]
    assert not pin(journal, "gemma")
    journal.add_outcome(outcome("d-000002"))
    assert (journal.lag, journal.failures, journal.dropped) == (4, 1, 0)
    assert ids(journal) == ["d-000003", "d-000002", "d-000001"]
    assert pins(journal) == {"gemma"}
    disk.error = None
    journal.retry_now()
    assert journal.flush()
    assert (journal.lag, journal.failures) == (0, 1)
    assert record(journal, decision("d-000004")) == [True]
    asked = journal.decisions(10)
    journal.close()
    again = begin()
    assert again.decisions(10) == asked
    assert pins(again) == {"gemma"}
    messages = [r.getMessage() for r in caplog.records]
    assert sum("disk is full" in m for m in messages) == 1
    assert sum("writing again" in m for m in messages) == 1


def test_it_recovers_by_itself(begin):
    disk = Disk()
    journal = begin(connect=disk.connect, retry_delays=(0.001,))
    disk.full()
    assert record(journal, decision()) == [False]
    disk.error = None
    assert journal.flush()
    assert journal.lag == 0


def test_writes_that_failed_together_are_made_in_their_order(begin, path):
    disk = Disk()
    journal = begin(connect=disk.connect, retry_delays=(0.001,))
    assert journal.flush()

    async def all_at_once():
        disk.gate.clear()
        first = asyncio.create_task(journal.record(decision("d-000001")))
        await asyncio.to_thread(disk.waited.wait, 5)
        rest = [asyncio.create_task(journal.record(decision(f"d-{n:06}"))) for n in range(2, 9)]
        await asyncio.sleep(0)  # they are all queued behind the first
        disk.full(times=2)  # the first alone fails, then all of them together
        disk.gate.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(all_at_once())[0] is False
    assert journal.flush()
    assert journal.failures == 2
    journal.close()
    assert stored(path) == [f"d-{n:06}" for n in range(1, 9)]


def test_a_database_that_may_not_grow_is_a_full_disk(begin, path):
    disk = Disk()
    journal = begin(connect=disk.connect)
    journal.flush()
    disk.max_pages = 1  # SQLite takes the size that the file has now
    big = [decision(f"d-{n:06}", victim="x" * 3000) for n in range(1, 30)]
    told = record(journal, *big)
    assert told[-1] is False
    assert (journal.lag > 0, journal.failures) == (True, 1)
    disk.max_pages = 1_000_000
    journal.retry_now()
    assert journal.flush()
    journal.close()
    assert stored(path) == [d.id for d in big]


def test_a_disk_that_was_full_at_the_start_is_used_once_it_is_not(begin, path):
    first = begin()
    record(first, decision("d-000001"))
    pin(first, "gemma")
    first.close()
    disk = Disk()
    disk.full()
    second = begin(connect=disk.connect)
    assert second.persistent
    assert pins(second) == {"gemma"}
    assert second.next_id() == "d-000002"
    assert record(second, decision("d-000002")) == [False]
    disk.error = None
    second.retry_now()
    assert second.flush()
    second.close()
    assert stored(path) == ["d-000001", "d-000002"]


def test_too_many_waiting_writes_lose_the_oldest_and_are_made_good_from_memory(begin, path):
    disk = Disk()
    journal = begin(connect=disk.connect, most_waiting=10)
    assert journal.flush()
    disk.full()
    assert not pin(journal, "gemma")
    record(journal, *(decision(f"d-{n:06}") for n in range(1, 21)))
    assert (journal.lag, journal.dropped) == (10, 11)
    disk.error = None
    journal.retry_now()
    assert journal.flush()
    journal.close()
    assert sorted(stored(path)) == [f"d-{n:06}" for n in range(1, 21)]
    assert pins(begin()) == {"gemma"}


def test_closing_with_a_full_disk_tries_once_and_ends(begin, caplog):
    disk = Disk()
    journal = begin(connect=disk.connect)
    assert journal.flush()
    disk.full()
    record(journal, decision())
    journal.close()
    assert journal.failures == 2
    assert "2 writes are lost" in caplog.text  # the decision, and the number of the last one
    assert record(journal, decision("d-000002")) == [False]


def test_closing_does_not_wait_for_a_disk_that_hangs(path):
    disk = Disk()
    kept = Store(path, [], load=lambda db: None, refill=list, prune=list, connect=disk.connect)
    kept.open()
    disk.gate.clear()
    told = [kept.put([("SELECT 1", ())])]
    assert disk.waited.wait(5)
    told.append(kept.put([("SELECT 1", ())]))
    kept.close(0.01)
    assert [t.result(0) for t in told] == [False, False]
    disk.gate.set()


def test_a_write_is_counted_also_while_it_goes_from_those_that_wait_to_the_writer(path):
    """Whoever is answered once nothing waits would else be answered too early."""
    disk, readers, seen = Disk(), [], []
    kept = Store(path, [], load=lambda db: None, refill=list, prune=list, connect=disk.connect)

    class Waiting(deque):
        def popleft(self):
            found = super().popleft()
            readers.append(threading.Thread(target=lambda: seen.append(kept.lag)))
            readers[0].start()
            readers[0].join(0.1)  # it has read by then, or has to wait
            return found

    kept._waiting = Waiting()
    kept.open()
    disk.gate.clear()
    kept.put([("SELECT 1", ())])
    assert disk.waited.wait(5)
    readers[0].join(5)
    disk.gate.set()
    kept.close(5)
    assert seen == [1]


def test_closing_writes_what_waits(begin, path):
    journal = begin()
    for n in range(50):
        journal.add_outcome(outcome(f"d-{n:06}"))
    journal.close()
    assert query(path, "SELECT count(*) FROM outcomes") == [(50,)]


def test_a_write_that_can_never_succeed_does_not_hold_up_the_others(path):
    tables = [["CREATE TABLE t (x INTEGER NOT NULL)"]]
    kept = Store(path, tables, load=lambda db: None, refill=list, prune=list)
    kept.open()
    told = [kept.put([("INSERT INTO t VALUES (?)", (x,))]) for x in (1, None, 2)]
    assert kept.flush(5)
    assert [t.result(5) for t in told] == [True, False, True]
    assert (kept.dropped, kept.failures) == (1, 0)
    kept.close(5)
    assert query(path, "SELECT x FROM t") == [(1,), (2,)]


@pytest.mark.parametrize("error", [MemoryError(), Unusable("was written by a newer Ullage")])
def test_whatever_happens_in_the_thread_of_the_file_is_told_and_it_goes_on(begin, error, caplog):
    """Else whoever waits for a write would wait in vain, now and for ever after."""
    disk = Disk()
    journal = begin(connect=disk.connect)
    assert journal.flush()
    disk.full()
    assert record(journal, decision("d-000001")) == [False]
    store = journal._store
    begun, store._begin = store._begin, fails(error)
    disk.error = ("disk I/O error", sqlite3.SQLITE_IOERR)
    journal.retry_now()
    assert failed(store, 2)  # and it is opened anew from here on
    journal.retry_now()
    assert failed(store, 3)
    assert record(journal, decision("d-000002")) == [False]
    store._begin, disk.error = begun, None
    journal.retry_now()
    assert journal.flush()
    assert record(journal, decision("d-000003")) == [True]
    assert journal.flush()
    assert (journal.failures, journal.dropped) == (3, 0)


def test_want_of_memory_in_a_write_is_no_more_than_a_failed_write(path, caplog):
    def want():
        raise MemoryError

    tables = [["CREATE TABLE t (x INTEGER NOT NULL)"]]
    kept = Store(path, tables, load=lambda db: None, refill=list, prune=want, prune_every=0.001)
    kept._delays = (3600.0,)
    kept.open()
    assert failed(kept, 1)
    told = kept.put([("INSERT INTO t VALUES (1)", ())])
    assert told.result(5) is False
    assert "MemoryError; kept in memory and tried again" in caplog.text
    kept._prune, kept._prune_every = list, 3600.0
    kept.retry_now()
    assert kept.flush(5)
    kept.close(5)
    assert query(path, "SELECT x FROM t") == [(1,)]


def fails(error):
    def fail(*_, **__):
        raise error

    return fail


def failed(store, times):
    with store._changed:
        return store._changed.wait_for(lambda: store.failures == times, 60)


def test_a_caller_who_gives_up_does_not_take_the_write_along(begin, path):
    disk = Disk()
    journal = begin(connect=disk.connect)
    assert journal.flush()

    async def give_up():
        disk.gate.clear()
        task = asyncio.create_task(journal.record(decision()))
        await asyncio.to_thread(disk.waited.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    disk.gate.set()
    assert journal.flush()
    journal.close()
    assert stored(path) == ["d-000001"]


def test_a_record_from_many_tasks_at_once_is_in_order(begin, path):
    journal = begin()

    async def many():
        made = [decision(journal.next_id()) for _ in range(200)]
        return await asyncio.gather(*(journal.record(d) for d in made))

    assert all(asyncio.run(many()))
    journal.close()
    assert stored(path) == [f"d-{n:06}" for n in range(1, 201)]


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from supervisor.journal.journal import Journal
from supervisor.journal.shelves import told
from tests.journals import decision, outcome

async def forever(journal):
    while True:
        id = journal.next_id()
        pinned = await told(journal.shelves["pins"].keep("m" + id, {{"at": 0.0}}))
        if await journal.record(decision(id)) and pinned:
            print(id, flush=True)

journal = Journal(Path(sys.argv[1]), lambda: 1000.0)
journal.open()
asyncio.run(forever(journal))
"""


@pytest.mark.slow
def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(begin, path):
    acknowledged = []
    for at_least in (1, 40, 90):
        code = WRITER.format(root=str(ROOT))
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        lines = [child.stdout.readline().strip() for _ in range(at_least)]
        child.send_signal(signal.SIGKILL)
        # A last line may be cut short by the kill; whole ones count.
        rest = child.stdout.read().split("\n")[:-1]
        child.stdout.close()
        child.wait()
        assert all(lines)
        acknowledged += [*lines, *rest]
    assert len(set(acknowledged)) == len(acknowledged)
    assert len(list(path.parent.glob("*.corrupt-*"))) == 0
    journal = begin(kept_decisions=10**6, at=1000.0)
    assert {f"m{id}" for id in acknowledged} <= pins(journal)
    journal.close()
    assert set(acknowledged) <= set(stored(path))
