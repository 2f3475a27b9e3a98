"""Records to keep, disks that fail, and journals that are closed in the end."""

import asyncio
import contextlib
import sqlite3
import threading

from collectors.reading import Bytes, PoolId, Seconds
from supervisor.core.headroom import Room
from supervisor.core.plan import Evict, Load, Note, Plan, Trigger, Why
from supervisor.core.record import Decision, Mode, Outcome, Result
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Share
from supervisor.core.verdict import Judgement, Verdict
from supervisor.core.watch import Finding, Kind, Severity
from supervisor.journal.journal import Journal
from supervisor.journal.shelves import told

VRAM, RAM = PoolId("GPU-1"), PoolId("ram")
PATIENT = (3600.0,)  # nothing is tried again within a test, unless it says so


def ref(model="gemma", engine="main"):
    return ModelRef(EngineId(engine), ModelId(model))


def share(size, pool=VRAM):
    return Share(pool, Bytes(size))


def decision(id="d-000001", at=1000.0, victim="gemma", wanted="qwen"):
    evict = Evict(ref(victim), (share(7),), Why.MAKES_ROOM)
    notes = (Note(ref(victim), Why.MAKES_ROOM), Note(ref(wanted), Why.WANTED))
    plan = Plan(Trigger.DEMAND, (evict, Load(ref(wanted), (share(5),))), notes)
    room = Room(VRAM, *(Bytes(n) for n in (9, 1, 1)), None, *(Bytes(n) for n in (7, 0, 1)), -1, -1)
    return Decision(id, at, Mode.ENFORCE, "somebody wants qwen", plan, (room,))


def outcome(id="d-000001", at=1001.0):
    judged = Judgement(Verdict.RECOVERED, Bytes(7), Bytes(7), True)
    action = Evict(ref(), (share(7),), Why.MAKES_ROOM)
    return Outcome(id, at, action, Result.DONE, "", Seconds(0.5), judged)


def finding(kind=Kind.PRESSURE, subject="GPU-1", detail="low"):
    return Finding(kind, subject, Seconds(3), Severity.WARNING, detail, 5.0)


class Disk:
    """A disk that can be full, broken or slow: its databases fail while `error` is set."""

    def __init__(self):
        self.error, self.times = None, None
        self.max_pages = None
        self.gate, self.waited = threading.Event(), threading.Event()
        self.gate.set()

    def full(self, times=None):
        """For ever, or for so many statements."""
        self.error, self.times = ("database or disk is full", sqlite3.SQLITE_FULL), times

    def connect(self, target):
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql, values=()):
                if not disk.gate.is_set():
                    disk.waited.set()
                    disk.gate.wait(60)
                if disk.max_pages is not None:
                    super().execute(f"PRAGMA max_page_count = {disk.max_pages}")
                if disk.error is not None and "mode=ro" not in target:
                    wrong = sqlite3.OperationalError(disk.error[0])
                    wrong.sqlite_errorcode = disk.error[1]
                    disk.times = None if disk.times is None else disk.times - 1
                    disk.error = None if disk.times == 0 else disk.error
                    raise wrong
                return super().execute(sql, values)

        return sqlite3.connect(
            target, uri=True, isolation_level=None, check_same_thread=False, factory=Connection
        )


@contextlib.contextmanager
def journals(path):
    """Opens journals, on `path` unless said; whatever is still open at the end is closed."""
    opened = []

    def begin(*, at=2000.0, where=path, **options):
        journal = Journal(where, lambda: at, **{"retry_delays": PATIENT} | options)
        opened.append(journal)
        journal.open()
        return journal

    yield begin
    for journal in opened:
        journal.close()


def record(journal, *decisions):
    async def all_of_them():
        return [await journal.record(d) for d in decisions]

    return asyncio.run(all_of_them())


def pin(journal, name):
    return asyncio.run(told(journal.shelves["pins"].keep(name, {"at": 0.0})))


def unpin(journal, name):
    return asyncio.run(told(journal.shelves["pins"].drop(name)))


def pins(journal):
    return set(journal.shelves["pins"].all())


def query(path, sql):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(sql).fetchall()


def ids(journal, **filters):
    return [d["id"] for d in journal.decisions(100, **filters)]


def stored(path):
    return [id for (id,) in query(path, "SELECT id FROM decisions ORDER BY rowid")]
