"""The journal is torn, emptied, or of another version: while the daemon is not there it is made so,
and the next one starts with it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.disk_fails import WHILE, all_is_written
from tests.faults.engines_fail import past
from tests.faults.killed import believe, promise
from tests.faults.registry import fault

Tear = Callable[[Path], None]

PAGE = 4096  # bytes
ASIDE = "journal.db.corrupt-"
SET_ASIDE, EMPTY = "set aside as", "is empty, and is begun anew"
PINS = "SELECT shelf, key FROM shelves NOT INDEXED ORDER BY rowid"


def _torn(page: int) -> Tear:
    """A page of it is noise, and what was ahead of it is gone. The first page is 0."""

    def tear(journal: Path) -> None:
        without_log(journal)
        with journal.open("r+b") as file:
            file.seek(page * PAGE)
            file.write(os.urandom(PAGE))

    return tear


def _shelves_torn(journal: Path) -> None:
    """The page with which the pins begin."""
    without_log(journal)
    with contextlib.closing(sqlite3.connect(journal)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'shelves'").fetchone()
    _torn(root - 1)(journal)


def without_log(journal: Path) -> None:
    """All of it is in one file, as after an end in good order."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for beside in ("-wal", "-shm"):
        Path(f"{journal}{beside}").unlink(missing_ok=True)


def _emptied(journal: Path) -> None:
    without_log(journal)
    journal.write_bytes(b"")


def _emptied_below_its_log(journal: Path) -> None:
    """What was to be moved into it is there still."""
    assert Path(f"{journal}-wal").stat().st_size
    journal.write_bytes(b"")


def _halved(journal: Path) -> None:
    without_log(journal)
    os.truncate(journal, max(4096, journal.stat().st_size // 2 // 4096 * 4096 - 1000))


def _noise(journal: Path) -> None:
    without_log(journal)
    journal.write_bytes(os.urandom(50_000))


def _log_torn(journal: Path) -> None:
    """Of what was ahead of it only the first part is there, and then noise."""
    log = Path(f"{journal}-wal")
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size - size // 2))


def _of_version(number: int) -> Tear:
    def stamp(journal: Path) -> None:
        without_log(journal)
        with journal.open("r+b") as file:
            file.seek(60)  # the user version, by SQLite's file format
            file.write(number.to_bytes(4, "big"))

    return stamp


# What is done to it, and the words of the log that must tell of it. None: of a page that nobody
# needs nothing need be told; a log ends where its first bad page is, as SQLite has it, and what
# came after cannot be told from what was never there.
TORN: tuple[tuple[Tear, str | None], ...] = (
    (_torn(0), SET_ASIDE),
    (_torn(1), None),
    (_torn(2), None),
    (_shelves_torn, SET_ASIDE),
    (_emptied, EMPTY),
    (_emptied_below_its_log, SET_ASIDE),
    (_halved, SET_ASIDE),
    (_noise, SET_ASIDE),
    (_of_version(0), SET_ASIDE),
    (_log_torn, None),
)


def files(journal: Path) -> list[bytes]:
    """What is in it, and in the log ahead of it, where there is anything."""
    places = (Path(f"{journal}{end}") for end in ("", "-wal"))
    return [content for p in places if p.exists() and (content := p.read_bytes())]


def readable_pins(journal: Path) -> set[str]:
    """Those of the file alone, one after the other as far as it can be read."""
    found: set[str] = set()
    with contextlib.suppress(sqlite3.Error):
        with contextlib.closing(sqlite3.connect(f"{journal.as_uri()}?immutable=1", uri=True)) as db:
            for shelf, key in db.execute(PINS):
                found |= {key} if shelf == "pins" else set()
    return found


@fault("the journal is torn while nobody has it open", runs=20, limit=12.0, together=10)
async def journal_torn(bench: Bench) -> None:
    """It is set aside, never deleted; what can be read is in force; what is lost is told."""
    people, history, daemon = bench.people, bench.history, bench.daemon
    tear, told = TORN[len(history.troubles) % len(TORN)]
    await promise(bench)
    async with bench.trouble("torn", daemon=True) as trouble:
        await bench.kill()
        there = {p.name for p in daemon.folder.iterdir()}
        tear(bench.journal)
        was, pins = files(bench.journal), readable_pins(bench.journal)
        since = len(daemon.lines)
        trouble.lifted = history.now()
        await bench.launch()
        state = await daemon.state()
        said = "\n".join(daemon.lines[since:])
        unsure = {w.partition(" ")[2] for w in people.perhaps}
        promised = people.pins | people.leases.keys()
        in_force = {*state["pins"], *(lease["model"] for lease in state["leases"])}
        lost = promised - in_force - unsure
        if unread := (pins & people.pins) - set(state["pins"]) - unsure:
            history.say("journal", f"it can be read, and is not in force: pins of {unread}")
        if told is not None and told not in said:
            history.say("journal", f"nobody is told that it {told}: {said[-500:]}")
        if lost and tear is not _log_torn and SET_ASIDE not in said and EMPTY not in said:
            history.say("journal", f"{lost} are lost, and nobody is told")
        people.forget()
        believe(bench, state)
    new = [p for p in daemon.folder.iterdir() if p.name not in there and p.name.startswith(ASIDE)]
    kept = [p.read_bytes() for p in new]
    if SET_ASIDE in said and any(content not in kept for content in was):
        names = sorted(p.name for p in new)
        history.say("journal", f"what was found is not as it was in what was set aside: {names}")
    if kept and SET_ASIDE not in said:
        history.say("journal", "it was set aside, and nobody is told")
    await all_is_written(bench)


@fault("the journal is of a newer version", runs=1, limit=12.0)
async def journal_newer(bench: Bench) -> None:
    """It is left as it is; the daemon keeps to its memory, and says so."""
    async with bench.trouble("newer", daemon=True, disk=True) as trouble:
        await bench.kill()
        _of_version(99)(bench.journal)
        was = bench.journal.read_bytes()
        await bench.launch()
        bench.people.forget()
        await past(WHILE / 2)
        if await bench.daemon.metric("ullage_journal_persistent") != 0:
            bench.history.say("journal", "it is said to be on disk")
        if "was written by a newer Ullage" not in bench.daemon.log:
            bench.history.say("journal", "nobody is told of it")
        await bench.kill()
        if bench.journal.read_bytes() != was:
            bench.history.say("journal", "what a newer Ullage wrote was changed")
        for file in bench.daemon.folder.glob("journal.db*"):
            file.unlink()
        trouble.lifted = bench.history.now()
        await bench.launch()
