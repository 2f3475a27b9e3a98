"""The disk below the daemon fails, is slow, or may only be read; its journal is torn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.daemon import ULLAGE
from tests.faults.below import Below
from tests.faults.bench import NORMAL, Bench
from tests.faults.engines_fail import past
from tests.faults.registry import fault

WHILE = 2.0  # seconds that something stays broken
SLOWLY = 3.5  # seconds that the disk is slow: less than that is waited for it
WAITED = 2.0  # seconds, as the runbook says
STALL = 0.4  # seconds that a write takes on a disk that is overwhelmed
SLOW = 0.25  # seconds that the daemon may take to say that it lives: it waits for no disk
GAP = 1.8  # seconds between two samples, of which there are ten a second; a busy machine
ASIDE = "journal.db.corrupt-"


def on_such_a_disk(bench: Bench) -> None:
    bench.below = Below(bench.folder, bench.folder / "s")
    bench.env |= bench.below.env


async def written(bench: Bench) -> bool:
    return await bench.daemon.metric("ullage_journal_lag") == 0


async def all_is_written(bench: Bench) -> None:
    await bench.within(NORMAL, lambda: written(bench), "the journal is on disk again")


@fault("the disk is full", runs=6, limit=35.0, together=3)
async def disk_full(bench: Bench) -> None:
    """Everybody is served all the while, and what was kept in memory is on disk after."""
    async with bench.trouble("full", disk=True):
        size = bench.journal.stat().st_size // 2
        limit(bench, resource.RLIMIT_FSIZE, size)
        await past(WHILE)
        limit(bench, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
        await all_is_written(bench)


def limit(bench: Bench, what: int, soft: int) -> None:
    hard = resource.prlimit(bench.daemon.pid, what)[1]
    resource.prlimit(bench.daemon.pid, what, (soft, hard))


@fault("the disk may only be read any more", runs=6, limit=35.0, together=3, adapt=on_such_a_disk)
async def becomes_read_only(bench: Bench) -> None:
    """As a file system that has found itself broken. Served all the while, and written after."""
    assert bench.below is not None
    async with bench.trouble("read-only", disk=True):
        bench.below.read_only()
        await _failing(bench)
        await past(WHILE)
        bench.below.sound()
        await all_is_written(bench)


async def _failing(bench: Bench) -> None:
    """Until it is seen that nothing can be written."""

    async def seen() -> bool:
        await bench.people.wish()
        return await bench.daemon.metric("ullage_journal_write_failures_total") > 0

    await bench.within(NORMAL, seen, "a write that fails")


def cannot_mount() -> str | None:
    """Why no folder can be mounted for a process alone. None: one can."""
    unshare, mount = shutil.which("unshare"), shutil.which("mount")
    if unshare is None or mount is None:
        return "needs unshare and mount"
    tried = subprocess.run([unshare, "-m", mount, "--bind", "/", "/mnt"], capture_output=True)
    return None if tried.returncode == 0 else "needs the right to mount (root)"


# Mounts the folder upon itself, so that it may only be read, and may be written to after a while.
READ_ONLY = """
mount --bind "$STATE_DIRECTORY" "$STATE_DIRECTORY"
mount -o remount,bind,ro "$STATE_DIRECTORY"
exec "$@"
"""
WRITABLE = 'mount -o remount,bind,rw "$STATE_DIRECTORY"'


@fault(
    "the disk may only be read as the daemon starts",
    runs=4,
    limit=40.0,
    together=2,
    missing=cannot_mount,
)
async def starts_read_only(bench: Bench) -> None:
    """After a kill: what is in its files is in force, and it is written once that can be."""
    daemon, history = bench.daemon, bench.history
    while not bench.people.pins:
        await bench.people.pin()
    async with bench.trouble("read-only", daemon=True, disk=True) as trouble:
        await bench.kill()
        daemon.program = ("unshare", "-m", "sh", "-ec", READ_ONLY, "sh", *ULLAGE)
        await bench.launch()
        daemon.program = ULLAGE
        if set((await daemon.state())["pins"]) != bench.people.pins:
            history.say("I9", f"pins are not those that were kept: {bench.people.pins}")
        await _failing(bench)
        inside = ("nsenter", "-m", "-t", str(daemon.pid), "sh", "-ec", WRITABLE)
        done = await asyncio.create_subprocess_exec(*inside, env=daemon.env)
        assert await done.wait() == 0
        trouble.lifted = history.now()
        await all_is_written(bench)


@fault("the disk is slow", runs=4, limit=5.0, together=4, adapt=on_such_a_disk)
async def disk_slow(bench: Bench) -> None:
    """Whoever must have it in writing waits, but not for ever; nobody else does, and the loop
    does not."""
    assert bench.below is not None
    daemon, late = bench.daemon, 0.0
    async with bench.trouble("slow", unwritten=WAITED):
        bench.below.slow(STALL)
        until = time.monotonic() + SLOWLY
        while time.monotonic() < until:
            began = time.monotonic()
            assert (await daemon.client.get("/healthz")).status_code == 200
            late = max(late, time.monotonic() - began)
            age = (await daemon.state())["sample_age"]
            if age > GAP:
                bench.history.say("loop", f"the last sample is {age} s old, as the disk is slow")
        if late > SLOW:
            bench.history.say("loop", f"the daemon did not answer for {late:.2f} s")
        bench.below.sound()


def _torn(at: int) -> Callable[[Path], bool]:
    """Four KiB of it are noise, and what was ahead of it is gone."""

    def tear(journal: Path) -> bool:
        without_log(journal)
        with journal.open("r+b") as file:
            file.seek(at)
            file.write(os.urandom(4096))
        return at == 0

    return tear


def without_log(journal: Path) -> None:
    """All of it is in one file, as after an end in good order."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for beside in ("-wal", "-shm"):
        Path(f"{journal}{beside}").unlink(missing_ok=True)


def _emptied(journal: Path) -> bool:
    without_log(journal)
    journal.write_bytes(b"")
    return False  # an empty file is a journal that was never begun


def _halved(journal: Path) -> bool:
    without_log(journal)
    os.truncate(journal, max(4096, journal.stat().st_size // 2 // 4096 * 4096 - 1000))
    return True


def _noise(journal: Path) -> bool:
    without_log(journal)
    journal.write_bytes(os.urandom(50_000))
    return True


def _log_torn(journal: Path) -> bool:
    """Of what was ahead of it only the first part is there, and then noise."""
    log = Path(f"{journal}-wal")
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size - size // 2))
    return False  # the part before is sound, and SQLite goes by that


def _newer(journal: Path) -> None:
    """Of a version that is not known here."""
    without_log(journal)
    with journal.open("r+b") as file:
        file.seek(60)  # the user version, by SQLite's file format
        file.write((99).to_bytes(4, "big"))


TORN = (_torn(0), _torn(4096), _torn(8192), _emptied, _halved, _noise, _log_torn)


@fault("the journal is torn while nobody has it open", runs=14, limit=12.0, together=7)
async def journal_torn(bench: Bench) -> None:
    """It is set aside, never lost, and the daemon starts."""
    tear = TORN[len(bench.history.troubles) % len(TORN)]
    async with bench.trouble("torn", daemon=True) as trouble:
        await bench.kill()
        before = {p.name for p in bench.daemon.folder.iterdir()}
        aside = tear(bench.journal)
        was = bench.journal.read_bytes()
        trouble.lifted = bench.history.now()
        await bench.launch()
        bench.people.forget()
    new = {p for p in bench.daemon.folder.iterdir() if p.name not in before}
    kept = [p for p in new if p.name.startswith(ASIDE) and p.read_bytes() == was]
    if aside and not kept:
        bench.history.say("journal", f"nothing was set aside: {sorted(p.name for p in new)}")
    await all_is_written(bench)


@fault("the journal is of a newer version", runs=1, limit=12.0)
async def journal_newer(bench: Bench) -> None:
    """It is left as it is; the daemon keeps to its memory, and says so."""
    async with bench.trouble("newer", daemon=True, disk=True) as trouble:
        await bench.kill()
        _newer(bench.journal)
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
